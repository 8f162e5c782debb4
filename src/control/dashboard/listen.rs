//! Connections of browsers: plain HTTP/1.1 with upgrades, and an end.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest for the head of a request, also of the next one on a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long requests in flight may finish after the end was announced.
const DRAIN: Duration = Duration::from_secs(5);
/// Wait after a failed accept: out of file descriptors, which only time can mend.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, and then lets requests in flight finish for a while.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    if let Err(error) = connection(stream, router, shutdown).await {
                        tracing::debug!(%peer, %error, "a connection ended badly");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for the dashboard");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        tracing::debug!(open = connections.len(), "requests in flight were cut off");
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    // Keystrokes and events are small and must not wait for each other's acknowledgement.
    stream.set_nodelay(true)?;
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    Ok(serving.await?)
}
