//! The part of a file that is asked for (RFC 9110, section 14): one range, or the whole.

use std::fs::File;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// From the first byte to the one after the last.
    Some {
        from: u64,
        to: u64,
    },
    /// Nothing of it is there: status 416.
    Nothing,
}

/// Reads a `Range` header. Several ranges, other units and nonsense are answered with the whole,
/// as the RFC allows.
pub fn part(header: Option<&str>, size: u64) -> Part {
    let Some(range) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Part::Whole;
    };
    let number = |text: &str| -> Option<u64> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let (from, to) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => return Part::Nothing,
            Some(suffix) => (size.saturating_sub(suffix), size),
            None => return Part::Whole,
        },
        (first, "") => match number(first) {
            Some(from) => (from, size),
            None => return Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(size)),
            _ => return Part::Whole,
        },
    };
    if from >= size {
        return Part::Nothing;
    }
    Part::Some { from, to }
}

/// A file to be sent: open, so that what is sent is one file even if another takes its name.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub size: u64,
    /// Changes when the file does.
    pub tag: String,
}

/// Opens a file for sending.
///
/// # Errors
/// It cannot be read.
pub fn open(path: &Path) -> std::io::Result<Opened> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let changed = about.modified()?.duration_since(UNIX_EPOCH);
    let changed = changed.map_or(0, |d| d.as_nanos());
    Ok(Opened {
        size: about.len(),
        tag: format!("\"{:x}-{changed:x}\"", about.len()),
        file,
    })
}

/// Reads at a place, without moving anybody else's: many learners read one file.
///
/// # Errors
/// The disk refuses, or the file ends before `buffer` is full.
pub fn read_at(file: &File, mut buffer: &mut [u8], mut place: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, buffer, place)?;
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, place)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        place += read as u64;
        buffer = &mut buffer[read..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_in_the_rfc() {
        let some = |from, to| Part::Some { from, to };
        for (header, expected) in [
            ("bytes=0-499", some(0, 500)),
            ("bytes=500-999", some(500, 1000)),
            ("bytes=500-", some(500, 1000)),
            ("bytes=-500", some(500, 1000)),
            ("bytes=-5000", some(0, 1000)),
            ("bytes=999-5000", some(999, 1000)),
            ("bytes=0-18446744073709551615", some(0, 1000)),
            ("bytes=1000-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=+5-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(Some(header), 1000), expected, "{header}");
        }
        assert_eq!(part(None, 1000), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Nothing);
    }

    #[test]
    fn a_file_is_read_at_any_place_and_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        let opened = open(&path).unwrap();
        assert_eq!(opened.size, 10);
        let mut three = [0; 3];
        read_at(&opened.file, &mut three, 4).unwrap();
        assert_eq!(&three, b"456");
        assert!(read_at(&opened.file, &mut three, 8).is_err());
        assert!(open(dir.path()).is_err());
        assert!(open(&dir.path().join("none")).is_err());
    }
}
