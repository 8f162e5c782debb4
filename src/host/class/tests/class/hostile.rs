//! A room that is not friendly: floods, endless heads, scripts, a full disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cadet_class::ClassError;
use cadet_class::ledger::{Change, Ledger, Trouble};
use cadet_class::limit::Rate;
use cadet_class::message::Joining;
use cadet_class::pin::{Pinned, Trust};
use cadet_class::server::Notice;
use cadet_class::{ClassKey, Identity};
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::room::{PATIENCE, Plan};

#[tokio::test]
async fn ten_thousand_joins_at_once_are_bounded_and_cost_nobody_their_place() {
    const FLOOD: usize = 10_000;
    const AT_ONCE: usize = 64;
    let mut plan = Plan::new();
    let slow = Rate {
        per_second: 0.001,
        burst: 20.0,
    };
    let fast = Rate {
        per_second: 1e6,
        burst: 1e6,
    };
    plan.limits.spare_own = false;
    plan.limits.requests = (fast, fast);
    plan.limits.connections = (fast, fast);
    plan.limits.joins = (slow, slow);
    let mut room = plan.open().await;
    let ada = room.learner("Ada").await;
    let teacher = room.teacher();
    let flood = futures::stream::iter(0..FLOOD).map(|n| {
        let teacher = &teacher;
        async move {
            let me = Identity::generate().unwrap();
            let joining = Joining {
                name: format!("Flood {n}"),
                reports: true,
            };
            match teacher.join(&me, &joining).await {
                Ok(_) => true,
                // Refused before it was read: the line may be closed on it.
                Err(ClassError::Refused { status: 429, .. } | ClassError::Silent { .. }) => false,
                Err(e) => panic!("{e}"),
            }
        }
    });
    let flood = flood.buffer_unordered(AT_ONCE);
    let let_in = flood.filter(|is_in| futures::future::ready(*is_in)).count();
    // Ada took the first place.
    assert!((1..=19).contains(&let_in.await));
    // Who was in is in, and can still be heard.
    ada.report(2, 5).await;
    let board = room.board().await;
    let rows = board["rows"].as_array().unwrap();
    assert!((2..=20).contains(&rows.len()), "{}", rows.len());
    let row = rows.iter().find(|row| row["name"] == "Ada").unwrap();
    assert_eq!(row["step"], 3);
    // The teacher's terminal tells of those who came in and of nobody else.
    let mut told = 0;
    while let Ok(notice) = room.notices.try_recv() {
        assert!(matches!(notice, Notice::Joined { .. }), "{notice:?}");
        told += 1;
    }
    assert_eq!(told, rows.len());
}

#[tokio::test]
async fn requests_have_a_limit_and_the_teachers_own_laptop_has_none() {
    let slow = Rate {
        per_second: 0.001,
        burst: 5.0,
    };
    for (spare, refused) in [(false, 45), (true, 0)] {
        let mut plan = Plan::new();
        plan.limits.spare_own = spare;
        plan.limits.requests = (slow, slow);
        let room = plan.open().await;
        let teacher = room.teacher();
        let mut count = 0;
        for _ in 0..50 {
            let answer = teacher.http().get(room.url("/")).send().await.unwrap();
            if answer.status() == 429 {
                assert!(answer.headers().contains_key("retry-after"));
                count += 1;
            }
        }
        assert_eq!(count, refused);
    }
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let room = Plan::new().open().await;
    let fingerprint = {
        let teacher = room.teacher();
        teacher.welcome().await.unwrap();
        teacher.fingerprint().unwrap()
    };
    let config = Pinned::new(Trust::Key(fingerprint)).unwrap().config;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(room.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let piece = [b'a'; 16 * 1024];
    let pour = async {
        let mut sent = 0usize;
        // Four gigabytes, if anybody took them.
        while sent < 4 << 30 {
            if stream.write_all(&piece).await.is_err() {
                break;
            }
            sent += piece.len();
        }
        sent
    };
    let sent = tokio::time::timeout(PATIENCE, pour).await.unwrap();
    // What the kernels on both sides hold, and not more.
    assert!(sent < 64 << 20, "{sent} bytes of a head were taken");
    let mut rest = Vec::new();
    // Cut off without an answer is well, too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let said = String::from_utf8_lossy(&rest);
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 431"),
        "{said}"
    );
    room.learner("Ada").await;
}

#[tokio::test]
async fn a_long_body_and_a_wrong_one_are_refused() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    for (body, expected) in [
        ("x".repeat(1 << 20), 413),
        ("{".into(), 400),
        ("[]".into(), 400),
    ] {
        let path = room.path("/report");
        let signature = ada.me.sign("POST", &path, u64::MAX / 2, body.as_bytes());
        let request = ada
            .teacher
            .http()
            .post(room.url(&path))
            .header("cadet-key", ada.me.public())
            .header("cadet-number", (u64::MAX / 2).to_string())
            .header("cadet-signature", signature)
            .body(body);
        // A server that refuses early may close before all is sent.
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status().as_u16(), expected);
        }
    }
    ada.report(1, 5).await;
}

#[tokio::test]
async fn scripts_in_names_and_words_are_text() {
    let room = Plan::new().open().await;
    let name = "<img src=x onerror=alert(1)>";
    room.learner(name).await;
    let answer = room.desk("/board/data").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(room.states().await[0].0, name);
    let export = room.desk("/board/export.csv").send().await.unwrap();
    let export = export.text().await.unwrap();
    assert!(!export.contains("img"), "{export}");
}

/// A disk that is full until somebody makes room.
struct Full {
    full: AtomicBool,
    kept: std::sync::Mutex<Vec<Change>>,
}

impl Ledger for Full {
    fn rows(&self) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
        Ok(Vec::new())
    }

    fn put(&self, changes: &[Change]) -> Result<(), Trouble> {
        if self.full.load(Ordering::SeqCst) {
            return Err("no space left on device".into());
        }
        self.kept.lock().unwrap().extend_from_slice(changes);
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost() {
    let disk = Arc::new(Full {
        full: AtomicBool::new(true),
        kept: std::sync::Mutex::default(),
    });
    let mut room = Plan::new().open_on(disk.clone()).await;
    let ada = room.learner("Ada").await;
    ada.report(2, 5).await;
    let mut notices = vec![room.notice().await, room.notice().await];
    notices.retain(|n| matches!(n, Notice::NotSaved { why } if why.contains("no space")));
    assert_eq!(notices.len(), 1);
    let trouble = room.board().await["trouble"].as_str().unwrap().to_owned();
    assert!(trouble.contains("no space"), "{trouble}");
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(room.notice().await, Notice::Saved);
    assert!(room.board().await["trouble"].is_null());
    let kept = disk.kept.lock().unwrap();
    let (_, row) = kept.last().unwrap();
    let row = String::from_utf8(row.clone().unwrap()).unwrap();
    assert!(row.contains("Ada") && row.contains("\"step\":2"), "{row}");
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_told_and_not_written_over() {
    struct Broken;
    impl Ledger for Broken {
        fn rows(&self) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
            Ok(vec![("learner/1".into(), b"{".to_vec())])
        }
        fn put(&self, _: &[Change]) -> Result<(), Trouble> {
            panic!("nothing is to be written");
        }
    }
    let setup = cadet_class::server::Setup {
        title: "T".into(),
        key: ClassKey::generate().unwrap(),
        token: [0; 5],
        teacher: "T".into(),
        files: Vec::new(),
        lessons: Vec::new(),
        commands: None,
        mirror: None,
        limits: cadet_class::server::Limits::default(),
    };
    let (tell, _notices) = tokio::sync::mpsc::unbounded_channel();
    let opened = cadet_class::server::Class::open(setup, Arc::new(Broken), &[], tell);
    assert!(matches!(opened.err(), Some(ClassError::Ledger { .. })));
}
