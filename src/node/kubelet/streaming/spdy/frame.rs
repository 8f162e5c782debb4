//! SPDY/3.1 frames (draft, section 2.2). Pure; header blocks stay compressed here.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Longest payload of a control frame taken, in bytes; those of clients have a few hundred.
const CONTROL_LIMIT: usize = 32 * 1024;
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FIN: u8 = 1;
/// Highest stream id: 31 bits.
const ID_MASK: u32 = 0x7fff_ffff;
/// Setting that holds the first window of each stream (draft, section 2.6.4).
const INITIAL_WINDOW_SIZE: u32 = 7;

/// Reasons for a reset (draft, section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    InvalidStream = 2,
    RefusedStream = 3,
}

/// What no client may send; the connection ends with a GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub &'static str);

/// Something a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Opens a stream; `block` are its headers, compressed.
    Open {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    /// More headers, or a reply to a stream we never opened: only their compression counts.
    Headers {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    /// A part of a data frame, passed on as it arrives; `fin` comes with the last.
    Data {
        id: u32,
        fin: bool,
        bytes: Bytes,
    },
    Reset {
        id: u32,
    },
    /// The first send window of streams, if the client says.
    Settings {
        window: Option<u32>,
    },
    Ping {
        id: u32,
    },
    GoAway,
    Window {
        id: u32,
        more: u32,
    },
}

#[derive(Debug)]
struct Data {
    id: u32,
    fin: bool,
    left: usize,
}

/// Reads frames from bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes received and not yet read. The caller appends.
    pub buffer: BytesMut,
    data: Option<Data>,
}

impl Decoder {
    /// The next event, or `None` when more bytes are needed.
    pub fn decode(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            if let Some(data) = self.data.take() {
                return Ok(self.decode_data(data));
            }
            let Some(head) = self.buffer.first_chunk::<8>() else {
                return Ok(None);
            };
            let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let flags = head[4];
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            if word & !ID_MASK == 0 {
                if word == 0 {
                    return Err(Violation("data on stream 0"));
                }
                self.buffer.advance(8);
                let fin = flags & FIN != 0;
                self.data = Some(Data {
                    id: word,
                    fin,
                    left: length,
                });
                continue;
            }
            if length > CONTROL_LIMIT {
                return Err(Violation("a control frame too long"));
            }
            if self.buffer.len() < 8 + length {
                return Ok(None);
            }
            let (version, kind) = ((word >> 16 & 0x7fff) as u16, word as u16);
            if version != VERSION {
                return Err(Violation("a version other than 3"));
            }
            self.buffer.advance(8);
            let payload = self.buffer.split_to(length).freeze();
            if let Some(event) = control(kind, flags, payload)? {
                return Ok(Some(event));
            }
        }
    }

    fn decode_data(&mut self, mut data: Data) -> Option<Event> {
        let ready = data.left.min(self.buffer.len());
        if ready == 0 && data.left > 0 {
            self.data = Some(data);
            return None;
        }
        let bytes = self.buffer.split_to(ready).freeze();
        data.left -= ready;
        let (id, fin) = (data.id, data.fin && data.left == 0);
        if data.left > 0 {
            self.data = Some(data);
        }
        Some(Event::Data { id, fin, bytes })
    }
}

fn control(kind: u16, flags: u8, mut payload: Bytes) -> Result<Option<Event>, Violation> {
    let fin = flags & FIN != 0;
    let needs = |bytes: usize| {
        if payload.len() < bytes {
            Err(Violation("a control frame too short"))
        } else {
            Ok(())
        }
    };
    Ok(Some(match kind {
        SYN_STREAM => {
            needs(10)?;
            let id = payload.get_u32() & ID_MASK;
            payload.advance(6);
            Event::Open {
                id,
                fin,
                block: payload,
            }
        }
        SYN_REPLY | HEADERS => {
            needs(4)?;
            let id = payload.get_u32() & ID_MASK;
            Event::Headers {
                id,
                fin,
                block: payload,
            }
        }
        RST_STREAM => {
            needs(8)?;
            Event::Reset {
                id: payload.get_u32() & ID_MASK,
            }
        }
        SETTINGS => {
            needs(4)?;
            Event::Settings {
                window: settings(payload)?,
            }
        }
        PING => {
            needs(4)?;
            Event::Ping {
                id: payload.get_u32(),
            }
        }
        GOAWAY => Event::GoAway,
        WINDOW_UPDATE => {
            needs(8)?;
            Event::Window {
                id: payload.get_u32() & ID_MASK,
                more: payload.get_u32() & ID_MASK,
            }
        }
        // Unknown kinds are to be ignored (draft, section 2.2.1).
        _ => return Ok(None),
    }))
}

fn settings(mut payload: Bytes) -> Result<Option<u32>, Violation> {
    let count = payload.get_u32() as usize;
    if payload.len() / 8 < count {
        return Err(Violation("settings cut short"));
    }
    let mut window = None;
    for _ in 0..count {
        let id = payload.get_u32() & 0x00ff_ffff;
        let value = payload.get_u32();
        if id == INITIAL_WINDOW_SIZE {
            window = Some(value & ID_MASK);
        }
    }
    Ok(window)
}

fn head(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u8(flags);
    out.put_uint(length as u64, 3);
}

/// Appends a data frame. `bytes` must be shorter than 16 MiB.
pub fn data(id: u32, fin: bool, bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(id & ID_MASK);
    out.put_u8(if fin { FIN } else { 0 });
    out.put_uint(bytes.len() as u64, 3);
    out.extend_from_slice(bytes);
}

/// Appends the acceptance of a stream, with a compressed block of headers.
pub fn reply(id: u32, block: &[u8], out: &mut BytesMut) {
    head(out, SYN_REPLY, 0, 4 + block.len());
    out.put_u32(id);
    out.extend_from_slice(block);
}

fn words(kind: u16, words: &[u32]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + 4 * words.len());
    head(&mut out, kind, 0, 4 * words.len());
    for word in words {
        out.put_u32(*word);
    }
    out.freeze()
}

pub fn reset(id: u32, why: Reset) -> Bytes {
    words(RST_STREAM, &[id, why as u32])
}

pub fn ping(id: u32) -> Bytes {
    words(PING, &[id])
}

/// `broken`: because of an error of the peer, else because all is said.
pub fn go_away(last: u32, broken: bool) -> Bytes {
    words(GOAWAY, &[last, u32::from(broken)])
}

pub fn window_update(id: u32, more: u32) -> Bytes {
    words(WINDOW_UPDATE, &[id, more])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize) -> Result<Vec<Event>, Violation> {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for part in bytes.chunks(step) {
            decoder.buffer.extend_from_slice(part);
            while let Some(event) = decoder.decode()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn frames_arrive_however_they_are_cut() {
        let mut bytes = BytesMut::new();
        head(&mut bytes, SYN_STREAM, 0, 12);
        bytes.put_u32(5);
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(b"hb");
        bytes.extend_from_slice(&ping(7));
        data(5, true, b"hello", &mut bytes);
        bytes.extend_from_slice(&window_update(5, 99));
        bytes.extend_from_slice(&reset(5, Reset::RefusedStream));
        bytes.extend_from_slice(&words(SETTINGS, &[1, INITIAL_WINDOW_SIZE, 1000]));
        bytes.extend_from_slice(&words(77, &[1]));
        bytes.extend_from_slice(&go_away(5, false));
        let whole = all(&bytes, bytes.len()).unwrap();
        assert_eq!(
            whole[0],
            Event::Open {
                id: 5,
                fin: false,
                block: Bytes::from("hb")
            }
        );
        assert_eq!(
            whole[2],
            Event::Data {
                id: 5,
                fin: true,
                bytes: Bytes::from("hello")
            }
        );
        assert_eq!(
            whole[3..],
            [
                Event::Window { id: 5, more: 99 },
                Event::Reset { id: 5 },
                Event::Settings { window: Some(1000) },
                Event::GoAway,
            ]
        );
        let pieces = all(&bytes, 3).unwrap();
        let hello: Vec<u8> = pieces
            .iter()
            .filter_map(|event| match event {
                Event::Data { bytes, .. } => Some(bytes.to_vec()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(hello, b"hello");
        let fins = pieces
            .iter()
            .filter(|event| matches!(event, Event::Data { fin: true, .. }));
        assert_eq!(fins.count(), 1, "the end comes once, at the end");
    }

    #[test]
    fn what_no_client_may_send_is_refused() {
        for bad in [
            &words(PING, &[])[..],
            &words(SETTINGS, &[9, 1]),
            &[0x80, 2, 0, 6, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0x80, 3, 0, 1, 0, 255, 255, 255],
        ] {
            assert!(all(bad, 4).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut seed = 7_u64;
        for round in 0..4_000 {
            let mut garbage: Vec<u8> = (0..48)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) as u8
                })
                .collect();
            if round % 2 == 0 {
                let (kind, length) = (garbage[3] % 12, garbage[7] % 40);
                garbage[..8].copy_from_slice(&[0x80, 3, 0, kind, 0, 0, 0, length]);
            }
            let _ = all(&garbage, 5);
        }
    }
}
