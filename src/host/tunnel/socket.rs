//! A local Unix socket that leads to a Unix socket of the guest, such as Docker's.

use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::listen::{self, SocketFile};
use crate::relay::relay;
use crate::{Result, Tunnel};

/// A bound local socket; nothing is accepted before [`SocketForward::run`].
pub struct SocketForward {
    /// Goes before its listener.
    file: SocketFile,
    listener: UnixListener,
    tunnel: Tunnel,
    remote: String,
}

impl SocketForward {
    /// Binds `local`, mode 0600; a socket nobody answers at is taken over. `remote` is a
    /// path in the guest, opened with the rights of the session's user.
    ///
    /// # Errors
    /// [`crate::TunnelError::ControlTaken`] if somebody answers there;
    /// [`crate::TunnelError::LocalIo`].
    pub async fn bind(tunnel: Tunnel, local: &Path, remote: &str) -> Result<Self> {
        let (listener, file) = listen::bind_unix(local).await?;
        Ok(Self {
            file,
            listener,
            tunnel,
            remote: remote.into(),
        })
    }

    /// The local socket.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Serves until `shutdown` is ready; open connections end with it, and the socket is
    /// removed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            file,
            listener,
            tunnel,
            remote,
        } = self;
        listen::serve(&listener, shutdown, |stream: UnixStream| {
            let (tunnel, remote) = (tunnel.clone(), remote.clone());
            async move {
                match tunnel.open_unix(&remote).await {
                    Ok(channel) => relay(stream, channel, tunnel.tuning(), tunnel.stats()).await,
                    Err(error) => {
                        tunnel.stats().refuse();
                        tracing::debug!(%error, %remote, "connection to a socket refused");
                    }
                }
            }
        })
        .await;
        drop(file);
    }
}
