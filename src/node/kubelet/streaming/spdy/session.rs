//! A SPDY connection at work: streams accepted, pings answered, data split into pipes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{self, Decoder, Event, Reset, Violation};
use super::headers::{self, Headers};
use super::window::{INITIAL, SendWindow};
use crate::streaming::pipe::{Connection, Frame, Incoming, Outgoing, PIECE, QUEUE, incoming};

/// Bytes read from the connection at once.
const READ: usize = 32 * 1024;
/// Streams one connection may have open: a port-forward needs two for each TCP connection.
const STREAMS: usize = 2_000;
/// Streams that may wait to be taken.
const BACKLOG: usize = 16;

/// A stream the peer has opened.
pub struct Stream {
    pub id: u32,
    pub headers: Headers,
    pub input: Incoming,
    pub output: Outgoing,
}

impl Stream {
    /// Value of a header; names are lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// Says that nobody takes this stream.
    pub async fn refuse(self) {
        let reset = Frame::Encoded(frame::reset(self.id, Reset::RefusedStream));
        // A client that is gone needs no answer.
        let _ = self.output.end_with(reset).await;
    }
}

/// A connection and the streams the peer opens on it.
pub struct Session {
    pub connection: Connection,
    /// Ends when the peer has gone.
    pub streams: mpsc::Receiver<Stream>,
}

/// Starts a session over an upgraded connection.
pub fn open<T>(io: T) -> Session
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (queue, frames) = mpsc::channel(QUEUE);
    let (opened, streams) = mpsc::channel(BACKLOG);
    let last = Arc::new(AtomicU32::new(0));
    let demux = Demux {
        headers: headers::Reader::default(),
        streams: HashMap::new(),
        queue: queue.clone(),
        opened,
        last: last.clone(),
        binding: Arc::default(),
        first_window: INITIAL,
    };
    Session {
        connection: Connection::start(
            queue,
            CancellationToken::new(),
            reading(read, demux),
            writing(write, frames, last),
        ),
        streams,
    }
}

/// One stream as the reader knows it.
struct Known {
    /// `None` when the peer has ended it, or nobody listens.
    pipe: Option<DuplexStream>,
    window: Arc<SendWindow>,
}

struct Demux {
    headers: headers::Reader,
    streams: HashMap<u32, Known>,
    queue: mpsc::Sender<Frame>,
    opened: mpsc::Sender<Stream>,
    /// Highest stream id seen.
    last: Arc<AtomicU32>,
    binding: Arc<AtomicBool>,
    first_window: i64,
}

/// Why reading ends.
enum End {
    Gone,
    Broken(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> End {
        End::Broken(violation)
    }
}

async fn reading(mut io: impl AsyncRead + Unpin, mut demux: Demux) {
    let mut decoder = Decoder::default();
    loop {
        loop {
            let heard = match decoder.decode() {
                Ok(None) => break,
                Ok(Some(event)) => demux.hear(event).await,
                Err(violation) => Err(End::Broken(violation)),
            };
            match heard {
                Ok(()) => {}
                Err(End::Gone) => return demux.over(),
                Err(End::Broken(violation)) => {
                    tracing::debug!(%violation, "a SPDY client broke the protocol");
                    let last = demux.last.load(Ordering::Relaxed);
                    let goodbye = Frame::Encoded(frame::go_away(last, true));
                    // The queue's end means that the connection is gone already.
                    let _ = demux.queue.send(goodbye).await;
                    return demux.over();
                }
            }
        }
        decoder.buffer.reserve(READ);
        match io.read_buf(&mut decoder.buffer).await {
            Ok(0) | Err(_) => return demux.over(),
            Ok(_) => {}
        }
    }
}

impl Demux {
    async fn hear(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Open { id, fin, block } => self.open(id, fin, &block).await?,
            Event::Headers { id, fin, block } => {
                self.headers.read(&block)?;
                if fin && let Some(stream) = self.streams.get_mut(&id) {
                    stream.pipe = None;
                }
            }
            Event::Data { id, fin, bytes } => self.data(id, fin, bytes).await?,
            Event::Reset { id } => {
                if let Some(stream) = self.streams.remove(&id) {
                    stream.window.reset();
                }
            }
            Event::Settings { window: None } => {}
            Event::Settings { window: Some(size) } => {
                let size = i64::from(size);
                let change = size - self.first_window;
                self.first_window = size;
                self.binding.store(true, Ordering::Relaxed);
                for stream in self.streams.values() {
                    stream.window.grow(change);
                }
            }
            Event::Ping { id } => {
                // Even ids answer pings of ours, of which there are none.
                if id % 2 == 1 {
                    self.send(frame::ping(id)).await?;
                }
            }
            Event::GoAway => {}
            Event::Window { id, more } => {
                self.binding.store(true, Ordering::Relaxed);
                if let Some(stream) = self.streams.get(&id) {
                    stream.window.grow(more.into());
                }
            }
        }
        Ok(())
    }

    async fn send(&self, bytes: Bytes) -> Result<(), End> {
        let frame = Frame::Encoded(bytes);
        self.queue.send(frame).await.map_err(|_| End::Gone)
    }

    async fn open(&mut self, id: u32, fin: bool, block: &[u8]) -> Result<(), End> {
        let headers = self.headers.read(block)?;
        if id.is_multiple_of(2) || id <= self.last.load(Ordering::Relaxed) {
            return Err(Violation("a stream id out of order").into());
        }
        self.last.store(id, Ordering::Relaxed);
        self.streams
            .retain(|_, stream| stream.pipe.is_some() || !stream.window.is_over());
        if self.streams.len() >= STREAMS {
            return self.send(frame::reset(id, Reset::RefusedStream)).await;
        }
        let (ours, theirs) = incoming();
        let window = Arc::new(SendWindow::new(self.first_window, self.binding.clone()));
        let output = Outgoing::new(id, self.queue.clone()).with_window(window.clone());
        let pipe = (!fin).then_some(ours);
        self.streams.insert(id, Known { pipe, window });
        let accept = self.queue.send(Frame::Accept { id }).await;
        accept.map_err(|_| End::Gone)?;
        let stream = Stream {
            id,
            headers,
            input: theirs,
            output,
        };
        if let Err(unwanted) = self.opened.send(stream).await {
            unwanted.0.refuse().await;
            self.streams.remove(&id);
        }
        Ok(())
    }

    async fn data(&mut self, id: u32, fin: bool, bytes: Bytes) -> Result<(), End> {
        let Some(stream) = self.streams.get_mut(&id) else {
            if id > self.last.load(Ordering::Relaxed) {
                return self.send(frame::reset(id, Reset::InvalidStream)).await;
            }
            // Of a stream that is over; its last words cross our reset.
            return self.consumed(None, bytes.len()).await;
        };
        let heard = match &mut stream.pipe {
            Some(pipe) => pipe.write_all(&bytes).await.is_ok(),
            None => false,
        };
        if fin || !heard {
            stream.pipe = None;
        }
        let id = (heard && !fin).then_some(id);
        self.consumed(id, bytes.len()).await
    }

    /// Tells the peer that there is room again, on the stream and on the connection.
    async fn consumed(&mut self, id: Option<u32>, size: usize) -> Result<(), End> {
        let Some(size) = u32::try_from(size).ok().filter(|size| *size > 0) else {
            return Ok(());
        };
        if let Some(id) = id {
            self.send(frame::window_update(id, size)).await?;
        }
        self.send(frame::window_update(0, size)).await
    }

    /// The connection is over: nobody must wait for room on it.
    fn over(&mut self) {
        for stream in self.streams.values() {
            stream.window.reset();
        }
        self.streams.clear();
    }
}

async fn writing(
    mut io: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
    last: Arc<AtomicU32>,
) {
    let mut headers = match headers::Writer::new() {
        Ok(headers) => headers,
        Err(error) => {
            tracing::error!(%error, "cannot compress SPDY headers");
            return;
        }
    };
    let mut out = BytesMut::with_capacity(2 * PIECE);
    while let Some(frame) = frames.recv().await {
        let mut goes_on = encode(frame, &mut headers, &last, &mut out);
        while goes_on
            && out.len() < PIECE
            && let Ok(frame) = frames.try_recv()
        {
            goes_on = encode(frame, &mut headers, &last, &mut out);
        }
        if io.write_all(&out).await.is_err() || io.flush().await.is_err() {
            return;
        }
        out.clear();
        if !goes_on {
            // The peer may have closed first; then there is nobody to tell.
            let _ = io.shutdown().await;
            return;
        }
    }
}

/// Appends a frame; false if it is the last one.
fn encode(
    frame: Frame,
    headers: &mut headers::Writer,
    last: &AtomicU32,
    out: &mut BytesMut,
) -> bool {
    match frame {
        Frame::Data { id, bytes } => frame::data(id, false, &bytes, out),
        Frame::End { id } => frame::data(id, true, &[], out),
        Frame::Accept { id } => match headers.write(&[]) {
            Ok(block) => frame::reply(id, &block, out),
            Err(error) => {
                tracing::error!(%error, "cannot compress SPDY headers");
                return false;
            }
        },
        Frame::Encoded(bytes) => out.extend_from_slice(&bytes),
        Frame::Close => {
            out.extend_from_slice(&frame::go_away(last.load(Ordering::Relaxed), false));
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream opened by the client, with its headers.
    fn syn_stream(id: u32, block: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame::reply(id, &[&[0; 6], block].concat(), &mut out);
        // SYN_STREAM differs from SYN_REPLY by its type and six bytes more.
        out[3] = 1;
        out.to_vec()
    }

    async fn rest(mut client: DuplexStream) -> Vec<u8> {
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        heard
    }

    #[tokio::test]
    async fn streams_are_accepted_and_their_data_and_ends_passed_on() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut session = open(server);
        let mut headers = headers::Writer::new().unwrap();
        let block = headers.write(&[("streamtype", "stdin")]).unwrap();
        client.write_all(&syn_stream(1, &block)).await.unwrap();
        let mut sent = BytesMut::new();
        frame::data(1, false, b"hel", &mut sent);
        frame::data(1, true, b"lo", &mut sent);
        client.write_all(&sent).await.unwrap();
        let mut stream = session.streams.recv().await.unwrap();
        assert_eq!(stream.header("streamtype"), "stdin");
        let mut heard = String::new();
        stream.input.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "hello");
        stream.output.send(Bytes::from("bye")).await.unwrap();
        stream.output.end().await.unwrap();
        client.shutdown().await.unwrap();
        session.connection.finish().await;
        let heard = rest(client).await;
        let mut said = BytesMut::new();
        frame::data(1, false, b"bye", &mut said);
        frame::data(1, true, b"", &mut said);
        said.extend_from_slice(&frame::go_away(1, false));
        assert!(heard.ends_with(&said), "{heard:?}");
    }

    #[tokio::test]
    async fn garbage_is_answered_with_a_goaway() {
        let not_zlib = syn_stream(1, b"garbage");
        let even = syn_stream(2, &headers::Writer::new().unwrap().write(&[]).unwrap());
        for bad in [b"\x80\x02\0\x01\0\0\0\0".as_slice(), &not_zlib, &even] {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let session = open(server);
            client.write_all(bad).await.unwrap();
            session.connection.closed().cancelled().await;
            session.connection.finish().await;
            let goodbye = frame::go_away(0, true);
            assert!(rest(client).await.starts_with(&goodbye), "{bad:?}");
        }
    }
}
