//! Reading a bundle from one file, or from the parts it was split into.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{BundleError, Result};
use crate::parts;

/// The ending of bundles.
pub const ENDING: &str = ".cadet";

/// An open bundle, as one row of bytes. Can be read from several threads at once.
#[derive(Debug)]
pub struct Volume {
    parts: Vec<Part>,
    size: u64,
    split: bool,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    start: u64,
    size: u64,
}

impl Volume {
    /// Opens a file, the first part of a split bundle, or the only bundle of a folder.
    ///
    /// # Errors
    /// [`BundleError::Folder`], [`BundleError::File`].
    pub fn open(path: &Path) -> Result<Volume> {
        if path.is_dir() {
            return Volume::open_file(&only_one(path)?);
        }
        Volume::open_file(path)
    }

    fn open_file(path: &Path) -> Result<Volume> {
        let mut volume = Volume {
            parts: Vec::new(),
            size: 0,
            split: false,
        };
        let whole = match parts::whole(path) {
            Some(whole) => Some(whole),
            // The name without a number means the parts when only they are there.
            None if !path.exists() && parts::part(path, 1).exists() => Some(path.to_path_buf()),
            None => None,
        };
        let Some(whole) = whole else {
            volume.add(path.to_path_buf())?;
            return Ok(volume);
        };
        volume.split = true;
        volume.add(parts::part(&whole, 1))?;
        for n in 2.. {
            let next = parts::part(&whole, n);
            if !next.exists() {
                break;
            }
            volume.add(next)?;
        }
        Ok(volume)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let opened = File::open(&path).and_then(|file| {
            let about = file.metadata()?;
            Ok((file, about))
        });
        let (file, about) = opened.map_err(|e| BundleError::file("open", &path, e))?;
        if !about.is_file() {
            return Err(BundleError::NotABundle {
                path: path.display().to_string(),
            });
        }
        let (start, size) = (self.size, about.len());
        self.size += size;
        self.parts.push(Part {
            path,
            file,
            start,
            size,
        });
        Ok(())
    }

    /// The file, or the first part.
    pub fn path(&self) -> &Path {
        self.parts
            .first()
            .map_or(Path::new(""), |part| part.path.as_path())
    }

    /// Bytes of all parts.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads some bytes at `offset`; none at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let after = self.parts.partition_point(|part| part.start <= offset);
        let Some(part) = after.checked_sub(1).and_then(|n| self.parts.get(n)) else {
            return Ok(0);
        };
        let inside = offset - part.start;
        let left = usize::try_from(part.size.saturating_sub(inside)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        read_at(&part.file, &mut buffer[..length], inside)
    }

    /// The bytes of `range`, from its beginning.
    pub fn reader(&self, range: Range<u64>) -> Reader<'_> {
        Reader {
            volume: self,
            at: range.start,
            end: range.end,
        }
    }

    /// The error for a bundle of `needs` bytes of which only these are there.
    pub(crate) fn lacks(&self, needs: u64) -> BundleError {
        let last = self.parts.len();
        if !self.split {
            return BundleError::Truncated {
                path: self.path().to_path_buf(),
                has: self.size,
                needs,
            };
        }
        // All parts but the last have the size of the first.
        let full = self.parts.first().map_or(0, |part| part.size);
        let short = self.parts.iter().find(|part| part.size < full);
        let path = match (short, parts::whole(self.path())) {
            (Some(short), _) => short.path.clone(),
            (None, Some(whole)) => parts::part(&whole, last + 1),
            (None, None) => self.path().to_path_buf(),
        };
        BundleError::Part { path }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// The only bundle in a folder.
fn only_one(folder: &Path) -> Result<PathBuf> {
    let failed = |e| BundleError::file("read", folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy().into_owned();
        let first = name.strip_suffix(".001").unwrap_or(&name);
        if first.ends_with(ENDING) && !name.starts_with('.') {
            found.push(name);
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(folder.join(one)),
        _ => Err(BundleError::Folder {
            path: folder.to_path_buf(),
            found,
        }),
    }
}

/// Reads a range of a volume.
#[derive(Debug)]
pub struct Reader<'a> {
    volume: &'a Volume,
    at: u64,
    end: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let n = self.volume.read_at(self.at, &mut buffer[..length])?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(volume: &Volume, range: Range<u64>) -> String {
        let mut text = String::new();
        volume.reader(range).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn parts_read_as_one_file() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("001", "abcd"), ("002", "efgh"), ("003", "i")] {
            std::fs::write(dir.path().join(format!("x.cadet.{name}")), text).unwrap();
        }
        let file = |name: &str| dir.path().join(name);
        for path in [file("x.cadet.001"), file("x.cadet"), file("")] {
            let volume = Volume::open(&path).unwrap();
            assert_eq!(volume.size(), 9);
            assert_eq!(all(&volume, 0..9), "abcdefghi");
            assert_eq!(all(&volume, 3..5), "de");
            assert_eq!(all(&volume, 8..20), "i");
            assert_eq!(all(&volume, 9..9), "");
        }
        // Any part will do; people click on what they see.
        let volume = Volume::open(&file("x.cadet.003")).unwrap();
        assert_eq!(volume.size(), 9);
    }

    #[test]
    fn the_missing_part_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |n: usize| parts::part(&dir.path().join("x.cadet"), n);
        std::fs::write(file(1), "abcd").unwrap();
        std::fs::write(file(2), "efgh").unwrap();
        let lacks = |needs| Volume::open(dir.path()).unwrap().lacks(needs);
        let error = lacks(9);
        assert!(
            matches!(&error, BundleError::Part { path } if *path == file(3)),
            "{error}"
        );
        std::fs::write(file(2), "ef").unwrap();
        let error = lacks(9);
        assert!(
            matches!(&error, BundleError::Part { path } if *path == file(2)),
            "{error}"
        );
    }

    #[test]
    fn a_folder_must_hold_one_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let found = |dir: &Path| match Volume::open(dir) {
            Err(BundleError::Folder { found, .. }) => found.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(found(dir.path()), 0);
        for name in ["a.cadet", "notes.txt", "a.cadet.partial"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        assert_eq!(Volume::open(dir.path()).unwrap().size(), 1);
        std::fs::write(dir.path().join("b.cadet.001"), "x").unwrap();
        assert_eq!(found(dir.path()), 2);
        assert!(matches!(
            Volume::open(&dir.path().join("none.cadet")),
            Err(BundleError::File { .. })
        ));
    }
}
