//! An acknowledged write survives: reopening, kill -9, and the order of barrier and reply.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use cadet_store::{Barrier, Change, CommitError, LocalStore, OpenError, Options, RedbDisk, Store};

fn open(path: &Path) -> LocalStore {
    let disk = RedbDisk::open(path).expect("open");
    LocalStore::open(disk, Options::default()).expect("load")
}

fn body(n: u64) -> Bytes {
    Bytes::from(format!("{n}:").into_bytes().repeat(300))
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let large = Bytes::from(vec![b'x'; 3 << 20]);
    {
        let store = open(&path);
        store
            .commit("/a", Change::Create(body(1)))
            .await
            .expect("create");
        store
            .commit("/b", Change::Create(body(2)))
            .await
            .expect("create");
        let update = Change::Update {
            value: large.clone(),
            expect: 1,
        };
        store.commit("/a", update).await.expect("update");
        store
            .commit("/b", Change::Delete { expect: 2 })
            .await
            .expect("delete");
    }
    let store = open(&path);
    assert_eq!(
        store.revision(),
        4,
        "the revision never goes back, even after a delete"
    );
    let listing = store.list("/", None).expect("now");
    assert_eq!(listing.entries.len(), 1);
    assert_eq!(listing.entries[0].value, large);
    assert_eq!(
        (listing.entries[0].created, listing.entries[0].modified),
        (1, 3)
    );
    assert!(
        store.watch(3).is_err(),
        "history does not outlive the process"
    );
    assert_eq!(store.commit("/c", Change::Create(body(3))).await, Ok(5));
}

/// Not a test of its own: the victim of the next one, which starts it with a folder.
#[tokio::test(flavor = "multi_thread")]
async fn victim_writes_until_killed() {
    let Ok(path) = std::env::var("CADET_STORE_VICTIM") else {
        return;
    };
    let store = Arc::new(open(Path::new(&path)));
    let from = store.revision();
    let next = Arc::new(AtomicU64::new(from));
    let out = Arc::new(Mutex::new(std::io::stderr()));
    for _ in 0..8 {
        let (store, next, out) = (Arc::clone(&store), Arc::clone(&next), Arc::clone(&out));
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                store
                    .commit(&format!("/k/{n}"), Change::Create(body(n)))
                    .await
                    .expect("commit");
                use std::io::Write;
                let mut out = out.lock().expect("stderr");
                writeln!(out, "acked {n}").expect("parent reads");
            }
        });
    }
    std::future::pending::<()>().await;
}

#[test]
fn no_acknowledged_write_is_lost_by_kill_nine() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let mut acked: Vec<u64> = vec![];
    for round in 0..4_usize {
        let mut victim = Command::new(std::env::current_exe().expect("self"))
            .args(["--exact", "victim_writes_until_killed", "--nocapture"])
            .env("CADET_STORE_VICTIM", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut lines = BufReader::new(victim.stderr.take().expect("pipe")).lines();
        let mut seen = 0;
        for line in lines.by_ref() {
            let line = line.expect("line");
            if let Some(n) = line.strip_prefix("acked ") {
                acked.push(n.parse().expect("number"));
                seen += 1;
            }
            if seen == 150 + 37 * round {
                break;
            }
        }
        victim.kill().expect("kill -9");
        victim.wait().expect("reap");
        // What it had acknowledged between our decision and the signal counts too; its
        // last line may be cut in half, which is no acknowledgement.
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acked ").and_then(|n| n.parse().ok()) {
                acked.push(n);
            }
        }
        let store = open(&path);
        for n in &acked {
            let entry = store.get(&format!("/k/{n}"));
            // A number cut short by the kill is a smaller number, also acknowledged.
            assert_eq!(
                entry.map(|e| e.value),
                Some(body(*n)),
                "write {n}, round {round}"
            );
        }
        assert!(store.revision() >= acked.len() as u64);
    }
}

/// A barrier that waits until told, so that the order of things can be seen.
struct Gate {
    entered: mpsc::Sender<()>,
    open: mpsc::Receiver<std::io::Result<()>>,
}

impl Barrier for Gate {
    fn sync(&mut self) -> std::io::Result<()> {
        self.entered.send(()).expect("test listens");
        self.open.recv().expect("test answers")
    }
}

fn gated(
    path: &Path,
) -> (
    Arc<LocalStore>,
    mpsc::Receiver<()>,
    mpsc::Sender<std::io::Result<()>>,
) {
    let (entered, has_entered) = mpsc::channel();
    let (let_go, open) = mpsc::channel();
    let disk = RedbDisk::open_with(path, Gate { entered, open }).expect("open");
    let store = LocalStore::open(disk, Options::default()).expect("load");
    (Arc::new(store), has_entered, let_go)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_before_the_barrier_returns() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, has_entered, let_go) = gated(&folder.path().join("store"));
    let replied = Arc::new(AtomicBool::new(false));
    let commit = {
        let (store, replied) = (Arc::clone(&store), Arc::clone(&replied));
        tokio::spawn(async move {
            let result = store.commit("/a", Change::Create(body(1))).await;
            replied.store(true, Ordering::SeqCst);
            result
        })
    };
    tokio::task::block_in_place(|| has_entered.recv()).expect("the barrier is reached");
    assert!(
        !replied.load(Ordering::SeqCst),
        "replied before the barrier"
    );
    assert_eq!(
        (store.revision(), store.get("/a")),
        (0, None),
        "visible before the barrier"
    );
    // Writes that arrive meanwhile share the next barrier.
    let more: Vec<_> = (0..20)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .commit(&format!("/m/{n}"), Change::Create(body(n)))
                    .await
            })
        })
        .collect();
    let_go.send(Ok(())).expect("writer waits");
    assert_eq!(commit.await.expect("task"), Ok(1));
    let mut barriers = 0;
    while store.revision() < 21 {
        tokio::task::block_in_place(|| has_entered.recv()).expect("next barrier");
        barriers += 1;
        // The revision moves right after the barrier: wait for the writes of this batch.
        let before = store.revision();
        let_go.send(Ok(())).expect("writer waits");
        while store.revision() == before {
            tokio::task::yield_now().await;
        }
    }
    for task in more {
        task.await.expect("task").expect("commit");
    }
    assert!((1..=20).contains(&barriers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_barrier_fails_the_write_and_ends_writing() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, _has_entered, let_go) = gated(&folder.path().join("store"));
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let_go.send(Err(full())).expect("queued");
    let lost = store.commit("/a", Change::Create(body(1))).await;
    assert!(matches!(&lost, Err(CommitError::Disk { reason, .. }) if reason.contains("redb")));
    assert_eq!((store.revision(), store.get("/a")), (0, None));
    let after = store.commit("/b", Change::Create(body(1))).await;
    assert!(
        matches!(after, Err(CommitError::Disk { .. })),
        "no write after an unknown state"
    );
    assert!(store.fault().is_some_and(|fault| fault.contains("redb")));
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let _first = open(&path);
    assert!(matches!(
        RedbDisk::open(&path),
        Err(OpenError::Locked { .. })
    ));
}

/// Damage in a part of the file that is in use must be an error, never a panic, a wrong
/// value or a store that looks merely older.
#[tokio::test]
async fn damage_is_an_error_and_never_a_wrong_value() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    {
        let store = open(&path);
        for n in 0..400 {
            store
                .commit(&format!("/k/{n}"), Change::Create(body(n)))
                .await
                .expect("create");
        }
    }
    let database = path.join("objects.redb");
    let good = std::fs::read(&database).expect("file");
    let mut refused = 0;
    for part in 1..8 {
        let mut bad = good.clone();
        let at = good.len() * part / 8;
        bad[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&database, &bad).expect("damage");
        match RedbDisk::open(&path).and_then(|d| LocalStore::open(d, Options::default())) {
            Err(OpenError::Corrupt { .. } | OpenError::Io { .. }) => refused += 1,
            Err(other) => panic!("damage at {at}: {other}"),
            Ok(store) => {
                let listing = store.list("/", None).expect("now");
                // The damage hit a free page.
                assert_eq!((listing.entries.len(), store.revision()), (400, 400));
                for entry in listing.entries {
                    let n = entry.key.trim_start_matches("/k/").parse().expect("number");
                    assert_eq!(entry.value, body(n), "damage at {at}");
                }
            }
        }
    }
    assert!(refused > 0, "damage in the middle is noticed");
    std::fs::write(&database, &good).expect("repair");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("deep/store");
    let _store = open(&path);
    let mode = std::fs::metadata(&path)
        .expect("folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_store_of_the_first_cadet_is_refused_instead_of_looking_empty() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    std::fs::create_dir(&path).expect("folder");
    std::fs::write(path.join("db"), b"sled").expect("file");
    let refused = RedbDisk::open(&path).err().map(|e| e.to_string());
    assert!(refused.is_some_and(|words| words.contains("earlier Cadet")));
}
