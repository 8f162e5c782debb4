//! The promise of the seam, asked of every engine alike.

use std::sync::Arc;

use bytes::Bytes;
use cadet_store::{
    Change, CommitError, EtcdOptions, EtcdStore, LocalStore, MemoryDisk, Options, RedbDisk,
    RevisionError, Store, WatchEnd,
};

#[allow(dead_code)] // a part of it is enough here
mod etcd;

fn on_every_engine(options: Options, test: impl AsyncFn(Arc<dyn Store>)) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let memory = LocalStore::open(MemoryDisk, options).expect("memory");
    runtime.block_on(test(Arc::new(memory)));
    let folder = tempfile::tempdir().expect("folder");
    let disk = RedbDisk::open(&folder.path().join("store")).expect("redb");
    let redb = LocalStore::open(disk, options).expect("load");
    runtime.block_on(test(Arc::new(redb)));
    let etcd = etcd::Etcd::start();
    runtime.block_on(async {
        let open = async |prefix: &str| {
            let options = EtcdOptions {
                prefix: prefix.to_owned(),
                sizes: options,
                ..etcd.options()
            };
            EtcdStore::open(options).await.expect("etcd")
        };
        // A neighbour has used up revisions before we begin.
        let neighbour = open("/neighbour/").await;
        for n in 0..3 {
            let key = format!("/n/{n}");
            neighbour.commit(&key, create("")).await.expect("create");
        }
        test(Arc::new(open("/cadet/").await)).await;
    });
}

/// Commits a new key; its revision.
async fn created(store: &Arc<dyn Store>, key: &str, text: &str) -> u64 {
    store.commit(key, create(text)).await.expect("create")
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
        let one = created(&store, "/a/1", "x").await;
        assert_eq!(store.commit("/b/1", create("y")).await, Ok(one + 1));
        let update = Change::Update {
            value: value("z"),
            expect: one,
        };
        assert_eq!(store.commit("/a/1", update).await, Ok(one + 2));
        let delete = Change::Delete { expect: one + 1 };
        assert_eq!(store.commit("/b/1", delete).await, Ok(one + 3));
        let entry = store.get("/a/1").expect("kept");
        assert_eq!(
            (entry.created, entry.modified, entry.value),
            (one, one + 2, value("z"))
        );
        assert_eq!(store.get("/b/1"), None);
        assert_eq!(store.revision(), one + 3);
        assert_eq!(store.fresh().await, Ok(one + 3));
        assert_eq!(store.commit("/b/1", create("again")).await, Ok(one + 4));
        assert_eq!(store.get("/b/1").map(|e| e.created), Some(one + 4));
    });
}

#[test]
fn a_writer_who_read_something_older_is_refused_and_uses_no_revision() {
    on_every_engine(Options::default(), async |store| {
        let one = created(&store, "/a", "1").await;
        let key: Arc<str> = "/a".into();
        assert_eq!(
            store.commit("/a", create("2")).await,
            Err(CommitError::Exists {
                key: key.clone(),
                modified: one
            })
        );
        assert_eq!(
            store
                .commit(
                    "/a",
                    Change::Update {
                        value: value("2"),
                        expect: one + 9
                    }
                )
                .await,
            Err(CommitError::Conflict {
                key: key.clone(),
                expected: one + 9,
                found: one
            })
        );
        assert_eq!(
            store.commit("/b", Change::Delete { expect: one }).await,
            Err(CommitError::Missing { key: "/b".into() })
        );
        assert_eq!(store.revision(), one);
    });
}

#[test]
fn of_many_racing_writers_exactly_one_wins_each_revision() {
    on_every_engine(Options::default(), async |store| {
        let one = created(&store, "/n", "0").await;
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
        assert_eq!(store.revision(), one + 400);
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
            let one = created(&store, "/k/0", "").await;
            for n in 1..50 {
                created(&store, &format!("/k/{n}"), "").await;
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
            let mut watches: Vec<_> = [one - 1, one + 9, one + 49]
                .map(|from| (from, store.watch(from).expect("in window")))
                .into();
            for (from, watch) in &mut watches {
                for expected in *from + 1..one + 400 {
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
        let one = created(&store, "/a", "1").await;
        store
            .commit(
                "/a",
                Change::Update {
                    value: value("2"),
                    expect: one,
                },
            )
            .await
            .expect("update");
        store
            .commit("/a", Change::Delete { expect: one + 1 })
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
            let one = created(&store, "/k/0", "").await;
            for n in 1..30 {
                created(&store, &format!("/k/{n}"), "").await;
            }
            let too_old = RevisionError::TooOld {
                asked: one + 18,
                oldest: one + 19,
            };
            assert_eq!(store.watch(one + 18).err(), Some(too_old));
            assert_eq!(store.list("/", Some(one + 18)).err(), Some(too_old));
            let kept = store.list("/", Some(one + 19)).expect("kept");
            assert_eq!(kept.entries.len(), 20);
            assert!(store.watch(one + 19).is_ok());
            let future = RevisionError::Future {
                asked: one + 30,
                newest: one + 29,
            };
            assert_eq!(store.watch(one + 30).err(), Some(future));
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
            let one = created(&store, "/k/0", "").await;
            for n in 1..40 {
                created(&store, &format!("/k/{n}"), "").await;
            }
            assert!(matches!(
                slow.next().await,
                Err(WatchEnd::Lagged { missed: 32 })
            ));
            let mut again = store.watch(0).expect("window");
            assert_eq!(again.next().await.map(|e| e.revision), Ok(one));
        },
    );
}
