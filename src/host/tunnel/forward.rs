//! A local port that leads to one host and port as seen from the guest.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::relay::relay;
use crate::{Result, Tunnel, TunnelError, listen};

/// A bound local port; nothing is accepted before [`Forward::run`].
pub struct Forward {
    listener: TcpListener,
    address: SocketAddr,
    tunnel: Tunnel,
    host: String,
    port: u16,
}

impl Forward {
    /// Binds `local` (loopback only; port 0 picks a free one). `host` is resolved in the
    /// guest at each connection.
    ///
    /// # Errors
    /// [`TunnelError::NotLoopback`], [`TunnelError::PortTaken`], [`TunnelError::Bind`].
    pub async fn bind(tunnel: Tunnel, local: SocketAddr, host: &str, port: u16) -> Result<Self> {
        let listener = listen::bind(local).await?;
        let address = listener.local_addr().map_err(|source| TunnelError::Bind {
            address: local,
            source,
        })?;
        Ok(Self {
            listener,
            address,
            tunnel,
            host: host.into(),
            port,
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
            host,
            port,
            ..
        } = self;
        listen::serve(
            &listener,
            shutdown,
            |(stream, peer): (TcpStream, SocketAddr)| {
                let (tunnel, host) = (tunnel.clone(), host.clone());
                async move {
                    match tunnel.open_tcp(&host, port, peer).await {
                        Ok(channel) => {
                            relay(stream, channel, tunnel.tuning(), tunnel.stats()).await
                        }
                        Err(error) => {
                            tunnel.stats().refuse();
                            tracing::debug!(%error, %host, port, "forwarded connection refused");
                            // A reset tells the client more truly than an empty answer.
                            let _ = stream.set_zero_linger();
                        }
                    }
                }
            },
        )
        .await;
    }
}
