//! MongoDB's wire protocol: messages in, documents out. No I/O.
//!
//! OP_MSG (2013) is what today's drivers speak, OP_QUERY (2004) what they and older
//! ones greet with. Everything is checked before it is believed: lengths, flags,
//! checksum, section kinds and the nesting of documents.

use bson::raw::{RawArray, RawBsonRef, RawDocument};
use bson::{Bson, Document};

use crate::refusal::{Answer, Refusal};

/// Largest message in bytes, as `hello` tells drivers.
pub const MAX_MESSAGE: usize = 48_000_000;
/// Largest document in bytes.
pub const MAX_DOCUMENT: usize = 16 << 20;
/// Most statements of one write command.
pub const MAX_WRITE_BATCH: usize = 100_000;
/// Deepest nesting we read or store; MongoDB's own limit for BSON.
const MAX_DEPTH: usize = 180;

/// Bytes of a message header.
pub const HEADER: usize = 16;

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

const FLAG_CHECKSUM: u32 = 1;
const FLAG_MORE_TO_COME: u32 = 1 << 1;
/// Bits 0 to 15 must be understood, or the message refused.
const REQUIRED_FLAGS: u32 = 0xffff;

/// Why a message cannot be understood; the connection is closed for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length field is negative, too small or too large.
    #[error("a message of {0} bytes is outside of {HEADER} to {MAX_MESSAGE}")]
    Length(i64),
    /// The message ends too early.
    #[error("the message ends inside {0}")]
    Short(&'static str),
    /// The message goes on after its end.
    #[error("the message has {0} bytes too many")]
    Rest(usize),
    /// An operation other than OP_MSG and OP_QUERY.
    #[error("operation code {0} is not supported (OP_MSG and OP_QUERY are)")]
    Operation(i32),
    /// A flag that must not be ignored.
    #[error("unknown OP_MSG flags {0:#x}")]
    Flags(u32),
    /// The checksum does not fit the bytes.
    #[error("the message's CRC-32C is wrong")]
    Checksum,
    /// Sections that make no sense together.
    #[error("bad OP_MSG sections: {0}")]
    Sections(&'static str),
    /// A document that is no BSON.
    #[error("malformed BSON: {0}")]
    Document(String),
    /// A document nested too deeply.
    #[error("a document is nested more than {MAX_DEPTH} levels deep")]
    Depth,
}

/// A request as the commands see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The client's number, which the reply repeats.
    pub id: i32,
    /// How the reply must be framed.
    pub style: Style,
    /// The command, document sequences merged in.
    pub body: Document,
}

/// The framing of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Style {
    /// OP_MSG; `silent` if the client does not want a reply.
    Message {
        /// The moreToCome flag: no reply must be sent.
        silent: bool,
    },
    /// OP_QUERY on this full collection name.
    Query {
        /// For commands `<database>.$cmd`.
        namespace: String,
    },
}

/// Total length of a message from its first four bytes.
pub fn message_length(header: [u8; 4]) -> Result<usize, WireError> {
    let length = i32::from_le_bytes(header);
    usize::try_from(length)
        .ok()
        .filter(|n| (HEADER..=MAX_MESSAGE).contains(n))
        .ok_or(WireError::Length(i64::from(length)))
}

/// Understands a whole message, header included.
pub fn parse(message: &[u8]) -> Result<Request, WireError> {
    let mut reader = Reader { bytes: message };
    reader.skip_length(message.len())?;
    let id = reader.int("the header")?;
    let _response_to = reader.int("the header")?;
    match reader.int("the header")? {
        OP_MSG => parse_message(id, message, reader),
        OP_QUERY => parse_query(id, reader),
        other => Err(WireError::Operation(other)),
    }
}

fn parse_message(id: i32, whole: &[u8], mut reader: Reader<'_>) -> Result<Request, WireError> {
    let flags = reader.int("the flags")? as u32;
    let unknown = flags & REQUIRED_FLAGS & !(FLAG_CHECKSUM | FLAG_MORE_TO_COME);
    if unknown != 0 {
        return Err(WireError::Flags(unknown));
    }
    if flags & FLAG_CHECKSUM != 0 {
        let split = reader
            .bytes
            .len()
            .checked_sub(4)
            .ok_or(WireError::Short("the checksum"))?;
        let (sections, _) = reader.bytes.split_at(split);
        let (checked, sum) = whole.split_at(whole.len() - 4);
        if crc32c(checked).to_le_bytes() != *sum {
            return Err(WireError::Checksum);
        }
        reader.bytes = sections;
    }
    let mut body = None;
    let mut sequences: Vec<(String, Vec<Bson>)> = Vec::new();
    while !reader.bytes.is_empty() {
        match reader.take(1, "a section")?[0] {
            0 if body.is_some() => return Err(WireError::Sections("two bodies")),
            0 => body = Some(reader.document()?),
            1 => sequences.push(reader.sequence()?),
            _ => return Err(WireError::Sections("unknown kind")),
        }
    }
    let mut body = body.ok_or(WireError::Sections("no body"))?;
    for (name, documents) in sequences {
        if body.contains_key(&name) {
            return Err(WireError::Sections("a field is given twice"));
        }
        body.insert(name, Bson::Array(documents));
    }
    Ok(Request {
        id,
        style: Style::Message {
            silent: flags & FLAG_MORE_TO_COME != 0,
        },
        body,
    })
}

fn parse_query(id: i32, mut reader: Reader<'_>) -> Result<Request, WireError> {
    let _flags = reader.int("the flags")?;
    let namespace = reader.text("the collection name")?.to_owned();
    let _skip = reader.int("the skip count")?;
    let _limit = reader.int("the return count")?;
    let mut body = reader.document()?;
    if !reader.bytes.is_empty() {
        // A second document would be a projection, which commands have not.
        reader.document()?;
    }
    if !reader.bytes.is_empty() {
        return Err(WireError::Rest(reader.bytes.len()));
    }
    // Old drivers wrap a command together with its read preference.
    if let Ok(inner) = body.get_document("$query").or(body.get_document("query"))
        && body
            .keys()
            .next()
            .is_some_and(|k| k.trim_start_matches('$') == "query")
    {
        body = inner.clone();
    }
    Ok(Request {
        id,
        style: Style::Query { namespace },
        body,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, inside: &'static str) -> Result<&'a [u8], WireError> {
        let (head, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(WireError::Short(inside))?;
        self.bytes = rest;
        Ok(head)
    }

    fn int(&mut self, inside: &'static str) -> Result<i32, WireError> {
        let bytes = self.take(4, inside)?;
        let bytes: [u8; 4] = bytes.try_into().map_err(|_| WireError::Short(inside))?;
        Ok(i32::from_le_bytes(bytes))
    }

    fn skip_length(&mut self, actual: usize) -> Result<(), WireError> {
        let claimed = self.int("the header")?;
        if usize::try_from(claimed) != Ok(actual) {
            return Err(WireError::Length(i64::from(claimed)));
        }
        Ok(())
    }

    fn text(&mut self, inside: &'static str) -> Result<&'a str, WireError> {
        let end = self
            .bytes
            .iter()
            .position(|b| *b == 0)
            .ok_or(WireError::Short(inside))?;
        let text = self.take(end, inside)?;
        self.take(1, inside)?;
        std::str::from_utf8(text).map_err(|e| WireError::Document(e.to_string()))
    }

    fn document(&mut self) -> Result<Document, WireError> {
        let length = self
            .bytes
            .first_chunk::<4>()
            .map(|b| i32::from_le_bytes(*b))
            .ok_or(WireError::Short("a document"))?;
        let length = usize::try_from(length)
            .ok()
            .filter(|n| *n >= 5)
            .ok_or(WireError::Length(i64::from(length)))?;
        let bytes = self.take(length, "a document")?;
        check_depth(bytes)?;
        Document::from_reader(bytes).map_err(|e| WireError::Document(e.to_string()))
    }

    /// A section of kind 1: a length, a name, documents.
    fn sequence(&mut self) -> Result<(String, Vec<Bson>), WireError> {
        let claimed = self.int("a document sequence")?;
        let length = usize::try_from(claimed)
            .ok()
            .and_then(|n| n.checked_sub(4))
            .ok_or(WireError::Length(i64::from(claimed)))?;
        let mut inner = Reader {
            bytes: self.take(length, "a document sequence")?,
        };
        let name = inner.text("the name of a document sequence")?.to_owned();
        let mut documents = Vec::new();
        while !inner.bytes.is_empty() {
            documents.push(Bson::Document(inner.document()?));
        }
        Ok((name, documents))
    }
}

/// Refuses documents so deep that walking them could exhaust the stack.
pub fn check_depth(bytes: &[u8]) -> Result<(), WireError> {
    let malformed = |e: bson::error::Error| WireError::Document(e.to_string());
    check_document(
        RawDocument::from_bytes(bytes).map_err(malformed)?,
        MAX_DEPTH,
    )
}

fn check_document(document: &RawDocument, left: usize) -> Result<(), WireError> {
    for item in document.iter() {
        let (_, value) = item.map_err(|e| WireError::Document(e.to_string()))?;
        check_value(value, left)?;
    }
    Ok(())
}

fn check_array(array: &RawArray, left: usize) -> Result<(), WireError> {
    for item in array {
        check_value(item.map_err(|e| WireError::Document(e.to_string()))?, left)?;
    }
    Ok(())
}

fn check_value(value: RawBsonRef<'_>, left: usize) -> Result<(), WireError> {
    let below = || left.checked_sub(1).ok_or(WireError::Depth);
    match value {
        RawBsonRef::Document(inner) => check_document(inner, below()?),
        RawBsonRef::Array(inner) => check_array(inner, below()?),
        RawBsonRef::JavaScriptCodeWithScope(code) => check_document(code.scope, below()?),
        _ => Ok(()),
    }
}

/// Bytes a document takes on the wire.
pub fn size_of(document: &Document) -> Answer<usize> {
    document
        .to_vec()
        .map(|bytes| bytes.len())
        .map_err(|e| Refusal::internal(format!("a document cannot be encoded: {e}")))
}

/// Frames the reply to a request.
pub fn reply(request_id: i32, style: &Style, reply_id: i32, body: &Document) -> Answer<Vec<u8>> {
    let body = body
        .to_vec()
        .map_err(|e| Refusal::internal(format!("the reply cannot be encoded: {e}")))?;
    let mut out = Vec::with_capacity(body.len() + 40);
    out.extend([0; 4]);
    out.extend(reply_id.to_le_bytes());
    out.extend(request_id.to_le_bytes());
    match style {
        Style::Message { .. } => {
            out.extend(OP_MSG.to_le_bytes());
            out.extend([0; 4]);
            out.push(0);
        }
        Style::Query { .. } => {
            // Flags (8: await capable, as all servers since 1.6 say), no cursor, from 0, one document.
            out.extend(OP_REPLY.to_le_bytes());
            out.extend(8i32.to_le_bytes());
            out.extend(0i64.to_le_bytes());
            out.extend(0i32.to_le_bytes());
            out.extend(1i32.to_le_bytes());
        }
    }
    out.extend(body);
    let length = i32::try_from(out.len())
        .map_err(|_| Refusal::internal("the reply is larger than a message can be"))?;
    out[..4].copy_from_slice(&length.to_le_bytes());
    Ok(out)
}

/// CRC-32C (Castagnoli), reflected, as the checksum of OP_MSG.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (0x82f6_3b78 * low);
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
