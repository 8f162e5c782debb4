//! What the user has chosen for all profiles: which one is current, and what a start takes
//! where its flags say nothing. One readable file, apart from the records: it is read by every
//! command and must not wait for their database.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::store::{private_dir, write_atomically};
use crate::{Error, Home, Result};

/// The choices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// The profile commands mean where none is named.
    pub profile: Option<String>,
    /// Whether machines pull images through the laptop's cache.
    pub mirror: bool,
    /// Words for flags of `start`, by the flag's name, as the user wrote them.
    pub start: BTreeMap<String, String>,
}

impl Settings {
    /// What was chosen; nothing where there is no file yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is not what Cadet wrote, [`Error::Read`].
    pub fn read(home: &Home) -> Result<Self> {
        let path = home.settings();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(source) => return Err(Error::Read { path, source }),
        };
        serde_json::from_slice(&text).map_err(|e| Error::Corrupt {
            path,
            detail: e.to_string(),
        })
    }

    /// Changes what was chosen, one command at a time; writes only what differs.
    ///
    /// # Errors
    /// As [`Settings::read`], and [`Error::Write`] when the disk refuses.
    pub fn change(home: &Home, change: impl FnOnce(&mut Self)) -> Result<Self> {
        private_dir(home.data())?;
        let path = home.settings_lock();
        let failed = |source| Error::Create {
            path: path.clone(),
            source,
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        // Held for some milliseconds; the kernel lets go of it whatever happens to its holder.
        lock.lock().map_err(failed)?;
        let now = Self::read(home)?;
        let mut after = now.clone();
        change(&mut after);
        if after != now {
            let path = home.settings();
            let mut text = serde_json::to_vec_pretty(&after).map_err(|e| Error::Corrupt {
                path: path.clone(),
                detail: e.to_string(),
            })?;
            text.push(b'\n');
            write_atomically(&path, &text)?;
        }
        Ok(after)
    }

    /// Puts a damaged file aside, so that nothing in it is lost; says where.
    ///
    /// # Errors
    /// [`Error::Write`] when it cannot be moved.
    pub fn put_aside(home: &Home) -> Result<PathBuf> {
        let stamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let (from, aside) = (home.settings(), home.settings_aside(stamp));
        fs::rename(&from, &aside).map_err(|source| Error::Write { path: from, source })?;
        Ok(aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &tempfile::TempDir) -> Home {
        Home::new(dir.path().join("data"), dir.path().join("cache"))
    }

    #[test]
    fn choices_are_kept_and_questions_leave_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        assert_eq!(Settings::read(&home).unwrap(), Settings::default());
        assert!(!home.data().exists());
        let set = Settings::change(&home, |s| {
            s.profile = Some("class".into());
            s.start.insert("memory".into(), "3g".into());
        });
        assert_eq!(Settings::read(&home).unwrap(), set.unwrap());
        Settings::change(&home, |s| s.profile = None).unwrap();
        let left = Settings::read(&home).unwrap();
        assert_eq!((left.profile, left.start["memory"].as_str()), (None, "3g"));
    }

    #[test]
    fn changes_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let home = home.clone();
                std::thread::spawn(move || {
                    Settings::change(&home, |s| {
                        s.start.insert(format!("key{i}"), "1".into());
                    })
                    .unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(Settings::read(&home).unwrap().start.len(), 8);
    }

    #[test]
    fn a_damaged_file_is_told_and_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        fs::create_dir_all(home.data()).unwrap();
        fs::write(home.settings(), "{\"profile\": 7").unwrap();
        assert!(matches!(Settings::read(&home), Err(Error::Corrupt { .. })));
        assert!(Settings::change(&home, |_| {}).is_err());
        let aside = Settings::put_aside(&home).unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), "{\"profile\": 7");
        assert_eq!(Settings::read(&home).unwrap(), Settings::default());
    }
}
