//! The door: UDP and TCP on each address (RFC 1035, 7766).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::{Desk, Looked, Road};

/// How long a connection may be silent (RFC 7766 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Connections open at once, per address.
const CONNECTIONS: usize = 256;
/// Wait after a failed accept: out of file descriptors, which only time can mend.
const PAUSE: Duration = Duration::from_millis(100);

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot answer DNS at {address} over {road}; another DNS server may listen on all addresses: {source}"
)]
pub struct BindError {
    address: SocketAddr,
    road: &'static str,
    source: io::Error,
}

/// Sockets that wait for questions.
#[derive(Debug)]
pub struct Door {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Door {
    /// Opens both protocols at an address; with port 0 both get the same free one.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn open(address: SocketAddr) -> Result<Door, BindError> {
        let failed = |address, road| {
            move |source| BindError {
                address,
                road,
                source,
            }
        };
        let tcp = TcpListener::bind(address)
            .await
            .map_err(failed(address, "TCP"))?;
        let address = tcp.local_addr().map_err(failed(address, "TCP"))?;
        let udp = UdpSocket::bind(address)
            .await
            .map_err(failed(address, "UDP"))?;
        Ok(Door { udp, tcp })
    }

    /// Where it stands.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn serve(self, desk: Desk, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = datagrams(Arc::new(self.udp), &desk, &tasks) => {}
            () = connections(&self.tcp, &desk, &tasks, &shutdown) => {}
        }
    }
}

async fn datagrams(socket: Arc<UdpSocket>, desk: &Desk, tasks: &TaskTracker) {
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An earlier answer met a closed port; the socket is as good as before.
                tracing::debug!(%error, "receiving a question");
                continue;
            }
        };
        let packet = &buffer[..length];
        match desk.look(packet, Road::Udp) {
            Looked::Answered(answer) => send(&socket, &answer, client).await,
            Looked::Nothing => {}
            Looked::Open => {
                let (socket, desk, packet) = (Arc::clone(&socket), desk.clone(), packet.to_vec());
                tasks.spawn(async move {
                    if let Some(answer) = desk.ask(&packet, Road::Udp).await {
                        send(&socket, &answer, client).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%error, %client, "an answer was not sent");
    }
}

async fn connections(
    listener: &TcpListener,
    desk: &Desk,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                let (desk, shutdown) = (desk.clone(), shutdown.clone());
                tasks.spawn(async move {
                    let _place = place;
                    let ended = tokio::select! {
                        () = shutdown.cancelled() => return,
                        ended = connection(stream, desk) => ended,
                    };
                    if let Err(error) = ended {
                        tracing::debug!(%client, %error, "a connection ended badly");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for DNS");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one question after the other, until the client goes or is silent too long.
async fn connection(mut stream: TcpStream, desk: Desk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let Some(packet) = tokio::time::timeout(IDLE, packet(&mut stream)).await?? else {
            return Ok(());
        };
        let answer = match desk.look(&packet, Road::Tcp) {
            Looked::Answered(answer) => Some(answer),
            Looked::Nothing => None,
            Looked::Open => desk.ask(&packet, Road::Tcp).await,
        };
        let Some(answer) = answer else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend(length.to_be_bytes());
        framed.extend(answer);
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// The next question, or `None` if the client has no more.
async fn packet(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}
