//! SHA-256: of files, and as listed in a SHA256SUMS file.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::ImageError;

/// Lower-case hexadecimal form.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hash of a whole file. Blocks.
///
/// # Errors
/// [`ImageError::File`].
pub fn of_file(path: &Path) -> Result<String, ImageError> {
    let mut hasher = Sha256::new();
    feed_file(&mut hasher, path)?;
    Ok(hex(&hasher.finalize()))
}

/// Adds a file's bytes to a hash and returns their number.
pub(crate) fn feed_file(hasher: &mut Sha256, path: &Path) -> Result<u64, ImageError> {
    let mut file = std::fs::File::open(path).map_err(|e| ImageError::file("open", path, e))?;
    let mut chunk = vec![0u8; 1 << 20];
    let mut total = 0u64;
    loop {
        let n = file
            .read(&mut chunk)
            .map_err(|e| ImageError::file("read", path, e))?;
        if n == 0 {
            return Ok(total);
        }
        hasher.update(&chunk[..n]);
        total += n as u64;
    }
}

/// Finds a file's hash in the text of a SHA256SUMS file (`hash`, space, space or `*`, name).
pub fn find(sums: &str, file: &str) -> Option<String> {
    sums.lines().find_map(|line| {
        let (hash, name) = line.trim_end().split_once(' ')?;
        let name = name.trim_start_matches([' ', '*']);
        let sound = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        (sound && name == file).then(|| hash.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_known_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(of_file(&path).unwrap(), ABC);
    }

    #[test]
    fn both_modes_of_listing_and_only_the_exact_name() {
        let upper = ABC.to_uppercase();
        let sums = format!("{upper} *a.img\n{ABC}  b.img\nnothex *c.img\n");
        assert_eq!(find(&sums, "a.img").as_deref(), Some(ABC));
        assert_eq!(find(&sums, "b.img").as_deref(), Some(ABC));
        for absent in ["c.img", ".img", "a.im", ""] {
            assert_eq!(find(&sums, absent), None, "{absent}");
        }
    }
}
