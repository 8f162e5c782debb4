//! `127.0.0.1:10256/healthz`: whether the rules are up to date, in kube-proxy's words.
//!
//! ```text
//!  starting ──all in force──► up to date ◄──in force──┐
//!   (503)                       (200)  ──refused──► behind ──for a minute──► (503)
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use k8s_openapi::jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health;

/// `healthzBindAddress` of kube-proxy has this port; its default opens it to everybody.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 10_256);
/// How long rules may be behind: twice kube-proxy's `syncPeriod`.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the rules are. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<State>>);

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// When the rules were last known to be as they should.
    updated: Option<Timestamp>,
    /// Since when they are not.
    behind: Option<Instant>,
}

impl Pulse {
    /// The rules are as they should be.
    pub fn updated(&self) {
        *self.lock() = State {
            updated: Some(Timestamp::now()),
            behind: None,
        };
    }

    /// A change could not be made.
    pub fn failed(&self) {
        self.lock().behind.get_or_insert_with(Instant::now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_healthy(self, now: Instant) -> bool {
        let behind = self
            .behind
            .map(|since| now.saturating_duration_since(since));
        self.updated.is_some() && behind.is_none_or(|behind| behind < PATIENCE)
    }

    fn answer(self, path: &str, now: Instant, clock: Timestamp) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if !matches!(path, "/healthz" | "/livez") {
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        // Whoever is healthy was updated now, whether there was a change or not.
        let updated = match self.is_healthy(now) {
            true => go_time(clock),
            false => {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                self.updated
                    .map_or_else(|| "0001-01-01 00:00:00 +0000 UTC".to_owned(), go_time)
            }
        };
        let clock = go_time(clock);
        let body = format!("{{\"lastUpdated\": \"{updated}\",\"currentTime\": \"{clock}\"}}");
        *response.body_mut() = Full::from(body);
        let headers = response.headers_mut();
        let fixed = http::HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, fixed("application/json"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        response
    }
}

/// As Go writes a time, which is what upstream's answer has.
fn go_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
}

/// Answers until `shutdown`. Another program at the port, perhaps the kube-proxy of another
/// cluster, keeps nobody from his rules.
pub async fn serve(pulse: Pulse, shutdown: CancellationToken) {
    let listener = match TcpListener::bind(SocketAddr::from(ADDRESS)).await {
        Ok(listener) => listener,
        Err(error) => {
            let port = ADDRESS.1;
            tracing::warn!(%error, port, "nobody can ask for the proxy's health");
            return;
        }
    };
    let answer = move |path: &str| pulse.lock().answer(path, Instant::now(), Timestamp::now());
    health::serve(listener, answer, shutdown).await;
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn rules_in_force_are_healthy_and_a_short_trouble_is_forgiven() {
        let pulse = Pulse::default();
        let now = Instant::now();
        let later = now + PATIENCE * 2;
        let clock = Timestamp::from_second(1_600_000_000).unwrap();
        let code = |at| pulse.lock().answer("/healthz", at, clock).status().as_u16();
        assert_eq!(code(now), 503, "not in force yet");
        pulse.updated();
        assert_eq!((code(now), code(later)), (200, 200));
        pulse.failed();
        pulse.failed();
        assert_eq!((code(now), code(later)), (200, 503));
        pulse.updated();
        assert_eq!(code(later), 200);
        assert_eq!(pulse.lock().answer("/", now, clock).status(), 404);
        let answer = pulse.lock().answer("/healthz", now, clock);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let time = "2020-09-13 12:26:40 +0000 UTC";
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            serde_json::json!({"lastUpdated": time, "currentTime": time})
        );
    }
}
