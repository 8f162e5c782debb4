//! Writing the files of a projected volume so that a reader sees the old set or the new
//! one, never a mixture.
//!
//! ```text
//! DIR/..2/key            the files of this writing
//! DIR/..data  ──► ..2    replaced by one rename
//! DIR/key     ──► ..data/key
//! ```

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, chown};

/// Files by their path below the volume, with contents and mode.
pub type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

const DATA: &str = "..data";

/// `text` as a path below something: no root, no `..`, not empty.
#[must_use]
pub fn relative(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let clean: PathBuf = path
        .components()
        .filter(|p| matches!(p, Component::Normal(_)))
        .collect();
    (path.components().all(plain) && !clean.as_os_str().is_empty()).then_some(clean)
}

/// Makes the volume in `dir` hold exactly `files`, readable by `group` if one is given.
/// Does nothing if it already does.
///
/// # Errors
/// If the file system refuses.
pub fn write(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let current = std::fs::read_link(dir.join(DATA)).ok();
    if let Some(current) = &current
        && holds(&dir.join(current), files)?
    {
        return Ok(());
    }
    let number = current
        .as_ref()
        .and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok())
        .map_or(1, |number| number + 1);
    let name = format!("..{number}");
    let fresh = dir.join(&name);
    remove_dir(&fresh)?;
    std::fs::create_dir(&fresh)?;
    for (path, (bytes, mode)) in files {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&target, bytes)?;
        let mode = group.map_or(*mode, |_| mode | 0o040);
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode))?;
        if let Some(group) = group {
            chown(&target, None, Some(Gid::from_raw(group)))?;
        }
    }
    let half = dir.join("..data_tmp");
    remove_file(&half)?;
    symlink(&name, &half)?;
    std::fs::rename(&half, dir.join(DATA))?;
    let tops: HashSet<OsString> = files
        .keys()
        .filter_map(|path| path.components().next())
        .map(|part| part.as_os_str().to_owned())
        .collect();
    for top in &tops {
        let link = dir.join(top);
        if std::fs::read_link(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let is_ours = entry_name.to_string_lossy().starts_with("..");
        if !is_ours && !tops.contains(&entry_name) {
            remove_file(&entry.path())?;
        }
    }
    match current {
        Some(old) if old.as_os_str() != name.as_str() => remove_dir(&dir.join(old)),
        _ => Ok(()),
    }
}

fn holds(dir: &Path, files: &Files) -> io::Result<bool> {
    for (path, (bytes, _)) in files {
        match std::fs::read(dir.join(path)) {
            Ok(found) if found == *bytes => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(count(dir)? == files.len())
}

fn count(dir: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() {
            count(&entry.path())?
        } else {
            1
        };
    }
    Ok(files)
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter()
            .map(|(path, text)| (PathBuf::from(path), (text.as_bytes().to_vec(), 0o640)))
            .collect()
    }

    #[test]
    fn a_second_writing_replaces_adds_and_removes() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        write(dir, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        let mode = std::fs::metadata(dir.join("a"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        let first = std::fs::read_link(dir.join(DATA)).unwrap();

        write(dir, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(
            std::fs::read_link(dir.join(DATA)).unwrap(),
            first,
            "nothing changed"
        );

        write(dir, &files(&[("a", "new"), ("c", "3")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(dir.join("c")).unwrap(), "3");
        assert!(
            std::fs::symlink_metadata(dir.join("sub")).is_err(),
            "old key is gone"
        );
        assert!(!dir.join(first).exists(), "old files are gone");
    }

    #[test]
    fn paths_stay_below() {
        assert_eq!(relative("a/./b"), Some(PathBuf::from("a/b")));
        for bad in ["", ".", "/etc", "../x", "a/../../x"] {
            assert_eq!(relative(bad), None, "{bad}");
        }
    }
}
