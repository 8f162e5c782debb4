//! The program as a process: its flags, its end, bad clients, and `kill -9`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use bson::doc;
use support::{Mongod, alive, drivers, message, mongod, reply, tour};

#[test]
fn unknown_flags_end_with_code_2() {
    let output = mongod(&["--replSet", "rs0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("unrecognised option '--replSet'"), "{words}");
    let version = mongod(&["--version"]).output().unwrap();
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&version.stdout).contains("not MongoDB"));
}

#[test]
fn it_introduces_itself_and_leaves_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mongod::start(&folder.path().join("made/by/itself"));
    let log = server.log();
    assert!(
        log.lines()
            .next()
            .unwrap()
            .contains("Cadet's stand-in for MongoDB, not MongoDB"),
        "{log}"
    );
    assert!(
        log.contains("--smallfiles has no meaning") && log.contains("--nojournal has no meaning"),
        "{log}"
    );
    // An open, idle connection must not hold it up.
    let _idle = server.connect();
    assert!(alive(&server));
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn taken_ports_and_folders_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mongod::start(folder.path());
    let same_folder = mongod(&["--dbpath", folder.path().to_str().unwrap(), "--port", "0"])
        .output()
        .unwrap();
    assert_eq!(same_folder.status.code(), Some(100));
    let other = tempfile::tempdir().unwrap();
    let port = server.port.to_string();
    let same_port = mongod(&[
        "--dbpath",
        other.path().to_str().unwrap(),
        "--bind_ip",
        "127.0.0.1",
        "--port",
        &port,
    ])
    .output()
    .unwrap();
    assert_eq!(same_port.status.code(), Some(48));
    let words = String::from_utf8_lossy(&same_port.stdout);
    assert!(
        words.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{words}"
    );
    assert!(alive(&server));
}

#[test]
fn bad_clients_hurt_only_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mongod::start(folder.path());
    let half = message(&doc! { "ping": 1 });
    let broken: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
        // A length of 2 GiB, and one that is just allowed but never arrives.
        &[
            0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0,
        ],
        &[0, 0x6c, 0xdc, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0],
        &half[..half.len() - 3],
    ];
    for bytes in broken {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        // The server may have hung up by now, or may do so by reset, which reads as an error;
        // each is an end.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "no reply to nonsense");
    }
    assert!(alive(&server));
    let mut stream = server.connect();
    // Several commands in one packet are answered one by one, in order.
    let two = [
        message(&doc! { "ping": 1 }),
        message(&doc! { "nonsense": 1 }),
    ]
    .concat();
    stream.write_all(&two).unwrap();
    assert_eq!(reply(&mut stream).get_f64("ok").unwrap(), 1.0);
    assert_eq!(reply(&mut stream).get_i32("code").unwrap(), 59);
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let python = drivers().join("venv/bin/python");
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0u32;
    for round in 0..5 {
        let server = Mongod::start(folder.path());
        let counted = server.run(doc! { "count": "log" }).get_i32("n").unwrap();
        // One write may have been stored without its acknowledgement having been read.
        assert!(
            counted as u32 >= acknowledged,
            "round {round}: {acknowledged} acknowledged, {counted} found"
        );
        let mut writer = Command::new(&python)
            .arg(tour("writer.py"))
            .arg(server.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let goal = 50 + 37 * round;
        let mut seen = 0;
        while seen < goal {
            assert_eq!(lines.next().unwrap().unwrap(), "ok");
            seen += 1;
        }
        server.kill();
        // Those acknowledged between our decision and the blow.
        seen += lines
            .map_while(Result::ok)
            .filter(|line| line == "ok")
            .count() as u32;
        writer.wait().unwrap();
        acknowledged += seen;
    }
    let server = Mongod::start(folder.path());
    let counted = server.run(doc! { "count": "log" }).get_i32("n").unwrap() as u32;
    assert!(
        counted >= acknowledged && counted <= acknowledged + 5,
        "{acknowledged} acknowledged, {counted} found"
    );
    // The unique index agrees with the documents: every one is found by its _id.
    let ids = server.run(doc! { "distinct": "log", "key": "_id" });
    assert_eq!(ids.get_array("values").unwrap().len() as u32, counted);
}
