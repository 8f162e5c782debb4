//! The embedded engine: sled, with the disk barrier sled itself leaves out.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Digest, Disk, Record, Stored, decode, encode, fingerprint};
use crate::{OpenError, Revision};

/// Key of the record that holds the newest revision and the digest of all others; no
/// object key starts with a NUL.
const HEAD_KEY: &[u8] = b"\0head";

/// Values above this may leave sled's log for a file of their own; half of its segment
/// size (512 KiB), so that no header pushes a value over the line unnoticed.
const BLOB_THRESHOLD: usize = 256 * 1024;

/// The last word of a commit: what was written is on the platter when it returns.
///
/// A trait so that a test can watch the order of barrier and reply, and make it fail.
pub trait Barrier: Send + 'static {
    /// `blobs` is true when files may have been added to the blob folder.
    fn sync(&mut self, blobs: bool) -> io::Result<()>;
}

/// The real barrier. sled's flush ends in `sync_file_range`, which is none: it neither
/// waits for the drive's cache nor writes metadata (measured; sled issue 1452).
#[derive(Debug)]
pub struct FileBarrier {
    database: File,
    blobs: PathBuf,
}

impl FileBarrier {
    fn open(path: &Path) -> io::Result<Self> {
        let database = File::open(path.join("db"))?;
        database.sync_all()?;
        sync_folder(path)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(FileBarrier {
            database,
            blobs: path.join("blobs"),
        })
    }
}

impl Barrier for FileBarrier {
    fn sync(&mut self, blobs: bool) -> io::Result<()> {
        self.database.sync_data()?;
        if blobs {
            sync_folder(&self.blobs)
        } else {
            Ok(())
        }
    }
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// All keys in one sled tree, so that a batch and its revision are one atomic write.
pub struct SledDisk {
    path: PathBuf,
    database: sled::Db,
    barrier: Box<dyn Barrier>,
    digest: Digest,
    /// What each stored key adds to the digest.
    fingerprints: HashMap<Arc<str>, u64>,
}

impl SledDisk {
    /// Opens or creates the database folder, readable by its owner only.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let database = open_database(path)?;
        let barrier = FileBarrier::open(path).map_err(|source| io_error(path, source))?;
        Ok(Self::new(path, database, barrier))
    }

    /// As [`SledDisk::open`], with a barrier of the caller's making.
    pub fn open_with(path: &Path, barrier: impl Barrier) -> Result<Self, OpenError> {
        Ok(Self::new(path, open_database(path)?, barrier))
    }

    fn new(path: &Path, database: sled::Db, barrier: impl Barrier) -> Self {
        SledDisk {
            path: path.to_owned(),
            database,
            barrier: Box::new(barrier),
            digest: Digest::default(),
            fingerprints: HashMap::new(),
        }
    }

    fn corrupt(&self, reason: impl Into<String>) -> OpenError {
        OpenError::Corrupt {
            path: self.path.display().to_string(),
            reason: reason.into(),
        }
    }
}

impl Disk for SledDisk {
    fn load(&mut self) -> Result<Stored, OpenError> {
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut stored = Stored::default();
            let mut promised = Digest::default();
            for item in self.database.iter() {
                let (key, value) = item.map_err(|e| open_error(&self.path, e))?;
                if key.as_ref() == HEAD_KEY {
                    (stored.revision, promised) = decode_head(&value)
                        .ok_or_else(|| self.corrupt("the head record is not 24 bytes"))?;
                    continue;
                }
                let key = std::str::from_utf8(&key)
                    .map_err(|_| self.corrupt("a key is not UTF-8"))?
                    .to_owned();
                stored
                    .entries
                    .push(decode(&key, &value).map_err(|e| self.corrupt(e))?);
            }
            Ok((stored, promised))
        }));
        let (stored, promised) = match read {
            Ok(result) => result?,
            Err(panic) => return Err(self.corrupt(panic_text(panic.as_ref()))),
        };
        for entry in &stored.entries {
            let print = fingerprint(entry);
            self.digest.add(print);
            self.fingerprints.insert(entry.key.clone(), print);
        }
        if self.digest != promised {
            return Err(self.corrupt(format!(
                "the records do not add up: {} found, {} expected at revision {}",
                self.digest.keys, promised.keys, stored.revision
            )));
        }
        Ok(stored)
    }

    fn append(&mut self, revision: Revision, records: &[Record]) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        let mut blobs = false;
        for record in records {
            if let Some(old) = self.fingerprints.remove(&record.key) {
                self.digest.remove(old);
            }
            match &record.entry {
                Some(entry) => {
                    blobs |= entry.value.len() >= BLOB_THRESHOLD;
                    let print = fingerprint(entry);
                    self.digest.add(print);
                    self.fingerprints.insert(record.key.clone(), print);
                    batch.insert(record.key.as_bytes(), encode(entry));
                }
                None => batch.remove(record.key.as_bytes()),
            }
        }
        batch.insert(HEAD_KEY, encode_head(revision, self.digest));
        self.database
            .apply_batch(batch)
            .map_err(|e| format!("sled: {e}"))?;
        self.database
            .flush()
            .map_err(|e| format!("sled flush: {e}"))?;
        self.barrier
            .sync(blobs)
            .map_err(|e| format!("sync of the database file: {e}"))
    }
}

fn encode_head(revision: Revision, digest: Digest) -> Vec<u8> {
    [revision, digest.keys, digest.sum]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect()
}

fn decode_head(bytes: &[u8]) -> Option<(Revision, Digest)> {
    let bytes: &[u8; 24] = bytes.try_into().ok()?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let [revision, keys, sum] = [0, 1, 2].map(|n| u64::from_be_bytes(numbers[n]));
    Some((revision, Digest { keys, sum }))
}

fn open_database(path: &Path) -> Result<sled::Db, OpenError> {
    create_private(path).map_err(|source| io_error(path, source))?;
    // sled asserts while it recovers a damaged log; that is an error of the files, not ours.
    let opened = std::panic::catch_unwind(|| {
        sled::Config::new()
            .path(path)
            // Every batch is flushed by us; a background flush would only add writes.
            .flush_every_ms(None)
            // A learner's cluster is a few MB; the default gigabyte is meant for servers.
            .cache_capacity(16 * 1024 * 1024)
            .open()
    });
    match opened {
        Ok(result) => result.map_err(|e| open_error(path, e)),
        Err(panic) => Err(OpenError::Corrupt {
            path: path.display().to_string(),
            reason: panic_text(panic.as_ref()),
        }),
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "sled panicked".to_owned())
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.display().to_string(),
        source,
    }
}

fn open_error(path: &Path, error: sled::Error) -> OpenError {
    match error {
        // sled wraps the refused lock in an error of its own whose kind is Other.
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            OpenError::Locked {
                path: path.display().to_string(),
            }
        }
        sled::Error::Io(source) => io_error(path, source),
        other => OpenError::Corrupt {
            path: path.display().to_string(),
            reason: other.to_string(),
        },
    }
}
