//! The cluster's entry in the kubeconfig of whoever typed `up`.
//!
//! kubectl guards the file by an exclusively created `<file>.lock`; so do we.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cadet_api::kubeconfig::{self, Access, Document, NotAList, skeleton};
use serde_json::Value;

use super::record::Entry;
use super::trouble::Trouble;

/// kubectl waits for its lock too; this is how long we do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the file is: named by a flag, by `$KUBECONFIG` (its first), or in the home of the
/// person behind `sudo`, or in root's.
#[must_use]
pub fn file(flag: Option<&Path>, env: impl Fn(&str) -> Option<String>, passwd: &str) -> PathBuf {
    if let Some(file) = flag {
        return file.to_owned();
    }
    let named = env("KUBECONFIG").unwrap_or_default();
    if let Some(first) = named.split(':').find(|part| !part.is_empty()) {
        return first.into();
    }
    let behind = env("SUDO_UID").and_then(|uid| home_of(passwd, &uid));
    let home = behind
        .or_else(|| env("HOME"))
        .unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".kube").join("config")
}

/// The home of a user in passwd(5).
fn home_of(passwd: &str, uid: &str) -> Option<String> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let mut users = passwd.lines().map(fields);
    users
        .find(|fields| fields.get(2).is_some_and(|id| id == uid))
        .and_then(|mut fields| (fields.len() > 5).then(|| fields.swap_remove(5)))
        .filter(|home| !home.is_empty())
}

/// Puts `access` into `file` and makes it current. `earlier` is what the record says of the
/// last time.
///
/// # Errors
/// A file that cannot be read or understood; it is not touched.
pub fn put(
    file: &Path,
    access: &mut Access,
    node: &str,
    earlier: Option<&Entry>,
) -> Result<Entry, Trouble> {
    let earlier = earlier.filter(|entry| entry.file == file);
    let made = earlier.map_or(!file.exists(), |entry| entry.made);
    let mut before = earlier.and_then(|entry| entry.before.clone());
    edit(file, |doc| {
        access.name = free_name(doc, access, node);
        let current = doc.get("current-context").and_then(Value::as_str);
        if let Some(current) = current.filter(|name| !name.is_empty() && *name != access.name) {
            before = Some(current.to_owned());
        }
        kubeconfig::merge(doc, access, false)
    })?;
    Ok(Entry {
        file: file.to_owned(),
        name: access.name.clone(),
        before,
        made,
    })
}

/// Our name, unless somebody else's cluster has it.
fn free_name(doc: &Document, access: &Access, node: &str) -> String {
    let clusters = doc.get("clusters").and_then(Value::as_array);
    let named = clusters
        .into_iter()
        .flatten()
        .find(|row| row["name"] == access.name.as_str());
    match named {
        Some(row) if row["cluster"]["server"] != access.server.as_str() => {
            format!("{}-{node}", access.name)
        }
        _ => access.name.clone(),
    }
}

/// Takes the entry out again; the context that was current before is so again, and a file
/// made for us goes if nobody else is in it.
///
/// # Errors
/// As [`put`].
pub fn take_out(entry: &Entry) -> Result<(), Trouble> {
    if !entry.file.exists() {
        return Ok(());
    }
    let mut empty = false;
    edit(&entry.file, |doc| {
        let current = doc.get("current-context") == Some(&Value::from(entry.name.as_str()));
        kubeconfig::remove(doc, &entry.name)?;
        let contexts = doc.get("contexts").and_then(Value::as_array);
        let known = |name: &&String| {
            contexts.is_some_and(|rows| rows.iter().any(|row| row["name"] == name.as_str()))
        };
        if let Some(before) = entry.before.as_ref().filter(known).filter(|_| current) {
            doc.insert("current-context".into(), before.as_str().into());
        }
        empty = kubeconfig::is_empty(doc);
        Ok(())
    })?;
    if entry.made && empty {
        fs::remove_file(&entry.file).map_err(|error| failed("remove", &entry.file, &error))?;
        // kubectl keeps caches there; then the folder stays.
        if let Some(folder) = entry.file.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
    Ok(())
}

fn edit(
    file: &Path,
    change: impl FnOnce(&mut Document) -> Result<(), NotAList>,
) -> Result<(), Trouble> {
    // A link stays a link: what it points to is changed.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let folder = target.parent().unwrap_or(Path::new("/"));
    make_folder(folder).map_err(|error| failed("make", folder, &error))?;
    let _lock = Lock::take(&target)?;
    let before = read(&target)?;
    let mut doc = before.clone().unwrap_or_else(skeleton);
    change(&mut doc).map_err(|error| invalid(&target, &error.to_string()))?;
    if before.as_ref() == Some(&doc) {
        return Ok(());
    }
    let text = serde_saphyr::to_string(&Value::Object(doc))
        .map_err(|error| invalid(&target, &error.to_string()))?;
    write(&target, text.as_bytes()).map_err(|error| failed("write", &target, &error))
}

fn read(file: &Path) -> Result<Option<Document>, Trouble> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", file, &error)),
    };
    if text.trim().is_empty() {
        return Ok(Some(skeleton()));
    }
    match serde_saphyr::from_str::<Value>(&text) {
        Ok(Value::Object(doc)) => Ok(Some(doc)),
        Ok(_) => Err(invalid(file, "its top level is not a mapping")),
        Err(error) => Err(invalid(file, &error.to_string())),
    }
}

/// A new folder belongs to whom the one above belongs: under `sudo` that is not us.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    like_its_folder(folder)
}

fn like_its_folder(path: &Path) -> std::io::Result<()> {
    let above = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    chown(path, Some(above.uid()), Some(above.gid()))
}

/// Replaces the file in one step; it holds a key, so only its owner may read it.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = with_suffix(file, ".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut new = options.open(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    match fs::metadata(file) {
        Ok(old) => chown(&beside, Some(old.uid()), Some(old.gid()))?,
        Err(_) => like_its_folder(&beside)?,
    }
    fs::rename(&beside, file)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn invalid(file: &Path, why: &str) -> Trouble {
    let what = format!(
        "{} is not a kubeconfig, and was not touched",
        file.display()
    );
    Trouble::new("HOST_KUBECONFIG_INVALID", 38, what)
        .why(why)
        .fix("KUBECONFIG=$HOME/cadet.kubeconfig cadet-node up")
}

fn failed(act: &str, file: &Path, error: &std::io::Error) -> Trouble {
    let what = format!("cannot {act} {}", file.display());
    Trouble::new("HOST_NOT_READABLE", 37, what)
        .why(error.to_string())
        .fix("KUBECONFIG=$HOME/cadet.kubeconfig cadet-node up")
}

struct Lock(PathBuf);

impl Lock {
    fn take(file: &Path) -> Result<Self, Trouble> {
        let path = with_suffix(file, ".lock");
        let give_up = Instant::now() + PATIENCE;
        loop {
            match File::create_new(&path) {
                Ok(_) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if Instant::now() >= give_up {
                        let what = format!("{} is locked by another program", file.display());
                        return Err(Trouble::new("HOST_KUBECONFIG_INVALID", 38, what)
                            .why(format!("{} exists", path.display()))
                            .fix(format!("rm {}    (if no kubectl runs)", path.display())));
                    }
                    // kubectl's kind of lock tells nobody that it is free.
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(failed("lock", file, &error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it cannot be removed the next writer is told its path.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            name: "cadet".into(),
            server: "https://127.0.0.1:6443".into(),
            ca: "Y2E=".into(),
            cert: "Y2VydA==".into(),
            key: "a2V5".into(),
        }
    }

    #[test]
    fn the_file_is_that_of_whoever_typed() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let at = |flag: Option<&str>, pairs: &[(&str, &str)]| {
            let env = |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            file(flag.map(Path::new), env, passwd).display().to_string()
        };
        let sudo = [("SUDO_UID", "1000"), ("HOME", "/root")];
        assert_eq!(at(None, &sudo), "/home/ann/.kube/config");
        assert_eq!(at(None, &[("HOME", "/root")]), "/root/.kube/config");
        assert_eq!(
            at(None, &[("SUDO_UID", "7"), ("HOME", "/h")]),
            "/h/.kube/config"
        );
        assert_eq!(at(None, &[("KUBECONFIG", ":/a:/b"), ("HOME", "/h")]), "/a");
        assert_eq!(at(Some("/f"), &sudo), "/f");
    }

    #[test]
    fn a_file_made_for_us_goes_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".kube").join("config");
        let entry = put(&file, &mut access(), "n1", None).unwrap();
        assert!(entry.made && entry.before.is_none());
        let again = put(&file, &mut access(), "n1", Some(&entry)).unwrap();
        assert_eq!(again, entry, "a second time changes nothing");
        take_out(&entry).unwrap();
        assert!(!dir.path().join(".kube").exists());
        take_out(&entry).unwrap();
    }

    #[test]
    fn others_stay_and_are_current_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let others = "current-context: work\nclusters:\n- name: cadet\n  cluster:\n    \
            server: https://127.0.0.1:40001\ncontexts:\n- name: work\n  context: {cluster: cadet}\n";
        fs::write(&file, others).unwrap();
        let before = read(&file).unwrap().unwrap();
        let entry = put(&file, &mut access(), "n1", None).unwrap();
        assert_eq!(entry.name, "cadet-n1", "the name was somebody else's");
        assert_eq!(entry.before.as_deref(), Some("work"));
        let with_us = read(&file).unwrap().unwrap();
        assert_eq!(with_us["current-context"], "cadet-n1");
        take_out(&entry).unwrap();
        let mut after = read(&file).unwrap().unwrap();
        after.remove("users");
        assert_eq!(after, before);
    }

    #[test]
    fn what_is_not_understood_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        for text in ["- a\n", "a: [\n", "users: 7\n"] {
            fs::write(&file, text).unwrap();
            let error = put(&file, &mut access(), "n1", None).unwrap_err();
            assert_eq!(error.id, "HOST_KUBECONFIG_INVALID");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert!(!with_suffix(&file, ".lock").exists());
        }
    }
}
