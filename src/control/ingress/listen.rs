//! Connections: plain and TLS, HTTP/1.1 and 2, and an end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::{Proxy, Visitor};

/// Longest for the TLS handshake and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an idle HTTP/2 connection is probed, so that dead peers are noticed.
const PROBE: Duration = Duration::from_secs(30);
/// How long requests in flight may finish after the end was announced.
const DRAIN: Duration = Duration::from_secs(5);
/// Wait after a failed accept: out of file descriptors, which only time can mend.
const PAUSE: Duration = Duration::from_millis(100);

/// How visitors speak to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As in an address.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves one port until `shutdown`, and then lets requests in flight finish for a while.
pub async fn serve(
    listener: TcpListener,
    scheme: Scheme,
    proxy: Proxy,
    certificates: Arc<dyn ResolvesServerCert>,
    shutdown: CancellationToken,
) {
    let acceptor = match scheme {
        Scheme::Http => None,
        Scheme::Https => match tls(certificates) {
            Ok(acceptor) => Some(acceptor),
            Err(error) => {
                tracing::error!(%error, "TLS for Ingresses cannot be set up");
                return;
            }
        },
    };
    let port = listener.local_addr().map_or(0, |address| address.port());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let visitor = Visitor { peer, scheme, port };
                let (acceptor, proxy) = (acceptor.clone(), proxy.clone());
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    let ended = connection(stream, acceptor, proxy, visitor, shutdown).await;
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection ended badly");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for an Ingress");
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

fn tls(certificates: Arc<dyn ResolvesServerCert>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    proxy: Proxy,
    visitor: Visitor,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    match acceptor {
        None => {
            let speaks = tokio::select! {
                () = shutdown.cancelled() => false,
                speaks = speaks(&stream, PATIENCE) => speaks?,
            };
            match speaks {
                true => requests(stream, None, proxy, visitor, shutdown).await,
                false => Ok(()),
            }
        }
        Some(acceptor) => {
            let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
            let agreed = stream.get_ref().1.alpn_protocol();
            let version = match agreed {
                Some(b"h2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            };
            requests(stream, Some(version), proxy, visitor, shutdown).await
        }
    }
}

/// Waits for a visitor's first word, false if it goes without one. Until then nothing tells
/// which HTTP it will be, and the library would wait for ever.
async fn speaks(stream: &TcpStream, patience: Duration) -> Result<bool, Failure> {
    let mut first = [0];
    let length = tokio::time::timeout(patience, stream.peek(&mut first)).await??;
    Ok(length > 0)
}

/// Serves requests in a `version`, or in the one that the first of them shows.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    version: Option<Version>,
    proxy: Proxy,
    visitor: Visitor,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.answer(request.map(Body::new), visitor).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PROBE);
    let builder = match version {
        Some(Version::HTTP_2) => builder.http2_only(),
        Some(_) => builder.http1_only(),
        None => builder,
    };
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut visitor = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(speaks(&stream, Duration::ZERO).await.is_err());
        visitor.write_all(b"G").await.unwrap();
        assert!(speaks(&stream, PATIENCE).await.unwrap());
        let visitor = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        drop(visitor);
        assert!(!speaks(&stream, PATIENCE).await.unwrap());
    }
}
