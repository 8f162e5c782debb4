//! The teacher's key: ed25519 (RFC 8032), kept as PKCS#8 in a file only its owner can read.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{BundleError, Result};

/// Letters of Crockford's base 32: none can be taken for another when read aloud.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a fingerprint: 80 bits, which nobody finds a second key for.
const SHOWN: usize = 16;

/// What signs.
pub struct TeacherKey {
    pair: Ed25519KeyPair,
}

impl TeacherKey {
    /// Reads the key at `path`.
    ///
    /// # Errors
    /// [`BundleError::Key`] when it is no key, [`BundleError::File`].
    pub fn load(path: &Path) -> Result<TeacherKey> {
        let bytes = std::fs::read(path).map_err(|e| BundleError::file("read", path, e))?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|e| BundleError::Key {
            path: path.to_path_buf(),
            why: e.to_string(),
        })?;
        Ok(TeacherKey { pair })
    }

    /// Reads the key at `path`, or makes one there: mode 0600, whole or not at all.
    ///
    /// # Errors
    /// As [`TeacherKey::load`]; [`BundleError::NoRandom`], [`BundleError::DiskFull`].
    pub fn load_or_make(path: &Path) -> Result<TeacherKey> {
        match path.try_exists() {
            Ok(true) => return TeacherKey::load(path),
            Ok(false) => {}
            Err(e) => return Err(BundleError::file("read", path, e)),
        }
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| BundleError::NoRandom)?;
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let written = write_private(&beside, made.as_ref())
            // Two at once: the one that comes first makes the key, the other uses it.
            .and_then(|()| std::fs::hard_link(&beside, path));
        // Its bytes are at `path` now, or nowhere.
        let _ = std::fs::remove_file(&beside);
        match written {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(BundleError::file("write", path, e))
            }
            _ => TeacherKey::load(path),
        }
    }

    /// The half that everybody may know.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs `message`; the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What verifies.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub(crate) [u8; 32]);

impl PublicKey {
    /// Checks `signature` of `message`.
    ///
    /// # Errors
    /// [`BundleError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| BundleError::Signature)
    }

    /// The short form for people.
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = Sha256::digest(self.0);
        let letter = |i: usize| {
            let bit = i * 5;
            let pair = u16::from_be_bytes([hash[bit / 8], hash[bit / 8 + 1]]);
            let value = (pair >> (11 - bit % 8)) & 31;
            char::from(LETTERS[usize::from(value)])
        };
        Fingerprint((0..SHOWN).map(letter).collect())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        hex(&key.0)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<PublicKey, String> {
        let wrong = || format!("{text:?} is no public key");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(PublicKey(bytes))
    }
}

/// The first 80 bits of the SHA-256 of a public key, as people read it: `7ZQ3-K0MA-…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, letter) in self.0.chars().enumerate() {
            if i > 0 && i % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// Takes what people type: small letters, with or without dashes, O for 0, I and L for 1.
    fn from_str(text: &str) -> Result<Fingerprint, String> {
        let mut letters = String::new();
        for c in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
            let c = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                c => c,
            };
            if !u8::try_from(c).is_ok_and(|b| LETTERS.contains(&b)) {
                return Err(format!("{c:?} is not in any fingerprint"));
            }
            letters.push(c);
        }
        if letters.len() != SHOWN {
            return Err(format!(
                "a fingerprint has {SHOWN} letters and digits, this has {}",
                letters.len()
            ));
        }
        Ok(Fingerprint(letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("teacher");
        let first = TeacherKey::load_or_make(&path).unwrap();
        let again = TeacherKey::load_or_make(&path).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(first.sign(b"x"), again.sign(b"x"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(
            TeacherKey::load_or_make(&path),
            Err(BundleError::Key { .. })
        ));
    }

    #[test]
    fn only_the_signed_words_verify() {
        let dir = tempfile::tempdir().unwrap();
        let key = TeacherKey::load_or_make(&dir.path().join("k")).unwrap();
        let other = TeacherKey::load_or_make(&dir.path().join("o")).unwrap();
        let signature = key.sign(b"words");
        key.public().verify(b"words", &signature).unwrap();
        for (public, words) in [(key.public(), &b"word"[..]), (other.public(), b"words")] {
            let refused = public.verify(words, &signature);
            assert!(matches!(refused, Err(BundleError::Signature)));
        }
    }

    #[test]
    fn fingerprints_are_read_as_people_type_them() {
        let print = PublicKey([7; 32]).fingerprint();
        let shown = print.to_string();
        assert_eq!(shown.len(), 19, "{shown}");
        let typed = shown.to_lowercase().replace('-', " ").replace('0', "o");
        assert_eq!(typed.parse::<Fingerprint>().unwrap(), print);
        assert_ne!(PublicKey([8; 32]).fingerprint(), print);
        for bad in [
            "",
            "ABCD",
            &shown[1..],
            &format!("{shown}0"),
            "U234-5678-9ABC-DEFG",
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_fingerprint_is_the_first_eighty_bits() {
        // SHA-256 of 32 zero bytes begins 66687aadf862bd776c8f (FIPS 180-4); in Crockford's
        // base 32 these 80 bits are the letters below.
        let print = PublicKey([0; 32]).fingerprint();
        assert_eq!(print.to_string(), "CSM7-NBFR-CAYQ-EV4F");
    }
}
