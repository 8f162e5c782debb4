//! Two upgraded connections become one: bytes go both ways until one end has enough.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use cadet_api::status::Status;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long nothing may be said; upstream's `--streaming-connection-idle-timeout`.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How long one end may go on after the other has closed.
const LINGER: Duration = Duration::from_secs(30);
const BUFFER: usize = 32 * 1024;

/// Headers by which two ends agree on a protocol.
static HANDSHAKE: [HeaderName; 8] = [
    CONNECTION,
    UPGRADE,
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// Whether a request wants to become something else than HTTP.
pub fn asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// The headers of the handshake alone.
pub fn handshake(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in &HANDSHAKE {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// The client's half of an upgrade, or a refusal: HTTP/2 has none.
pub fn client_half(upgrade: Option<OnUpgrade>, headers: &HeaderMap) -> Result<OnUpgrade, Status> {
    upgrade
        .filter(|_| asked_for(headers))
        .ok_or_else(|| Status::bad_request("Upgrade request required"))
}

/// Passes a 101 on to the client and joins both connections once they are upgraded.
pub fn join(
    client: OnUpgrade,
    mut answer: http::Response<Incoming>,
    stopping: CancellationToken,
) -> Response {
    let backend = hyper::upgrade::on(&mut answer);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = handshake(answer.headers());
    tokio::spawn(async move {
        let upgraded = async { tokio::try_join!(client, backend) };
        let both = tokio::select! {
            both = upgraded => both,
            () = stopping.cancelled() => return,
        };
        match both {
            Ok((client, backend)) => {
                let carried = carry(TokioIo::new(client), TokioIo::new(backend), IDLE, LINGER);
                tokio::select! {
                    () = carried => {}
                    () = stopping.cancelled() => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    });
    response
}

/// When something was last said.
struct Activity(Mutex<Instant>);

impl Activity {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Done when nothing was said for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

async fn carry<A, B>(one: A, other: B, idle: Duration, linger: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity(Mutex::new(Instant::now()));
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    let there = copy(from_one, to_other, &activity);
    let back = copy(from_other, to_one, &activity);
    tokio::pin!(there, back);
    let rest = tokio::select! {
        () = &mut there => tokio::time::timeout(linger, back).await,
        () = &mut back => tokio::time::timeout(linger, there).await,
        () = activity.idle(idle) => {
            tracing::debug!("a tunnel was idle for too long");
            return;
        }
    };
    if rest.is_err() {
        tracing::debug!("one end of a tunnel did not close");
    }
}

/// Copies until the end, which it passes on, or a failure, which is an end too.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    activity: &Activity,
) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        activity.note();
        let Some(part) = buffer.get(..count) else {
            break;
        };
        if to.write_all(part).await.is_err() || to.flush().await.is_err() {
            break;
        }
        activity.note();
    }
    // The other end may be gone, and then needs no goodbye.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_and_bytes_pass_both_ways() {
        let (mut client, one) = tokio::io::duplex(16);
        let (mut agent, other) = tokio::io::duplex(16);
        let tunnel = tokio::spawn(carry(one, other, IDLE, LINGER));
        let text = "more than the buffers of both sides hold at once";
        let ask = async {
            client.write_all(text.as_bytes()).await.expect("write");
            client.shutdown().await.expect("shutdown");
        };
        let mut heard = String::new();
        let (_, read) = tokio::join!(ask, agent.read_to_string(&mut heard));
        read.expect("read");
        assert_eq!(heard, text);
        agent.write_all(b"bye").await.expect("write");
        drop(agent);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, "bye");
        tunnel.await.expect("tunnel");
    }

    #[tokio::test]
    async fn silence_ends_a_tunnel_and_so_does_a_dead_end() {
        let (_client, one) = tokio::io::duplex(16);
        let (_agent, other) = tokio::io::duplex(16);
        let short = Duration::from_millis(20);
        carry(one, other, short, LINGER).await;
        let (client, one) = tokio::io::duplex(16);
        let (_agent, other) = tokio::io::duplex(16);
        drop(client);
        carry(one, other, IDLE, short).await;
    }
}
