//! Connections: who is on the other end, HTTP/1.1 and 2 on one port, and an end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::User;
use crate::app::App;

/// Longest a client may take for the TLS handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const REQUEST_HEAD: Duration = Duration::from_secs(30);
/// How often an idle HTTP/2 connection is probed, so that dead peers are noticed.
const PROBE: Duration = Duration::from_secs(30);
/// How long requests in flight may finish after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Wait after a failed accept: out of file descriptors, which only time can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is done; then no new connections, watches end, and requests in
/// flight get [`DRAIN`] to finish.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    app: App,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    let stopping = CancellationToken::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (acceptor, app, stopping) = (acceptor.clone(), app.clone(), stopping.clone());
                connections.spawn(async move {
                    if let Err(error) = connection(stream, acceptor, app, stopping).await {
                        tracing::debug!(%peer, %error, "a connection ended badly");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    app.stop();
    stopping.cancel();
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(open = connections.len(), "requests in flight were cut off");
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    app: App,
    stopping: CancellationToken,
) -> Result<(), ConnectionError> {
    // Watch events are small and must not wait for each other's acknowledgement.
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let user = match certificates.first() {
        None => User::anonymous(),
        Some(certificate) => User::from_certificate(certificate)?,
    };
    let service = TowerToHyperService::new(app.service(user));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PROBE)
        .max_concurrent_streams(1000);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = stopping.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}
