//! Writing a file, or the numbered parts of one: FAT32 holds no file of 4 GiB or more.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{BundleError, Result};
use crate::head::MAGIC;

/// Largest part that fits on a FAT32 stick, in whole MiB.
pub const FAT32: u64 = 4095 << 20;

/// Part `n` of `whole`, counted from 1: `NAME.001`.
pub fn part(whole: &Path, n: usize) -> PathBuf {
    beside(whole, &format!("{n:03}"))
}

/// What `path` is a part of, if it is named like one.
pub fn whole(path: &Path) -> Option<PathBuf> {
    let digits = path.extension()?.to_str()?;
    let numbered = digits.len() >= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    numbered.then(|| path.with_extension(""))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Checks that writing to `path` takes nothing from anybody: nothing is there, or an older
/// bundle, or what a killed `cadet` left.
///
/// # Errors
/// [`BundleError::Occupied`], [`BundleError::File`].
pub fn free(path: &Path) -> Result<()> {
    use std::io::Read;
    for path in [path.to_path_buf(), part(path, 1)] {
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|e| BundleError::file("open", &path, e))?,
        };
        let mut first = Vec::new();
        // A folder can be opened, but not read.
        let read = file.take(MAGIC.len() as u64).read_to_end(&mut first);
        if read.is_err() || first != MAGIC {
            return Err(BundleError::Occupied { path });
        }
    }
    Ok(())
}

/// Writes to `NAME.partial`, or to several such, which get their names when all is written.
/// Dropped before that, it removes what it wrote.
pub struct Parts {
    path: PathBuf,
    limit: Option<u64>,
    /// What was begun, in order.
    written: Vec<PathBuf>,
    current: Option<(File, u64)>,
}

impl Parts {
    /// Begins `path`, or its parts of at most `limit` bytes each.
    pub fn new(path: &Path, limit: Option<u64>) -> Parts {
        Parts {
            path: path.to_path_buf(),
            limit,
            written: Vec::new(),
            current: None,
        }
    }

    /// The file that is being written now, for errors.
    pub fn now(&self) -> &Path {
        self.written.last().unwrap_or(&self.path)
    }

    fn name(&self, n: usize) -> PathBuf {
        match self.limit {
            None => self.path.clone(),
            Some(_) => part(&self.path, n),
        }
    }

    /// Forces everything to the disk and gives the files their names.
    ///
    /// # Errors
    /// [`BundleError::DiskFull`], [`BundleError::File`].
    pub fn finish(mut self) -> Result<Vec<PathBuf>> {
        if let Some((file, _)) = self.current.take() {
            let synced = file.sync_all();
            synced.map_err(|e| BundleError::file("write", self.now(), e))?;
        }
        let mut names = Vec::new();
        for n in 1..=self.written.len() {
            let (from, to) = (&self.written[n - 1], self.name(n));
            std::fs::rename(from, &to).map_err(|e| BundleError::file("rename", &to, e))?;
            names.push(to);
        }
        self.written.clear();
        if self.limit.is_some() {
            // An older one in one file would be taken for this one.
            match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(BundleError::file("remove", &self.path, e));
                }
                _ => {}
            }
        }
        // A bundle written here before may have had more parts; they would be taken for ours.
        let first = if self.limit.is_some() {
            names.len() + 1
        } else {
            1
        };
        for n in first.. {
            match std::fs::remove_file(part(&self.path, n)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(BundleError::file("remove", part(&self.path, n), e)),
            }
        }
        Ok(names)
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let full = self.current.as_ref().is_none_or(|(_, used)| *used >= limit);
        if full {
            if let Some((file, _)) = self.current.take() {
                file.sync_all()?;
            }
            let path = beside(&self.name(self.written.len() + 1), "partial");
            self.written.push(path.clone());
            self.current = Some((File::create(path)?, 0));
        }
        let Some((file, used)) = &mut self.current else {
            return Ok(0);
        };
        let room = usize::try_from(limit - *used).unwrap_or(usize::MAX);
        let n = file.write(&bytes[..bytes.len().min(room)])?;
        *used += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for path in &self.written {
            // Half a bundle is of no use; if it cannot be removed, its name says what it is.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn write(dir: &Path, limit: Option<u64>, bytes: &[u8]) -> Vec<PathBuf> {
        let mut parts = Parts::new(&dir.join("x.cadet"), limit);
        parts.write_all(bytes).unwrap();
        parts.finish().unwrap()
    }

    #[test]
    fn parts_are_full_but_the_last_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), Some(4), b"abcdefghi").len(), 3);
        assert_eq!(
            names(dir.path()),
            ["x.cadet.001", "x.cadet.002", "x.cadet.003"]
        );
        assert_eq!(
            std::fs::read(dir.path().join("x.cadet.002")).unwrap(),
            b"efgh"
        );
        assert_eq!(write(dir.path(), Some(4), b"abcdefgh").len(), 2);
        assert_eq!(names(dir.path()), ["x.cadet.001", "x.cadet.002"]);
        assert_eq!(write(dir.path(), None, b"abc").len(), 1);
        assert_eq!(names(dir.path()), ["x.cadet"]);
        // One in one file would be served in the place of the parts.
        assert_eq!(write(dir.path(), Some(4), b"abcde").len(), 2);
        assert_eq!(names(dir.path()), ["x.cadet.001", "x.cadet.002"]);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut parts = Parts::new(&dir.path().join("x.cadet"), Some(2));
        parts.write_all(b"abcde").unwrap();
        assert_eq!(names(dir.path()).len(), 3);
        drop(parts);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn only_bundles_are_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.cadet");
        free(&path).unwrap();
        std::fs::write(&path, [&MAGIC[..], b"rest"].concat()).unwrap();
        free(&path).unwrap();
        for other in [&b"my thesis"[..], b""] {
            std::fs::write(&path, other).unwrap();
            assert!(matches!(free(&path), Err(BundleError::Occupied { .. })));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(free(&path), Err(BundleError::Occupied { .. })));
    }

    #[test]
    fn numbers_belong_to_a_whole() {
        assert_eq!(whole(Path::new("a/x.cadet.012")), Some("a/x.cadet".into()));
        assert_eq!(whole(Path::new("a/x.cadet")), None);
        assert_eq!(whole(Path::new("a/x.12")), None);
    }
}
