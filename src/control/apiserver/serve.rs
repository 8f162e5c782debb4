//! Connections: who is on the other end, HTTP/1.1 and 2 on one port, and an end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::access::User;
use crate::app::App;
use crate::service::LocalService;

/// How often an idle HTTP/2 connection is probed, so that dead peers are noticed.
const PROBE: Duration = Duration::from_secs(30);
/// Requests one connection may have open, and the longest head of one, in bytes: upstream's.
const STREAMS: u32 = 250;
const HEAD: u32 = 1024 * 1024;
/// What every TLS connection begins with: a record of the handshake.
const TLS_RECORD: u8 = 0x16;
/// Beginnings by which Go tells HTTP from TLS.
const PLAIN: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
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
    // The routes take some 30 KiB: made once, they are shared by all connections.
    let service = app.service(User::anonymous());
    let patience = app.config.head_timeout;
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
                let (acceptor, service) = (acceptor.clone(), service.clone());
                let stopping = stopping.clone();
                connections.spawn(async move {
                    let ended = connection(stream, acceptor, service, patience, stopping).await;
                    if let Err(error) = ended {
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
    service: LocalService,
    patience: Duration,
    stopping: CancellationToken,
) -> Result<(), ConnectionError> {
    // Watch events are small and must not wait for each other's acknowledgement.
    stream.set_nodelay(true)?;
    let secured = tokio::time::timeout(patience, secure(stream, acceptor)).await??;
    let Some(stream) = secured else {
        return Ok(());
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let user = match certificates.first() {
        None => User::anonymous(),
        Some(certificate) => User::from_certificate(certificate)?,
    };
    let spoken = CancellationToken::new();
    let first = spoken.clone();
    let service = service
        .of(user)
        .map_request(move |request: http::Request<Incoming>| {
            first.cancel();
            request
        });
    let service = TowerToHyperService::new(service);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PROBE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // Neither the choice between the protocols nor the opening of HTTP/2 has a limit of
    // its own.
    let silent = async {
        if tokio::time::timeout(patience, spoken.cancelled())
            .await
            .is_ok()
        {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = silent => return Err("no request came".into()),
        () = stopping.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

/// Does the handshake. A client that speaks plain HTTP is told so, as Go's server does, and
/// then there is no connection.
async fn secure(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first[0] == TLS_RECORD {
        return acceptor.accept(stream).await.map(Some);
    }
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    if PLAIN.contains(&&head) {
        let answer =
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        stream.write_all(answer).await?;
    }
    stream.shutdown().await?;
    // What the client still sends is taken in, so that no reset overtakes the answer.
    let mut rest = (&mut stream).take(u64::from(HEAD));
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(None)
}
