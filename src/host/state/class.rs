//! The book of a class that this laptop teaches: rows in a sled database of their own, so that
//! other commands work while the class goes on, with a readable copy beside it.
//!
//! Whoever has the book open has the class: sled locks its folder, and a second `serve` is told.
//!
//! After a write that failed sled answers with that error for ever (config.rs, `global_error`), so
//! on a disk that was full the database is opened anew: what was kept before is in it, and the
//! caller has what was not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::{is_busy, open_sled, private_dir, write_atomically};
use crate::{Error, Home, Result};

/// How often, and after which pauses, a database is opened anew: its writer lets go of the folder
/// a moment after it failed.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes that sled may need at once: a segment and a snapshot.
const ROOM: usize = 1 << 20;

/// The open book.
pub struct ClassBook {
    /// None after a write that failed, while it cannot be opened again.
    db: Mutex<Option<sled::Db>>,
    home: Home,
}

/// A row's change: its key, and its new value, or None where it goes.
pub type Change = (String, Option<Vec<u8>>);

impl ClassBook {
    /// Opens the book, making it when missing.
    ///
    /// # Errors
    /// [`Error::Busy`] while another `serve` has it, [`Error::Corrupt`] when it is damaged,
    /// [`Error::Create`] when the home cannot be written.
    pub fn open(home: &Home) -> Result<Self> {
        private_dir(home.data())?;
        private_dir(&home.class())?;
        Ok(Self {
            db: Mutex::new(Some(open(home)?)),
            home: home.clone(),
        })
    }

    /// The database, opened anew if a write has failed.
    fn db(&self) -> Result<sled::Db> {
        let mut held = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = 1;
        loop {
            if let Some(db) = &*held {
                return Ok(db.clone());
            }
            match open(&self.home) {
                Ok(db) => *held = Some(db),
                Err(Error::Busy { .. }) if tries < TRIES => std::thread::sleep(PAUSE),
                Err(e) => return Err(e),
            }
            tries += 1;
        }
    }

    /// Puts a damaged book aside and makes a new one of the readable copy; tells where the damaged
    /// one is.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Corrupt`] when the copy cannot be read either.
    pub fn recover(home: &Home) -> Result<(Self, PathBuf)> {
        let stamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let from = home.class_rows();
        let aside = home.class_rows_aside(stamp);
        fs::rename(&from, &aside).map_err(|source| Error::Write { path: from, source })?;
        let book = Self::open(home)?;
        let path = home.class_copy();
        let rows: BTreeMap<String, serde_json::Value> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Corrupt {
                path,
                detail: e.to_string(),
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let rows: Vec<Change> = rows
            .into_iter()
            .map(|(key, value)| (key, Some(value.to_string().into_bytes())))
            .collect();
        book.put(&rows)?;
        Ok((book, aside))
    }

    /// All rows; each is a JSON document.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database does not answer.
    pub fn rows(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.db()?
            .iter()
            .map(|row| {
                let (key, value) = row.map_err(|e| self.corrupt(e))?;
                let key = String::from_utf8_lossy(&key).into_owned();
                Ok((key, value.to_vec()))
            })
            .collect()
    }

    /// Changes rows together; on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Write`] when the disk refuses.
    pub fn put(&self, changes: &[Change]) -> Result<()> {
        let written = self.write(&self.db()?, changes);
        if written.is_err() {
            *self.db.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        written
    }

    fn write(&self, db: &sled::Db, changes: &[Change]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_bytes(), value.as_slice()),
                None => batch.remove(key.as_bytes()),
            }
        }
        db.apply_batch(batch).map_err(|e| self.failed(e))?;
        db.flush().map_err(|e| self.failed(e))?;
        // sled's flush is no disk barrier (sync_file_range only): ask for one.
        let file = self.home.class_rows().join("db");
        fs::File::open(&file)
            .and_then(|f| f.sync_data())
            .map_err(|source| Error::Write { path: file, source })
    }

    /// Forgets all rows, for another class.
    ///
    /// # Errors
    /// [`Error::Write`] when the disk refuses.
    pub fn clear(&self) -> Result<()> {
        let rows = self.rows()?;
        let gone: Vec<Change> = rows.into_iter().map(|(key, _)| (key, None)).collect();
        self.put(&gone)?;
        self.copy()
    }

    /// Writes the readable copy, from which [`ClassBook::recover`] makes a new book.
    ///
    /// # Errors
    /// [`Error::Write`] when the disk refuses, [`Error::Corrupt`] when a row is no JSON.
    pub fn copy(&self) -> Result<()> {
        let mut all = BTreeMap::new();
        for (key, value) in self.rows()? {
            let value: serde_json::Value =
                serde_json::from_slice(&value).map_err(|e| self.corrupt(e))?;
            all.insert(key, value);
        }
        let text = serde_json::to_vec(&all).map_err(|e| self.corrupt(e))?;
        write_atomically(&self.home.class_copy(), &text)
    }

    fn failed(&self, e: sled::Error) -> Error {
        match e {
            sled::Error::Io(source) => Error::Write {
                path: self.home.class_rows(),
                source,
            },
            other => self.corrupt(other),
        }
    }

    fn corrupt(&self, e: impl std::fmt::Display) -> Error {
        Error::Corrupt {
            path: self.home.class_rows(),
            detail: e.to_string(),
        }
    }
}

fn open(home: &Home) -> Result<sled::Db> {
    let path = home.class_rows();
    room(home)?;
    clear(&path)?;
    match open_sled(&path) {
        Ok(db) => Ok(db),
        Err(sled::Error::Io(e)) if is_busy(&e) => Err(Error::Busy { path }),
        Err(sled::Error::Io(source)) if source.kind() != std::io::ErrorKind::Other => {
            Err(Error::Create { path, source })
        }
        Err(e) => Err(Error::Corrupt {
            path,
            detail: e.to_string(),
        }),
    }
}

/// Fails where the disk is full. sled is not to find that out while it opens: what it has half
/// written of a snapshot by then is damage to it afterwards (snapshot.rs, `read_snapshot`).
fn room(home: &Home) -> Result<()> {
    let path = home.class_probe();
    let written = fs::write(&path, vec![0u8; ROOM]);
    // If it cannot go now, the next one is written over it.
    let _ = fs::remove_file(&path);
    written.map_err(|source| Error::Write { path, source })
}

/// Takes away a snapshot that was never finished: a finished one has another name.
fn clear(folder: &Path) -> Result<()> {
    let failed = |source| Error::Write {
        path: folder.into(),
        source,
    };
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for file in files {
        let path = file.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "generating") {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &tempfile::TempDir) -> Home {
        Home::new(dir.path().join("data"), dir.path().join("cache"))
    }

    fn row(key: &str, value: &str) -> Change {
        (key.to_owned(), Some(value.as_bytes().to_vec()))
    }

    #[test]
    fn rows_outlive_the_program_and_one_class_is_open_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let book = ClassBook::open(&home).unwrap();
        book.put(&[row("a", "1"), row("b", "2")]).unwrap();
        book.put(&[row("a", "3"), ("b".into(), None)]).unwrap();
        assert!(matches!(ClassBook::open(&home), Err(Error::Busy { .. })));
        drop(book);
        let book = ClassBook::open(&home).unwrap();
        assert_eq!(book.rows().unwrap(), [("a".to_owned(), b"3".to_vec())]);
        book.clear().unwrap();
        assert!(book.rows().unwrap().is_empty());
    }

    #[test]
    fn a_snapshot_that_was_never_finished_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let book = ClassBook::open(&home).unwrap();
        book.put(&[row("a", "1")]).unwrap();
        drop(book);
        let half = home.class_rows().join("snap.7FFFFFFFFFFFFFFF.generating");
        fs::write(&half, b"half").unwrap();
        let book = ClassBook::open(&home).unwrap();
        assert_eq!(book.rows().unwrap(), [("a".to_owned(), b"1".to_vec())]);
        assert!(!half.exists() && !home.class_probe().exists());
    }

    #[test]
    fn a_damaged_book_is_made_anew_of_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let book = ClassBook::open(&home).unwrap();
        book.put(&[row("learner/1", r#"{"name":"Ada"}"#)]).unwrap();
        book.copy().unwrap();
        drop(book);
        for entry in fs::read_dir(home.class_rows()).unwrap().flatten() {
            if entry.path().is_file() {
                fs::write(entry.path(), b"this is not a database").unwrap();
            }
        }
        assert!(matches!(ClassBook::open(&home), Err(Error::Corrupt { .. })));
        let (book, aside) = ClassBook::recover(&home).unwrap();
        assert!(aside.exists());
        let rows = book.rows().unwrap();
        assert_eq!(rows[0].0, "learner/1");
        assert_eq!(rows[0].1, br#"{"name":"Ada"}"#);
    }
}
