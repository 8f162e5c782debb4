//! A folder of the laptop in the machine: what the file system there asks, what the laptop
//! answers, and how both travel on one pair of byte streams.
//!
//! ```text
//!   program ─▶ kernel ─ FUSE ─▶ cadet-node share ─ Ask ─▶ ssh ─▶ cadet mount ─▶ file
//!                                        ◀─ Answer ─
//! ```
//! One question is answered before the next is asked. A frame is two lengths (big-endian,
//! four bytes each), a head in JSON and raw data.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest head: a folder of some hundred thousand names.
const LONGEST_HEAD: usize = 64 << 20;
/// Most data of one frame; the kernel writes and reads less at a time.
const MOST_DATA: usize = 32 << 20;

/// A question. Paths are counted from the shared folder, with slashes, "" for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub enum Ask {
    /// Facts of what is there; links are not followed.
    Look { path: String },
    /// Names in a folder.
    List { path: String },
    /// Bytes of a file.
    Read {
        path: String,
        offset: u64,
        size: u32,
    },
    /// Puts the frame's data into a file.
    Write { path: String, offset: u64 },
    /// Makes a file, or opens one that is there.
    Create { path: String, mode: u32 },
    /// Makes a folder.
    MakeFolder { path: String, mode: u32 },
    /// Makes a link.
    Link { path: String, target: String },
    /// Where a link leads.
    Target { path: String },
    /// Removes a file or link.
    Remove { path: String },
    /// Removes an empty folder.
    RemoveFolder { path: String },
    /// Moves; over what is there, unless told otherwise.
    Rename {
        from: String,
        to: String,
        keep: bool,
    },
    /// Changes what is given. Times are seconds and nanoseconds since 1970.
    Change {
        path: String,
        size: Option<u64>,
        mode: Option<u32>,
        modified: Option<(u64, u32)>,
    },
    /// Puts a file's bytes on the disk.
    Sync { path: String },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not.
    Failed { trouble: Trouble },
    /// To [`Ask::Look`], and to whatever makes or changes something.
    Facts { facts: Facts },
    /// To [`Ask::List`].
    Names { names: Vec<Name> },
    /// To [`Ask::Read`]: the frame's data, short only at the end of the file.
    Data,
    /// To [`Ask::Target`].
    Target { target: String },
}

/// Why not, in terms both systems know; numbers of errors differ between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trouble {
    NotFound,
    Exists,
    NotEmpty,
    NotAFolder,
    IsAFolder,
    Denied,
    Full,
    ReadOnly,
    Invalid,
    Unsupported,
    Other,
}

/// What there is to know of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub kind: Kind,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub modified: (u64, u32),
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    File,
    Folder,
    Link,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    pub name: String,
    pub kind: Kind,
}

/// Writes a frame.
///
/// # Errors
/// Those of the stream.
pub fn put(out: &mut impl Write, head: &impl Serialize, data: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_be_bytes);
    let (Ok(first), Ok(second)) = (length(&head), length(data)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut frame = Vec::with_capacity(8 + head.len() + data.len());
    for part in [&first[..], &second[..], &head[..], data] {
        frame.extend_from_slice(part);
    }
    out.write_all(&frame)?;
    out.flush()
}

/// Reads a frame; None if the stream ended before it began.
///
/// # Errors
/// Those of the stream, and InvalidData for what is no frame.
pub fn take<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match from.read(&mut lengths[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut lengths[1..])?,
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let head = u32::from_be_bytes([a, b, c, d]) as usize;
    let data = u32::from_be_bytes([e, f, g, h]) as usize;
    if head > LONGEST_HEAD || data > MOST_DATA {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).map(|()| bytes)
    };
    let (head, data) = (read(head)?, read(data)?);
    Ok(Some((serde_json::from_slice(&head)?, data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_put() {
        let asks = [
            Ask::Look {
                path: "a/ä b".into(),
            },
            Ask::Change {
                path: String::new(),
                size: Some(u64::MAX),
                mode: None,
                modified: Some((1, 999_999_999)),
            },
        ];
        let mut line = Vec::new();
        for (n, ask) in asks.iter().enumerate() {
            put(&mut line, ask, &vec![7u8; n * 1000]).unwrap();
        }
        put(&mut line, &Answer::Data, b"\0\xff").unwrap();
        let mut line = &line[..];
        for (n, ask) in asks.iter().enumerate() {
            let (got, data) = take::<Ask>(&mut line).unwrap().unwrap();
            assert_eq!((&got, data.len()), (ask, n * 1000));
        }
        let (answer, data) = take::<Answer>(&mut line).unwrap().unwrap();
        assert_eq!((answer, &data[..]), (Answer::Data, &b"\0\xff"[..]));
        assert!(take::<Ask>(&mut line).unwrap().is_none());
    }

    #[test]
    fn half_a_frame_and_no_frame_are_errors() {
        let mut line = Vec::new();
        put(&mut line, &Answer::Done, b"data").unwrap();
        for cut in 1..line.len() {
            assert!(take::<Answer>(&mut &line[..cut]).is_err(), "{cut}");
        }
        let huge = [0xff; 64];
        assert!(take::<Answer>(&mut &huge[..]).is_err());
        let mut other = Vec::new();
        put(&mut other, &"hello", b"").unwrap();
        assert!(take::<Answer>(&mut &other[..]).is_err());
    }
}
