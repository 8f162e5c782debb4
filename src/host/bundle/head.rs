//! The first bytes of a bundle: format, signature, manifest.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::error::{BundleError, Result};
use crate::key::{PublicKey, TeacherKey};
use crate::manifest::Manifest;
use crate::volume::Volume;

/// Begins every bundle of every format; the control character shows up damage by programs that
/// take it for text.
pub const MAGIC: [u8; 8] = *b"cadet\x1ab\n";
/// The format this program reads and writes.
pub const FORMAT: u32 = 1;
/// Bytes in front of the manifest.
pub const FIXED: usize = 112;
/// Bytes that are signed besides the manifest.
const SIGNED: usize = 48;
/// More than the manifest of any class has.
const LONGEST_MANIFEST: usize = 8 << 20;

/// What the first bytes say, with the signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub manifest: Manifest,
    /// Whose signature it is.
    pub key: PublicKey,
    /// Bytes in front of the first piece.
    pub length: u64,
}

impl Head {
    /// How many bytes the head has, told by the first [`FIXED`] of them. `shown` names the
    /// bundle in errors.
    ///
    /// # Errors
    /// [`BundleError::NotABundle`], [`BundleError::Format`], [`BundleError::Truncated`].
    pub fn length_of(first: &[u8], shown: &Path) -> Result<usize> {
        if !first.starts_with(&MAGIC) {
            return Err(BundleError::NotABundle {
                path: shown.display().to_string(),
            });
        }
        if first.len() < FIXED {
            return Err(BundleError::Truncated {
                path: shown.to_path_buf(),
                has: first.len() as u64,
                needs: FIXED as u64,
            });
        }
        let found = number(&first[8..12]);
        if found != FORMAT {
            return Err(BundleError::Format {
                found,
                known: FORMAT,
            });
        }
        let manifest = usize::try_from(number(&first[12..16])).unwrap_or(usize::MAX);
        if manifest > LONGEST_MANIFEST {
            return Err(BundleError::Manifest("it is too long".into()));
        }
        Ok(FIXED + manifest)
    }

    /// Reads the head from the first bytes of a bundle and checks its signature.
    ///
    /// # Errors
    /// As [`Head::length_of`]; [`BundleError::Signature`], [`BundleError::Manifest`].
    pub fn parse(bytes: &[u8], shown: &Path) -> Result<Head> {
        let length = Head::length_of(bytes, shown)?;
        let Some(bytes) = bytes.get(..length) else {
            return Err(BundleError::Truncated {
                path: shown.to_path_buf(),
                has: bytes.len() as u64,
                needs: length as u64,
            });
        };
        let mut key = [0; 32];
        key.copy_from_slice(&bytes[16..SIGNED]);
        let key = PublicKey(key);
        let (fixed, manifest) = bytes.split_at(FIXED);
        key.verify(&message(fixed, manifest), &fixed[SIGNED..])?;
        Ok(Head {
            manifest: Manifest::parse(manifest)?,
            key,
            length: length as u64,
        })
    }

    /// The bytes of a signed head.
    ///
    /// # Errors
    /// [`BundleError::Manifest`].
    pub fn write(manifest: &Manifest, key: &TeacherKey) -> Result<Vec<u8>> {
        let json = manifest.bytes()?;
        let length = u32::try_from(json.len())
            .ok()
            .filter(|_| json.len() <= LONGEST_MANIFEST)
            .ok_or_else(|| BundleError::Manifest("it is too long".into()))?;
        let mut bytes = Vec::with_capacity(FIXED + json.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&key.public().0);
        let signature = key.sign(&message(&bytes, &json));
        bytes.extend_from_slice(&signature);
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }

    /// Bytes of the whole bundle.
    pub fn total(&self) -> u64 {
        self.length + self.manifest.body()
    }

    /// Where in the bundle piece `index` lies.
    pub fn range(&self, index: usize) -> Range<u64> {
        let start = self.length + self.manifest.offset(index);
        start..start + self.manifest.pieces[index].packed_size
    }
}

/// What is signed: everything of the head but the signature.
fn message(fixed: &[u8], manifest: &[u8]) -> Vec<u8> {
    [&fixed[..SIGNED], manifest].concat()
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, b| (sum << 8) | u32::from(*b))
}

/// A bundle on a disk, with its head checked.
#[derive(Debug)]
pub struct Bundle {
    pub head: Head,
    pub volume: Volume,
}

impl Bundle {
    /// Opens a file, the first part of a split bundle, or a folder that holds one of both.
    ///
    /// # Errors
    /// Everything that can be wrong with a head; [`BundleError::Truncated`],
    /// [`BundleError::Part`] and [`BundleError::Surplus`] when the length is not what it says.
    pub fn open(path: &Path) -> Result<Bundle> {
        let volume = Volume::open(path)?;
        let mut first = Vec::new();
        let shown = volume.path().to_path_buf();
        let read = |upto: usize, into: &mut Vec<u8>| {
            let start = into.len() as u64;
            let end = (upto as u64).min(volume.size());
            let taken = volume.reader(start..end.max(start)).read_to_end(into);
            taken.map_err(|e| BundleError::file("read", &shown, e))
        };
        read(FIXED, &mut first)?;
        read(Head::length_of(&first, &shown)?, &mut first)?;
        let head = match Head::parse(&first, &shown) {
            // A split bundle names the part that is missing.
            Err(BundleError::Truncated { needs, .. }) => return Err(volume.lacks(needs)),
            parsed => parsed?,
        };
        let (has, needs) = (volume.size(), head.total());
        if has < needs {
            return Err(volume.lacks(needs));
        }
        if has > needs {
            return Err(BundleError::Surplus {
                path: shown,
                extra: has - needs,
            });
        }
        Ok(Bundle { head, volume })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Entry, Packing, Piece};

    fn manifest() -> Manifest {
        Manifest {
            class: "Tuesday".into(),
            cadet: "0.1.0".into(),
            image: "debian-13".into(),
            lessons: Vec::new(),
            entries: vec![Entry {
                place: "lesson/01-x".parse().unwrap(),
                piece: 0,
            }],
            pieces: vec![Piece {
                size: 3,
                sha256: crate::digest::of(b"abc"),
                packing: Packing::Plain,
                packed_size: 3,
                packed_sha256: crate::digest::of(b"abc"),
            }],
        }
    }

    struct Made {
        dir: tempfile::TempDir,
        key: TeacherKey,
        bytes: Vec<u8>,
    }

    fn made() -> Made {
        let dir = tempfile::tempdir().unwrap();
        let key = TeacherKey::load_or_make(&dir.path().join("key")).unwrap();
        let mut bytes = Head::write(&manifest(), &key).unwrap();
        bytes.extend_from_slice(b"abc");
        Made { dir, key, bytes }
    }

    impl Made {
        fn open(&self, bytes: &[u8]) -> Result<Bundle> {
            let path = self.dir.path().join("x.cadet");
            std::fs::write(&path, bytes).unwrap();
            Bundle::open(&path)
        }
    }

    #[test]
    fn a_head_survives_its_bytes() {
        let made = made();
        let bundle = made.open(&made.bytes).unwrap();
        assert_eq!(bundle.head.manifest, manifest());
        assert_eq!(bundle.head.key, made.key.public());
        let end = made.bytes.len() as u64;
        assert_eq!(bundle.head.range(0), end - 3..end);
    }

    #[test]
    fn no_bit_of_the_head_can_be_changed() {
        let made = made();
        for at in 0..made.bytes.len() - 3 {
            let mut bytes = made.bytes.clone();
            bytes[at] ^= 1;
            assert!(made.open(&bytes).is_err(), "byte {at}");
        }
        let mut bytes = made.bytes.clone();
        bytes[FIXED + 12] ^= 1;
        assert!(matches!(made.open(&bytes), Err(BundleError::Signature)));
    }

    #[test]
    fn a_short_file_is_cut_and_a_long_one_has_a_surplus() {
        let made = made();
        for length in [
            MAGIC.len(),
            FIXED - 1,
            FIXED,
            FIXED + 9,
            made.bytes.len() - 1,
        ] {
            let error = made.open(&made.bytes[..length]).unwrap_err();
            assert!(
                matches!(error, BundleError::Truncated { .. }),
                "{length}: {error}"
            );
        }
        for other in [&b""[..], b"cadet", b"PK\x03\x04 something else altogether"] {
            let error = made.open(other).unwrap_err();
            assert!(matches!(error, BundleError::NotABundle { .. }), "{error}");
        }
        let long = [&made.bytes[..], b"!"].concat();
        let error = made.open(&long).unwrap_err();
        assert!(
            matches!(error, BundleError::Surplus { extra: 1, .. }),
            "{error}"
        );
    }

    #[test]
    fn other_formats_are_told_by_number() {
        let made = made();
        for other in [0u32, 2] {
            let mut bytes = made.bytes.clone();
            bytes[8..12].copy_from_slice(&other.to_le_bytes());
            let error = made.open(&bytes).unwrap_err();
            assert!(
                matches!(error, BundleError::Format { found, known: FORMAT } if found == other),
                "{error}"
            );
        }
    }

    #[test]
    fn a_manifest_of_a_thousand_million_bytes_is_not_waited_for() {
        let made = made();
        let mut bytes = made.bytes.clone();
        bytes[12..16].copy_from_slice(&1_000_000_000u32.to_le_bytes());
        assert!(matches!(made.open(&bytes), Err(BundleError::Manifest(_))));
    }
}
