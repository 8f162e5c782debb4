//! Several servers on one etcd: what one writes the others have, whatever breaks between.
#![allow(clippy::print_stdout)] // what was measured

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cadet_store::{
    Change, CommitError, EtcdOptions, EtcdStore, OpenError, Options, RevisionError, Store, Tls,
    WatchEnd,
};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

#[allow(dead_code)] // a part of it is enough here
mod etcd;

use etcd::door::Door;
use etcd::{Etcd, Files};

fn create(text: &str) -> Change {
    Change::Create(Bytes::copy_from_slice(text.as_bytes()))
}

async fn open(etcd: &Etcd) -> EtcdStore {
    EtcdStore::open(etcd.options()).await.expect("open")
}

/// Waits for events until the store has reached a revision.
async fn reach(store: &EtcdStore, revision: u64) {
    let mut watch = store.watch(store.revision()).expect("now");
    while store.revision() < revision {
        watch.next().await.expect("event");
    }
}

fn keys(store: &EtcdStore) -> Vec<String> {
    let listing = store.list("/", None).expect("now");
    listing.entries.iter().map(|e| e.key.to_string()).collect()
}

#[tokio::test]
async fn what_one_server_writes_the_other_knows_of_and_reads() {
    let etcd = Etcd::start();
    let (a, b) = (open(&etcd).await, open(&etcd).await);
    assert!(a.is_shared());
    let mut seen_by_b = b.watch(b.revision()).expect("now");
    for n in 0..50 {
        let key = format!("/pods/{n}");
        let written = a.commit(&key, create("x")).await.expect("create");
        assert_eq!(b.fresh().await, Ok(written));
        reach(&b, written).await;
        assert_eq!(b.get(&key).map(|e| e.modified), Some(written));
        let event = seen_by_b.next().await.expect("event");
        assert_eq!((event.revision, &**event.key()), (written, &*key));
    }
    // Each may change what the other wrote, and is refused what it did not read.
    let entry = b.get("/pods/7").expect("there");
    let update = |expect| Change::Update {
        value: Bytes::from_static(b"y"),
        expect,
    };
    let newer = b.commit("/pods/7", update(entry.modified)).await;
    let newer = newer.expect("update");
    assert_eq!(
        a.commit("/pods/7", update(entry.modified)).await,
        Err(CommitError::Conflict {
            key: "/pods/7".into(),
            expected: entry.modified,
            found: newer
        })
    );
    // Who was refused has read why.
    assert_eq!(a.get("/pods/7").map(|e| e.modified), Some(newer));
    // Another server begins with what is there.
    let c = open(&etcd).await;
    assert_eq!(keys(&c), keys(&a));
    assert_eq!(c.revision(), newer);
}

#[tokio::test]
async fn more_objects_than_one_page_are_taken_in() {
    let etcd = Etcd::start();
    let a = Arc::new(open(&etcd).await);
    let mut writers = JoinSet::new();
    for writer in 0..50 {
        let a = Arc::clone(&a);
        writers.spawn(async move {
            for n in 0..45 {
                let key = format!("/k/{writer}-{n}");
                a.commit(&key, create("x")).await.expect("create");
            }
        });
    }
    writers.join_all().await;
    let b = open(&etcd).await;
    assert_eq!(keys(&b).len(), 50 * 45);
    assert_eq!((keys(&b), b.revision()), (keys(&a), a.revision()));
}

#[tokio::test]
async fn of_decisions_under_one_guard_one_is_written() {
    let etcd = Etcd::start();
    let (a, b) = (open(&etcd).await, open(&etcd).await);
    let (at_a, at_b) = (a.guard("ips").await, b.guard("ips").await);
    let (at_a, at_b) = (at_a.expect("guard"), at_b.expect("guard"));
    let first = a.commit_guarded("/s/1", create("x"), &[&at_a]).await;
    let first = first.expect("first");
    assert_eq!(
        b.commit_guarded("/s/2", create("x"), &[&at_b]).await,
        Err(CommitError::Overtaken {
            key: "/s/2".into(),
            guard: "ips".into()
        })
    );
    assert_eq!(b.get("/s/2"), None);
    let at_b = b.guard("ips").await.expect("guard");
    assert_eq!((at_b.seen, at_b.newest), (first, first));
    let second = b.commit_guarded("/s/2", create("x"), &[&at_b]).await;
    assert_eq!(second, Ok(first + 1));
}

#[tokio::test]
async fn what_is_agreed_on_is_the_first_servers() {
    let etcd = Etcd::start();
    let (a, b) = (open(&etcd).await, open(&etcd).await);
    assert_eq!(a.agreed("authority").await, Ok(None));
    let (x, y) = (Bytes::from_static(b"x"), Bytes::from_static(b"y"));
    assert_eq!(a.agree("authority", x.clone()).await, Ok(x.clone()));
    assert_eq!(b.agree("authority", y).await, Ok(x.clone()));
    assert_eq!(b.agreed("authority").await, Ok(Some(x)));
}

#[tokio::test]
async fn an_etcd_killed_under_load_loses_nothing_acknowledged_and_is_taken_up_again() {
    let mut etcd = Etcd::start();
    let a = Arc::new(open(&etcd).await);
    let b = open(&etcd).await;
    let mut seen_by_b = b.watch(0).expect("start");
    let mut writers: JoinSet<Vec<(String, u64)>> = JoinSet::new();
    for writer in 0..8 {
        let a = Arc::clone(&a);
        writers.spawn(async move {
            let mut acknowledged = vec![];
            for n in 0..100 {
                let key = format!("/k/{writer}-{n}");
                loop {
                    match a.commit(&key, create("x")).await {
                        Ok(revision) => acknowledged.push((key, revision)),
                        // Perhaps it was written, perhaps not: both are allowed.
                        Err(CommitError::Unanswered { .. }) => {}
                        Err(CommitError::Unreachable { .. }) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            continue;
                        }
                        Err(other) => panic!("{other}"),
                    }
                    break;
                }
            }
            acknowledged
        });
    }
    for _ in 0..3 {
        reach(&b, b.revision() + 60).await;
        etcd.kill();
        // Reads go on while it is away.
        assert!(!keys(&a).is_empty());
        while a.fault().is_none() || b.fault().is_none() {
            tokio::task::yield_now().await;
        }
        assert!(a.fresh().await.is_err());
        etcd.run();
    }
    let acknowledged = writers.join_all().await.concat();
    // The last connection that broke may be noticed only now.
    let newest = loop {
        match a.fresh().await {
            Ok(newest) => break newest,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    reach(&b, newest).await;
    assert_eq!((a.fault(), b.fault()), (None, None));
    let c = open(&etcd).await;
    for (key, revision) in &acknowledged {
        for store in [&*a, &b, &c] {
            assert_eq!(store.get(key).map(|e| e.modified), Some(*revision), "{key}");
        }
    }
    // The watch of the other server has seen each of all changes once, in order.
    let mut revisions = vec![];
    while revisions.last() != Some(&newest) {
        revisions.push(seen_by_b.next().await.expect("event").revision);
    }
    assert!(revisions.is_sorted_by(|a, b| a < b));
    assert_eq!(revisions.len(), keys(&c).len());
    println!(
        "{} acknowledged, {} written",
        acknowledged.len(),
        revisions.len()
    );
}

#[tokio::test]
async fn writes_without_etcd_fail_at_once_and_say_so() {
    let mut etcd = Etcd::start();
    let a = open(&etcd).await;
    let one = a.commit("/k", create("x")).await.expect("create");
    etcd.kill();
    while a.fault().is_none() {
        tokio::task::yield_now().await;
    }
    let update = Change::Update {
        value: Bytes::from_static(b"y"),
        expect: one,
    };
    match a.commit("/k", update).await {
        Err(CommitError::Unreachable { reason, .. }) => {
            assert!(reason.contains("refused"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(a.guard("x").await.is_err());
    assert_eq!(a.get("/k").map(|e| e.modified), Some(one));
    assert!(matches!(
        EtcdStore::open(etcd.options()).await.err(),
        Some(OpenError::Etcd { .. })
    ));
}

#[tokio::test]
async fn what_etcd_does_not_take_is_refused_in_its_words() {
    let etcd = Etcd::start();
    let a = open(&etcd).await;
    match a.commit("/big", create(&"x".repeat(1_800_000))).await {
        Err(CommitError::Refused { reason, .. }) => {
            assert!(reason.contains("request is too large"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(a.get("/big"), None);
}

fn through(door: &Door, etcd: &Etcd) -> EtcdOptions {
    EtcdOptions {
        endpoints: vec![door.endpoint()],
        ..etcd.options()
    }
}

#[tokio::test]
async fn a_server_cut_off_for_a_while_catches_up_without_a_gap() {
    let etcd = Etcd::start();
    let mut door = Door::to(&etcd).await;
    let a = open(&etcd).await;
    let b = EtcdStore::open(through(&door, &etcd)).await.expect("open");
    let mut seen_by_b = b.watch(0).expect("start");
    door.shut().await;
    while b.fault().is_none() {
        tokio::task::yield_now().await;
    }
    let mut written = vec![];
    for n in 0..20 {
        let key = format!("/k/{n}");
        written.push(a.commit(&key, create("x")).await.expect("create"));
    }
    assert!(keys(&b).is_empty());
    door.open();
    for revision in written {
        assert_eq!(seen_by_b.next().await.map(|e| e.revision), Ok(revision));
    }
    assert_eq!(keys(&b), keys(&a));
}

#[tokio::test]
async fn a_server_that_missed_what_etcd_forgot_begins_anew_and_ends_its_watches() {
    let etcd = Etcd::start();
    let mut door = Door::to(&etcd).await;
    let a = open(&etcd).await;
    let quiet = EtcdOptions {
        compact_every: None,
        ..through(&door, &etcd)
    };
    let b = EtcdStore::open(quiet).await.expect("open");
    a.commit("/k/old", create("x")).await.expect("create");
    let known = a.commit("/k/gone", create("x")).await.expect("create");
    reach(&b, known).await;
    let mut seen_by_b = b.watch(known).expect("now");
    door.shut().await;
    let delete = Change::Delete { expect: known };
    let deleted = a.commit("/k/gone", delete).await.expect("delete");
    // Two servers that forget, until the deletion is forgotten as well.
    let forgetful = EtcdOptions {
        compact_every: Some(Duration::from_millis(50)),
        ..etcd.options()
    };
    let one = EtcdStore::open(forgetful.clone()).await.expect("open");
    let aa = EtcdStore::open(forgetful).await.expect("open");
    let mut n = 0;
    while !is_forgotten(&etcd, deleted).await {
        let key = format!("/k/{n}");
        aa.commit(&key, create("x")).await.expect("create");
        n += 1;
    }
    let kept = keys(&aa);
    // Who goes on forgetting every 50 ms can overtake a slow reader a second time.
    drop((one, aa));
    door.open();
    assert_eq!(seen_by_b.next().await.err(), Some(WatchEnd::Closed));
    assert_eq!(keys(&b), kept);
    assert!(matches!(
        b.watch(known).err(),
        Some(RevisionError::TooOld { .. })
    ));
    let mut again = b.watch(b.revision()).expect("now");
    let newest = a.commit("/k/new", create("x")).await.expect("create");
    while again.next().await.expect("event").revision < newest {}
}

/// Whether etcd has forgotten a revision.
async fn is_forgotten(etcd: &Etcd, revision: u64) -> bool {
    let output = std::process::Command::new("curl")
        .args(["-s", "-d"])
        .arg(format!("{{\"key\":\"YQ==\",\"revision\":{revision}}}"))
        .arg(format!("http://{}/v3/kv/range", etcd.endpoint()))
        .output()
        .expect("curl");
    String::from_utf8_lossy(&output.stdout).contains("compacted")
}

#[tokio::test]
async fn another_etcd_under_the_same_address_is_noticed() {
    let (mut one, other) = (Etcd::start(), Etcd::start());
    let mut door = Door::to(&one).await;
    let options = EtcdOptions {
        sizes: Options::default(),
        ..through(&door, &one)
    };
    let a = EtcdStore::open(options).await.expect("open");
    for n in 0..10 {
        let key = format!("/one/{n}");
        a.commit(&key, create("x")).await.expect("create");
    }
    open(&other)
        .await
        .commit("/other", create("x"))
        .await
        .expect("create");
    let mut seen = a.watch(a.revision()).expect("now");
    one.kill();
    door.shut().await;
    door.target = other.endpoint();
    door.open();
    assert_eq!(seen.next().await.err(), Some(WatchEnd::Closed));
    assert_eq!(keys(&a), ["/other"]);
}

#[tokio::test]
async fn tls_shows_and_asks_for_certificates() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    };
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("key");
    let authority = rcgen::CertifiedIssuer::self_signed(parameters, key).expect("authority");
    let pair = |names: Vec<String>| {
        let parameters = rcgen::CertificateParams::new(names).expect("names");
        let key = rcgen::KeyPair::generate().expect("key");
        let certificate = parameters.signed_by(&key, &authority).expect("signed");
        (certificate.pem(), key.serialize_pem())
    };
    let server = pair(vec!["127.0.0.1".to_owned()]);
    let files = Files {
        authority: write("ca.crt", &authority.pem()),
        certificate: write("etcd.crt", &server.0),
        key: write("etcd.key", &server.1),
    };
    let etcd = Etcd::start_with(Some(files));
    let with = |identity| EtcdOptions {
        tls: Some(Tls {
            authority: authority.pem(),
            identity,
        }),
        ..etcd.options()
    };
    let client = pair(vec!["cadet".to_owned()]);
    let a = EtcdStore::open(with(Some(client))).await.expect("open");
    let written = a.commit("/k", create("x")).await.expect("create");
    assert_eq!(a.fresh().await, Ok(written));
    // Neither without a certificate, nor without TLS.
    assert!(EtcdStore::open(with(None)).await.is_err());
    assert!(EtcdStore::open(etcd.options()).await.is_err());
}

#[tokio::test]
async fn of_several_endpoints_one_that_answers_is_enough() {
    let etcd = Etcd::start();
    // Held, and nobody listens.
    let nobody = TcpSocket::new_v4().expect("socket");
    nobody.bind(([127, 0, 0, 1], 0).into()).expect("bind");
    let closed = nobody.local_addr().expect("address").to_string();
    let options = EtcdOptions {
        endpoints: vec![closed, etcd.endpoint()],
        ..etcd.options()
    };
    let a = EtcdStore::open(options).await.expect("open");
    let written = a.commit("/k", create("x")).await.expect("create");
    assert_eq!(a.get("/k").map(|e| e.modified), Some(written));
}
