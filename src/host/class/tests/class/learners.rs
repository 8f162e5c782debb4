//! What learners do, and what is remembered of them.

use cadet_class::client::Teacher;
use cadet_class::message::Call;
use cadet_class::server::Notice;
use cadet_class::{ClassError, Identity, Membership};

use crate::room::{Learner, Plan};

#[tokio::test]
async fn a_learner_joins_reports_and_asks() {
    let mut room = Plan::new().open().await;
    let welcome = room.teacher().welcome().await.unwrap();
    assert_eq!(welcome.title, "Tuesday");
    assert_eq!(welcome.lessons, ["telescope"]);
    let ada = room.learner("Ada").await;
    let joined = Notice::Joined {
        name: "Ada".into(),
        learners: 1,
    };
    assert_eq!(room.notice().await, joined);
    ada.report(1, 30).await;
    let board = room.board().await;
    let row = &board["rows"][0];
    assert_eq!(row["step"], 2);
    assert_eq!(row["stepTitle"], "Two");
    assert_eq!(row["lessonTitle"], "A telescope");
    assert_eq!(row["state"], "working");
    let call = Call {
        asks: true,
        words: "it hangs".into(),
    };
    assert!(ada.teacher.help(&ada.me, &call).await.unwrap().asked);
    assert!(matches!(room.notice().await, Notice::Asks { name, .. } if name == "Ada"));
    assert_eq!(room.board().await["rows"][0]["words"], "it hangs");
    let done = Call {
        asks: false,
        words: String::new(),
    };
    assert!(!ada.teacher.help(&ada.me, &done).await.unwrap().asked);
    ada.teacher.leave(&ada.me, true).await.unwrap();
    assert!(room.states().await.is_empty());
    let gone = ada.teacher.me(&ada.me).await.unwrap_err();
    assert!(
        matches!(&gone, ClassError::Refused { id, .. } if id == "not-joined"),
        "{gone}"
    );
}

#[tokio::test]
async fn the_class_is_the_same_after_a_restart_at_another_address() {
    let room = Plan::new().open().await;
    let code = room.code();
    let me = Identity::generate().unwrap();
    let first = room.teacher();
    first.welcome().await.unwrap();
    let mut member = Membership::new(&code, first.fingerprint().unwrap(), &me, 1);
    let ada = Learner { teacher: first, me };
    ada.join("Ada", true).await;
    ada.report(2, 50).await;
    let (plan, saved) = room.close().await;
    assert!(saved);
    let room = plan.open().await;
    assert_eq!(room.board().await["rows"][0]["step"], 3);
    let again = room.code();
    assert_eq!((again.pin, again.token), (code.pin, code.token));
    member.moved(&again);
    let teacher = Teacher::of(&member).unwrap();
    let mine = teacher.me(&member.me().unwrap()).await.unwrap();
    assert_eq!(mine.name, "Ada");
}

#[tokio::test]
async fn a_class_that_ends_in_order_has_kept_its_rows() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    ada.report(3, 50).await;
    // Read from the disk, not from the class: see `class_disk` of the program for a crash.
    let home = room.plan.home();
    let (_plan, saved) = room.close().await;
    assert!(saved);
    let book = cadet_state::ClassBook::open(&home).unwrap();
    let rows = book.rows().unwrap();
    assert_eq!(rows.len(), 1);
    assert!(String::from_utf8_lossy(&rows[0].1).contains("\"step\":3"));
}

#[tokio::test]
async fn who_does_not_agree_is_on_the_board_and_nothing_is_known() {
    let room = Plan::new().open().await;
    let grace = Learner {
        teacher: room.teacher(),
        me: Identity::generate().unwrap(),
    };
    let mine = grace.join("Grace", false).await;
    assert!(!mine.reports);
    let report = cadet_class::need::after("telescope", 1, 4, 9);
    let refused = grace.teacher.report(&grace.me, &report).await;
    assert!(matches!(refused, Err(ClassError::Refused { .. })));
    let board = room.board().await;
    assert_eq!(board["rows"][0]["reports"], false);
    assert_eq!(board["rows"][0]["lesson"], serde_json::Value::Null);
}

#[tokio::test]
async fn thirty_learners_at_once() {
    let room = Plan::new().open().await;
    let joining = (0..30).map(|n| {
        let room = &room;
        async move {
            let learner = room.learner(&format!("Learner {n}")).await;
            learner.report(n % 5, 40).await;
        }
    });
    futures::future::join_all(joining).await;
    let states = room.states().await;
    assert_eq!(states.len(), 30);
    assert_eq!(states.iter().filter(|(_, s)| s == "done").count(), 6);
    let pace = crate::room::json(room.desk("/board/pace").send().await.unwrap()).await;
    assert_eq!(pace[0]["paces"][0]["done"], 24);
}
