//! A machine's state into a file and back, by QEMU's migration: which commands in which order,
//! for each version of QEMU.
//!
//! ```text
//! out   stop ─ capabilities ─ parameters ─ file ─ migrate ─ query-migrate … completed
//! in    (-incoming defer) capabilities ─ file ─ migrate-incoming ─ query-status … paused
//! ```
//! The file travels to QEMU as an open descriptor: QEMU may have become a user that can open
//! nothing here. `fd:` takes it up to QEMU 8.1, from 8.2 on `file:/dev/fdset/N` does
//! (qapi/migration.json; docs/about/deprecated, 9.1).

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::VmError;
use crate::qmp::Qmp;

/// For one command.
const ASK: Duration = Duration::from_secs(10);
/// For a whole state; half a second on a quiet computer, but disks may be slow and full of work.
const WHOLE: Duration = Duration::from_secs(120);
/// Between two looks at how far it is; there are no events without another capability.
const POLL: Duration = Duration::from_millis(10);
/// Bytes a second: no limit worth the name. QEMU's own is for networks.
const BANDWIDTH: u64 = 1 << 40;
/// From this version on `mapped-ram` is known.
const MAPPED: (u64, u64, u64) = (9, 0, 0);
/// From this version on `file:` is known.
const FILE: (u64, u64, u64) = (8, 2, 0);
/// Name of the descriptor in QEMU.
const FD_NAME: &str = "cadet-state";

/// How the memory gets into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One page after the other, as they come.
    Stream,
    /// Each page at its own place, so that it is read in large pieces (`mapped-ram`, QEMU 9.0).
    Mapped,
    /// Not at all: it lies in a file of its own already (`x-ignore-shared`).
    Outside,
}

impl Layout {
    /// The best for a whole state in one file.
    pub fn whole(version: (u64, u64, u64)) -> Layout {
        if version >= MAPPED {
            Layout::Mapped
        } else {
            Layout::Stream
        }
    }

    /// What is on and off for it; all that this version knows, because an earlier state may
    /// have been of another layout.
    fn capabilities(self, version: (u64, u64, u64)) -> Value {
        let one = |name: &str, on: bool| json!({ "capability": name, "state": on });
        let mut all = vec![one("x-ignore-shared", self == Layout::Outside)];
        if version >= MAPPED {
            all.push(one("mapped-ram", self == Layout::Mapped));
        }
        json!({ "capabilities": all })
    }
}

/// Writes the state of a guest that stands still into `file`.
///
/// # Errors
/// Those of QMP; [`VmError::Migration`] with QEMU's words.
pub async fn save(qmp: &mut Qmp, path: &Path, layout: Layout) -> Result<(), VmError> {
    agree(qmp, layout).await?;
    let limit = json!({ "max-bandwidth": BANDWIDTH });
    qmp.execute("migrate-set-parameters", limit, ASK).await?;
    let file = private(path)?;
    let handed = hand_over(qmp, path, &file).await?;
    qmp.execute("migrate", json!({ "uri": handed.uri }), ASK)
        .await?;
    let done = completed(qmp).await;
    give_back(qmp, handed).await;
    done
}

/// Reads a state from `path` into a machine that was started to wait for one. The guest stands
/// still afterwards.
///
/// # Errors
/// As [`save`]; [`VmError::QmpClosed`] if QEMU ended over it: its log says why.
pub async fn load(qmp: &mut Qmp, path: &Path, layout: Layout) -> Result<(), VmError> {
    agree(qmp, layout).await?;
    let file = File::open(path).map_err(|e| VmError::file("open", path, e))?;
    let handed = hand_over(qmp, path, &file).await?;
    let uri = json!({ "uri": handed.uri });
    qmp.execute("migrate-incoming", uri, ASK).await?;
    loaded(qmp).await?;
    give_back(qmp, handed).await;
    Ok(())
}

/// Ends the writing of a state that nobody waits for any more; none under way is fine.
///
/// # Errors
/// Those of QMP.
pub async fn abandon(qmp: &mut Qmp) -> Result<(), VmError> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let seen = qmp.execute("query-migrate", Value::Null, ASK).await?;
        match seen["status"].as_str() {
            None | Some("none" | "completed" | "failed" | "cancelled") => return Ok(()),
            Some(_) if began.elapsed() > WHOLE => {
                return Err(VmError::QmpDeadline {
                    what: "that it stops writing".into(),
                    deadline: WHOLE,
                });
            }
            Some(_) if !is_told => {
                qmp.execute("migrate_cancel", Value::Null, ASK).await?;
                is_told = true;
            }
            Some(_) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn agree(qmp: &mut Qmp, layout: Layout) -> Result<(), VmError> {
    let wanted = layout.capabilities(qmp.version);
    let set = qmp.execute("migrate-set-capabilities", wanted, ASK).await;
    set.map(drop)
}

/// A file that QEMU knows.
struct Handed {
    uri: String,
    fdset: Option<u64>,
}

#[cfg(unix)]
async fn hand_over(qmp: &mut Qmp, path: &Path, file: &File) -> Result<Handed, VmError> {
    if !qmp.carries_files() {
        return by_name(qmp, path);
    }
    if qmp.version < FILE {
        let name = json!({ "fdname": FD_NAME });
        qmp.execute_with_file("getfd", name, file, ASK).await?;
        return Ok(Handed {
            uri: format!("fd:{FD_NAME}"),
            fdset: None,
        });
    }
    let added = qmp
        .execute_with_file("add-fd", Value::Null, file, ASK)
        .await?;
    let set = added["fdset-id"]
        .as_u64()
        .ok_or_else(|| VmError::QmpProtocol(added.to_string()))?;
    Ok(Handed {
        uri: format!("file:/dev/fdset/{set}"),
        fdset: Some(set),
    })
}

#[cfg(not(unix))]
async fn hand_over(qmp: &mut Qmp, path: &Path, _: &File) -> Result<Handed, VmError> {
    by_name(qmp, path)
}

/// Where no descriptor can travel, QEMU opens the file itself.
fn by_name(qmp: &Qmp, path: &Path) -> Result<Handed, VmError> {
    if qmp.version < FILE {
        let (major, minor, _) = qmp.version;
        return Err(VmError::Migration(format!(
            "QEMU {major}.{minor} cannot open a file for it"
        )));
    }
    Ok(Handed {
        uri: format!("file:{}", path.display()),
        fdset: None,
    })
}

async fn give_back(qmp: &mut Qmp, handed: Handed) {
    if let Some(set) = handed.fdset {
        // QEMU closes it when it ends, or did so when the state was through; then it does not
        // know the set any more.
        let id = json!({ "fdset-id": set });
        let _ = qmp.execute("remove-fd", id, ASK).await;
    }
}

async fn completed(qmp: &mut Qmp) -> Result<(), VmError> {
    let began = Instant::now();
    loop {
        let seen = qmp.execute("query-migrate", Value::Null, ASK).await?;
        match seen["status"].as_str() {
            Some("completed") => return Ok(()),
            Some(status @ ("failed" | "cancelled")) => {
                let why = seen["error-desc"].as_str().unwrap_or(status);
                return Err(VmError::Migration(why.to_owned()));
            }
            _ if began.elapsed() > WHOLE => {
                // The guest must not stay bound to it.
                qmp.execute("migrate_cancel", Value::Null, ASK).await?;
                return Err(VmError::QmpDeadline {
                    what: "the machine's state".into(),
                    deadline: WHOLE,
                });
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Older versions answer nothing while they read, so each question has the whole time.
async fn loaded(qmp: &mut Qmp) -> Result<(), VmError> {
    let began = Instant::now();
    loop {
        let seen = qmp.execute("query-status", Value::Null, WHOLE).await?;
        match seen["status"].as_str() {
            Some("inmigrate") => {}
            Some("paused" | "prelaunch" | "postmigrate") => return Ok(()),
            Some("running") => {
                return Err(VmError::Migration(
                    "the guest runs already: its state was not of one that stands still".into(),
                ));
            }
            other => {
                let other = other.unwrap_or("nothing");
                return Err(VmError::Migration(format!("QEMU says {other}")));
            }
        }
        // Newer ones stay and tell; older ones end.
        let told = qmp.execute("query-migrate", Value::Null, WHOLE).await?;
        if told["status"] == "failed" {
            let why = told["error-desc"].as_str().unwrap_or("no reason was given");
            return Err(VmError::Migration(why.to_owned()));
        }
        if began.elapsed() > WHOLE {
            return Err(VmError::QmpDeadline {
                what: "the machine's state".into(),
                deadline: WHOLE,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What the guest's memory holds is nobody else's business.
fn private(path: &Path) -> Result<File, VmError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|e| VmError::file("create", path, e))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::config::QmpEndpoint;
    use crate::fake_qmp::{Heard, serve};

    const LONG: Duration = Duration::from_secs(120);

    type Said = Result<Value, &'static str>;

    async fn qemu(
        dir: &Path,
        version: (u64, u64, u64),
        answer: impl Fn(&str, &Value, usize) -> Said + Send + Sync + 'static,
    ) -> (Qmp, Heard) {
        let path = dir.join("q");
        let heard = serve(&path, version, answer);
        let qmp = Qmp::connect(&QmpEndpoint::Unix(path), LONG).await.unwrap();
        (qmp, heard)
    }

    fn plain(command: &str, before: usize) -> Said {
        Ok(match (command, before) {
            ("query-migrate", 0) => json!({"status": "active"}),
            ("query-migrate", _) => json!({"status": "completed"}),
            ("query-status", 0) => json!({"status": "inmigrate", "running": false}),
            ("query-status", _) => json!({"status": "paused", "running": false}),
            ("add-fd", _) => json!({"fdset-id": 7, "fd": 23}),
            _ => json!({}),
        })
    }

    #[tokio::test]
    async fn new_versions_write_each_page_at_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (mut qmp, heard) = qemu(dir.path(), (10, 0, 2), |c, _, n| plain(c, n)).await;
        let layout = Layout::whole(qmp.version);
        save(&mut qmp, &state, layout).await.unwrap();
        assert_eq!(
            heard.names(),
            [
                "migrate-set-capabilities",
                "migrate-set-parameters",
                "add-fd",
                "migrate",
                "query-migrate",
                "query-migrate",
                "remove-fd",
            ]
        );
        let on = heard.arguments("migrate-set-capabilities")["capabilities"].clone();
        assert_eq!(on[0]["state"], false);
        assert_eq!(on[1], json!({"capability": "mapped-ram", "state": true}));
        assert_eq!(heard.arguments("migrate")["uri"], "file:/dev/fdset/7");
        use std::os::unix::fs::PermissionsExt;
        let mode = state.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn old_versions_get_the_file_by_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (mut qmp, heard) = qemu(dir.path(), (7, 2, 22), |c, _, n| plain(c, n)).await;
        let layout = Layout::whole(qmp.version);
        assert_eq!(layout, Layout::Stream);
        save(&mut qmp, &state, layout).await.unwrap();
        assert_eq!(heard.arguments("getfd")["fdname"], FD_NAME);
        assert_eq!(heard.arguments("migrate")["uri"], "fd:cadet-state");
        let on = heard.arguments("migrate-set-capabilities")["capabilities"].clone();
        assert_eq!(on.as_array().unwrap().len(), 1, "it knows no mapped-ram");
    }

    #[tokio::test]
    async fn a_template_leaves_the_memory_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (mut qmp, heard) = qemu(dir.path(), (10, 0, 2), |c, _, n| plain(c, n)).await;
        save(&mut qmp, &state, Layout::Outside).await.unwrap();
        load(&mut qmp, &state, Layout::Outside).await.unwrap();
        let on = heard.arguments("migrate-set-capabilities")["capabilities"].clone();
        assert_eq!(
            on[0],
            json!({"capability": "x-ignore-shared", "state": true})
        );
        assert_eq!(on[1]["state"], false);
        let uri = heard.arguments("migrate-incoming")["uri"].clone();
        assert_eq!(uri, "file:/dev/fdset/7");
    }

    #[tokio::test]
    async fn failures_are_told_in_qemus_words() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (mut qmp, _) = qemu(dir.path(), (10, 0, 2), |command, _, n| match command {
            "query-migrate" => {
                Ok(json!({"status": "failed", "error-desc": "No space left on device"}))
            }
            "query-status" => Ok(json!({"status": "inmigrate", "running": false})),
            _ => plain(command, n),
        })
        .await;
        let error = save(&mut qmp, &state, Layout::Mapped).await.unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        let error = load(&mut qmp, &state, Layout::Mapped).await.unwrap_err();
        assert!(matches!(error, VmError::Migration(_)), "{error}");
    }

    #[tokio::test]
    async fn a_qemu_that_ends_over_it_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::write(&state, "state").unwrap();
        let (mut qmp, _) = qemu(dir.path(), (7, 2, 22), |command, _, n| match command {
            "query-status" => Err("close"),
            _ => plain(command, n),
        })
        .await;
        let error = load(&mut qmp, &state, Layout::Stream).await.unwrap_err();
        assert!(matches!(error, VmError::QmpClosed), "{error}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_abandoned_once_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (mut qmp, heard) = qemu(dir.path(), (10, 0, 2), |command, _, n| match (command, n) {
            ("query-migrate", 0) => Ok(json!({"status": "active"})),
            ("query-migrate", 1) => Ok(json!({"status": "cancelling"})),
            ("query-migrate", 2) => Ok(json!({"status": "cancelled"})),
            ("query-migrate", _) => Ok(json!({})),
            _ => plain(command, n),
        })
        .await;
        abandon(&mut qmp).await.unwrap();
        abandon(&mut qmp).await.unwrap();
        let names = heard.names();
        let cancels = names.iter().filter(|name| *name == "migrate_cancel");
        assert_eq!(cancels.count(), 1, "{names:?}");
        assert_eq!(names.len(), 5, "{names:?}");
    }

    #[tokio::test]
    async fn a_guest_that_would_run_at_once_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::write(&state, "state").unwrap();
        let (mut qmp, _) = qemu(dir.path(), (10, 0, 2), |command, _, n| match command {
            "query-status" => Ok(json!({"status": "running", "running": true})),
            _ => plain(command, n),
        })
        .await;
        let error = load(&mut qmp, &state, Layout::Mapped).await.unwrap_err();
        assert!(matches!(error, VmError::Migration(_)), "{error}");
    }
}
