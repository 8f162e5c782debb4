//! The bundle: whole, in parts, to many at once.

use reqwest::StatusCode;
use reqwest::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};

use crate::room::{Plan, Room};

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn get(room: &Room, name: &str) -> reqwest::RequestBuilder {
    let teacher = room.teacher();
    teacher.http().get(teacher.file(name))
}

#[tokio::test]
async fn a_file_comes_whole_and_in_parts() {
    let bytes = pattern(300_000);
    let room = Plan::new().file("class.cadet", &bytes).open().await;
    let welcome = room.teacher().welcome().await.unwrap();
    assert_eq!(welcome.files[0].size, 300_000);
    let whole = get(&room, "class.cadet").send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.headers()[ACCEPT_RANGES], "bytes");
    let tag = whole.headers()[ETAG].clone();
    assert!(whole.bytes().await.unwrap() == bytes);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-199999", 100_000, 200_000),
        ("bytes=299999-", 299_999, 300_000),
        ("bytes=-70000", 230_000, 300_000),
    ] {
        let part = get(&room, "class.cadet").header(RANGE, range);
        let part = part.header(IF_RANGE, &tag).send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let told = part.headers()[CONTENT_RANGE].to_str().unwrap().to_owned();
        assert_eq!(told, format!("bytes {from}-{}/300000", to - 1));
        assert!(part.bytes().await.unwrap() == bytes[from..to], "{range}");
    }
}

#[tokio::test]
async fn a_file_that_changed_is_sent_anew_and_beyond_its_end_is_nothing() {
    let room = Plan::new().file("class.cadet", b"0123456789").open().await;
    let changed = get(&room, "class.cadet")
        .header(RANGE, "bytes=5-")
        .header(IF_RANGE, "\"another\"");
    let changed = changed.send().await.unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    assert_eq!(changed.bytes().await.unwrap(), "0123456789");
    let beyond = get(&room, "class.cadet").header(RANGE, "bytes=10-");
    let beyond = beyond.send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()[CONTENT_RANGE], "bytes */10");
    let teacher = room.teacher();
    let head = teacher.http().head(teacher.file("class.cadet"));
    let head = head.send().await.unwrap();
    assert_eq!(head.headers()[CONTENT_LENGTH], "10");
    for name in ["other", "..%2F..%2Fdata", "class.cadet/x", ""] {
        let url = room.url(&room.path(&format!("/bundle/{name}")));
        let missing = teacher.http().get(url).send().await.unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND, "{name}");
    }
}

#[tokio::test]
async fn a_file_is_found_whatever_the_teacher_called_it() {
    let name = "class #2, 100 %? été.cadet";
    let room = Plan::new().file(name, b"0123456789").open().await;
    let welcome = room.teacher().welcome().await.unwrap();
    assert_eq!(welcome.files[0].name, name);
    let whole = get(&room, name).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.bytes().await.unwrap(), "0123456789");
}

#[tokio::test]
async fn many_fetch_at_once_and_each_gets_all() {
    let bytes = pattern(2_000_000);
    let room = Plan::new().file("class.cadet", &bytes).open().await;
    // All come from one address here, which may have four at a time.
    let fetch = (0..4).map(|_| async {
        let answer = get(&room, "class.cadet").send().await.unwrap();
        answer.bytes().await.unwrap() == bytes
    });
    let all = futures::future::join_all(fetch).await;
    assert!(all.into_iter().all(|same| same));
}

#[tokio::test]
async fn nobody_takes_more_than_their_share_of_transfers() {
    // Larger than all buffers on the way: what is not read stays open.
    let bytes = pattern(64 << 20);
    let room = Plan::new().file("class.cadet", &bytes).open().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let answer = get(&room, "class.cadet").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        open.push(answer);
    }
    let fifth = get(&room, "class.cadet").send().await.unwrap();
    assert_eq!(fifth.status(), StatusCode::TOO_MANY_REQUESTS);
    // The class still listens to everybody.
    room.learner("Ada").await.report(1, 5).await;
    assert_eq!(room.board().await["transfers"], 4);
    // One of them is read to its end, and its place is free: the next one waits for nothing.
    let first = open.swap_remove(0);
    assert!(first.bytes().await.unwrap() == bytes);
    let next = get(&room, "class.cadet").header(RANGE, "bytes=0-9");
    let next = next.send().await.unwrap();
    assert_eq!(next.status(), StatusCode::PARTIAL_CONTENT);
}
