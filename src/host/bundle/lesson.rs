//! A lesson's files as one piece: an archive (ustar, IEEE Std 1003.1) without times and owners.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};

use crate::error::{BundleError, Result};

/// More than all files of a lesson together have.
const LARGEST: u64 = 64 << 20;

/// Packs files, given by their paths with `/` below the lesson's folder.
///
/// # Errors
/// [`BundleError::Lesson`] for a path that no archive can hold.
pub fn pack(lesson: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let failed = |e: std::io::Error| BundleError::Lesson {
        lesson: lesson.to_owned(),
        why: e.to_string(),
    };
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive
            .append_data(&mut header, path, content.as_slice())
            .map_err(failed)?;
    }
    archive.into_inner().map_err(failed)
}

/// Unpacks a lesson into `folder`, which is made.
///
/// # Errors
/// [`BundleError::Lesson`] for anything but plain files below the folder;
/// [`BundleError::DiskFull`], [`BundleError::File`].
pub fn unpack(lesson: &str, archive: impl Read, folder: &Path) -> Result<()> {
    let wrong = |why: String| BundleError::Lesson {
        lesson: lesson.to_owned(),
        why,
    };
    let broken = |e: std::io::Error| wrong(e.to_string());
    std::fs::create_dir_all(folder).map_err(|e| BundleError::file("create", folder, e))?;
    let mut archive = tar::Archive::new(archive);
    let mut total = 0u64;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let inside = path.components().next().is_some()
            && path.components().all(|c| matches!(c, Component::Normal(_)));
        if !inside || !entry.header().entry_type().is_file() {
            return Err(wrong(format!(
                "{} is no plain file below the lesson",
                path.display()
            )));
        }
        total = total.saturating_add(entry.size());
        if total > LARGEST {
            return Err(wrong("it is larger than any lesson".into()));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(broken)?;
        let to = folder.join(&path);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(|e| BundleError::file("create", parent, e))?;
        }
        std::fs::write(&to, content).map_err(|e| BundleError::file("write", &to, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_comes_out_as_it_went_in() {
        let long = format!("manifests/{}.yaml", "x".repeat(120));
        let files = BTreeMap::from([
            ("lesson.md".to_owned(), b"# Hello\n".to_vec()),
            ("manifests/pod.yaml".to_owned(), Vec::new()),
            (long.clone(), vec![0; 5000]),
        ]);
        let archive = pack("hello", &files).unwrap();
        assert_eq!(pack("hello", &files).unwrap(), archive);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("01-hello");
        unpack("hello", archive.as_slice(), &folder).unwrap();
        for (path, content) in &files {
            assert_eq!(
                &std::fs::read(folder.join(path)).unwrap(),
                content,
                "{path}"
            );
        }
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lesson");
        for name in ["../evil", "/evil", "a/../../evil"] {
            let mut header = tar::Header::new_gnu();
            // The builder refuses such names; an attacker writes them into the header.
            let field = &mut header.as_gnu_mut().unwrap().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(1);
            header.set_mode(0o644);
            header.set_cksum();
            let mut archive = tar::Builder::new(Vec::new());
            archive.append(&header, &b"x"[..]).unwrap();
            let archive = archive.into_inner().unwrap();
            let refused = unpack("x", archive.as_slice(), &folder);
            assert!(matches!(refused, Err(BundleError::Lesson { .. })), "{name}");
        }
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn links_and_rubbish_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let mut archive = tar::Builder::new(Vec::new());
        archive
            .append_link(&mut header, "link", "/etc/passwd")
            .unwrap();
        let archive = archive.into_inner().unwrap();
        assert!(unpack("x", archive.as_slice(), dir.path()).is_err());
        assert!(!dir.path().join("link").exists());
        assert!(unpack("x", &[7u8; 2048][..], dir.path()).is_err());
    }
}
