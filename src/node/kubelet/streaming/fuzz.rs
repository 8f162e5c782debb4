//! Fuzz targets: whatever bytes a client sends, and however the network cuts them, they
//! mean the same, take bounded memory, and end.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::websocket::channels::{Layout, Reader, Said};
use super::{spdy, websocket};

/// More than any decoder may hold back of what it was given.
const HELD: usize = 40 * 1024;

/// The bytes of an input, taken as choices; 0 after their end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 40);
        (0..length).map(|_| self.byte()).collect()
    }

    /// Cuts bytes into the pieces a network could deliver them in.
    fn cut<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut pieces = vec![];
        while !bytes.is_empty() {
            let size = (usize::from(self.byte()) + 1).min(bytes.len());
            let (piece, rest) = bytes.split_at(size);
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// SPDY as a client could send it: mostly frames, some of them wrong.
fn spdy_bytes(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut headers = spdy::headers::Writer::new().expect("zlib");
    let mut out = BytesMut::new();
    let mut next = 1;
    while !choices.0.is_empty() && out.len() < 4_000 {
        let id = u32::from(choices.byte() % 6);
        let control = |kind: u16, payload: &[u8], flags: u8| {
            let mut frame = vec![0x80, 3];
            frame.extend(kind.to_be_bytes());
            frame.push(flags);
            frame.extend(&(payload.len() as u32).to_be_bytes()[1..]);
            frame.extend_from_slice(payload);
            frame
        };
        let frame = match choices.byte() % 12 {
            0..=2 => {
                let block = headers
                    .write(&[("streamtype", "data"), ("port", "80")])
                    .expect("zlib");
                let id = if id == 0 { 0_u32 } else { next };
                next += 2;
                let payload = [&id.to_be_bytes()[..], &[0; 6], &block].concat();
                control(1, &payload, choices.byte() & 1)
            }
            3..=5 => {
                let mut frame = BytesMut::new();
                spdy::frame::data(id, choices.byte() & 1 == 1, &choices.payload(), &mut frame);
                frame.to_vec()
            }
            6 => spdy::frame::ping(id).to_vec(),
            7 => spdy::frame::window_update(id, u32::from(choices.byte()) << 23).to_vec(),
            8 => spdy::frame::reset(id, spdy::frame::Reset::RefusedStream).to_vec(),
            9 => control(4, &[0, 0, 0, 1, 0, 0, 0, 7, choices.byte(), 0, 0, 1], 0),
            10 => control(choices.byte().into(), &choices.payload(), choices.byte()),
            _ => choices.payload(),
        };
        out.extend_from_slice(&frame);
    }
    out.to_vec()
}

fn spdy_events(pieces: &[&[u8]]) -> (Vec<spdy::frame::Event>, Option<spdy::frame::Violation>) {
    use spdy::frame::{Decoder, Event};
    let (mut decoder, mut events) = (Decoder::default(), Vec::<Event>::new());
    for piece in pieces {
        decoder.buffer.extend_from_slice(piece);
        loop {
            match decoder.decode() {
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
                Ok(Some(Event::Data { id, fin, bytes })) => match events.last_mut() {
                    // A frame may come in parts; the parts of one stream are one.
                    Some(Event::Data {
                        id: before,
                        fin: ended,
                        bytes: all,
                    }) if *before == id && !*ended => {
                        *all = Bytes::from([&all[..], &bytes].concat());
                        *ended = fin;
                    }
                    _ => events.push(Event::Data { id, fin, bytes }),
                },
                Ok(Some(event)) => events.push(event),
            }
        }
        assert!(
            decoder.buffer.len() <= HELD,
            "{} bytes are held back",
            decoder.buffer.len()
        );
    }
    (events, None)
}

#[test]
fn spdy_frames() {
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let bytes = match choices.byte() % 8 {
                0 => choices.0.to_vec(),
                _ => spdy_bytes(&mut choices),
            };
            let whole = spdy_events(&[&bytes]);
            let mut cuts = Choices(input);
            assert_eq!(spdy_events(&cuts.cut(&bytes)), whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(spdy_events(&single), whole);
            let mut reader = spdy::headers::Reader::default();
            for event in &whole.0 {
                if let spdy::frame::Event::Open { block, .. } = event
                    && reader.read(block).is_err()
                {
                    break;
                }
            }
        });
}

/// WebSocket as a client could send it.
fn websocket_bytes(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut out = vec![];
    while !choices.0.is_empty() && out.len() < 4_000 {
        let first = match choices.byte() % 10 {
            0..=3 => 0x82,
            4 => 0x02,
            5 => 0x80,
            6 => 0x89,
            7 => 0x81,
            8 => 0x88,
            _ => choices.byte(),
        };
        let payload = choices.payload();
        let mask = [choices.byte(), 2, 3, 4];
        out.push(first);
        match choices.byte() % 6 {
            0 => {
                out.push(0xfe);
                out.extend((payload.len() as u16).to_be_bytes());
            }
            1 => {
                out.push(0xff);
                out.extend(
                    (payload.len() as u64 | u64::from(choices.byte() == 7) << 62).to_be_bytes(),
                );
            }
            2 => out.push(choices.byte()),
            _ => out.push(0x80 | payload.len() as u8),
        }
        out.extend(mask);
        out.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
    }
    out
}

/// What was said on each channel, joined; and whether the client broke the protocol.
fn said(
    layout: Layout,
    pieces: &[&[u8]],
) -> (Vec<Said>, usize, Option<websocket::frame::Violation>) {
    use websocket::frame::{Decoder, Event};
    let (mut decoder, mut reader) = (Decoder::default(), Reader::new(layout));
    let (mut all, mut others) = (Vec::<Said>::new(), 0);
    for piece in pieces {
        decoder.buffer.extend_from_slice(piece);
        loop {
            let event = match decoder.decode() {
                Ok(None) => break,
                Ok(Some(event)) => event,
                Err(violation) => return (all, others, Some(violation)),
            };
            if !matches!(event, Event::Piece { .. }) {
                others += 1;
                continue;
            }
            match reader.read(event) {
                Ok(None) => {}
                Err(violation) => return (all, others, Some(violation)),
                Ok(Some(Said::Data { bytes, .. })) if bytes.is_empty() => {}
                Ok(Some(Said::Data { channel, bytes })) => match all.last_mut() {
                    Some(Said::Data {
                        channel: before,
                        bytes: joined,
                    }) if *before == channel => {
                        *joined = Bytes::from([&joined[..], &bytes].concat());
                    }
                    _ => all.push(Said::Data { channel, bytes }),
                },
                Ok(Some(end)) => all.push(end),
            }
        }
        assert!(
            decoder.buffer.len() <= HELD,
            "{} bytes are held back",
            decoder.buffer.len()
        );
    }
    (all, others, None)
}

#[test]
fn websocket_channels() {
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let layouts = [Layout::V5, Layout::Binary, Layout::Base64, Layout::Plain];
            let layout = layouts[usize::from(choices.byte() % 4)];
            let bytes = match choices.byte() % 8 {
                0 => choices.0.to_vec(),
                _ => websocket_bytes(&mut choices),
            };
            let whole = said(layout, &[&bytes]);
            let mut cuts = Choices(input);
            assert_eq!(said(layout, &cuts.cut(&bytes)), whole, "{layout:?}");
        });
}

#[test]
fn terminal_sizes() {
    bolero::check!()
        .with_iterations(2_000)
        .for_each(|input: &[u8]| {
            let mut buffer = BytesMut::new();
            for piece in Choices(input).cut(input) {
                buffer.extend_from_slice(piece);
                let _ = super::resize::newest(&mut buffer);
                assert!(buffer.len() <= 2 * 1024);
            }
        });
}

/// A whole session ends when its client has, whatever was said before.
#[test]
fn spdy_session() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("runtime");
    bolero::check!()
        .with_iterations(500)
        .for_each(|input: &[u8]| {
            let bytes = spdy_bytes(&mut Choices(input));
            runtime.block_on(async {
                let (client, server) = tokio::io::duplex(1 << 16);
                let mut session = spdy::open(server);
                let (mut hear, mut speak) = tokio::io::split(client);
                let ended = async {
                    let talk = async {
                        // The server may hang up first.
                        let _ = speak.write_all(&bytes).await;
                        let _ = speak.shutdown().await;
                    };
                    let listen = async {
                        let mut heard = vec![];
                        let _ = hear.read_to_end(&mut heard).await;
                    };
                    let serve = async {
                        while let Some(mut stream) = session.streams.recv().await {
                            tokio::spawn(async move {
                                let mut heard = vec![];
                                let _ = stream.input.read_to_end(&mut heard).await;
                                let _ = stream.output.send(heard.into()).await;
                                let _ = stream.output.end().await;
                            });
                        }
                        session.connection.finish().await;
                    };
                    tokio::join!(talk, listen, serve);
                };
                let ever = std::time::Duration::from_secs(120);
                tokio::time::timeout(ever, ended)
                    .await
                    .expect("the session hangs");
            });
        });
}
