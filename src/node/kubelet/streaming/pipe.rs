//! The two ends a handler has of each stream, whatever carries it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::spdy::window::SendWindow;

/// Bytes of one incoming stream that may wait for its handler.
const PIPE: usize = 64 * 1024;
/// Longest piece sent as one frame, in bytes.
pub const PIECE: usize = 32 * 1024;
/// Frames that may wait for the connection.
pub const QUEUE: usize = 8;
/// How long a peer may take to close after all was said, so that nothing in flight is lost
/// to a reset.
const LINGER: Duration = Duration::from_secs(5);

/// What the peer sends on one stream; its end is the peer's end of the stream.
pub type Incoming = DuplexStream;

/// A pipe from the connection's reader (first) to a handler (second).
pub fn incoming() -> (DuplexStream, Incoming) {
    tokio::io::duplex(PIPE)
}

/// The peer is gone, or has reset the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone")]
pub struct Gone;

/// What waits for the connection's writer, which encodes it.
#[derive(Debug)]
pub enum Frame {
    Data {
        id: u32,
        bytes: Bytes,
    },
    /// No more data follows on this stream.
    End {
        id: u32,
    },
    /// The stream is taken.
    Accept {
        id: u32,
    },
    /// A frame already encoded: pings, resets, windows.
    Encoded(Bytes),
    /// All is said: close in the protocol's own way.
    Close,
}

/// The sending end of one stream. Dropping it says nothing to the peer.
#[derive(Debug, Clone)]
pub struct Outgoing {
    id: u32,
    queue: mpsc::Sender<Frame>,
    window: Option<Arc<SendWindow>>,
}

impl Outgoing {
    pub fn new(id: u32, queue: mpsc::Sender<Frame>) -> Outgoing {
        Outgoing {
            id,
            queue,
            window: None,
        }
    }

    pub fn with_window(mut self, window: Arc<SendWindow>) -> Outgoing {
        self.window = Some(window);
        self
    }

    /// Sends all of it; waits while the peer is slow.
    pub async fn send(&self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let mut size = bytes.len().min(PIECE);
            if let Some(window) = &self.window {
                size = window.take(size).await?;
            }
            self.put(Frame::Data {
                id: self.id,
                bytes: bytes.split_to(size),
            })
            .await?;
        }
        Ok(())
    }

    /// Sends an empty piece, by which some clients learn that the stream is open.
    pub async fn greet(&self) -> Result<(), Gone> {
        self.put(Frame::Data {
            id: self.id,
            bytes: Bytes::new(),
        })
        .await
    }

    /// Says that nothing follows.
    pub async fn end(&self) -> Result<(), Gone> {
        self.end_with(Frame::End { id: self.id }).await
    }

    /// Ends the stream with another frame than usual, a reset for instance.
    pub async fn end_with(&self, frame: Frame) -> Result<(), Gone> {
        if let Some(window) = &self.window {
            window.close();
        }
        self.put(frame).await
    }

    async fn put(&self, frame: Frame) -> Result<(), Gone> {
        self.queue.send(frame).await.map_err(|_| Gone)
    }
}

/// A connection with its reader and writer at work. Dropping it cuts it.
pub struct Connection {
    queue: mpsc::Sender<Frame>,
    /// Done when the peer has closed, or sent what cannot be understood.
    closed: CancellationToken,
    tasks: JoinSet<()>,
}

impl Connection {
    /// `reader` must cancel `closed` when it ends, `writer` ends after [`Frame::Close`].
    pub fn start(
        queue: mpsc::Sender<Frame>,
        closed: CancellationToken,
        reader: impl Future<Output = ()> + Send + 'static,
        writer: impl Future<Output = ()> + Send + 'static,
    ) -> Connection {
        let mut tasks = JoinSet::new();
        let guard = closed.clone().drop_guard();
        tasks.spawn(async move {
            reader.await;
            drop(guard);
        });
        // A writer that failed closes the queue, so every sender learns it.
        tasks.spawn(writer);
        Connection {
            queue,
            closed,
            tasks,
        }
    }

    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Closes in the protocol's way and waits, not for long, until the peer has done so too.
    pub async fn finish(mut self) {
        let ended = async {
            if self.queue.send(Frame::Close).await.is_err() {
                return;
            }
            while self.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(LINGER, ended).await.is_err() {
            tracing::debug!("a client did not close its stream");
        }
    }
}
