//! The embedded engine: redb, one file, one fdatasync per batch.
//!
//! Not sled, which the rest of Cadet uses: `tests/power.rs` cuts the power under load, and
//! of 60 cuts sled 0.34 could not open its files again after 24 of them, even with an
//! fdatasync of its log after every flush (its snapshot files are renamed into place
//! without one). redb writes a commit beside the old one and turns one page.

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError,
    TableDefinition, TableError,
};

use crate::disk::{Digest, Disk, Record, Stored, decode, encode, fingerprint};
use crate::{OpenError, Revision};

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("objects");

/// Key of the record that holds the newest revision and the digest of all others; no
/// object key starts with a NUL.
const HEAD_KEY: &[u8] = b"\0head";

/// The file inside the store's folder.
const FILE: &str = "objects.redb";

/// Everything is kept in memory by the index anyway; the engine needs room for one batch.
const CACHE: usize = 8 * 1024 * 1024;

/// Asked before each barrier, so that a test can watch the order of barrier and reply,
/// and make it fail.
pub trait Barrier: Send + 'static {
    /// Returns when the barrier may go on.
    fn sync(&mut self) -> io::Result<()>;
}

type Gate = Arc<OnceLock<Mutex<Box<dyn Barrier>>>>;

/// The database file, with a gate before its barrier.
struct Gated {
    file: FileBackend,
    gate: Gate,
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    /// The new length is made durable at once: redb 4.1 may write a header that counts on
    /// it before its next barrier, and then asserts when the length did not survive.
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_data()
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(gate) = self.gate.get() {
            gate.lock().unwrap_or_else(PoisonError::into_inner).sync()?;
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// A record with the fingerprint of its entry; 0 where there is none.
type Fresh<'a> = (&'a Record, u64);

/// All keys in one table, so that a batch and its revision are one transaction.
pub struct RedbDisk {
    path: PathBuf,
    database: Database,
    digest: Digest,
}

impl RedbDisk {
    /// Opens or creates the store's folder, readable by its owner only.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::create(path, Gate::default())
    }

    /// As [`RedbDisk::open`]; every barrier from then on asks `barrier` first.
    pub fn open_with(path: &Path, barrier: impl Barrier) -> Result<Self, OpenError> {
        let gate = Gate::default();
        let disk = Self::create(path, Arc::clone(&gate))?;
        // Freshly made above, so it is empty.
        let _ = gate.set(Mutex::new(Box::new(barrier)));
        Ok(disk)
    }

    fn create(path: &Path, gate: Gate) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io {
            path: path.display().to_string(),
            source,
        };
        refuse_older_engine(path)?;
        create_private(path).map_err(io_error)?;
        let file = open_file(&path.join(FILE)).map_err(io_error)?;
        let backend = FileBackend::new(file).map_err(|error| open_error(path, error))?;
        let backend = Gated {
            file: backend,
            gate,
        };
        // redb asserts while it repairs a damaged file; that is an error of the file, not ours.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Database::builder()
                .set_cache_size(CACHE)
                .create_with_backend(backend)
        }));
        let database = match opened {
            Ok(result) => result.map_err(|error| open_error(path, error))?,
            Err(panic) => return Err(corrupt(path, panic_text(panic.as_ref()))),
        };
        // The names of new files must outlast a power cut as well.
        sync_folder(path).map_err(io_error)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_folder(parent).map_err(io_error)?;
        }
        Ok(RedbDisk {
            path: path.to_owned(),
            database,
            digest: Digest::default(),
        })
    }

    fn read(&self) -> Result<(Stored, Digest), OpenError> {
        let failed = |error: &dyn std::fmt::Display| corrupt(&self.path, error.to_string());
        let mut stored = Stored::default();
        let mut promised = Digest::default();
        let transaction = self.database.begin_read().map_err(|e| failed(&e))?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            // Nothing was ever written.
            Err(TableError::TableDoesNotExist(_)) => return Ok((stored, promised)),
            Err(error) => return Err(failed(&error)),
        };
        for item in table.iter().map_err(|e| failed(&e))? {
            let (key, value) = item.map_err(|e| failed(&e))?;
            if key.value() == HEAD_KEY {
                (stored.revision, promised) = decode_head(value.value())
                    .ok_or_else(|| failed(&"the head record is not 24 bytes"))?;
                continue;
            }
            let key =
                std::str::from_utf8(key.value()).map_err(|_| failed(&"a key is not UTF-8"))?;
            let entry = decode(key, value.value()).map_err(|e| failed(&e))?;
            stored.entries.push(entry);
        }
        Ok((stored, promised))
    }

    /// `records` come in the order of their keys, each key once.
    fn write(&self, revision: Revision, records: &[Fresh<'_>]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            let mut bytes = Vec::new();
            for (record, print) in records {
                let key = record.key.as_bytes();
                match &record.entry {
                    Some(entry) => {
                        encode(entry, *print, &mut bytes);
                        table.insert(key, bytes.as_slice())?
                    }
                    None => table.remove(key)?,
                };
            }
            table.insert(HEAD_KEY, encode_head(revision, self.digest).as_slice())?;
        }
        // Durability::Immediate is the default: one fdatasync, and the commit is there.
        transaction.commit()?;
        Ok(())
    }
}

impl Disk for RedbDisk {
    fn load(&mut self) -> Result<Stored, OpenError> {
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| self.read()));
        let (stored, promised) = match read {
            Ok(result) => result?,
            Err(panic) => return Err(corrupt(&self.path, panic_text(panic.as_ref()))),
        };
        for entry in &stored.entries {
            self.digest.add(fingerprint(entry));
        }
        if self.digest != promised {
            let reason = format!(
                "the records do not add up: {} found, {} expected at revision {}",
                self.digest.keys, promised.keys, stored.revision
            );
            return Err(corrupt(&self.path, reason));
        }
        Ok(stored)
    }

    fn append(&mut self, revision: Revision, records: &[Record]) -> Result<(), String> {
        let mut fresh: Vec<Fresh<'_>> = Vec::with_capacity(records.len());
        for record in records {
            let print = record.entry.as_ref().map(fingerprint);
            if let Some(previous) = &record.previous {
                self.digest.remove(fingerprint(previous));
            }
            if let Some(print) = print {
                self.digest.add(print);
            }
            fresh.push((record, print.unwrap_or_default()));
        }
        // Neighbours share pages, which are then visited once. The sort is stable: of
        // several records of one key the last one is what stands in the end.
        fresh.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        fresh.dedup_by(|later, kept| {
            let same = later.0.key == kept.0.key;
            if same {
                *kept = *later;
            }
            same
        });
        let written = std::panic::catch_unwind(AssertUnwindSafe(|| self.write(revision, &fresh)));
        match written {
            Ok(result) => result.map_err(|error| format!("redb: {error}")),
            Err(panic) => Err(panic_text(panic.as_ref())),
        }
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

/// A store of the first Cadet, which used sled: starting empty beside it would look as if
/// everything had been lost.
fn refuse_older_engine(path: &Path) -> Result<(), OpenError> {
    if path.join("db").is_file() && !path.join(FILE).exists() {
        let reason = "it was written by an earlier Cadet whose format this one does not read";
        return Err(corrupt(path, reason.into()));
    }
    Ok(())
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
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
        .unwrap_or_else(|| "redb panicked".to_owned())
}

fn corrupt(path: &Path, reason: String) -> OpenError {
    OpenError::Corrupt {
        path: path.display().to_string(),
        reason,
    }
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked {
            path: path.display().to_string(),
        },
        // A file that is no database, or ends too early, is damage; the rest is the disk's.
        DatabaseError::Storage(StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Io {
                path: path.display().to_string(),
                source,
            }
        }
        other => corrupt(path, other.to_string()),
    }
}
