//! The cache of container images as a process: found, one at a time, ended, emptied.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Sealed, eventually};

const MINUTE: Duration = Duration::from_secs(60);

fn status(home: &Sealed) -> Value {
    serde_json::from_str(&home.ok(&["mirror", "status", "-o", "json"]).out).unwrap()
}

#[test]
fn it_is_switched_on_for_the_next_start() {
    let home = Sealed::new();
    assert_eq!(status(&home)["on"], false);
    assert!(home.files().is_empty(), "asking must not write");
    let on = home.ok(&["mirror", "on"]).out;
    assert!(on.contains("from the next start on"), "{on}");
    let told = status(&home);
    assert_eq!(
        (&told["on"], &told["running"]),
        (&true.into(), &false.into())
    );
    home.ok(&["mirror", "off"]);
    assert_eq!(status(&home)["on"], false);
}

#[test]
fn one_process_serves_until_it_is_ended() {
    let home = Sealed::new();
    let mut serve = home.command(&["mirror", "serve"]);
    let serve = serve.env("CADET_REGISTRY", "http://127.0.0.1:1");
    let mut serve = serve.stdout(Stdio::null()).spawn().unwrap();
    let told = eventually("it serves", MINUTE, || {
        let told = status(&home);
        (told["running"] == true).then_some(told)
    });
    assert_eq!(told["counts"]["pid"], serve.id());
    let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
    let mut line = TcpStream::connect(("127.0.0.1", port)).unwrap();
    line.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    home.run(&["mirror", "serve"]).fails_with("NET_MIRROR", 79);
    let text = home.ok(&["mirror", "status"]).out;
    assert!(text.contains("0 images"), "{text}");
    home.ok(&["mirror", "off"]);
    assert!(serve.wait().unwrap().success());
    assert_eq!(status(&home)["running"], false);
    home.ok(&["mirror", "clear"]);
    assert!(!home.home().join("cache/registry").exists());
}
