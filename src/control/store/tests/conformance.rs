//! The promise of the seam, asked of every engine alike.

use std::sync::Arc;

use bytes::Bytes;
use cadet_store::{
    Change, CommitError, LocalStore, MemoryDisk, Options, RedbDisk, RevisionError, Store, WatchEnd,
};

fn on_every_engine(options: Options, test: impl AsyncFn(Arc<dyn Store>)) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let memory = LocalStore::open(MemoryDisk, options).expect("memory");
    runtime.block_on(test(Arc::new(memory)));
    let folder = tempfile::tempdir().expect("folder");
    let disk = RedbDisk::open(&folder.path().join("store")).expect("redb");
    let redb = LocalStore::open(disk, options).expect("load");
    runtime.block_on(test(Arc::new(redb)));
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn create(text: &str) -> Change {
    Change::Create(value(text))
}

#[test]
fn one_revision_counts_every_change_of_every_key() {
    on_every_engine(Options::default(), async |store| {
        assert_eq!(store.revision(), 0);
        assert_eq!(store.commit("/a/1", create("x")).await, Ok(1));
        assert_eq!(store.commit("/b/1", create("y")).await, Ok(2));
        let update = Change::Update {
            value: value("z"),
            expect: 1,
        };
        assert_eq!(store.commit("/a/1", update).await, Ok(3));
        assert_eq!(
            store.commit("/b/1", Change::Delete { expect: 2 }).await,
            Ok(4)
        );
        let entry = store.get("/a/1").expect("kept");
        assert_eq!(
            (entry.created, entry.modified, entry.value),
            (1, 3, value("z"))
        );
        assert_eq!(store.get("/b/1"), None);
        assert_eq!(store.revision(), 4);
        assert_eq!(store.commit("/b/1", create("again")).await, Ok(5));
        assert_eq!(store.get("/b/1").map(|e| e.created), Some(5));
    });
}

#[test]
fn a_writer_who_read_something_older_is_refused_and_uses_no_revision() {
    on_every_engine(Options::default(), async |store| {
        store.commit("/a", create("1")).await.expect("create");
        let key: Arc<str> = "/a".into();
        assert_eq!(
            store.commit("/a", create("2")).await,
            Err(CommitError::Exists {
                key: key.clone(),
                modified: 1
            })
        );
        assert_eq!(
            store
                .commit(
                    "/a",
                    Change::Update {
                        value: value("2"),
                        expect: 9
                    }
                )
                .await,
            Err(CommitError::Conflict {
                key: key.clone(),
                expected: 9,
                found: 1
            })
        );
        assert_eq!(
            store.commit("/b", Change::Delete { expect: 1 }).await,
            Err(CommitError::Missing { key: "/b".into() })
        );
        assert_eq!(store.revision(), 1);
    });
}

#[test]
fn of_many_racing_writers_exactly_one_wins_each_revision() {
    on_every_engine(Options::default(), async |store| {
        store.commit("/n", create("0")).await.expect("create");
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for _ in 0..25 {
                        loop {
                            let entry = store.get("/n").expect("there");
                            let text = String::from_utf8(entry.value.to_vec()).expect("text");
                            let next = text.parse::<u64>().expect("number") + 1;
                            let change = Change::Update {
                                value: value(&next.to_string()),
                                expect: entry.modified,
                            };
                            if store.commit("/n", change).await.is_ok() {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("task");
        }
        assert_eq!(store.get("/n").map(|e| e.value), Some(value("400")));
        assert_eq!(store.revision(), 401);
    });
}

#[test]
fn a_watch_sees_every_change_once_in_order_while_writers_write() {
    on_every_engine(
        Options {
            history: 5000,
            ..Options::default()
        },
        async |store| {
            for n in 0..50 {
                store
                    .commit(&format!("/k/{n}"), create(""))
                    .await
                    .expect("create");
            }
            let writer = {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 50..400 {
                        store
                            .commit(&format!("/k/{n}"), create(""))
                            .await
                            .expect("create");
                    }
                })
            };
            let mut watches: Vec<_> = [0, 10, 50]
                .map(|from| (from, store.watch(from).expect("in window")))
                .into();
            for (from, watch) in &mut watches {
                for expected in *from + 1..=400 {
                    assert_eq!(watch.next().await.map(|e| e.revision), Ok(expected));
                }
            }
            writer.await.expect("writer");
        },
    );
}

#[test]
fn events_carry_both_sides_of_a_change() {
    on_every_engine(Options::default(), async |store| {
        let mut watch = store.watch(0).expect("start");
        store.commit("/a", create("1")).await.expect("create");
        store
            .commit(
                "/a",
                Change::Update {
                    value: value("2"),
                    expect: 1,
                },
            )
            .await
            .expect("update");
        store
            .commit("/a", Change::Delete { expect: 2 })
            .await
            .expect("delete");
        let mut sides = vec![];
        for _ in 0..3 {
            let event = watch.next().await.expect("event");
            let text = |e: &Option<cadet_store::Entry>| {
                e.as_ref()
                    .map(|e| String::from_utf8_lossy(&e.value).into_owned())
            };
            sides.push((text(&event.previous), text(&event.current)));
        }
        let one = || Some("1".to_owned());
        let two = || Some("2".to_owned());
        assert_eq!(sides, [(None, one()), (one(), two()), (two(), None)]);
    });
}

#[test]
fn history_is_bounded_and_says_so() {
    on_every_engine(
        Options {
            history: 10,
            ..Options::default()
        },
        async |store| {
            for n in 0..30 {
                store
                    .commit(&format!("/k/{n}"), create(""))
                    .await
                    .expect("create");
            }
            let too_old = RevisionError::TooOld {
                asked: 19,
                oldest: 20,
            };
            assert_eq!(store.watch(19).err(), Some(too_old));
            assert_eq!(store.list("/", Some(19)).err(), Some(too_old));
            assert_eq!(store.list("/", Some(20)).expect("kept").entries.len(), 20);
            assert!(store.watch(20).is_ok());
            let future = RevisionError::Future {
                asked: 31,
                newest: 30,
            };
            assert_eq!(store.watch(31).err(), Some(future));
        },
    );
}

#[test]
fn a_watcher_that_does_not_read_is_cut_and_can_resume() {
    on_every_engine(
        Options {
            watch_buffer: 8,
            ..Options::default()
        },
        async |store| {
            let mut slow = store.watch(0).expect("start");
            for n in 0..40 {
                store
                    .commit(&format!("/k/{n}"), create(""))
                    .await
                    .expect("create");
            }
            assert!(matches!(
                slow.next().await,
                Err(WatchEnd::Lagged { missed: 32 })
            ));
            let mut again = store.watch(0).expect("window");
            assert_eq!(again.next().await.map(|e| e.revision), Ok(1));
        },
    );
}
