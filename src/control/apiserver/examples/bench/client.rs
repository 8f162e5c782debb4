//! The least an HTTP/1.1 client over TLS can do, so that it is not the bottleneck.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Result;

/// A GET for the whole connection to repeat.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n\r\n").into_bytes()
}

/// A POST of JSON.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    with_body("POST", path, "application/json", body)
}

/// A request with a body of some type.
pub fn with_body(method: &str, path: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Who the server is and how to be the administrator.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub tls: Arc<rustls::ClientConfig>,
}

impl Client {
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await?;
        Ok(Connection {
            stream,
            buffer: Vec::with_capacity(64 * 1024),
            body: (0, 0),
        })
    }
}

/// One connection, one request at a time.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    body: (usize, usize),
}

impl Connection {
    /// Sends a request and takes the whole answer in. Returns its code.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        let (code, head) = self.head(request).await?;
        let length = header(&self.buffer[..head], b"content-length:");
        match length {
            Some(length) => {
                while self.buffer.len() < head + length {
                    self.more().await?;
                }
                self.body = (head, head + length);
            }
            // Chunked: taken in until the empty last chunk.
            None => {
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.more().await?;
                }
                self.body = (head, self.buffer.len());
            }
        }
        Ok(code)
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.0..self.body.1]
    }

    /// Sends a request whose answer goes on for ever.
    pub async fn begin(&mut self, request: &[u8]) -> Result<()> {
        let (code, head) = self.head(request).await?;
        if code != 200 {
            return Err(format!("answered {code}").into());
        }
        self.buffer.drain(..head);
        Ok(())
    }

    /// The next whole lines of an endless answer.
    pub async fn chunk(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(end) = memchr::memrchr(b'\n', &self.buffer) {
                return Ok(self.buffer.drain(..=end).collect());
            }
            self.more().await?;
        }
    }

    async fn head(&mut self, request: &[u8]) -> Result<(u16, usize)> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let code = self.buffer.get(9..12).unwrap_or_default();
                return Ok((std::str::from_utf8(code)?.parse()?, end + 4));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        // Room for a big list without a system call per TLS record.
        self.buffer.reserve(256 * 1024);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// A whole number in a header; `name` in lower case with its colon.
fn header(head: &[u8], name: &[u8]) -> Option<usize> {
    let at = memchr::memmem::find(head, name)? + name.len();
    let line = head[at..].split(|b| *b == b'\r').next()?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}
