//! The learner's own folder of a lesson: `~/cadet-lessons/NAME`.
//!
//! What a lesson hands out is copied there once. What the learner made of it is never lost: a
//! file that is not as it was handed out stays, and where a step has to write it, the learner's
//! own is kept beside it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use cadet_tutorial::world::WorldError;

/// One lesson's folder.
#[derive(Clone)]
pub struct Folder {
    root: PathBuf,
    /// As the lesson hands them out.
    files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    /// The folder at `root` for a lesson that hands out `files`.
    pub fn new(root: PathBuf, files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { root, files }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder and puts every file there that is missing. Returns those the learner
    /// has changed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn hand_out(&self) -> Result<Vec<String>, WorldError> {
        std::fs::create_dir_all(&self.root).map_err(|e| failed("make", &self.root, &e))?;
        let mut changed = Vec::new();
        for (path, content) in &self.files {
            match self.read(path)? {
                None => self.put(path, content)?,
                Some(there) if there != *content => changed.push(path.clone()),
                Some(_) => {}
            }
        }
        Ok(changed)
    }

    /// Puts every file back as it was handed out.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn restore_all(&self) -> Result<(), WorldError> {
        for (path, content) in &self.files {
            self.restore(path, Some(content.as_slice()))?;
        }
        Ok(())
    }

    /// Puts `path` back to `original`, or removes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn restore(&self, path: &str, original: Option<&[u8]>) -> Result<(), WorldError> {
        if let Some(original) = original {
            return self.put(path, original);
        }
        let file = self.place(path)?;
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &file, &e)),
            _ => Ok(()),
        }
    }

    /// Writes `content`; gives the name under which the learner's own text was kept, if there
    /// was one.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, path: &str, content: &str) -> Result<Option<String>, WorldError> {
        let there = self.read(path)?;
        let own = there.filter(|text| {
            text != content.as_bytes() && self.files.get(path) != Some(text) && !text.is_empty()
        });
        let mut kept = None;
        if let Some(text) = own {
            let beside = format!("{path}.yours");
            self.put(&beside, &text)?;
            kept = Some(beside);
        }
        self.put(path, content.as_bytes())?;
        Ok(kept)
    }

    /// The content of `path`, None where there is no such file.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, WorldError> {
        let file = self.place(path)?;
        match std::fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(failed("read", &file, &e)),
        }
    }

    fn put(&self, path: &str, content: &[u8]) -> Result<(), WorldError> {
        let file = self.place(path)?;
        if let Some(above) = file.parent() {
            std::fs::create_dir_all(above).map_err(|e| failed("make", above, &e))?;
        }
        std::fs::write(&file, content).map_err(|e| failed("write", &file, &e))
    }

    /// A path of a lesson, as a path on the disk.
    fn place(&self, path: &str) -> Result<PathBuf, WorldError> {
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !inside {
            return Err(WorldError::new(format!(
                "{path:?} is not below the lesson folder"
            )));
        }
        Ok(self.root.join(path))
    }
}

fn failed(act: &str, path: &Path, e: &io::Error) -> WorldError {
    WorldError::new(format!("cannot {act} {}: {e}", path.display()))
        .fix("CADET_LESSONS=/some/other/folder cadet tutorial")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(dir: &tempfile::TempDir) -> Folder {
        let files = [("a/one.yaml", "one\n"), ("two.txt", "two\n")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        Folder::new(dir.path().join("telescope"), BTreeMap::from(files))
    }

    fn text(folder: &Folder, path: &str) -> Option<String> {
        let bytes = folder.read(path).unwrap()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_the_learner_changed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir);
        assert!(folder.hand_out().unwrap().is_empty());
        assert_eq!(text(&folder, "a/one.yaml").as_deref(), Some("one\n"));
        std::fs::write(folder.root().join("two.txt"), "mine\n").unwrap();
        std::fs::remove_file(folder.root().join("a/one.yaml")).unwrap();
        assert_eq!(folder.hand_out().unwrap(), ["two.txt"]);
        assert_eq!(text(&folder, "two.txt").as_deref(), Some("mine\n"));
        assert_eq!(text(&folder, "a/one.yaml").as_deref(), Some("one\n"));
        folder.restore_all().unwrap();
        assert_eq!(text(&folder, "two.txt").as_deref(), Some("two\n"));
    }

    #[test]
    fn a_step_that_writes_keeps_the_learners_text_beside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir);
        folder.hand_out().unwrap();
        assert_eq!(
            folder.write("two.txt", "new\n").unwrap(),
            None,
            "as handed out"
        );
        assert_eq!(
            folder.write("app/main.py", "x\n").unwrap(),
            None,
            "was not there"
        );
        std::fs::write(folder.root().join("app/main.py"), "mine\n").unwrap();
        let kept = folder.write("app/main.py", "x\n").unwrap();
        assert_eq!(kept.as_deref(), Some("app/main.py.yours"));
        assert_eq!(
            text(&folder, "app/main.py.yours").as_deref(),
            Some("mine\n")
        );
        assert_eq!(text(&folder, "app/main.py").as_deref(), Some("x\n"));
        folder.restore("app/main.py", None).unwrap();
        folder.restore("app/main.py", None).unwrap();
        assert_eq!(text(&folder, "app/main.py"), None);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir);
        for path in ["", "..", "../x", "/etc/passwd", "a/../../x", "./x"] {
            assert!(folder.write(path, "x").is_err(), "{path}");
            assert!(folder.read(path).is_err(), "{path}");
        }
    }
}
