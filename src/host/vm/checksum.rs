//! What large files hold, in a few bytes: damage and mix-ups are noticed before a machine wakes
//! from them. No protection against somebody who means harm: whoever can write these files can
//! write the disk as well.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::VmError;

/// Bytes that count together. Blocks of zeros do not count: a hole and written zeros are the
/// same to a reader, and copying a file may turn the one into the other.
const BLOCK: usize = 64 << 10;

/// Size and CRC-32 of a file's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub bytes: u64,
    pub crc: u32,
}

impl Mark {
    /// Reads the file; holes cost nothing.
    ///
    /// # Errors
    /// [`VmError::File`].
    pub fn of(path: &Path) -> Result<Mark, VmError> {
        let failed = |e| VmError::file("read", path, e);
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut crc = crc32fast::Hasher::new();
        let mut block = vec![0u8; BLOCK];
        let zeros = vec![0u8; BLOCK];
        let mut at = 0;
        while let Some(start) = data_from(&mut file, at, bytes).map_err(failed)? {
            // Blocks are counted from the file's beginning, wherever its holes end.
            at = start - start % BLOCK as u64;
            seek(&mut file, at).map_err(failed)?;
            let read = fill(&mut file, &mut block).map_err(failed)?;
            if read == 0 {
                break;
            }
            // memcmp(3): most of a machine's memory that is no hole was zeroed by its kernel.
            if block[..read] != zeros[..read] {
                crc.update(&at.to_le_bytes());
                crc.update(&block[..read]);
            }
            at += read as u64;
        }
        Ok(Mark {
            bytes,
            crc: crc.finalize(),
        })
    }

    /// As [`Mark::of`], beside other work; it begins at once.
    pub fn begin(path: &Path) -> tokio::task::JoinHandle<Result<Mark, VmError>> {
        let path = path.to_path_buf();
        tokio::task::spawn_blocking(move || Mark::of(&path))
    }
}

/// When a file was last written and how long it is: enough to see that nobody wrote to a disk
/// while its machine was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub bytes: u64,
    /// Nanoseconds since 1970; JSON has no larger integers than these need.
    pub modified: u64,
}

impl Stamp {
    /// Looks at the file.
    ///
    /// # Errors
    /// [`VmError::File`].
    pub fn of(path: &Path) -> Result<Stamp, VmError> {
        let failed = |e| VmError::file("look at", path, e);
        let seen = path.metadata().map_err(failed)?;
        let since = seen.modified().map_err(failed)?.duration_since(UNIX_EPOCH);
        let modified = since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        Ok(Stamp {
            bytes: seen.len(),
            modified,
        })
    }
}

/// Where the next data lies, at or after `from`; `None` if only a hole is left.
#[cfg(unix)]
fn data_from(file: &mut File, from: u64, end: u64) -> std::io::Result<Option<u64>> {
    use std::os::fd::AsRawFd;
    if from >= end {
        return Ok(None);
    }
    let offset = libc::off_t::try_from(from).map_err(std::io::Error::other)?;
    // SAFETY: lseek takes a descriptor that is open and two integers.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, libc::SEEK_DATA) };
    if let Ok(found) = u64::try_from(found) {
        return Ok(Some(found));
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENXIO) => Ok(None),
        // A file system without holes says that it does not know the question.
        Some(libc::EINVAL) => Ok(Some(from)),
        _ => Err(error),
    }
}

#[cfg(not(unix))]
fn data_from(_: &mut File, from: u64, end: u64) -> std::io::Result<Option<u64>> {
    Ok((from < end).then_some(from))
}

fn seek(file: &mut File, at: u64) -> std::io::Result<()> {
    std::io::Seek::seek(file, std::io::SeekFrom::Start(at)).map(drop)
}

/// Reads until the block is full or the file ends.
fn fill(file: &mut File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    fn written(path: &Path, parts: &[(u64, &[u8])], length: u64) {
        let mut file = File::create(path).unwrap();
        for (at, bytes) in parts {
            file.seek(SeekFrom::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file.set_len(length).unwrap();
    }

    #[test]
    fn holes_and_zeros_are_the_same_and_all_else_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let length = 40 << 20;
        let far = 33 << 20;
        let (near, end) = (&b"near"[..], &b"far"[..]);
        written(&a, &[(5, near), (far, end)], length);
        let zeros = vec![0; 1 << 20];
        let zeros = (1 << 20, &zeros[..]);
        written(&b, &[zeros, (5, near), (far, end)], length);
        let mark = Mark::of(&a).unwrap();
        assert_eq!(mark, Mark::of(&b).unwrap());
        assert_eq!(mark.bytes, length);
        let next = far + BLOCK as u64;
        type Parts<'a> = Vec<(u64, &'a [u8])>;
        let others: [(Parts<'_>, u64); 5] = [
            (vec![(5, near), (far, &b"faR"[..])], length),
            (vec![(6, near), (far, end)], length),
            (vec![(5, near), (next, end)], length),
            (vec![(5, near)], length),
            (vec![(5, near), (far, end)], length - 1),
        ];
        for (parts, length) in others {
            written(&b, &parts, length);
            assert_ne!(mark, Mark::of(&b).unwrap(), "{parts:?}");
        }
    }

    #[test]
    fn an_empty_file_has_a_mark_and_a_missing_one_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(matches!(Mark::of(&path), Err(VmError::File { .. })));
        written(&path, &[], 0);
        assert_eq!(Mark::of(&path).unwrap().bytes, 0);
    }

    #[test]
    fn a_stamp_changes_with_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        written(&path, &[(0, b"one")], 3);
        let stamp = Stamp::of(&path).unwrap();
        assert_eq!(stamp, Stamp::of(&path).unwrap());
        written(&path, &[(0, b"four")], 4);
        assert_ne!(stamp, Stamp::of(&path).unwrap());
    }
}
