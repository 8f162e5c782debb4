//! What is kept of a learner: one document per profile and lesson, and which lesson is open.
//!
//! The documents are the lessons' business; here they are bytes. Each has a readable copy beside
//! the database, from which [`crate::Store::recover`] puts it back. They outlive their profile:
//! whoever deletes a cluster in the middle of a lesson goes on with the next one.

use std::fs;

use crate::store::{Store, private_dir, write_atomically};
use crate::{Error, Home, ProfileName, Result};

/// Longest name of a lesson; it is a folder's name.
const LONGEST_NAME: usize = 60;

impl Store {
    /// The document of `lesson`, if it was ever begun.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database does not answer.
    pub fn lesson(&self, profile: &ProfileName, lesson: &str) -> Result<Option<Vec<u8>>> {
        self.read(&lesson_key(profile, lesson)?)
    }

    /// All documents of `profile`, by lesson.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database does not answer.
    pub fn lessons(&self, profile: &ProfileName) -> Result<Vec<(String, Vec<u8>)>> {
        let prefix = format!("lesson/{profile}/");
        let rows = self.scan(prefix.as_bytes())?;
        let named = rows.into_iter().map(|(key, value)| {
            let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            (name, value)
        });
        Ok(named.collect())
    }

    /// Keeps the document of `lesson` and notes it as the open one; on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Write`] when the disk refuses.
    pub fn put_lesson(&self, profile: &ProfileName, lesson: &str, document: &[u8]) -> Result<()> {
        let key = lesson_key(profile, lesson)?;
        let copies = self.home().lessons(profile);
        private_dir(&copies)?;
        write_atomically(&copies.join(format!("{lesson}.json")), document)?;
        self.write(&key, document)?;
        self.write(&open_key(profile), lesson.as_bytes())?;
        self.flush()
    }

    /// Forgets `lesson`, its copy included.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Remove`] when the disk refuses.
    pub fn remove_lesson(&self, profile: &ProfileName, lesson: &str) -> Result<()> {
        let key = lesson_key(profile, lesson)?;
        let path = self.home().lessons(profile).join(format!("{lesson}.json"));
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Remove { path, source }),
        }
        self.erase(&key)?;
        if self.open_lesson(profile)?.as_deref() == Some(lesson) {
            self.erase(&open_key(profile))?;
        }
        self.flush()
    }

    /// The lesson that was last worked on.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database does not answer.
    pub fn open_lesson(&self, profile: &ProfileName) -> Result<Option<String>> {
        let name = self.read(&open_key(profile))?;
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }

    /// Puts every copy back into a new database; the lesson changed last is the open one.
    pub(crate) fn recover_lessons(&self) -> Result<()> {
        let folder = self.home().all_lessons();
        let profiles = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(Error::Read {
                    path: folder,
                    source,
                });
            }
        };
        for entry in profiles.flatten() {
            let Ok(profile) = ProfileName::parse(&entry.file_name().to_string_lossy()) else {
                continue;
            };
            self.recover_profile(&profile)?;
        }
        self.flush()
    }

    fn recover_profile(&self, profile: &ProfileName) -> Result<()> {
        let folder = self.home().lessons(profile);
        let copies = fs::read_dir(&folder).map_err(|source| Error::Read {
            path: folder.clone(),
            source,
        })?;
        let mut last = None;
        for copy in copies.flatten() {
            let name = copy.file_name().to_string_lossy().into_owned();
            let Some(lesson) = name.strip_suffix(".json") else {
                continue;
            };
            let Ok(key) = lesson_key(profile, lesson) else {
                continue;
            };
            let path = copy.path();
            let document = fs::read(&path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })?;
            self.write(&key, &document)?;
            let changed = copy.metadata().and_then(|m| m.modified()).ok();
            if last.as_ref().is_none_or(|(when, _)| *when < changed) {
                last = Some((changed, lesson.to_owned()));
            }
        }
        if let Some((_, lesson)) = last {
            self.write(&open_key(profile), lesson.as_bytes())?;
        }
        Ok(())
    }
}

impl Home {
    /// Readable copies of all learners' progress.
    pub fn all_lessons(&self) -> std::path::PathBuf {
        self.data().join("lessons")
    }

    /// Readable copies of the progress made with one profile.
    pub fn lessons(&self, profile: &ProfileName) -> std::path::PathBuf {
        self.all_lessons().join(profile.as_str())
    }

    /// Held while somebody is in a lesson with this profile.
    pub fn lesson_lock(&self, profile: &ProfileName) -> std::path::PathBuf {
        self.all_lessons().join(format!(".{profile}.lock"))
    }
}

/// The key of a lesson's document.
fn lesson_key(profile: &ProfileName, lesson: &str) -> Result<Vec<u8>> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = !lesson.is_empty()
        && lesson.len() <= LONGEST_NAME
        && !lesson.starts_with('.')
        && lesson.chars().all(letter);
    if !is_name {
        return Err(Error::BadLesson {
            name: lesson.to_owned(),
        });
    }
    Ok(format!("lesson/{profile}/{lesson}").into_bytes())
}

fn open_key(profile: &ProfileName) -> Vec<u8> {
    format!("lesson-open/{profile}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &tempfile::TempDir) -> Home {
        Home::new(dir.path().join("data"), dir.path().join("cache"))
    }

    fn name(text: &str) -> ProfileName {
        ProfileName::parse(text).unwrap()
    }

    #[test]
    fn documents_are_kept_per_profile_and_the_last_one_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&home(&dir)).unwrap();
        let (a, b) = (name("a"), name("a-b"));
        store.put_lesson(&a, "telescope", b"1").unwrap();
        store.put_lesson(&a, "flask", b"2").unwrap();
        store.put_lesson(&b, "telescope", b"3").unwrap();
        assert_eq!(
            store.lesson(&a, "telescope").unwrap().as_deref(),
            Some(&b"1"[..])
        );
        let all = store.lessons(&a).unwrap();
        let all: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(all, ["flask", "telescope"]);
        assert_eq!(store.open_lesson(&a).unwrap().as_deref(), Some("flask"));
        store.remove_lesson(&a, "flask").unwrap();
        assert_eq!(store.open_lesson(&a).unwrap(), None);
        assert_eq!(store.lessons(&a).unwrap().len(), 1);
        assert!(store.list().unwrap().is_empty(), "lessons are no profiles");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&home(&dir)).unwrap();
        for bad in ["", "..", "../x", "a/b", ".hidden", "a b", &"x".repeat(61)] {
            assert!(
                matches!(
                    store.put_lesson(&name("a"), bad, b"1"),
                    Err(Error::BadLesson { .. })
                ),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_damaged_database_gives_the_lessons_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let learner = name("class");
        Store::open(&home)
            .unwrap()
            .put_lesson(&learner, "telescope", b"{\"step\":3}")
            .unwrap();
        for entry in fs::read_dir(home.database()).unwrap().flatten() {
            if entry.path().is_file() {
                fs::write(entry.path(), b"this is not a database").unwrap();
            }
        }
        assert!(matches!(Store::open(&home), Err(Error::Corrupt { .. })));
        Store::recover(&home).unwrap();
        let store = Store::open(&home).unwrap();
        assert_eq!(
            store.lesson(&learner, "telescope").unwrap().as_deref(),
            Some(&b"{\"step\":3}"[..])
        );
        assert_eq!(
            store.open_lesson(&learner).unwrap().as_deref(),
            Some("telescope")
        );
    }
}
