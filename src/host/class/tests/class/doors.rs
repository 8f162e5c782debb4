//! Who is let in where: wrong codes, strangers, old certificates, posing, the board.

use std::net::Ipv4Addr;

use cadet_class::client::Teacher;
use cadet_class::error::Silence;
use cadet_class::identity::{KEY, NUMBER, SIGNATURE};
use cadet_class::{ClassError, ClassKey, Identity, JoinCode};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::room::{Learner, PATIENCE, Plan, Room, TEACHER, json};

fn with(code: JoinCode) -> Teacher {
    Teacher::of_code(&code).unwrap()
}

#[tokio::test]
async fn wrong_codes_are_told_apart() {
    let room = Plan::new().open().await;
    let code = room.code();
    let other_class = JoinCode {
        token: [9; 5],
        ..code
    };
    let e = with(other_class).welcome().await.unwrap_err();
    assert!(
        matches!(&e, ClassError::Refused { status: 404, id, .. } if id == "not-this-class"),
        "{e}"
    );
    let impostor = JoinCode {
        pin: [9; 8],
        ..code
    };
    let e = with(impostor).welcome().await.unwrap_err();
    assert!(matches!(e, ClassError::Stranger { .. }), "{e}");
    // Held, and nobody listens.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let silent = JoinCode {
        address: nobody.local_addr().unwrap(),
        ..code
    };
    let e = with(silent).welcome().await.unwrap_err();
    assert!(
        matches!(
            e,
            ClassError::Silent {
                silence: Silence::Refused,
                ..
            }
        ),
        "{e}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_over_is_refused_with_its_dates() {
    let key = ClassKey::generate().unwrap();
    let long_ago = OffsetDateTime::now_utc() - time::Duration::days(90);
    let life = time::Duration::days(30);
    let certificate = key.certificate(&[], long_ago, life).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(key.server_config(certificate).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // The client hangs up in the handshake; that is what is tested.
            let _ = acceptor.accept(stream).await;
        }
    });
    let code = JoinCode {
        address,
        pin: key.pin(),
        token: [0; 5],
    };
    let e = with(code).welcome().await.unwrap_err();
    assert!(matches!(e, ClassError::Date { .. }), "{e}");
    serving.abort();
}

/// A request that Ada signed, or that says so.
async fn send(room: &Room, key: &str, number: u64, signature: &str, body: &str) -> u16 {
    let request = room
        .teacher()
        .http()
        .post(room.url(&room.path("/help")))
        .header(KEY, key)
        .header(NUMBER, number.to_string())
        .header(SIGNATURE, signature)
        .body(body.to_owned());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn nobody_poses_as_another() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    let eve = room.learner("Eve").await;
    let path = room.path("/help");
    let body = r#"{"asks":true,"words":"from Eve"}"#;
    let far = u64::MAX / 2;
    let (ada_key, eves) = (
        ada.me.public(),
        eve.me.sign("POST", &path, far, body.as_bytes()),
    );
    assert_eq!(send(&room, &ada_key, far, &eves, body).await, 403);
    for nonsense in ["", "AAAA", &"x".repeat(1000)] {
        assert_eq!(send(&room, &ada_key, far, nonsense, body).await, 403);
        assert_eq!(send(&room, nonsense, far, &eves, body).await, 403);
    }
    // What Ada said once cannot be said again by another, nor to another class.
    let adas = ada.me.sign("POST", &path, far, body.as_bytes());
    assert_eq!(send(&room, &ada_key, far, &adas, body).await, 200);
    assert_eq!(send(&room, &ada_key, far, &adas, body).await, 409);
    assert_eq!(send(&room, &ada_key, far + 1, &adas, body).await, 403);
    let elsewhere = ada
        .me
        .sign("POST", "/class/OTHER/help", far + 2, body.as_bytes());
    assert_eq!(send(&room, &ada_key, far + 2, &elsewhere, body).await, 403);
    let states = room.states().await;
    assert_eq!(states[0], ("Ada".to_owned(), "asks".to_owned()));
    assert_eq!(states.len(), 2);
    // A name is no identity: a second Ada is another learner.
    let second = Learner {
        teacher: room.teacher(),
        me: Identity::generate().unwrap(),
    };
    assert_eq!(second.join("Ada", true).await.name, "Ada 2");
}

#[tokio::test]
async fn the_board_is_the_teachers() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    let http = ada.teacher.http();
    let class = cadet_class::code::token_text(&room.plan.token);
    for path in [
        "/board/data",
        "/board/events",
        "/board/pace",
        "/board/export.csv",
        "/board/code.svg",
    ] {
        for token in [
            "",
            "Bearer ",
            &format!("Bearer {class}"),
            "Bearer TEACHERTEACHE",
        ] {
            let request = http.get(room.url(path)).header("authorization", token);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path} with {token:?}");
            let said = answer.text().await.unwrap();
            assert!(!said.contains("Ada"), "{said}");
        }
    }
    let act = r#"{"act":"close"}"#;
    let request = http.post(room.url("/board/do")).body(act);
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert_eq!(room.board().await["open"], true);
    // Another site's page, in the teacher's own browser.
    for (site, expected) in [
        ("cross-site", 401),
        ("same-site", 401),
        ("same-origin", 204),
    ] {
        let request = http
            .post(room.url("/board/do"))
            .header("cookie", format!("cadet-teacher={TEACHER}"))
            .header("sec-fetch-site", site)
            .body(act);
        assert_eq!(request.send().await.unwrap().status(), expected, "{site}");
    }
    assert_eq!(room.board().await["open"], false);
}

#[tokio::test]
async fn nothing_is_written_without_the_token_of_the_class() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    let number = u64::MAX / 2;
    for token in ["", "AAAAAAAA", TEACHER] {
        for (act, body) in [
            ("join", r#"{"name":"Eve","reports":true}"#),
            ("help", r#"{"asks":true,"words":"not from here"}"#),
            ("leave", r#"{"forget":true}"#),
            ("report", "{}"),
            ("me", "null"),
        ] {
            // As Ada herself would sign it.
            let path = format!("/class/{token}/{act}");
            let signature = ada.me.sign("POST", &path, number, body.as_bytes());
            let request = ada.teacher.http().post(room.url(&path));
            let request = request
                .header(KEY, ada.me.public())
                .header(NUMBER, number.to_string())
                .header(SIGNATURE, signature)
                .body(body);
            assert_eq!(request.send().await.unwrap().status(), 404, "{path}");
        }
    }
    let states = room.states().await;
    assert_eq!(states, [("Ada".to_owned(), "silent".to_owned())]);
}

#[tokio::test]
async fn a_browser_gets_in_with_the_token_once() {
    let room = Plan::new().open().await;
    let http = room.teacher();
    let http = http.http();
    let enter = |token: &str| {
        let body = serde_json::json!({"token": token}).to_string();
        http.post(room.url("/board/enter")).body(body).send()
    };
    assert_eq!(enter("guess").await.unwrap().status(), 401);
    let answer = enter(TEACHER).await.unwrap();
    assert_eq!(answer.status(), 204);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "Secure", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    let request = http.get(room.url("/board/data")).header("cookie", pair);
    assert_eq!(
        json(request.send().await.unwrap()).await["title"],
        "Tuesday"
    );
}

#[tokio::test]
async fn learners_see_nothing_of_each_other() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    let eve = room.learner("Eve").await;
    ada.report(2, 40).await;
    let mut seen = serde_json::to_string(&eve.teacher.welcome().await.unwrap()).unwrap();
    let mine = eve.teacher.me(&eve.me).await.unwrap();
    seen.push_str(&serde_json::to_string(&mine).unwrap());
    for path in ["/", "/board", "/projector", "/live"] {
        let answer = eve.teacher.http().get(room.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        seen.push_str(&answer.text().await.unwrap());
    }
    assert!(!seen.contains("Ada"), "{seen}");
}

#[tokio::test]
async fn a_closed_door_keeps_newcomers_out_and_nobody_else() {
    let room = Plan::new().open().await;
    let ada = room.learner("Ada").await;
    let close = room.teacher();
    let request = close
        .http()
        .post(room.url("/board/do"))
        .header("authorization", format!("Bearer {TEACHER}"))
        .body(r#"{"act":"close"}"#);
    assert_eq!(request.send().await.unwrap().status(), 204);
    ada.report(1, 10).await;
    ada.join("Ada Lovelace", true).await;
    let late = Identity::generate().unwrap();
    let joining = cadet_class::message::Joining {
        name: "Late".into(),
        reports: true,
    };
    let e = room.teacher().join(&late, &joining).await.unwrap_err();
    assert!(
        matches!(&e, ClassError::Refused { id, .. } if id == "closed"),
        "{e}"
    );
}

#[tokio::test]
async fn nothing_else_is_served_and_plain_http_is_told() {
    let room = Plan::new().open().await;
    let teacher = room.teacher();
    for path in ["/class", "/class/", "/metrics", "/board/", "/../etc/passwd"] {
        let answer = teacher.http().get(room.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    let stream = tokio::net::TcpStream::connect(room.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    write.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = String::new();
    let told = read.read_to_string(&mut said);
    // A reset after the answer is an answer too.
    let _ = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert!(said.contains("https"), "{said}");
}

#[tokio::test]
async fn a_learner_that_trusted_one_class_does_not_trust_another() {
    let mine = Plan::new().open().await;
    let other = Plan::new().open().await;
    let code = JoinCode {
        address: other.address,
        ..mine.code()
    };
    let e = with(code).welcome().await.unwrap_err();
    assert!(matches!(e, ClassError::Stranger { .. }), "{e}");
}
