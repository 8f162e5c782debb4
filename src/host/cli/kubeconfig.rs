//! Cadet's context in the user's kubeconfig: put in, found, taken out again.
//!
//! Other contexts, users, clusters and unknown fields stay as they are. kubectl
//! guards the file by an exclusively created `<file>.lock`; so do we. Ours says whose it is and is
//! held by the kernel as well, so that one of a command that was killed is known and removed.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cadet_api::kubeconfig::{self, Access, Document, NotAList, skeleton};
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::machine;

/// The way out when the usual file cannot be written.
const ELSEWHERE: &str = "KUBECONFIG=$HOME/cadet.kubeconfig cadet start";
/// kubectl waits for its lock file too; this is how long we do.
const LOCK_DEADLINE: Duration = Duration::from_secs(5);

/// Reads what `cadet-node kubeconfig` printed, for `name` at `server`.
///
/// # Errors
/// GUEST_INSTALL when the text is not a kubeconfig.
pub fn from_guest(text: &str, name: &str, server: String) -> Result<Access> {
    let bad = |what: &str| {
        CliError::new(
            "GUEST_INSTALL",
            "cadet-node printed credentials that cannot be read",
        )
        .why(what.to_string())
        .fix("cadet logs")
    };
    let doc: Value = serde_saphyr::from_str(text).map_err(|e| bad(&e.to_string()))?;
    Access::from_document(&doc, name, server).map_err(bad)
}

/// Puts `access` into `file` and makes it current unless `keep_context`.
///
/// # Errors
/// HOST_KUBECONFIG_INVALID for a file that cannot be understood; it is not touched.
pub fn merge(file: &Path, access: &Access, keep_context: bool) -> Result<()> {
    edit(file, |doc| kubeconfig::merge(doc, access, keep_context))
}

/// True if `file` holds `access` as it is, and its context is current or need not be.
pub fn holds(file: &Path, access: &Access, keep_context: bool) -> bool {
    let Ok(Some(doc)) = read(file) else {
        return false;
    };
    kubeconfig::holds(&doc, access, keep_context)
}

/// Takes the context, cluster and user `name` out of `file`.
///
/// # Errors
/// HOST_KUBECONFIG_INVALID for a file that cannot be understood; it is not touched.
pub fn remove(file: &Path, name: &str) -> Result<()> {
    if read(file)?.is_none() {
        return Ok(());
    }
    edit(file, |doc| kubeconfig::remove(doc, name))
}

/// True if `file` is there and a kubeconfig.
///
/// # Errors
/// HOST_KUBECONFIG_INVALID, HOST_NOT_READABLE.
pub fn check(file: &Path) -> Result<bool> {
    Ok(read(file)?.is_some())
}

/// Writes a kubeconfig with nothing but `access`, for `cadet kubectl`.
///
/// # Errors
/// HOST_NOT_READABLE when the file cannot be written.
pub fn write_alone(file: &Path, access: &Access) -> Result<()> {
    let mut doc = skeleton();
    for (list, entry) in access.entries() {
        doc.insert(list.into(), json!([entry]));
    }
    doc.insert("current-context".into(), json!(access.name));
    write(file, &doc)
}

/// Reads back what [`write_alone`] wrote.
///
/// # Errors
/// HOST_KUBECONFIG_INVALID when the file is damaged.
pub fn read_alone(file: &Path, name: &str) -> Result<Option<Access>> {
    let Some(doc) = read(file)? else {
        return Ok(None);
    };
    let doc = Value::Object(doc);
    let server = doc
        .pointer("/clusters/0/cluster/server")
        .and_then(Value::as_str);
    let text = doc.to_string();
    server
        .map(|server| from_guest(&text, name, server.into()))
        .transpose()
}

fn edit(
    file: &Path,
    change: impl FnOnce(&mut Document) -> std::result::Result<(), NotAList>,
) -> Result<()> {
    // A link stays a link: what it points to is changed.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).map_err(|e| unwritable(&target, &e))?;
    }
    let _lock = Lock::take(&target)?;
    let before = read(&target)?;
    let mut doc = before.clone().unwrap_or_else(skeleton);
    change(&mut doc).map_err(|e| {
        CliError::new("HOST_KUBECONFIG_INVALID", format!("in your kubeconfig {e}"))
            .fix("kubectl config view")
    })?;
    if before.as_ref() == Some(&doc) {
        return Ok(());
    }
    write(&target, &doc)
}

fn read(file: &Path) -> Result<Option<Document>> {
    let bad = |why: String| {
        CliError::new(
            "HOST_KUBECONFIG_INVALID",
            format!("{} is not a kubeconfig", file.display()),
        )
        .why(why)
        .fix(format!("mv {0} {0}.bad && cadet start", file.display()))
    };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // No text at all.
        Err(e) if e.kind() == ErrorKind::InvalidData => return Err(bad(e.to_string())),
        Err(e) => {
            return Err(CliError::new(
                "HOST_NOT_READABLE",
                format!("cannot read {}", file.display()),
            )
            .why(e.to_string())
            .fix(ELSEWHERE));
        }
    };
    if text.trim().is_empty() {
        return Ok(Some(skeleton()));
    }
    match serde_saphyr::from_str::<Value>(&text).map_err(|e| bad(e.to_string()))? {
        Value::Object(doc) => Ok(Some(doc)),
        _ => Err(bad("its top level is not a mapping".into())),
    }
}

fn write(file: &Path, doc: &Document) -> Result<()> {
    let text = serde_saphyr::to_string(&Value::Object(doc.clone())).map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "a kubeconfig could not be rendered").why(e.to_string())
    })?;
    machine::write_private(file, text.as_bytes()).map_err(|e| e.fix(ELSEWHERE))
}

fn unwritable(file: &Path, e: &std::io::Error) -> CliError {
    let id = if e.kind() == ErrorKind::StorageFull {
        "HOST_DISK_FULL"
    } else {
        "HOST_NOT_READABLE"
    };
    CliError::new(id, format!("cannot write {}", file.display()))
        .why(e.to_string())
        .fix(ELSEWHERE)
}

/// In lock files that are ours.
const OURS: &[u8] = b"cadet";

struct Lock {
    path: PathBuf,
    /// Locked for as long as the process lives.
    _file: File,
}

impl Lock {
    fn take(target: &Path) -> Result<Self> {
        let path = machine::with_suffix(target, ".lock");
        let give_up = Instant::now() + LOCK_DEADLINE;
        loop {
            match File::create_new(&path) {
                Ok(mut file) => {
                    // Where the file system knows no locks, what is left behind must be removed
                    // by hand, as kubectl's.
                    if file.try_lock().is_ok()
                        && let Err(e) = file.write_all(OURS)
                    {
                        let _ = fs::remove_file(&path);
                        return Err(unwritable(target, &e));
                    }
                    return Ok(Self { path, _file: file });
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists && clear_abandoned(&path) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists && Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    return Err(CliError::new(
                        "HOST_KUBECONFIG_INVALID",
                        format!("{} is locked by another program", target.display()),
                    )
                    .why(format!("{} exists", path.display()))
                    .fix(format!("rm {} && cadet start", path.display())));
                }
                Err(e) => return Err(unwritable(target, &e)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it cannot be removed the next writer is told its path.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the lock file of one of our commands that ended without doing so; true if it did.
fn clear_abandoned(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let mut text = Vec::new();
    let is_ours = file.read_to_end(&mut text).is_ok() && text == OURS;
    // Whoever gets the kernel's lock is the only one that removes this file; its owner, while it
    // lives, has it.
    is_ours && file.try_lock().is_ok() && is_at(&file, path) && fs::remove_file(path).is_ok()
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(mine), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (mine.dev(), mine.ino()) == (there.dev(), there.ino())
}

/// A file that is open keeps its name there until it is closed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            name: "cadet".into(),
            server: "https://127.0.0.1:4".into(),
            ca: "Y2E=".into(),
            cert: "Y2VydA==".into(),
            key: "a2V5".into(),
        }
    }

    const OTHERS: &str = "apiVersion: v1\nkind: Config\ncurrent-context: work\n\
        clusters:\n- name: work\n  cluster:\n    server: https://work:6443\n    proxy-url: 'socks5://x'\n\
        users:\n- name: work\n  user:\n    exec:\n      command: login\n      args: ['yes', '0777']\n\
        contexts:\n- name: work\n  context:\n    cluster: work\n    user: work\n    namespace: 'on'\n\
        x-future: {a: [1, 2.5, null]}\n";

    #[test]
    fn other_contexts_survive_merge_and_removal_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        fs::write(&file, OTHERS).unwrap();
        let before = read(&file).unwrap().unwrap();
        merge(&file, &access(), false).unwrap();
        assert!(holds(&file, &access(), false));
        let merged = read(&file).unwrap().unwrap();
        assert_eq!(merged["current-context"], "cadet");
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);
        remove(&file, "cadet").unwrap();
        let mut after = read(&file).unwrap().unwrap();
        after.insert("current-context".into(), json!("work"));
        assert_eq!(after, before);
        assert!(!machine::with_suffix(&file, ".lock").exists());
    }

    #[test]
    fn keep_context_keeps_it_and_the_users_namespace_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        fs::write(&file, OTHERS).unwrap();
        merge(&file, &access(), true).unwrap();
        let mut doc = read(&file).unwrap().unwrap();
        assert_eq!(doc["current-context"], "work");
        doc["contexts"][1]["context"]["namespace"] = json!("mine");
        write(&file, &doc).unwrap();
        merge(
            &file,
            &Access {
                server: "https://127.0.0.1:5".into(),
                ..access()
            },
            true,
        )
        .unwrap();
        let doc = read(&file).unwrap().unwrap();
        assert_eq!(doc["contexts"][1]["context"]["namespace"], "mine");
        assert_eq!(
            doc["clusters"][1]["cluster"]["server"],
            "https://127.0.0.1:5"
        );
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        for text in [&b"clusters: 7\n"[..], b"- a\n", b"a: [\n", b"\xff\xfe"] {
            let file = dir.path().join("config");
            fs::write(&file, text).unwrap();
            let error = merge(&file, &access(), false).unwrap_err();
            assert_eq!(error.topic.id, "HOST_KUBECONFIG_INVALID");
            assert!(error.fix.is_some());
            assert_eq!(fs::read(&file).unwrap(), text);
        }
    }

    #[test]
    fn the_lock_of_a_command_that_was_killed_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let lock = machine::with_suffix(&file, ".lock");
        fs::write(&lock, OURS).unwrap();
        merge(&file, &access(), false).unwrap();
        assert!(holds(&file, &access(), false));
        assert!(!lock.exists());
        // That of a command that works stays, and so does another program's.
        let works = Lock::take(&file).unwrap();
        assert!(!clear_abandoned(&lock));
        drop(works);
        fs::write(&lock, "").unwrap();
        assert!(!clear_abandoned(&lock));
        assert!(lock.exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_keys_stay_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("config"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        merge(&link, &access(), false).unwrap();
        assert!(link.is_symlink());
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let alone = dir.path().join("alone");
        write_alone(&alone, &access()).unwrap();
        assert_eq!(read_alone(&alone, "cadet").unwrap(), Some(access()));
    }
}
