//! A WebSocket connection at work: pings answered, channels split into pipes and joined.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::channels::{self, Layout, Reader, Said};
use super::frame::{self, Decoder, Event};
use crate::streaming::pipe::{Connection, Frame, Gone, Incoming, Outgoing, PIECE, QUEUE, incoming};

/// Pings a client answers before it is told anything. kubectl up to 1.33 begins to read before it
/// has made its streams and drops what comes until then ("Unknown stream id 1, discarding
/// message"; mended in client-go by kubernetes/kubernetes#131203). An answer shows that it reads,
/// at its own pace however busy its machine is; making the streams is then a few microseconds
/// of another thread, for which the further round trips leave time. Who sends something first,
/// a terminal's size for instance, has made them.
const PINGS: u32 = 3;

/// Time between them: on a busy machine the other thread may have to wait for its turn.
const PAUSE: Duration = Duration::from_millis(5);

/// Longest wait for the answers: every WebSocket library gives them, and who does not must not
/// wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes read from the connection at once.
const READ: usize = 32 * 1024;

/// A connection and what the peer sends on it.
pub struct Session {
    pub connection: Connection,
    queue: mpsc::Sender<Frame>,
    inputs: Vec<Option<Incoming>>,
}

impl Session {
    /// What the peer sends on a channel; once only, `None` if it was not opened.
    pub fn input(&mut self, channel: u8) -> Option<Incoming> {
        self.inputs.get_mut(usize::from(channel))?.take()
    }

    /// The sending end of a channel.
    pub fn output(&self, channel: u8) -> Outgoing {
        Outgoing::new(channel.into(), self.queue.clone())
    }
}

/// Starts a session over an upgraded connection. What the peer sends on channels other
/// than `wanted` is dropped.
pub fn open<T>(io: T, layout: Layout, wanted: &[u8]) -> Session
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (queue, frames) = mpsc::channel(QUEUE);
    let count = wanted
        .iter()
        .map(|c| usize::from(*c) + 1)
        .max()
        .unwrap_or(0);
    let mut pipes: Vec<Option<DuplexStream>> = (0..count).map(|_| None).collect();
    let mut inputs: Vec<Option<Incoming>> = (0..count).map(|_| None).collect();
    for channel in wanted.iter().map(|channel| usize::from(*channel)) {
        let (ours, theirs) = incoming();
        pipes[channel] = Some(ours);
        inputs[channel] = Some(theirs);
    }
    let (heard, signs) = watch::channel(Signs::default());
    let reader = reading(read, layout, pipes, queue.clone(), heard);
    let writer = writing(write, layout, frames, signs);
    Session {
        connection: Connection::start(queue.clone(), CancellationToken::new(), reader, writer),
        queue,
        inputs,
    }
}

async fn reading(
    mut io: impl AsyncRead + Unpin,
    layout: Layout,
    mut pipes: Vec<Option<DuplexStream>>,
    queue: mpsc::Sender<Frame>,
    heard: watch::Sender<Signs>,
) {
    let (mut decoder, mut reader) = (Decoder::default(), Reader::new(layout));
    loop {
        loop {
            let event = match decoder.decode() {
                Ok(None) => break,
                Ok(Some(event)) => event,
                Err(violation) => return refuse(&queue, violation).await,
            };
            let heard = match event {
                Event::Ping(payload) => queue
                    .send(Frame::Encoded(frame::pong(&payload)))
                    .await
                    .map_err(|_| Gone),
                Event::Pong => {
                    heard.send_modify(|signs| signs.answers += 1);
                    Ok(())
                }
                Event::Close => {
                    // Answering a close is a courtesy; a full queue must not delay the end.
                    let _ = queue.try_send(Frame::Close);
                    return;
                }
                piece => match reader.read(piece) {
                    Ok(Some(said)) => {
                        heard.send_if_modified(|signs| !std::mem::replace(&mut signs.spoke, true));
                        hear(&mut pipes, said).await;
                        Ok(())
                    }
                    Ok(None) => Ok(()),
                    Err(violation) => return refuse(&queue, violation).await,
                },
            };
            if heard.is_err() {
                return;
            }
        }
        decoder.buffer.reserve(READ);
        match io.read_buf(&mut decoder.buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn refuse(queue: &mpsc::Sender<Frame>, violation: frame::Violation) {
    tracing::debug!(%violation, "a WebSocket client broke the protocol");
    let goodbye = Frame::Encoded(frame::close(frame::PROTOCOL_ERROR));
    // The queue's end means that the connection is gone already.
    let _ = queue.send(goodbye).await;
}

/// Hands data on; what nobody wants is dropped.
async fn hear(pipes: &mut [Option<DuplexStream>], said: Said) {
    match said {
        Said::Data { channel, bytes } => {
            if let Some(slot) = pipes.get_mut(usize::from(channel))
                && let Some(pipe) = slot
                && pipe.write_all(&bytes).await.is_err()
            {
                *slot = None;
            }
        }
        Said::End { channel } => {
            if let Some(slot) = pipes.get_mut(usize::from(channel)) {
                *slot = None;
            }
        }
    }
}

/// What the peer has done so far.
#[derive(Debug, Default)]
struct Signs {
    /// Pings it has answered.
    answers: u32,
    /// It has sent something on a channel.
    spoke: bool,
}

/// Waits until the peer can be expected to know its channels.
async fn ready(
    io: &mut (impl AsyncWrite + Unpin),
    signs: &mut watch::Receiver<Signs>,
) -> std::io::Result<()> {
    let end = tokio::time::Instant::now() + PATIENCE;
    for round in 1..=PINGS {
        if round > 1 {
            tokio::time::sleep(PAUSE).await;
        }
        io.write_all(&frame::ping(b"")).await?;
        io.flush().await?;
        let heard = signs.wait_for(|signs| signs.spoke || signs.answers >= round);
        match tokio::time::timeout_at(end, heard).await {
            Ok(Ok(signs)) if !signs.spoke => {}
            // It knows them; or it has gone, which the next write finds out.
            Ok(_) => break,
            Err(_) => {
                tracing::debug!("a WebSocket client does not answer pings");
                break;
            }
        }
    }
    Ok(())
}

async fn writing(
    mut io: impl AsyncWrite + Unpin,
    layout: Layout,
    mut frames: mpsc::Receiver<Frame>,
    mut signs: watch::Receiver<Signs>,
) {
    let mut out = BytesMut::with_capacity(2 * PIECE);
    if !matches!(layout, Layout::Plain) && ready(&mut io, &mut signs).await.is_err() {
        return;
    }
    while let Some(frame) = frames.recv().await {
        let mut last = encode(layout, frame, &mut out);
        while !last
            && out.len() < PIECE
            && let Ok(frame) = frames.try_recv()
        {
            last = encode(layout, frame, &mut out);
        }
        if io.write_all(&out).await.is_err() || io.flush().await.is_err() {
            return;
        }
        out.clear();
        if last {
            // A peer that finds the connection closed while it still has a ping to answer may
            // drop what it has not read (aiohttp does), so its own close comes first (RFC 6455,
            // section 7.1.1). The reader ends with it; `Connection::finish` limits the wait.
            let _ = signs.wait_for(|_| false).await;
            // The peer may have closed all of it; then there is nobody to tell.
            let _ = io.shutdown().await;
            return;
        }
    }
}

/// Appends a frame; true if it is the last one.
fn encode(layout: Layout, frame: Frame, out: &mut BytesMut) -> bool {
    match frame {
        Frame::Data { id, bytes } => channels::data(layout, id as u8, &bytes, out),
        // The protocol has no words for these.
        Frame::End { .. } | Frame::Accept { .. } => {}
        Frame::Encoded(bytes) => out.extend_from_slice(&bytes),
        Frame::Close => {
            out.extend_from_slice(&frame::close(frame::NORMAL));
            return true;
        }
    }
    false
}

/// A byte stream inside binary messages, for SPDY inside WebSocket. The second value runs
/// the connection and must be kept as long as the stream is used.
pub fn tunnel<T>(io: T) -> (DuplexStream, impl Future<Output = ()> + Send + 'static)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (inner, outer) = tokio::io::duplex(2 * PIECE);
    let carry = async move {
        let mut session = open(io, Layout::Plain, &[0]);
        let (mut from_inner, mut to_inner) = tokio::io::split(outer);
        let output = session.output(0);
        let up = async {
            if let Some(mut input) = session.input(0) {
                // Either end may vanish; the other then sees the end of the stream.
                let _ = tokio::io::copy(&mut input, &mut to_inner).await;
                let _ = to_inner.shutdown().await;
            }
        };
        let down = async {
            let mut buffer = BytesMut::with_capacity(PIECE);
            while matches!(from_inner.read_buf(&mut buffer).await, Ok(count) if count > 0) {
                if output.send(Bytes::from(buffer.split())).await.is_err() {
                    return;
                }
                buffer.reserve(PIECE);
            }
        };
        // When either side is done, the other has nobody to talk to.
        tokio::select! {
            () = up => {}
            () = down => {}
        }
        session.connection.finish().await;
    };
    (inner, carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_connection_stays_open_until_the_peer_has_closed_too() {
        let (ours, mut peer) = tokio::io::duplex(4096);
        let session = open(ours, Layout::Binary, &[0]);
        // It speaks at once and reads late: the ping is still on its way when all is said.
        peer.write_all(&[0x82, 0x82, 0, 0, 0, 0, 0, b'x'])
            .await
            .unwrap();
        session
            .output(1)
            .send(Bytes::from_static(b"out"))
            .await
            .unwrap();
        let finished = tokio::spawn(session.connection.finish());

        let mut said = frame::ping(b"").to_vec();
        said.extend_from_slice(&[0x82, 4, 1, b'o', b'u', b't']);
        said.extend_from_slice(&frame::close(frame::NORMAL));
        let mut heard = vec![0; said.len()];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
        let open = tokio::time::timeout(Duration::from_millis(50), peer.read_u8()).await;
        assert!(open.is_err(), "{open:?}");

        peer.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        finished.await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }
}
