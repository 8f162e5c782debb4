//! Connections the server opens itself: TCP or TLS, and HTTP/1.1 over them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest for connection and handshake together.
const CONNECT: Duration = Duration::from_secs(5);

/// Why the other end could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("dial tcp {host}:{port}: {}", words(source))]
    Connect {
        host: String,
        port: u16,
        source: std::io::Error,
    },
    #[error("dial tcp {host}:{port}: i/o timeout")]
    Slow { host: String, port: u16 },
    #[error("{host:?} is no name a certificate can have")]
    Name { host: String },
    #[error("TLS with {host}:{port}: {source}")]
    Tls {
        host: String,
        port: u16,
        source: std::io::Error,
    },
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// The failure as Go programs word it, which is what learners search for.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Peer {
    pub host: String,
    pub port: u16,
    /// Trust and identity; `None` for plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Peer {
    /// Opens a connection and sends one request on it. The answer's body streams; dropping
    /// it closes the connection. An upgrade is possible.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, DialError> {
        self.send_as(&self.host, request).await
    }

    /// As [`Peer::send`], to a host whose certificate has another name than its address.
    pub async fn send_as(
        &self,
        name: &str,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, DialError> {
        let (host, port) = (self.host.clone(), self.port);
        let connected = tokio::time::timeout(CONNECT, self.connect(name));
        let stream = connected
            .await
            .map_err(|_| DialError::Slow { host, port })??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection of ours ended badly");
            }
        });
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self, name: &str) -> Result<Box<dyn Stream>, DialError> {
        let (host, port) = (self.host.clone(), self.port);
        let stream = match TcpStream::connect((host.as_str(), port)).await {
            Ok(stream) => stream,
            Err(source) => return Err(DialError::Connect { host, port, source }),
        };
        if let Err(source) = stream.set_nodelay(true) {
            return Err(DialError::Connect { host, port, source });
        }
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| DialError::Name {
            host: name.to_owned(),
        })?;
        match TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
        {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(DialError::Tls { host, port, source }),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
