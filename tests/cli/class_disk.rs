//! The disk of the teacher's laptop is full in the middle of a class: the limit of a process on the
//! size of its files plays it, and is lifted again.

use std::process::Command;

use cadet_class::client::Teacher;
use cadet_class::message::Joining;
use cadet_class::{Identity, JoinCode};
use serde_json::Value;

use crate::class::Computer;
use crate::classroom::{Serving, signal};
use crate::support::free_port;

/// `class serve` that is told of a full disk, and not killed by the signal of it.
fn serve(teacher: &Computer, port: &str) -> Command {
    let args = ["-ojson", "class", "serve", "--no-images"];
    let here = ["--address", "127.0.0.1", "--port", port];
    let inner = teacher.command(&[&args[..], &here].concat());
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear();
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

/// No file of the process can grow beyond `size`, or be written there.
fn limit(pid: u32, size: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--fsize={size}:")]);
    assert!(prlimit.status().unwrap().success());
}

/// A learner joins and has done the first of four steps in half a minute.
fn does_a_step(code: &str, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = JoinCode::parse(code).unwrap();
    let (class, me) = (
        Teacher::of_code(&code).unwrap(),
        Identity::generate().unwrap(),
    );
    let joining = Joining {
        name: name.into(),
        reports: true,
    };
    runtime.block_on(async {
        class.join(&me, &joining).await.unwrap();
        let report = cadet_class::need::after("telescope", 1, 4, 30);
        class.report(&me, &report).await.unwrap();
    });
}

#[test]
fn what_learners_do_while_the_teachers_disk_is_full_is_kept_once_there_is_room() {
    let teacher = Computer::learner();
    let port = free_port();
    let (serving, told) = Serving::spawn(serve(&teacher, &port));
    let code = told["code"].as_str().unwrap();
    let join = |name: &str| {
        let learner = Computer::learner();
        let run = learner.ok(&["class", "join", code, "--name", name, "--report", "--only"]);
        assert!(run.out.contains(&format!("joined      as {name}")), "{run}");
    };
    join("Ada");
    serving.until("joined");
    limit(serving.pid(), "10");
    // Let in and told on the board; the teacher knows that it is in memory only.
    does_a_step(code, "Cara");
    join("Bob");
    let why = serving.until("not.saved")["why"].clone();
    assert!(why.as_str().is_some_and(|why| !why.is_empty()), "{why}");
    limit(serving.pid(), "unlimited");
    serving.until("saved");
    // What is kept is on the disk, the steps as well, though nothing ended in order.
    signal(serving.pid(), "-KILL");
    drop(serving);
    let pace = teacher.ok(&["-ojson", "class", "board", "--pace"]);
    let figures: Value = serde_json::from_str(pace.out.trim()).expect(&pace.out);
    let lesson = &figures["lessons"][0];
    assert_eq!(lesson["name"], "telescope", "{pace}");
    assert_eq!(lesson["paces"][0]["done"], 1, "{pace}");
    assert_eq!(lesson["paces"][0]["median"], 30, "{pace}");
    assert_eq!(lesson["paces"][1]["here"], 1, "{pace}");
    let (serving, again) = Serving::spawn(serve(&teacher, &port));
    assert_eq!(again["code"], told["code"]);
    assert_eq!(again["learners"], 3);
    serving.end();
}
