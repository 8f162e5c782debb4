//! A power cut at any moment under load costs no acknowledged write.
#![cfg(target_os = "linux")]

mod lossy;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cadet_store::{Change, LocalStore, Options, RedbDisk, Revision, Store};
use lossy::{Dice, Lossy};

const WRITERS: u64 = 8;
const KEYS: u64 = 40;
const CUTS: u64 = 60;
/// Writes; fewer prove nothing.
const ENOUGH: u64 = 1000;

/// The last acknowledged state of each key: its revision, and its value unless deleted.
type Acknowledged = Arc<Mutex<HashMap<String, (Revision, Option<Bytes>)>>>;

fn open_redb(path: &Path) -> Result<LocalStore, String> {
    let disk = RedbDisk::open(path).map_err(|e| e.to_string())?;
    LocalStore::open(disk, Options::default()).map_err(|e| e.to_string())
}

/// Creates, updates and deletes its own keys until told to stop.
async fn write(store: Arc<LocalStore>, seen: Acknowledged, writer: u64, stop: Arc<AtomicBool>) {
    let mut dice = Dice::new(writer + 1);
    while !stop.load(Ordering::Relaxed) {
        let key = format!("/things/{writer}/{}", dice.below(KEYS));
        let large = dice.below(10) == 0;
        let size = 50 + dice.below(if large { 30_000 } else { 2_000 });
        let value = Bytes::from(vec![b'a' + dice.below(26) as u8; size as usize]);
        let (change, left) = match store.get(&key) {
            None => (Change::Create(value.clone()), Some(value)),
            Some(old) if dice.below(5) == 0 => {
                let expect = old.modified;
                (Change::Delete { expect }, None)
            }
            Some(old) => {
                let expect = old.modified;
                let change = Change::Update {
                    value: value.clone(),
                    expect,
                };
                (change, Some(value))
            }
        };
        let revision = store.commit(&key, change).await.expect("the disk is sound");
        seen.lock().expect("sound").insert(key, (revision, left));
    }
}

fn check(store: &LocalStore, seen: &HashMap<String, (Revision, Option<Bytes>)>) -> Vec<String> {
    let mut lost = vec![];
    for (key, (revision, value)) in seen {
        let found = store.get(key);
        let newer = found.as_ref().is_some_and(|e| e.modified > *revision);
        let gone_later = found.is_none() && store.revision() > *revision;
        let same = found.as_ref().map(|e| &e.value) == value.as_ref();
        // A later, unacknowledged change may have made it; an older state may not return.
        if !(same || newer || gone_later) {
            lost.push(format!("{key} at {revision}"));
        }
        if store.revision() < *revision {
            lost.push(format!(
                "{key}: store is at {} before {revision}",
                store.revision()
            ));
        }
    }
    lost
}

// Prints the figures of the proof.
#[expect(clippy::print_stdout)]
fn survive(open: fn(&Path) -> Result<LocalStore, String>) {
    let folder = tempfile::tempdir().expect("folder");
    let mount = folder.path().join("mount");
    std::fs::create_dir(&mount).expect("mount point");
    let disk = match Lossy::mount(&mount) {
        Ok(disk) => disk,
        // A machine without FUSE cannot run this test; everywhere else a failure counts.
        Err(why) if std::fs::File::open("/dev/fuse").is_err() => {
            println!("SKIPPED: no /dev/fuse on this machine, so no power was cut ({why})");
            return;
        }
        Err(why) => panic!("mount the file system under test (root, or fuse3): {why}"),
    };
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let store = Arc::new(open(&disk.path.join("store")).expect("a new store"));
    let seen = Acknowledged::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| runtime.spawn(write(store.clone(), seen.clone(), n, stop.clone())))
        .collect();
    let seed = std::env::var("CADET_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let mut dice = Dice::new(seed.unwrap_or_else(|| u64::from(std::process::id())));
    let mut failures = vec![];
    let mut checked = 0;
    let mut cuts = 0;
    // A slow disk is given more cuts, until there was enough to lose.
    while cuts < CUTS || store.revision() < ENOUGH {
        let alive = writers.iter().any(|writer| !writer.is_finished());
        assert!(alive, "every writer has failed: {:?}", store.fault());
        let cut = cuts;
        cuts += 1;
        std::thread::sleep(Duration::from_millis(1 + dice.below(60)));
        let before = seen.lock().expect("sound").clone();
        let target = folder.path().join(format!("cut{cut}"));
        disk.cut(&mut dice, &target).expect("materialize");
        checked += before.len();
        match open(&target.join("store")) {
            Ok(store) => failures.extend(check(&store, &before)),
            Err(why) => failures.push(format!(
                "cut {cut} after {} writes: {why}",
                store.revision()
            )),
        }
        std::fs::remove_dir_all(&target).expect("tidy");
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        runtime.block_on(writer).expect("writer");
    }
    let revision = store.revision();
    println!("{cuts} power cuts over {revision} writes, {checked} keys compared");
    assert!(
        failures.is_empty(),
        "{} failures: {:#?}",
        failures.len(),
        &failures[..failures.len().min(8)]
    );
}

#[test]
fn every_acknowledged_write_survives_power_cuts() {
    survive(open_redb);
}
