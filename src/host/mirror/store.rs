//! What is kept, in one folder:
//!
//! ```text
//!   blobs/HEX           layers and configurations
//!   manifests/HEX       first line: media type; then the bytes as they came
//!   tags/NAME/TAG.json  which manifest a tag meant, and when that was known; slashes in
//!                       names are percent-encoded
//!   parts/              what is on its way; never read
//! ```
//! Files appear whole under their names, by a rename.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::asked::{Digest, Name, Tag};

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A manifest as the registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// What a tag meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged {
    /// `sha256:…`
    pub digest: String,
    /// When the registry said so, in seconds since 1970.
    pub known: u64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub images: u64,
    pub blobs: u64,
    pub bytes: u64,
}

impl Store {
    /// Uses `root`; made if missing. What was on its way when a cache ended is thrown away,
    /// for the caller is the only one.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(root: &Path) -> io::Result<Self> {
        let store = Self {
            root: root.to_path_buf(),
        };
        match fs::remove_dir_all(store.root.join("parts")) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        for folder in ["blobs", "manifests", "tags", "parts"] {
            fs::create_dir_all(store.root.join(folder))?;
        }
        Ok(store)
    }

    /// The folder of a cache that somebody else keeps, to read what is there; nothing in it is
    /// made or thrown away.
    pub fn of_another(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// Where a blob is, if it is kept.
    pub fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.root.join("blobs").join(digest.hex());
        path.is_file().then_some(path)
    }

    /// A new name for something on its way.
    pub fn part(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{next}", std::process::id());
        self.root.join("parts").join(name)
    }

    /// Keeps a part, whose checksum the caller has looked at, as the blob `digest`.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_blob(&self, digest: &Digest, part: &Path) -> io::Result<()> {
        fs::rename(part, self.root.join("blobs").join(digest.hex()))
    }

    /// A manifest, if it is kept and whole.
    pub fn manifest(&self, digest: &Digest) -> Option<Manifest> {
        let kept = fs::read(self.root.join("manifests").join(digest.hex())).ok()?;
        let line = kept.iter().position(|b| *b == b'\n')?;
        let bytes = kept[line + 1..].to_vec();
        let media_type = std::str::from_utf8(&kept[..line]).ok()?.to_owned();
        (Digest::of(&bytes) == *digest).then(|| Manifest {
            digest: digest.clone(),
            media_type,
            bytes,
        })
    }

    /// Keeps a manifest.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        let mut text = manifest.media_type.clone().into_bytes();
        text.push(b'\n');
        text.extend_from_slice(&manifest.bytes);
        self.put(Path::new("manifests"), manifest.digest.hex(), &text)
    }

    /// What a tag meant when the registry was asked last, and its manifest.
    pub fn tagged(&self, name: &Name, tag: &Tag) -> Option<(Tagged, Manifest)> {
        let file = self.root.join(folder_of(name)).join(file_of(tag));
        let tagged: Tagged = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let manifest = self.manifest(&Digest::parse(&tagged.digest)?)?;
        Some((tagged, manifest))
    }

    /// Keeps what a tag means.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_tag(&self, name: &Name, tag: &Tag, digest: &Digest, now: u64) -> io::Result<()> {
        let folder = folder_of(name);
        fs::create_dir_all(self.root.join(&folder))?;
        let tagged = Tagged {
            digest: digest.to_string(),
            known: now,
        };
        self.put(&folder, &file_of(tag), &serde_json::to_vec(&tagged)?)
    }

    fn put(&self, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let part = self.part();
        let written = fs::File::create(&part).and_then(|mut file| file.write_all(bytes));
        let kept = written.and_then(|()| fs::rename(&part, self.root.join(folder).join(name)));
        if kept.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&part);
        }
        kept
    }

    /// Bytes of all that is kept, manifests too.
    pub fn taken(&self) -> u64 {
        let folders = ["blobs", "manifests"].map(|name| fs::read_dir(self.root.join(name)));
        let files = folders.into_iter().flatten().flatten().flatten();
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum()
    }

    /// How much is kept.
    pub fn size(&self) -> Size {
        let files = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.collect::<Vec<_>>()
        };
        let blobs = files(self.root.join("blobs"));
        let lengths = blobs.iter().filter_map(|b| Some(b.metadata().ok()?.len()));
        let names = files(self.root.join("tags"));
        let images = names.iter().map(|name| files(name.path()).len() as u64);
        Size {
            images: images.sum(),
            blobs: blobs.len() as u64,
            bytes: lengths.sum(),
        }
    }
}

fn folder_of(name: &Name) -> PathBuf {
    Path::new("tags").join(name.as_str().replace('/', "%2f"))
}

fn file_of(tag: &Tag) -> String {
    format!("{}.json", tag.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest {
            digest: Digest::of(text.as_bytes()),
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            bytes: text.into(),
        }
    }

    #[test]
    fn what_was_kept_is_found_by_tag_and_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (name, tag) = (
            Name::parse("library/nginx").unwrap(),
            Tag::parse("1.29").unwrap(),
        );
        assert_eq!(store.tagged(&name, &tag), None);
        let one = manifest("{\n\"a\": 1}\n");
        store.keep_manifest(&one).unwrap();
        store.keep_tag(&name, &tag, &one.digest, 7).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (tagged, found) = store.tagged(&name, &tag).unwrap();
        assert_eq!((tagged.known, found), (7, one.clone()));
        let part = store.part();
        fs::write(&part, "layer").unwrap();
        let digest = Digest::of(b"layer");
        store.keep_blob(&digest, &part).unwrap();
        assert!(store.blob(&digest).is_some());
        let size = store.size();
        assert_eq!((size.images, size.blobs, size.bytes), (1, 1, 5));
        assert!(store.taken() > 5 + one.bytes.len() as u64);
    }

    #[test]
    fn damage_is_absence() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let one = manifest("{}");
        store.keep_manifest(&one).unwrap();
        let file = dir.path().join("manifests").join(one.digest.hex());
        for text in ["", "type", "type\n{ }"] {
            fs::write(&file, text).unwrap();
            assert_eq!(store.manifest(&one.digest), None, "{text:?}");
        }
        fs::write(store.part(), "half").unwrap();
        Store::open(dir.path()).unwrap();
        let left = fs::read_dir(dir.path().join("parts")).unwrap();
        assert_eq!(left.count(), 0);
    }
}
