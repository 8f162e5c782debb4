//! Names of the distribution API, checked before anything is done with them.

use std::fmt;

use ring::digest;

use crate::text;

/// `library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository(String);

/// `sha256:…`; the only kind of digest that registries use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Tag(String),
    Digest(Digest),
}

/// What a path below `/v2/` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
}

impl Asked {
    /// Reads a path without its `/v2/`.
    pub fn parse(path: &str) -> Option<Self> {
        let (rest, last) = path.rsplit_once('/')?;
        let (name, what) = rest.rsplit_once('/')?;
        let name = Repository::parse(name)?;
        match what {
            "manifests" => Some(Self::Manifest(name, Reference::parse(last)?)),
            "blobs" => Some(Self::Blob(name, Digest::parse(last)?)),
            _ => None,
        }
    }
}

impl Repository {
    /// Components of lower-case letters and digits with single `.`, `_`, `__` or dashes between.
    pub fn parse(text: &str) -> Option<Self> {
        let component = |part: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(plain)
                && part.ends_with(plain)
                && part.chars().all(|c| plain(c) || "._-".contains(c))
                && !part.contains("..")
        };
        let fits = text.len() <= 255 && text.split('/').all(component);
        fits.then(|| Self(text.to_owned()))
    }
}

impl Digest {
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = hex.len() == 64 && hex.bytes().all(digit);
        fits.then(|| Self(text.to_owned()))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(digest::digest(&digest::SHA256, bytes).as_ref())
    }

    pub(super) fn from_hash(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", text::hex(hash)))
    }

    /// The digits alone: a file's name.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl Reference {
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(digest) = Digest::parse(text) {
            return Some(Self::Digest(digest));
        }
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = text.len() <= 128
            && text.starts_with(first)
            && text.chars().all(|c| first(c) || c == '.' || c == '-');
        fits.then(|| Self::Tag(text.to_owned()))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_ask_is_understood() {
        let digest = Digest::of(b"x").to_string();
        let path = format!("library/nginx/blobs/{digest}");
        assert!(matches!(Asked::parse(&path), Some(Asked::Blob(..))));
        let asked = Asked::parse("a/b/c/manifests/1.2-alpine");
        assert!(
            matches!(asked, Some(Asked::Manifest(_, Reference::Tag(tag))) if tag == "1.2-alpine")
        );
        let asked = Asked::parse(&format!("x/manifests/{digest}"));
        assert!(matches!(
            asked,
            Some(Asked::Manifest(_, Reference::Digest(_)))
        ));
    }

    #[test]
    fn paths_that_leave_the_shelf_are_nothing() {
        for bad in [
            "",
            "manifests/latest",
            "../x/manifests/latest",
            "a/../b/manifests/latest",
            "a//b/manifests/latest",
            "A/manifests/latest",
            "a/manifests/..",
            "a/manifests/a b",
            "a/blobs/latest",
            "a/blobs/sha256:../../x",
            "a/blobs/sha512:00",
            "a/tags/list",
            "a/blobs/uploads/",
        ] {
            assert_eq!(Asked::parse(bad), None, "{bad}");
        }
    }
}
