//! A lesson's day with the web server: greeted, probed, configured, loaded, stopped.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use support::{Hello, command};

#[test]
fn curl_and_browsers_are_greeted() {
    let hello = Hello::start(command().env("VERSION", "2").env("NODE_NAME", "cadet"));
    let (status, text) = hello.get("/");
    assert_eq!(status, 200);
    assert_eq!(text, "Hello from web-1, version 2\non node cadet\n");
    let (_, page) = hello.request("GET /", "Accept: text/html\r\n", "");
    assert!(page.contains("<title>Hello, version 2</title>"), "{page}");
    assert!(page.contains("<b>web-1</b>"), "{page}");
    let (status, text) = hello.get("/nowhere");
    assert_eq!(status, 404);
    assert!(text.contains("/lookup?name="), "{text}");
}

#[test]
fn probes_follow_their_switches() {
    let hello = Hello::start(&mut command());
    assert_eq!(hello.get("/healthz").0, 200);
    assert_eq!(hello.get("/readyz").0, 200);
    assert_eq!(hello.post("/ready?state=off", "").0, 200);
    let (status, text) = hello.get("/readyz");
    assert_eq!(status, 503);
    assert!(text.contains("POST /ready?state=off"), "{text}");
    assert_eq!(hello.get("/healthz").0, 200);
    assert_eq!(hello.post("/ready?state=on", "").0, 200);
    assert_eq!(hello.get("/readyz").0, 200);
    assert_eq!(hello.post("/health?state=off", "").0, 200);
    assert_eq!(hello.get("/healthz").0, 503);
    assert_eq!(hello.post("/ready", "").0, 400);
    assert_eq!(hello.get("/ready?state=off").0, 405);
}

#[test]
fn what_the_pod_was_given_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let log = folder.path().join("access.log");
    std::fs::write(folder.path().join("greeting"), "good day\n").unwrap();
    let hello = Hello::start(
        command()
            .env("GREETING", "moin")
            .env("FILE_ROOTS", root)
            .env("ACCESS_LOG", &log),
    );
    assert_eq!(hello.get("/env?name=GREETING"), (200, "moin\n".into()));
    assert!(hello.get("/env").1.contains("\nPOD_NAME=web-1\n"));
    assert_eq!(hello.get("/env?name=A%3DB").0, 404);
    let (_, headers) = hello.request("GET /headers?a=b", "X-From: a lesson\r\n", "");
    assert!(
        headers.starts_with("GET /headers?a=b HTTP/1.1\nfrom 127.0.0.1\n"),
        "{headers}"
    );
    assert!(headers.contains("\nx-from: a lesson\n"), "{headers}");

    let file = |name: &str| format!("/file?path={root}/{name}");
    assert_eq!(hello.get(&file("greeting")), (200, "good day\n".into()));
    assert_eq!(hello.post(&file("note"), "kept").0, 200);
    assert_eq!(hello.get(&file("note")), (200, "kept".into()));
    assert_eq!(hello.get("/file?path=/etc/passwd").0, 403);
    assert_eq!(
        hello.post(&file("long"), &"x".repeat((256 << 10) + 1)).0,
        413
    );

    // Another container reads the log while the program runs.
    let lines = std::fs::read_to_string(&log).unwrap();
    assert!(lines.starts_with("127.0.0.1 - - ["), "{lines}");
    assert!(
        lines.contains("\"GET /env?name=GREETING HTTP/1.1\" 200 5\n"),
        "{lines}"
    );
    hello.ask_to_stop();
    assert_eq!(hello.end().code(), Some(0));
}

#[test]
fn other_services_are_asked() {
    let backend = Hello::start(command().env("POD_NAME", "backend-1"));
    let hello = Hello::start(&mut command());
    let fetch = |path: &str| {
        hello.get(&format!(
            "/fetch?url=http://127.0.0.1:{}{path}",
            backend.port
        ))
    };
    assert_eq!(
        fetch("/"),
        (200, "Hello from backend-1, version 1\n".into())
    );
    assert_eq!(fetch("/nowhere").0, 404);
    let (status, agent) = fetch("/headers");
    assert_eq!(status, 200);
    assert!(agent.contains("user-agent: hello/1"), "{agent}");
    let (status, why) = hello.get("/fetch?url=http://127.0.0.1:0/");
    assert_eq!(status, 502);
    assert!(why.contains("cannot be reached"), "{why}");
    assert_eq!(hello.get("/fetch?url=https://backend/").0, 400);
    assert_eq!(
        hello.get("/lookup?name=127.0.0.1"),
        (200, "127.0.0.1\n".into())
    );
    assert!(
        hello
            .get("/lookup?name=localhost")
            .1
            .contains("127.0.0.1\n")
    );
    assert_eq!(hello.get("/lookup").0, 400);
}

#[test]
fn load_and_ends_come_on_demand() {
    let hello = Hello::start(&mut command());
    let (status, text) = hello.get("/burn?ms=50");
    assert_eq!(status, 200);
    assert!(text.starts_with("web-1 burned 50 ms of CPU"), "{text}");
    assert_eq!(hello.get("/burn?ms=86400000").0, 400);
    assert_eq!(hello.get("/exit?code=256").0, 400);
    assert_eq!(hello.get("/exit?code=3").0, 200);
    assert_eq!(hello.end().code(), Some(3));
}

#[test]
fn an_open_request_is_finished_after_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let hello = Hello::start(command().env("FILE_ROOTS", root));
    let mut stream = TcpStream::connect(("127.0.0.1", hello.port)).unwrap();
    let head = format!(
        "POST /file?path={root}/late HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\n\
         Content-Length: 4\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server says "go on" when it waits for the rest: the request is surely open.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on[..12], b"HTTP/1.1 100");
    hello.ask_to_stop();
    hello.wait_until_deaf();
    stream.write_all(b"late").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(hello.end().code(), Some(0));
    assert_eq!(std::fs::read(folder.path().join("late")).unwrap(), b"late");
}

#[test]
fn the_ambassador_forwards_and_says_when_it_cannot() {
    let backend = Hello::start(command().env("POD_NAME", "backend-1"));
    let target = format!("127.0.0.1:{}", backend.port);
    let ambassador = Hello::start(command().args(["--proxy", &target]));
    assert_eq!(
        ambassador.get("/"),
        (200, "Hello from backend-1, version 1\n".into())
    );
    ambassador.ask_to_stop();
    assert_eq!(ambassador.end().code(), Some(0));
}

#[test]
fn crashes_and_settings_have_their_codes() {
    let code = |command: &mut Command| {
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), words)
    };
    let (crashed, words) = code(command().arg("--crash"));
    assert_eq!(crashed, Some(1));
    assert!(words.contains("--crash is given"), "{words}");
    for (name, value) in [("PORT", "nonsense"), ("ACCESS_LOG", "/no/such/folder/log")] {
        let (refused, words) = code(command().env(name, value));
        assert_eq!(refused, Some(2), "{words}");
        assert!(words.contains(name), "{words}");
    }
    assert_eq!(code(command().arg("--wrong")).0, Some(2));
    let help = command().arg("--help").output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("--proxy HOST:PORT"));
}
