//! The board as it changes, the teacher's commands as they are typed.

use std::io::Write as _;

use crate::room::{Plan, TEACHER, until};

#[tokio::test]
async fn the_board_follows_the_class() {
    let room = Plan::new().open().await;
    let mut events = room.desk("/board/events").send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    until(&mut events, |event| event.contains("\"rows\":[]")).await;
    let ada = room.learner("Ada").await;
    until(&mut events, |event| event.contains("Ada")).await;
    ada.report(3, 20).await;
    until(&mut events, |event| event.contains("\"step\":4")).await;
    // The end of the class is the end of the stream.
    let (_, saved) = room.close().await;
    assert!(saved);
    while let Ok(Some(_)) = events.chunk().await {}
}

#[tokio::test]
async fn the_teacher_has_been_there_and_takes_somebody_off() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    let call = cadet_class::message::Call {
        asks: true,
        words: String::new(),
    };
    ada.teacher.help(&ada.me, &call).await.unwrap();
    let id = room.board().await["rows"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let act = async |act: &str, learner: &str| {
        let body = serde_json::json!({"act": act, "learner": learner}).to_string();
        let request = ada.teacher.http().post(room.url("/board/do"));
        let request = request.header("authorization", format!("Bearer {TEACHER}"));
        request.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(act("helped", &id).await, 204);
    assert_eq!(room.states().await[0].1, "silent");
    assert_eq!(act("remove", &id).await, 204);
    assert!(room.states().await.is_empty());
    assert_eq!(act("remove", &id).await, 404);
    assert_eq!(act("explode", &id).await, 400);
}

#[tokio::test]
async fn commands_are_shown_while_they_are_typed_if_the_teacher_wants_it() {
    let mut plan = Plan::new();
    let file = plan.dir.path().join("commands");
    std::fs::write(&file, "old command\n").unwrap();
    plan.commands = Some(file.clone());
    let room = plan.open().await;
    let teacher = room.teacher();
    assert!(teacher.welcome().await.unwrap().live);
    let live = room.url(&room.path("/live"));
    let mut events = teacher.http().get(&live).send().await.unwrap();
    let mut out = std::fs::File::options().append(true).open(&file).unwrap();
    until(&mut events, |event| event.contains("[]")).await;
    writeln!(out, " export SECRET=1\nkubectl get pods").unwrap();
    let event = until(&mut events, |event| event.contains("kubectl")).await;
    assert!(
        !event.contains("SECRET") && !event.contains("old"),
        "{event}"
    );
    let wrong = room.url("/class/WRONG/live");
    let refused = teacher.http().get(wrong).send().await.unwrap();
    assert_eq!(refused.status(), 404);
}

#[tokio::test]
async fn commands_are_not_shown_unasked() {
    let room = Plan::new().open().await;
    let teacher = room.teacher();
    assert!(!teacher.welcome().await.unwrap().live);
    let live = room.url(&room.path("/live"));
    let answer = teacher.http().get(live).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}
