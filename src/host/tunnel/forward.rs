//! A local port that leads to one host and port as seen from the guest; or to where somebody says
//! it leads now.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::relay::relay;
use crate::{Result, Tunnel, TunnelError, listen};

/// How long a connection waits for a goal that is being looked for: a pod that is replaced.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where connections go, as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// A name, which is resolved in the guest at each connection, or an address.
    pub host: String,
    /// The port there.
    pub port: u16,
}

/// A bound local port; nothing is accepted before [`Forward::run`].
pub struct Forward {
    listener: TcpListener,
    address: SocketAddr,
    tunnel: Tunnel,
    goal: watch::Receiver<Option<Goal>>,
}

impl Forward {
    /// Binds `local` (loopback only; port 0 picks a free one). `host` is resolved in the
    /// guest at each connection.
    ///
    /// # Errors
    /// [`TunnelError::NotLoopback`], [`TunnelError::PortTaken`], [`TunnelError::Bind`].
    pub async fn bind(tunnel: Tunnel, local: SocketAddr, host: &str, port: u16) -> Result<Self> {
        let goal = Goal {
            host: host.into(),
            port,
        };
        let (_, goal) = watch::channel(Some(goal));
        Self::moving(tunnel, local, goal).await
    }

    /// As [`Forward::bind`], with a goal that moves: new connections go to the one of their
    /// moment, and wait for a while where there is none.
    ///
    /// # Errors
    /// As [`Forward::bind`].
    pub async fn moving(
        tunnel: Tunnel,
        local: SocketAddr,
        goal: watch::Receiver<Option<Goal>>,
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
            goal,
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
            goal,
            ..
        } = self;
        listen::serve(
            &listener,
            shutdown,
            |(stream, peer): (TcpStream, SocketAddr)| {
                let (tunnel, goal) = (tunnel.clone(), goal.clone());
                async move {
                    let Some(Goal { host, port }) = now(goal).await else {
                        tunnel.stats().refuse();
                        let _ = stream.set_zero_linger();
                        return;
                    };
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

/// Where a connection of this moment goes; None if nobody knows within [`PATIENCE`].
async fn now(mut goal: watch::Receiver<Option<Goal>>) -> Option<Goal> {
    let known = goal.wait_for(Option::is_some);
    match tokio::time::timeout(PATIENCE, known).await {
        Ok(Ok(goal)) => goal.clone(),
        // None came in time, or nobody looks for one any more.
        Ok(Err(_)) | Err(_) => None,
    }
}
