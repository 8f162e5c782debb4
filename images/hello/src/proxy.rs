//! The ambassador: whoever connects here is connected to somewhere else.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::State;

/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Forwards until the program is to stop, then until the last connection has ended.
pub async fn run(listener: TcpListener, target: String, mut stopping: watch::Receiver<State>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = crate::stopped(&mut stopping) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    open.spawn(forward(stream, client, target.clone()));
                }
                Err(error) => {
                    warn!("a connection was not accepted: {error}");
                    // Mostly a lack of file descriptors: some connections must end first.
                    tokio::time::sleep(PAUSE).await;
                }
            },
            // Finished connections are taken out, so that the set does not grow for ever.
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn forward(mut client: TcpStream, address: SocketAddr, target: String) {
    let from = address.ip().to_canonical();
    match pass(&mut client, &target).await {
        Ok((sent, received)) => {
            info!("{from} to {target}: {sent} bytes there, {received} back");
        }
        Err(error) => warn!("{from} to {target}: {error}"),
    }
}

/// The name is asked for anew each time: what stands behind it may move.
async fn pass(client: &mut TcpStream, target: &str) -> io::Result<(u64, u64)> {
    let mut server = TcpStream::connect(target).await?;
    copy_bidirectional(client, &mut server).await
}
