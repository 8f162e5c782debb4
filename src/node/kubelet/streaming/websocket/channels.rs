//! Channels inside WebSocket messages: the first byte names the channel. Pure.
//!
//! The subprotocols are those of upstream's `remotecommand` and `wsstream` packages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::frame::{self, Event, Violation};

/// Channel number by which a client of v5 says "no more data on the channel that the next
/// byte names". Only clients say it: kubectl logs an error when it hears it.
const CLOSE: u8 = 255;
/// Longest message of the base64 form, which must be held whole, in bytes.
const TEXT_LIMIT: usize = 1024 * 1024;

/// How messages are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `v5.channel.k8s.io`: binary, and channels can be closed one by one.
    V5,
    /// `v4.channel.k8s.io`, `channel.k8s.io` and no subprotocol at all: binary.
    Binary,
    /// `v4.base64.channel.k8s.io`, `base64.channel.k8s.io`: text, the channel a digit.
    Base64,
    /// No channels: the messages are one stream of bytes.
    Plain,
}

/// What a message means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Data { channel: u8, bytes: Bytes },
    End { channel: u8 },
}

/// Follows which channel the pieces of messages belong to.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    channel: Option<u8>,
    /// This message has closed a channel; what else is in it counts for nothing.
    closed: bool,
    text: BytesMut,
}

impl Reader {
    pub fn new(layout: Layout) -> Reader {
        Reader {
            layout,
            channel: None,
            closed: false,
            text: BytesMut::new(),
        }
    }

    /// What a piece of a message says, if anything yet.
    pub fn read(&mut self, piece: Event) -> Result<Option<Said>, Violation> {
        let Event::Piece {
            mut bytes,
            text,
            first,
            last,
        } = piece
        else {
            return Ok(None);
        };
        match self.layout {
            Layout::Plain if text => return Err(Violation("a text message in a byte stream")),
            Layout::Plain => return Ok(Some(Said::Data { channel: 0, bytes })),
            Layout::Base64 => return self.read_text(&bytes, last),
            Layout::V5 | Layout::Binary => {}
        }
        if first {
            self.channel = None;
            self.closed = false;
        }
        let channel = match self.channel {
            Some(channel) => channel,
            None if bytes.is_empty() => return Ok(None),
            None => {
                let channel = bytes.split_to(1)[0];
                self.channel = Some(channel);
                channel
            }
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        if channel == CLOSE && self.layout == Layout::V5 {
            if std::mem::replace(&mut self.closed, true) {
                return Ok(None);
            }
            return Ok(Some(Said::End { channel: bytes[0] }));
        }
        Ok(Some(Said::Data { channel, bytes }))
    }

    fn read_text(&mut self, bytes: &[u8], last: bool) -> Result<Option<Said>, Violation> {
        if self.text.len() + bytes.len() > TEXT_LIMIT {
            return Err(Violation("a text message too long"));
        }
        self.text.extend_from_slice(bytes);
        if !last {
            return Ok(None);
        }
        let message = self.text.split();
        let Some((digit, encoded)) = message.split_first() else {
            return Ok(None);
        };
        let channel = digit.wrapping_sub(b'0');
        if channel > 9 {
            return Err(Violation("a text message without a channel"));
        }
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| Violation("a text message that is not base64"))?;
        Ok(Some(Said::Data {
            channel,
            bytes: bytes.into(),
        }))
    }
}

/// Appends the message that carries `bytes` on `channel`.
pub fn data(layout: Layout, channel: u8, bytes: &[u8], out: &mut BytesMut) {
    match layout {
        Layout::Plain => {
            frame::binary_head(out, bytes.len());
            out.extend_from_slice(bytes);
        }
        Layout::V5 | Layout::Binary => {
            frame::binary_head(out, bytes.len() + 1);
            out.put_u8(channel);
            out.extend_from_slice(bytes);
        }
        Layout::Base64 => {
            let text = STANDARD.encode(bytes);
            frame::text_head(out, text.len() + 1);
            out.put_u8(b'0'.wrapping_add(channel));
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &'static [u8], first: bool, last: bool) -> Event {
        Event::Piece {
            bytes: Bytes::from_static(bytes),
            text: false,
            first,
            last,
        }
    }

    fn said(channel: u8, bytes: &'static [u8]) -> Option<Said> {
        let bytes = Bytes::from_static(bytes);
        Some(Said::Data { channel, bytes })
    }

    #[test]
    fn the_channel_holds_for_the_whole_message() {
        let mut reader = Reader::new(Layout::V5);
        assert_eq!(reader.read(piece(b"", true, false)), Ok(None));
        assert_eq!(
            reader.read(piece(b"\0ab", false, false)),
            Ok(said(0, b"ab"))
        );
        assert_eq!(reader.read(piece(b"c", false, true)), Ok(said(0, b"c")));
        assert_eq!(
            reader.read(piece(b"\x04{}", true, true)),
            Ok(said(4, b"{}"))
        );
        assert_eq!(
            reader.read(piece(b"\xff\0", true, true)),
            Ok(Some(Said::End { channel: 0 }))
        );
        assert_eq!(reader.read(piece(b"\xff", true, true)), Ok(None));
        // However a message is cut, it closes one channel.
        assert_eq!(
            reader.read(piece(b"\xff\0", true, false)),
            Ok(Some(Said::End { channel: 0 }))
        );
        assert_eq!(reader.read(piece(b"\x01", false, true)), Ok(None));
    }

    #[test]
    fn older_layouts_have_no_close_and_text_is_base64() {
        let mut reader = Reader::new(Layout::Binary);
        assert_eq!(
            reader.read(piece(b"\xff\0", true, true)),
            Ok(said(255, b"\0"))
        );
        let mut reader = Reader::new(Layout::Base64);
        assert_eq!(reader.read(piece(b"0aGV", true, false)), Ok(None));
        assert_eq!(
            reader.read(piece(b"sbG8=", false, true)),
            Ok(said(0, b"hello"))
        );
        assert!(reader.read(piece(b"x", true, true)).is_err());
        assert!(reader.read(piece(b"0=", true, true)).is_err());
    }

    #[test]
    fn messages_are_laid_out_as_the_subprotocol_says() {
        let mut out = BytesMut::new();
        data(Layout::V5, 1, b"hi", &mut out);
        data(Layout::Base64, 2, b"hi", &mut out);
        data(Layout::Plain, 0, b"hi", &mut out);
        assert_eq!(&out[..], b"\x82\x03\x01hi\x81\x052aGk=\x82\x02hi");
    }
}
