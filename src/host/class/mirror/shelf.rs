//! Images on the teacher's disk: `blobs/HEX`, `kinds/HEX` with a manifest's media type, and
//! `tags/HEX` with the digest a tag last stood for. A file has its name only once it is whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::name::{Digest, Repository};
use super::{Manifest, MirrorError};

/// See the module.
pub(super) struct Shelf {
    blobs: PathBuf,
    kinds: PathBuf,
    tags: PathBuf,
}

impl Shelf {
    pub(super) fn new(folder: PathBuf) -> Result<Self, MirrorError> {
        let shelf = Self {
            blobs: folder.join("blobs"),
            kinds: folder.join("kinds"),
            tags: folder.join("tags"),
        };
        for folder in [&shelf.blobs, &shelf.kinds, &shelf.tags] {
            std::fs::create_dir_all(folder).map_err(disk("make", folder))?;
        }
        // What a crash left half done.
        let left = std::fs::read_dir(&shelf.blobs).map_err(disk("read", &shelf.blobs))?;
        for file in left.flatten() {
            let path = file.path();
            if path.extension().is_some_and(|e| e == "partial") {
                std::fs::remove_file(&path).map_err(disk("remove", &path))?;
            }
        }
        Ok(shelf)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(format!("{}.partial", digest.hex()))
    }

    /// The file of a blob, if it is here.
    pub(super) fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.path(digest);
        path.is_file().then_some(path)
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, MirrorError> {
        let (path, kind) = (self.path(digest), self.kinds.join(digest.hex()));
        let Some(kind) = read(&kind)? else {
            return Ok(None);
        };
        let Some(bytes) = read(&path)? else {
            return Ok(None);
        };
        Ok(Some(Manifest {
            bytes: bytes.into(),
            kind: String::from_utf8_lossy(&kind).into_owned(),
            digest: digest.clone(),
        }))
    }

    pub(super) fn put_manifest(&self, manifest: &Manifest) -> Result<(), MirrorError> {
        write(&self.path(&manifest.digest), &manifest.bytes)?;
        write(
            &self.kinds.join(manifest.digest.hex()),
            manifest.kind.as_bytes(),
        )
    }

    /// What a tag stands for; with `fresh` only if it was asked for so lately.
    pub(super) fn tag(
        &self,
        of: &Repository,
        tag: &str,
        fresh: Option<Duration>,
    ) -> Result<Option<Digest>, MirrorError> {
        let path = self.tag_file(of, tag);
        let Some(bytes) = read(&path)? else {
            return Ok(None);
        };
        if let Some(fresh) = fresh {
            let changed = std::fs::metadata(&path)
                .and_then(|about| about.modified())
                .map_err(disk("read", &path))?;
            // A file of the future was written before the clock was set right.
            let age = SystemTime::now().duration_since(changed);
            if age.is_ok_and(|age| age > fresh) {
                return Ok(None);
            }
        }
        Ok(Digest::parse(&String::from_utf8_lossy(&bytes)))
    }

    pub(super) fn put_tag(
        &self,
        of: &Repository,
        tag: &str,
        digest: &Digest,
    ) -> Result<(), MirrorError> {
        write(&self.tag_file(of, tag), digest.to_string().as_bytes())
    }

    /// Repositories have slashes and any length: their digest names the file.
    fn tag_file(&self, of: &Repository, tag: &str) -> PathBuf {
        let name = Digest::of(format!("{of}:{tag}").as_bytes());
        self.tags.join(name.hex())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, MirrorError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(disk("read", path)(e)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), MirrorError> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes).map_err(disk("write", &partial))?;
    std::fs::rename(&partial, path).map_err(disk("write", path))
}

pub(super) fn disk(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> MirrorError {
    let path = path.to_path_buf();
    move |source| MirrorError::Disk { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_tags_are_found_again_and_half_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().into()).unwrap();
        let manifest = Manifest {
            bytes: b"{}"[..].into(),
            kind: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: Digest::of(b"{}"),
        };
        let of = Repository::parse("library/nginx").unwrap();
        assert_eq!(shelf.manifest(&manifest.digest).unwrap(), None);
        shelf.put_manifest(&manifest).unwrap();
        shelf.put_tag(&of, "latest", &manifest.digest).unwrap();
        let partial = shelf.partial(&Digest::of(b"half"));
        std::fs::write(&partial, b"ha").unwrap();
        let shelf = Shelf::new(dir.path().into()).unwrap();
        assert!(!partial.exists());
        let fresh = Some(Duration::from_secs(600));
        let found = shelf.tag(&of, "latest", fresh).unwrap();
        assert_eq!(found.as_ref(), Some(&manifest.digest));
        assert_eq!(shelf.tag(&of, "other", None).unwrap(), None);
        assert_eq!(
            shelf.manifest(&manifest.digest).unwrap().as_ref(),
            Some(&manifest)
        );
        let old = SystemTime::now() - Duration::from_secs(3600);
        let file = std::fs::File::options()
            .write(true)
            .open(shelf.tag_file(&of, "latest"))
            .unwrap();
        file.set_modified(old).unwrap();
        assert_eq!(shelf.tag(&of, "latest", fresh).unwrap(), None);
        assert!(shelf.tag(&of, "latest", None).unwrap().is_some());
    }
}
