//! Listening on this computer only, one task per connection.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Result, TunnelError};

/// Binds a loopback address.
///
/// # Errors
/// [`TunnelError::NotLoopback`], [`TunnelError::PortTaken`], [`TunnelError::Bind`].
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(TunnelError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => TunnelError::PortTaken(address),
            _ => TunnelError::Bind { address, source },
        })
}

/// Accepts until `shutdown` is ready, then ends every connection.
pub(crate) async fn serve<S, F>(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    mut serve_one: S,
) where
    S: FnMut(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    // Dropping the set ends its tasks.
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            // Collects the finished ones so that they take no memory.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Without it small answers wait for the peer's delayed ACK.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "connection went away at once");
                        continue;
                    }
                    connections.spawn(serve_one(stream, peer));
                }
                Err(error) => {
                    // Out of file descriptors or memory: connections that end give
                    // some back; trying at once again would only burn the CPU.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_can_be_bound() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8082"] {
            let result = bind(address.parse().unwrap()).await;
            assert!(
                matches!(result, Err(TunnelError::NotLoopback(_))),
                "{address}"
            );
        }
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = first.local_addr().unwrap();
        assert!(matches!(bind(taken).await, Err(TunnelError::PortTaken(a)) if a == taken));
    }
}
