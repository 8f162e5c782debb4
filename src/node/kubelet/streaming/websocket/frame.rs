//! WebSocket frames (RFC 6455, section 5), as a server reads and writes them. Pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_LIMIT: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Status codes of a close frame (RFC 6455, section 7.4.1).
pub const NORMAL: u16 = 1000;
pub const PROTOCOL_ERROR: u16 = 1002;

/// What the client sent that no client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub &'static str);

/// Something a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part of a message, passed on as it arrives so that no message is ever held whole.
    Piece {
        bytes: Bytes,
        text: bool,
        /// The message begins here.
        first: bool,
        /// The message ends here.
        last: bool,
    },
    Ping(Bytes),
    Pong,
    Close,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Payload bytes still to come.
    left: u64,
    /// Position in the mask.
    at: usize,
    /// The first piece of a message has not been passed on yet.
    first: bool,
}

/// Reads frames from bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes received and not yet read. The caller appends.
    pub buffer: BytesMut,
    head: Option<Head>,
    /// A message is under way: whether it is text.
    message: Option<bool>,
}

impl Decoder {
    /// The next event, or `None` when more bytes are needed.
    pub fn decode(&mut self) -> Result<Option<Event>, Violation> {
        let mut head = match self.head.take() {
            Some(head) => head,
            None => match self.read_head()? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        if head.opcode >= CLOSE {
            return self.control(head);
        }
        let ready = usize::try_from(head.left)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        if ready == 0 && head.left > 0 {
            self.head = Some(head);
            return Ok(None);
        }
        let bytes = self.unmask(&mut head, ready);
        head.left -= ready as u64;
        let text = self.message.unwrap_or_default();
        let (first, frame_done) = (head.first, head.left == 0);
        let last = frame_done && head.fin;
        if frame_done {
            if last {
                self.message = None;
            }
        } else {
            head.first = false;
            self.head = Some(head);
        }
        Ok(Some(Event::Piece {
            bytes,
            text,
            first,
            last,
        }))
    }

    /// Reads a frame's head if all of it is there.
    fn read_head(&mut self) -> Result<Option<Head>, Violation> {
        let [one, two, rest @ ..] = self.buffer.as_ref() else {
            return Ok(None);
        };
        let (fin, opcode) = (one & 0x80 != 0, one & 0x0f);
        if one & 0x70 != 0 {
            return Err(Violation("reserved bits are set"));
        }
        if two & 0x80 == 0 {
            return Err(Violation("a frame of a client must be masked"));
        }
        let short = two & 0x7f;
        let extra = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, mask)) = rest
            .get(..extra)
            .zip(rest.get(extra..extra + 4).and_then(|m| m.try_into().ok()))
        else {
            return Ok(None);
        };
        let left = match extra {
            0 => u64::from(short),
            _ => length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        self.buffer.advance(2 + extra + 4);
        let starts = matches!(opcode, TEXT | BINARY);
        match opcode {
            CONTINUATION if self.message.is_none() => {
                return Err(Violation("a continuation of nothing"));
            }
            TEXT | BINARY if self.message.is_some() => {
                return Err(Violation("a message inside a message"));
            }
            TEXT | BINARY => self.message = Some(opcode == TEXT),
            CONTINUATION => {}
            CLOSE | PING | PONG if !fin || left > CONTROL_LIMIT as u64 => {
                return Err(Violation("a control frame too long or in parts"));
            }
            CLOSE | PING | PONG => {}
            _ => return Err(Violation("an unknown kind of frame")),
        }
        if left > i64::MAX as u64 {
            return Err(Violation("a length beyond 63 bits"));
        }
        Ok(Some(Head {
            fin,
            opcode,
            mask,
            left,
            at: 0,
            first: starts,
        }))
    }

    fn control(&mut self, mut head: Head) -> Result<Option<Event>, Violation> {
        // Bounded by CONTROL_LIMIT, so waiting for all of it costs nothing.
        let length = usize::try_from(head.left).unwrap_or(CONTROL_LIMIT);
        if self.buffer.len() < length {
            self.head = Some(head);
            return Ok(None);
        }
        let bytes = self.unmask(&mut head, length);
        Ok(Some(match head.opcode {
            PING => Event::Ping(bytes),
            PONG => Event::Pong,
            _ => Event::Close,
        }))
    }

    fn unmask(&mut self, head: &mut Head, length: usize) -> Bytes {
        let mut bytes = self.buffer.split_to(length);
        for byte in bytes.iter_mut() {
            *byte ^= head.mask[head.at];
            head.at = (head.at + 1) % 4;
        }
        bytes.freeze()
    }
}

fn head(out: &mut BytesMut, opcode: u8, length: usize) {
    out.put_u8(0x80 | opcode);
    match length {
        0..=125 => out.put_u8(length as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

/// The head of an unmasked binary message of `length` bytes, all in one frame.
pub fn binary_head(out: &mut BytesMut, length: usize) {
    head(out, BINARY, length);
}

/// The head of an unmasked text message.
pub fn text_head(out: &mut BytesMut, length: usize) {
    head(out, TEXT, length);
}

/// A ping; the peer answers it with the same payload.
pub fn ping(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    head(&mut out, PING, payload.len());
    out.extend_from_slice(payload);
    out.freeze()
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    head(&mut out, PONG, payload.len());
    out.extend_from_slice(payload);
    out.freeze()
}

/// A close frame with a status code.
pub fn close(code: u16) -> Bytes {
    let mut out = BytesMut::new();
    head(&mut out, CLOSE, 2);
    out.put_u16(code);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        head(&mut out, 0, payload.len());
        out[0] = first;
        out[1] |= 0x80;
        let mask = [1, 2, 3, 4];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out.to_vec()
    }

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

    fn payload(events: &[Event]) -> Vec<u8> {
        let mut all = Vec::new();
        for event in events {
            if let Event::Piece { bytes, .. } = event {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    #[test]
    fn messages_of_every_length_arrive_however_they_are_cut() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let sent: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let bytes = masked(0x82, &sent);
            for step in [1, 7, bytes.len()] {
                let events = all(&bytes, step).unwrap();
                assert_eq!(payload(&events), sent, "{length} by {step}");
                assert!(matches!(events[0], Event::Piece { first: true, .. }));
                assert!(matches!(
                    events.last(),
                    Some(Event::Piece { last: true, .. })
                ));
            }
        }
    }

    #[test]
    fn a_ping_between_the_parts_of_a_message_is_heard() {
        let bytes = [
            masked(0x02, b"ab"),
            masked(0x89, b"?"),
            masked(0x80, b"c"),
            masked(0x88, &[3, 232]),
        ];
        let events = all(&bytes.concat(), 3).unwrap();
        assert_eq!(payload(&events), b"abc");
        assert!(events.contains(&Event::Ping(Bytes::from("?"))));
        assert_eq!(events.last(), Some(&Event::Close));
        let firsts = events
            .iter()
            .filter(|e| matches!(e, Event::Piece { first: true, .. }));
        assert_eq!(firsts.count(), 1);
    }

    #[test]
    fn what_no_client_may_send_is_refused() {
        let long = masked(0x89, &[0; 126]);
        for bad in [
            &[0x82, 0x01, 0x00][..],
            &masked(0xc2, b"x"),
            &masked(0x80, b"x"),
            &masked(0x09, b"x"),
            &masked(0x83, b"x"),
            &long,
            &[masked(0x02, b"a"), masked(0x82, b"b")].concat(),
            &[
                0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
            ],
        ] {
            assert!(all(bad, 1).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut seed = 1_u64;
        for _ in 0..2_000 {
            let garbage: Vec<u8> = (0..64)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) as u8
                })
                .collect();
            let _ = all(&garbage, 5);
        }
    }
}
