//! Connections: read a message, run its command, send the reply.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bson::{Bson, Document};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::command::{self, Peer, Server};
use crate::refusal::Refusal;
use crate::wire::{self, Style};

/// Most clients at once; more wait in the kernel's queue until one leaves.
const MAX_CONNECTIONS: usize = 500;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the client sent a message that makes no sense: {0}")]
    Nonsense(#[from] wire::WireError),
    #[error("no reply could be made: {0}")]
    Reply(#[from] Refusal),
    #[error("a command stopped working: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Serves on all listeners until `shutdown` turns true, then lets running commands finish.
pub async fn serve(
    server: Arc<Server>,
    listeners: Vec<TcpListener>,
    shutdown: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let numbers = Arc::new(AtomicI32::new(1));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (server, permits, numbers) = (
            Arc::clone(&server),
            Arc::clone(&permits),
            Arc::clone(&numbers),
        );
        accepting.spawn(accept(server, listener, permits, numbers, shutdown.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    permits: Arc<Semaphore>,
    numbers: Arc<AtomicI32>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        // Finished connections are taken out as we go, so that the set stays small.
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors and the like: wait a moment instead of spinning.
                warn!("cannot accept a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = Peer {
            connection: numbers.fetch_add(1, Ordering::Relaxed),
            address: address.to_string(),
        };
        let (server, shutdown) = (Arc::clone(&server), shutdown.clone());
        connections.spawn(async move {
            let _permit = permit;
            attend(server, stream, peer, address, shutdown).await;
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn attend(
    server: Arc<Server>,
    stream: TcpStream,
    peer: Peer,
    address: SocketAddr,
    shutdown: watch::Receiver<bool>,
) {
    let number = peer.connection;
    info!("connection {number} from {address} accepted");
    match converse(server, stream, peer, shutdown).await {
        Ok(()) => info!("connection {number} ended"),
        Err(ConnectionError::Broken(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
            info!("connection {number} was reset by the client");
        }
        Err(error) => warn!("connection {number} closed: {error}"),
    }
}

async fn converse(
    server: Arc<Server>,
    mut stream: TcpStream,
    peer: Peer,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let peer = Arc::new(peer);
    loop {
        let message = tokio::select! {
            message = read_message(&mut stream) => message?,
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        };
        let Some(message) = message else {
            return Ok(());
        };
        let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
        // Commands touch the disk, so they run beside the tasks that read sockets.
        let answer =
            tokio::task::spawn_blocking(move || answer(&server, &peer, &message)).await??;
        if let Some(bytes) = answer {
            stream.write_all(&bytes).await?;
        }
    }
}

/// The next message, none at a clean end. Memory grows with what arrives, not with
/// what a length field claims.
async fn read_message(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, ConnectionError> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match stream.read(&mut length[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(wire::WireError::Short("the header").into()),
            n => filled += n,
        }
    }
    let total = wire::message_length(length)?;
    let mut message = length.to_vec();
    let rest = (total - length.len()) as u64;
    stream.take(rest).read_to_end(&mut message).await?;
    if message.len() < total {
        return Err(wire::WireError::Short("a message").into());
    }
    Ok(Some(message))
}

fn answer(
    server: &Server,
    peer: &Peer,
    message: &[u8],
) -> Result<Option<Vec<u8>>, ConnectionError> {
    let request = wire::parse(message)?;
    let reply = match &request.style {
        Style::Message { .. } => match request.body.get("$db") {
            Some(Bson::String(database)) => command::run(server, peer, database, &request.body),
            _ => Refusal::failed_to_parse("OP_MSG requests require a $db argument").reply(),
        },
        Style::Query { namespace } => match namespace.strip_suffix(".$cmd") {
            Some(database) => command::run(server, peer, database, &request.body),
            None => old_query(),
        },
    };
    if request.style == (Style::Message { silent: true }) {
        return Ok(None);
    }
    Ok(Some(wire::reply(
        request.id,
        &request.style,
        server.next_reply(),
        &reply,
    )?))
}

/// Reading collections by OP_QUERY ended with MongoDB 5.1; drivers have used `find` since 3.2.
fn old_query() -> Document {
    let refusal =
        Refusal::not_supported("reading a collection by OP_QUERY (drivers from before 2016)");
    let mut reply = refusal.reply();
    reply.insert("$err", refusal.message);
    reply
}
