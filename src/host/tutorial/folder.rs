//! The files of a lesson, from disk or from the program itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::finding::Finding;

/// The file every lesson has.
pub const LESSON: &str = "lesson.md";

/// More is surely a mistake: lessons hand out manifests and small programs.
pub const FILE_LIMIT: u64 = 1024 * 1024;

/// A lesson's folder in memory.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// The folder's own name: `01-telescope`.
    pub name: String,
    /// Path below the folder, with `/`, to content. `lesson.md` is among them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What was wrong while reading: links that leave the folder, files too large.
    pub findings: Vec<Finding>,
}

/// The folder cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has no name that can be the name of a lesson")]
    Name { path: PathBuf },
}

impl Folder {
    /// A folder from memory.
    pub fn from_files(name: &str, files: BTreeMap<String, Vec<u8>>) -> Folder {
        Folder {
            name: name.to_owned(),
            files,
            findings: Vec::new(),
        }
    }

    /// Reads a folder with everything below it.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read.
    pub fn read(path: &Path) -> Result<Folder, FolderError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Read { path, source }
        };
        let root = fs::canonicalize(path).map_err(failed(path))?;
        let name = root
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| FolderError::Name { path: root.clone() })?;
        let mut folder = Folder::from_files(name, BTreeMap::new());
        let mut open = vec![(root.clone(), String::new())];
        while let Some((place, prefix)) = open.pop() {
            for entry in fs::read_dir(&place).map_err(failed(&place))? {
                let entry = entry.map_err(failed(&place))?;
                let path = entry.path();
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    let shown = format!("{prefix}{}", entry.file_name().to_string_lossy());
                    let text = "the name of this file is not UTF-8";
                    folder.wrong(&shown, text, "rename it");
                    continue;
                };
                let shown = format!("{prefix}{name}");
                let linked = entry.file_type().map_err(failed(&path))?.is_symlink();
                if linked {
                    match fs::canonicalize(&path) {
                        Ok(target) if target.starts_with(&root) && target.is_file() => {}
                        Ok(target) if target.starts_with(&root) => {
                            let text = "this is a link to a folder, and may lead in a circle";
                            folder.wrong(&shown, text, "copy the folder, or link its files");
                            continue;
                        }
                        Ok(_) => {
                            let text = "this link leaves the lesson's folder";
                            folder.wrong(&shown, text, "copy the file into the folder");
                            continue;
                        }
                        Err(_) => {
                            let text = "this link leads nowhere";
                            folder.wrong(&shown, text, "remove it, or make the file it names");
                            continue;
                        }
                    }
                }
                let about = fs::metadata(&path).map_err(failed(&path))?;
                if about.is_dir() {
                    open.push((path, format!("{shown}/")));
                } else if !about.is_file() {
                    let text = "this is neither a file nor a folder";
                    folder.wrong(&shown, text, "remove it");
                } else if about.len() > FILE_LIMIT {
                    let text = format!("the file has {} bytes, more than 1 MiB", about.len());
                    folder.wrong(
                        &shown,
                        &text,
                        "hand out something smaller, or make an image",
                    );
                } else {
                    let bytes = fs::read(&path).map_err(failed(&path))?;
                    folder.files.insert(shown, bytes);
                }
            }
        }
        Ok(folder)
    }

    fn wrong(&mut self, shown: &str, text: &str, fix: &str) {
        let path = self.shown(shown);
        self.findings.push(Finding::error(&path, 0, text).fix(fix));
    }

    /// How a file of this folder is called in findings.
    pub fn shown(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    /// The lesson's name: the folder's without its number.
    pub fn lesson_name(&self) -> &str {
        self.split().1
    }

    /// The folder's number.
    pub fn number(&self) -> Option<u32> {
        self.split().0
    }

    fn split(&self) -> (Option<u32>, &str) {
        match self.name.split_once('-') {
            Some((number, name)) if !name.is_empty() => match number.parse() {
                Ok(number) => (Some(number), name),
                Err(_) => (None, &self.name),
            },
            _ => (None, &self.name),
        }
    }
}

/// Why a path cannot be one of a lesson's files; None where it can. Lessons are read on every
/// system, so the narrowest rules hold.
pub fn unsound_path(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("is empty");
    }
    if path.starts_with('/') || path.contains(':') {
        return Some("starts outside the lesson folder");
    }
    if path.contains('\\') {
        return Some("has a backslash; parts are parted by /");
    }
    if path
        .chars()
        .any(|c| c.is_control() || "*?\"<>|".contains(c))
    {
        return Some("has a character that not every system takes in names");
    }
    if path.split('/').any(|part| part == "..") {
        return Some("leaves the lesson folder");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return Some("has an empty part");
    }
    (path == LESSON).then_some("is the lesson itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("07-rocket");
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn everything_below_is_read() {
        let (_dir, root) = written(&[("lesson.md", b"x"), ("a/b/c.yaml", b"y\n")]);
        let folder = Folder::read(&root).unwrap();
        assert_eq!(folder.lesson_name(), "rocket");
        assert_eq!(folder.number(), Some(7));
        assert_eq!(folder.files["a/b/c.yaml"], b"y\n");
        assert!(folder.findings.is_empty());
    }

    #[test]
    fn a_missing_folder_is_told_by_name() {
        let error = Folder::read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_may_not_leave_the_folder() {
        use std::os::unix::fs::symlink;
        let (dir, root) = written(&[("lesson.md", b"x"), ("a.txt", b"inside")]);
        fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("a.txt", root.join("in")).unwrap();
        symlink("gone", root.join("broken")).unwrap();
        symlink(".", root.join("circle")).unwrap();
        let folder = Folder::read(&root).unwrap();
        assert_eq!(folder.files["in"], b"inside");
        assert!(!folder.files.contains_key("out"));
        let mut paths: Vec<&str> = folder.findings.iter().map(|f| f.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            ["07-rocket/broken", "07-rocket/circle", "07-rocket/out"]
        );
    }

    #[test]
    fn large_files_are_told_and_not_read() {
        let large = vec![b'x'; 1024 * 1024 + 1];
        let (_dir, root) = written(&[("lesson.md", b"x"), ("big.bin", &large)]);
        let folder = Folder::read(&root).unwrap();
        assert!(!folder.files.contains_key("big.bin"));
        assert!(folder.findings[0].text.contains("1048577 bytes"));
    }

    #[test]
    fn paths_stay_below_the_folder() {
        assert_eq!(unsound_path("app/main.py"), None);
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "./a",
            "a\\b",
            "C:/x",
            "a?",
        ] {
            assert!(unsound_path(bad).is_some(), "{bad}");
        }
        assert!(unsound_path("lesson.md").is_some());
    }

    #[test]
    fn names_without_a_number_are_names() {
        for (folder, name) in [("rocket", "rocket"), ("a-b", "a-b"), ("12-", "12-")] {
            let folder = Folder::from_files(folder, BTreeMap::new());
            assert_eq!((folder.number(), folder.lesson_name()), (None, name));
        }
    }
}
