//! What a client of a registry asks for (OCI distribution specification 1.1, "Endpoints").

use std::fmt;

/// Longest name of a repository.
const LONGEST_NAME: usize = 255;
/// Longest tag.
const LONGEST_TAG: usize = 128;

/// A checked SHA-256 digest; other algorithms are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (hex.len() == 64 && hex.bytes().all(digit)).then(|| Self(hex.into()))
    }

    /// Of bytes in hand.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        Self::from_hash(&Sha256::digest(bytes))
    }

    /// Of a finished hash.
    pub fn from_hash(hash: &[u8]) -> Self {
        Self(hash.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The digits alone; safe as a file's name.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// A checked name of a repository, such as `library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// Reads one: parts of lower-case letters, digits and separators.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_part = |part: &str| {
            part.starts_with(letter)
                && part.ends_with(letter)
                && part.chars().all(|c| letter(c) || "._-".contains(c))
                && !part.contains("..")
        };
        let fits = text.len() <= LONGEST_NAME && text.split('/').all(is_part);
        fits.then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A checked tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// Reads one; no tag begins with a dot, so it is safe as a file's name.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = text.starts_with(letter)
            && text.len() <= LONGEST_TAG
            && text.chars().all(|c| letter(c) || ".-".contains(c));
        fits.then(|| Self(text.into()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Whether a registry is here.
    Base,
    /// What a tag means now.
    Tagged(Name, Tag),
    /// A manifest by its checksum.
    Manifest(Name, Digest),
    /// A blob.
    Blob(Name, Digest),
}

impl Asked {
    /// Reads the path of a request.
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        if matches!(rest, "" | "/") {
            return Some(Self::Base);
        }
        let (rest, last) = rest.strip_prefix('/')?.rsplit_once('/')?;
        let (name, kind) = rest.rsplit_once('/')?;
        let name = Name::parse(name)?;
        match (kind, Digest::parse(last)) {
            ("blobs", Some(digest)) => Some(Self::Blob(name, digest)),
            ("manifests", Some(digest)) => Some(Self::Manifest(name, digest)),
            ("manifests", None) => Some(Self::Tagged(name, Tag::parse(last)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_protocol_are_read() {
        let hex = "a".repeat(64);
        let digest = Digest::parse(&format!("sha256:{hex}")).unwrap();
        let name = |text: &str| Name::parse(text).unwrap();
        assert_eq!(Asked::parse("/v2/"), Some(Asked::Base));
        assert_eq!(
            Asked::parse("/v2/library/nginx/manifests/1.29-alpine"),
            Some(Asked::Tagged(
                name("library/nginx"),
                Tag::parse("1.29-alpine").unwrap()
            ))
        );
        assert_eq!(
            Asked::parse(&format!("/v2/a/manifests/sha256:{hex}")),
            Some(Asked::Manifest(name("a"), digest.clone()))
        );
        assert_eq!(
            Asked::parse(&format!("/v2/manifests/blobs/blobs/sha256:{hex}")),
            Some(Asked::Blob(name("manifests/blobs"), digest))
        );
    }

    #[test]
    fn nothing_that_could_leave_a_folder_is_read() {
        for path in [
            "/",
            "/v2/a",
            "/v2/../manifests/x",
            "/v2/a/../b/manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/.hidden",
            "/v2/a/manifests/",
            "/v2//manifests/x",
            "/v2/A/manifests/x",
            "/v2/a b/manifests/x",
            "/v2/a/blobs/latest",
            "/v2/a/blobs/sha256:short",
            "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
            "/v2/a/tags/list",
            "/v2/a/blobs/uploads/",
        ] {
            assert_eq!(Asked::parse(path), None, "{path}");
        }
        let long = format!("/v2/{}/manifests/x", "a".repeat(256));
        assert_eq!(Asked::parse(&long), None);
    }

    #[test]
    fn a_digest_is_that_of_the_bytes() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
    }
}
