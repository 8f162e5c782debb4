//! A SOCKS5 server whose connections leave from inside the guest (RFC 1928, 1929).
//!
//! CONNECT only, to IPv4, IPv6 and names; names are resolved in the guest, so that
//! cluster DNS works in the learner's browser. BIND and UDP are refused as such.

mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::Refusal;
use crate::relay::relay;
use crate::{Result, Tunnel, TunnelError, listen};
use wire::{Command, Reply};

/// Time a client has to say what it wants.
const GREETING: Duration = Duration::from_secs(10);

/// The port the browser flags, the docs and `cadet tunnel` agree on.
pub const DEFAULT_PORT: u16 = 8082;

/// User name and password a client must show (RFC 1929).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, at most 255 bytes.
    pub username: String,
    /// Password, at most 255 bytes.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A bound SOCKS5 server; nothing is accepted before [`Socks5::run`].
pub struct Socks5 {
    listener: TcpListener,
    address: SocketAddr,
    tunnel: Tunnel,
    credentials: Option<Credentials>,
}

impl Socks5 {
    /// Binds `local` (loopback only; port 0 picks a free one). With credentials, clients
    /// that cannot show them are refused.
    ///
    /// # Errors
    /// [`TunnelError::NotLoopback`], [`TunnelError::PortTaken`], [`TunnelError::Bind`].
    pub async fn bind(
        tunnel: Tunnel,
        local: SocketAddr,
        credentials: Option<Credentials>,
    ) -> Result<Self> {
        let listener = listen::bind(local).await?;
        let address = listener.local_addr().map_err(|source| TunnelError::Bind {
            address: local,
            source,
        })?;
        Ok(Self {
            listener,
            address,
            tunnel,
            credentials,
        })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready; open connections end with it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            tunnel,
            credentials,
            ..
        } = self;
        listen::serve(
            &listener,
            shutdown,
            |(stream, peer): (TcpStream, SocketAddr)| {
                let (tunnel, credentials) = (tunnel.clone(), credentials.clone());
                async move {
                    if let Err(error) = serve_one(stream, peer, &tunnel, credentials.as_ref()).await
                    {
                        tunnel.stats().refuse();
                        tracing::debug!(%error, %peer, "SOCKS client went away or was refused");
                    }
                }
            },
        )
        .await;
    }
}

async fn serve_one(
    mut stream: TcpStream,
    peer: SocketAddr,
    tunnel: &Tunnel,
    credentials: Option<&Credentials>,
) -> std::io::Result<()> {
    let asked = tokio::time::timeout(GREETING, negotiate(&mut stream, credentials))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let Some((host, port)) = asked else {
        tunnel.stats().refuse();
        return Ok(());
    };
    match tunnel.open_tcp(&host, port, peer).await {
        Ok(channel) => {
            stream.write_all(&wire::reply(Reply::Succeeded)).await?;
            relay(stream, channel, tunnel.tuning(), tunnel.stats()).await;
        }
        Err(error) => {
            tunnel.stats().refuse();
            tracing::debug!(%error, %host, port, "SOCKS connection refused");
            refuse(stream, reply_for(&error)).await?;
        }
    }
    Ok(())
}

/// Greeting, login and request; `None` if the client was told no.
async fn negotiate(
    stream: &mut TcpStream,
    credentials: Option<&Credentials>,
) -> std::io::Result<Option<(String, u16)>> {
    let methods = wire::read_greeting(stream).await?;
    let wanted = if credentials.is_some() {
        wire::METHOD_PASSWORD
    } else {
        wire::METHOD_NONE
    };
    if !methods.contains(&wanted) {
        stream
            .write_all(&[wire::VERSION, wire::METHOD_UNACCEPTABLE])
            .await?;
        return Ok(None);
    }
    stream.write_all(&[wire::VERSION, wanted]).await?;
    if let Some(expected) = credentials {
        let (username, password) = wire::read_login(stream).await?;
        // Both are compared whole, so that the time tells nothing.
        let good = same(&username, expected.username.as_bytes())
            & same(&password, expected.password.as_bytes());
        stream
            .write_all(&[wire::LOGIN_VERSION, u8::from(!good)])
            .await?;
        if !good {
            return Ok(None);
        }
    }
    match wire::read_request(stream).await? {
        Ok((Command::Connect, host, port)) => Ok(Some((host, port))),
        Ok((Command::Other, ..)) => {
            stream
                .write_all(&wire::reply(Reply::CommandNotSupported))
                .await?;
            Ok(None)
        }
        Err(reply) => {
            stream.write_all(&wire::reply(reply)).await?;
            Ok(None)
        }
    }
}

/// Says no and lets the client read it before the connection goes.
async fn refuse(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    stream.write_all(&wire::reply(reply)).await?;
    stream.shutdown().await?;
    // Unread input would turn our close into a reset that overtakes the reply. A client
    // that talks on without reading is cut off after the greeting time.
    let mut rest = [0; 1024];
    let drain = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(GREETING, drain).await;
    Ok(())
}

fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

fn reply_for(error: &TunnelError) -> Reply {
    match error {
        TunnelError::ChannelRefused { cause, .. } => match cause {
            Refusal::Forbidden => Reply::NotAllowed,
            Refusal::ConnectionRefused => Reply::ConnectionRefused,
            Refusal::HostUnreachable => Reply::HostUnreachable,
            Refusal::NetworkUnreachable => Reply::NetworkUnreachable,
            Refusal::TimedOut => Reply::TtlExpired,
            Refusal::General => Reply::GeneralFailure,
        },
        // The machine is down: there is no network behind this proxy.
        TunnelError::NotReady { .. } | TunnelError::Connect { .. } => Reply::NetworkUnreachable,
        _ => Reply::GeneralFailure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_become_the_right_codes() {
        let refused = |cause| TunnelError::ChannelRefused {
            doing: String::new(),
            cause,
            reason: String::new(),
        };
        for (cause, code) in [
            (Refusal::Forbidden, 2),
            (Refusal::NetworkUnreachable, 3),
            (Refusal::HostUnreachable, 4),
            (Refusal::ConnectionRefused, 5),
            (Refusal::TimedOut, 6),
            (Refusal::General, 1),
        ] {
            assert_eq!(reply_for(&refused(cause)) as u8, code);
        }
    }

    #[test]
    fn passwords_compare_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"abcd"));
        assert!(same(b"", b""));
    }
}
