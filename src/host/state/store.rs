//! Profile records in sled, each with a readable copy in the profile's folder.
//!
//! sled locks its folder, so a [`Store`] is opened for one read or write and
//! dropped at once. The copies exist because sled 0.34 has open reports of damage
//! after power cuts: [`Store::recover`] rebuilds the database from them.

use std::fs;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{Error, Home, Profile, ProfileName, Result, users};

/// How long to wait for another command that has the database open. Commands hold
/// it for some milliseconds only.
const BUSY_DEADLINE: Duration = Duration::from_secs(5);

/// The open database of records.
pub struct Store {
    db: sled::Db,
    home: Home,
}

/// What [`Store::recover`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Where the damaged database was put.
    pub aside: PathBuf,
    /// Profiles read back from their copies.
    pub profiles: Vec<String>,
}

impl Store {
    /// Opens the database, making folder and file when missing.
    ///
    /// # Errors
    /// [`Error::Create`] for an unwritable home, [`Error::Corrupt`] for a damaged
    /// database, [`Error::Busy`] after five seconds of another command's work.
    pub fn open(home: &Home) -> Result<Self> {
        private_dir(home.data())?;
        private_dir(&home.profiles())?;
        let path = home.database();
        let give_up = Instant::now() + BUSY_DEADLINE;
        loop {
            match open_sled(&path) {
                Ok(db) => {
                    return Ok(Self {
                        db,
                        home: home.clone(),
                    });
                }
                Err(sled::Error::Io(e)) if is_busy(&e) => {
                    if Instant::now() >= give_up {
                        return Err(Error::Busy { path });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(sled::Error::Io(source)) if source.kind() != std::io::ErrorKind::Other => {
                    return Err(Error::Create { path, source });
                }
                Err(e) => {
                    return Err(Error::Corrupt {
                        path,
                        detail: e.to_string(),
                    });
                }
            }
        }
    }

    /// The record of `name`, if the profile exists.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record does not decode.
    pub fn get(&self, name: &ProfileName) -> Result<Option<Profile>> {
        match self
            .db
            .get(key(name.as_str()))
            .map_err(|e| self.corrupt(e))?
        {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| self.corrupt(e)),
        }
    }

    /// All records, by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a record does not decode.
    pub fn list(&self) -> Result<Vec<Profile>> {
        self.db
            .scan_prefix(PREFIX)
            .map(|row| {
                let (_, bytes) = row.map_err(|e| self.corrupt(e))?;
                serde_json::from_slice(&bytes).map_err(|e| self.corrupt(e))
            })
            .collect()
    }

    /// Keeps `profile`; on the disk when this returns. If it lies on something in the cache, its
    /// home is noted there first.
    ///
    /// # Errors
    /// [`Error::Write`] when the disk refuses.
    pub fn put(&self, profile: &Profile) -> Result<()> {
        let name = ProfileName::parse(&profile.name)?;
        users::note(&self.home, profile)?;
        let paths = self.home.profile(&name);
        private_dir(paths.dir())?;
        for worker in &profile.workers {
            private_dir(paths.node(worker.number).dir())?;
        }
        let mut text = serde_json::to_vec_pretty(profile).map_err(|e| self.corrupt(e))?;
        text.push(b'\n');
        write_atomically(&paths.record(), &text)?;
        self.db
            .insert(key(&profile.name), text)
            .map_err(|e| self.corrupt(e))?;
        self.flush()
    }

    /// Forgets `name`. Its folder is the caller's business.
    ///
    /// # Errors
    /// [`Error::Write`] when the disk refuses.
    pub fn remove(&self, name: &ProfileName) -> Result<()> {
        self.db
            .remove(key(name.as_str()))
            .map_err(|e| self.corrupt(e))?;
        self.flush()
    }

    /// Puts a damaged database aside and builds a new one from the readable copies.
    ///
    /// # Errors
    /// [`Error::Write`] when the database cannot be moved.
    pub fn recover(home: &Home) -> Result<Recovered> {
        let stamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let (from, aside) = (home.database(), home.database_aside(stamp));
        fs::rename(&from, &aside).map_err(|source| Error::Write { path: from, source })?;
        let store = Self::open(home)?;
        let mut profiles = Vec::new();
        let folder = home.profiles();
        let entries = fs::read_dir(&folder).map_err(|source| Error::Read {
            path: folder,
            source,
        })?;
        for entry in entries.flatten() {
            let Ok(name) = ProfileName::parse(&entry.file_name().to_string_lossy()) else {
                continue;
            };
            let Ok(bytes) = fs::read(home.profile(&name).record()) else {
                continue;
            };
            if let Ok(profile) = serde_json::from_slice::<Profile>(&bytes) {
                store.put(&profile)?;
                profiles.push(profile.name);
            }
        }
        profiles.sort();
        store.recover_lessons()?;
        Ok(Recovered { aside, profiles })
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.db.get(key).map_err(|e| self.corrupt(e))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let rows = self.db.scan_prefix(prefix);
        rows.map(|row| {
            let (key, value) = row.map_err(|e| self.corrupt(e))?;
            Ok((key.to_vec(), value.to_vec()))
        })
        .collect()
    }

    /// Durable after [`Store::flush`].
    pub(crate) fn write(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let written = self.db.insert(key, value);
        written.map(|_| ()).map_err(|e| self.corrupt(e))
    }

    /// Durable after [`Store::flush`].
    pub(crate) fn erase(&self, key: &[u8]) -> Result<()> {
        let erased = self.db.remove(key);
        erased.map(|_| ()).map_err(|e| self.corrupt(e))
    }

    pub(crate) fn flush(&self) -> Result<()> {
        let path = self.home.database();
        self.db.flush().map_err(|e| match e {
            sled::Error::Io(source) => Error::Write {
                path: path.clone(),
                source,
            },
            other => self.corrupt(other),
        })?;
        // sled's flush is no disk barrier (sync_file_range only): ask for one.
        let file = path.join("db");
        fs::File::open(&file)
            .and_then(|f| f.sync_data())
            .map_err(|source| Error::Write { path: file, source })
    }

    fn corrupt(&self, e: impl std::fmt::Display) -> Error {
        Error::Corrupt {
            path: self.home.database(),
            detail: e.to_string(),
        }
    }
}

const PREFIX: &[u8] = b"profile/";

fn key(name: &str) -> Vec<u8> {
    [PREFIX, name.as_bytes()].concat()
}

/// sled may panic on files it does not understand; that too is a damaged database.
pub(crate) fn open_sled(path: &Path) -> Result<sled::Db, sled::Error> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        sled::Config::new()
            .path(path)
            .cache_capacity(1 << 20)
            .flush_every_ms(None)
            .open()
    }));
    std::panic::set_hook(quiet);
    opened.unwrap_or_else(|_| Err(sled::Error::Corruption { at: None, bt: () }))
}

/// sled reports a held lock as `Other` with this text (config.rs, `try_lock`).
pub(crate) fn is_busy(e: &std::io::Error) -> bool {
    e.to_string().contains("could not acquire lock")
}

/// Makes `path` and gives it to its owner alone.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    let failed = |source| Error::Create {
        path: path.into(),
        source,
    };
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)
}

/// Writes beside, syncs, renames: a reader sees the old text or the new, never half.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::Write {
        path: path.into(),
        source,
    };
    let beside = path.with_extension("json.new");
    let mut file = fs::File::create(&beside).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // Half a file helps nobody; the first failure is the one to tell.
        let _ = fs::remove_file(&beside);
        return Err(failed(source));
    }
    fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Spec, Worker};

    fn profile(name: &str) -> Profile {
        let spec = Spec {
            cpus: 2,
            memory_mib: 2048,
            disk_gib: 20,
            image: "auto".into(),
        };
        Profile::begun(name, 1, spec)
    }

    fn home(dir: &tempfile::TempDir) -> Home {
        Home::new(dir.path().join("data"), dir.path().join("cache"))
    }

    #[test]
    fn records_are_kept_listed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        for name in ["b", "a"] {
            Store::open(&home).unwrap().put(&profile(name)).unwrap();
        }
        let store = Store::open(&home).unwrap();
        let names: Vec<_> = store.list().unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["a", "b"]);
        let a = ProfileName::parse("a").unwrap();
        store.remove(&a).unwrap();
        assert_eq!(store.get(&a).unwrap(), None);
    }

    #[test]
    fn a_profile_of_one_machine_from_before_gets_more() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let old = r#"{"name": "old", "created": 1, "phase": "stopped",
            "spec": {"cpus": 2, "memoryMib": 2048, "diskGib": 20, "image": "auto"}}"#;
        let name = ProfileName::parse("old").unwrap();
        {
            let store = Store::open(&home).unwrap();
            // The bytes of before, not a record written by this program.
            store.db.insert(key("old"), old.as_bytes()).unwrap();
            let mut profile = store.get(&name).unwrap().unwrap();
            assert!(profile.workers.is_empty());
            let worker = Worker::new(2, profile.spec.clone());
            profile.workers.push(worker);
            store.put(&profile).unwrap();
        }
        let store = Store::open(&home).unwrap();
        assert_eq!(store.list().unwrap()[0].workers[0].number, 2);
        assert!(home.profile(&name).node(2).dir().is_dir());
    }

    #[test]
    fn a_damaged_database_is_told_and_rebuilt_from_the_copies() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        Store::open(&home).unwrap().put(&profile("kept")).unwrap();
        for entry in fs::read_dir(home.database()).unwrap().flatten() {
            if entry.path().is_file() {
                fs::write(entry.path(), b"this is not a database").unwrap();
            }
        }
        assert!(matches!(Store::open(&home), Err(Error::Corrupt { .. })));
        let recovered = Store::recover(&home).unwrap();
        assert_eq!(recovered.profiles, ["kept"]);
        assert!(recovered.aside.exists());
        let name = ProfileName::parse("kept").unwrap();
        assert_eq!(
            Store::open(&home).unwrap().get(&name).unwrap(),
            Some(profile("kept"))
        );
    }

    #[test]
    fn two_commands_at_once_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let threads: Vec<_> = (0..4)
            .map(|i| {
                let home = home.clone();
                std::thread::spawn(move || {
                    Store::open(&home)
                        .unwrap()
                        .put(&profile(&format!("p{i}")))
                        .unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(Store::open(&home).unwrap().list().unwrap().len(), 4);
    }

    #[cfg(unix)]
    #[test]
    fn folders_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        Store::open(&home).unwrap().put(&profile("a")).unwrap();
        for path in [home.data().to_path_buf(), home.profiles().join("a")] {
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }
}
