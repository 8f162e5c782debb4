//! Probes, and the switches by which a lesson makes them fail.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tracing::info;

use super::{Shared, say};

/// `?state=on` or `?state=off`.
#[derive(Debug, Deserialize)]
pub struct Switch {
    state: Option<String>,
}

pub async fn healthz(State(app): Shared) -> Response {
    if app.healthy.load(Ordering::Relaxed) {
        return say(StatusCode::OK, "ok\n");
    }
    say(
        StatusCode::SERVICE_UNAVAILABLE,
        "not healthy: switched off by POST /health?state=off\n",
    )
}

/// Not ready while stopping, so that a Service sends nobody here any more.
pub async fn readyz(State(app): Shared) -> Response {
    let why = if app.is_stopping() {
        "not ready: stopping\n"
    } else if !app.ready.load(Ordering::Relaxed) {
        "not ready: switched off by POST /ready?state=off\n"
    } else {
        return say(StatusCode::OK, "ready\n");
    };
    say(StatusCode::SERVICE_UNAVAILABLE, why)
}

pub async fn set_health(State(app): Shared, Query(switch): Query<Switch>) -> Response {
    turn(&app.healthy, &switch, "health")
}

pub async fn set_ready(State(app): Shared, Query(switch): Query<Switch>) -> Response {
    turn(&app.ready, &switch, "ready")
}

fn turn(what: &AtomicBool, switch: &Switch, name: &str) -> Response {
    let on = match switch.state.as_deref() {
        Some("on") => true,
        Some("off") => false,
        _ => {
            let words = format!("say POST /{name}?state=on or /{name}?state=off\n");
            return say(StatusCode::BAD_REQUEST, words);
        }
    };
    what.store(on, Ordering::Relaxed);
    let words = format!("{name} is {}\n", if on { "on" } else { "off" });
    info!("{}", words.trim_end());
    say(StatusCode::OK, words)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access_log::AccessLog;
    use crate::config::Config;
    use crate::web::App;
    use crate::{State as Stage, Stop};

    async fn answers(stage: Stage) -> (StatusCode, StatusCode) {
        let config = Config::new(std::iter::empty(), |_| None).unwrap();
        let stop: Arc<Stop> = Arc::new(tokio::sync::watch::channel(stage).0);
        let app = App::new(config, AccessLog::open(None).unwrap(), stop);
        let health = healthz(State(app.clone())).await.status();
        (health, readyz(State(app)).await.status())
    }

    #[tokio::test]
    async fn who_leaves_is_healthy_and_not_ready() {
        let ok = StatusCode::OK;
        assert_eq!(answers(Stage::Runs).await, (ok, ok));
        let away = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(answers(Stage::Leaving).await, (ok, away));
        assert_eq!(answers(Stage::Ends(0)).await, (ok, away));
    }
}
