//! SHA-256 of what flows by.

use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{BundleError, Result};

/// Bytes moved at once.
const CHUNK: usize = 256 << 10;

/// Lower-case hexadecimal form.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of `bytes` in hexadecimal.
pub fn of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Size and SHA-256 of a file.
///
/// # Errors
/// [`BundleError::File`].
pub fn of_file(path: &Path) -> Result<(u64, String)> {
    let failed = |e| BundleError::file("read", path, e);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut reader = Hashed::new(file);
    let mut chunk = vec![0; CHUNK];
    while reader.read(&mut chunk).map_err(failed)? > 0 {}
    Ok(reader.end())
}

/// A reader or writer that counts and hashes what goes through it.
pub struct Hashed<T> {
    inner: T,
    hasher: Sha256,
    count: u64,
}

impl<T> Hashed<T> {
    pub fn new(inner: T) -> Hashed<T> {
        Hashed {
            inner,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    /// Bytes so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of bytes and their hash.
    pub fn end(self) -> (u64, String) {
        (self.count, hex(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What failed while bytes were moved: the reading or the writing.
#[derive(Debug)]
pub enum Moved {
    Reading(io::Error),
    Writing(io::Error),
}

/// Moves everything from `from` to `to`; `told` hears the bytes moved so far.
///
/// # Errors
/// Which side failed.
pub fn pump(
    from: &mut impl Read,
    to: &mut impl Write,
    told: &mut dyn FnMut(u64),
) -> std::result::Result<u64, Moved> {
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let n = match from.read(&mut chunk) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Moved::Reading(e)),
        };
        to.write_all(&chunk[..n]).map_err(Moved::Writing)?;
        total += n as u64;
        told(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_hash_alike() {
        const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut reader = Hashed::new(&b"abc"[..]);
        let mut writer = Hashed::new(Vec::new());
        let mut seen = Vec::new();
        let moved = pump(&mut reader, &mut writer, &mut |n| seen.push(n));
        assert!(matches!(moved, Ok(3)), "{moved:?}");
        assert_eq!(seen, [3]);
        assert_eq!(reader.end(), (3, ABC.to_owned()));
        assert_eq!(writer.end(), (3, ABC.to_owned()));
        assert_eq!(of(b"abc"), ABC);
    }
}
