//! A class in a room that is connected to nothing else: a learner whose only way is to the teacher,
//! a Wi-Fi that keeps them apart, a teacher whose address changes, a learner with a stick alone.

use std::path::Path;
use std::time::Duration;

use crate::class::{Computer, text};
use crate::classroom::{Serving, doors};
use crate::room::{LEARNER, Laptop, Room, TEACHER};
use crate::support::{Run, eventually};

/// Where the teacher is after the Wi-Fi has given out another address.
const MOVED: &str = "10.99.0.7";

/// A command of a computer in a network.
fn at(network: &Laptop, computer: &Computer, args: &[&str]) -> Run {
    Run::of(&mut network.enter(&computer.command(args)))
}

#[track_caller]
fn ok(network: &Laptop, computer: &Computer, args: &[&str]) -> Run {
    let run = at(network, computer, args);
    assert_eq!(run.code, 0, "cadet {args:?}: {run}");
    run
}

#[test]
fn a_learner_whose_only_way_is_to_the_teacher_keeps_it() {
    let room = Room::new();
    let (teacher, ada) = (Computer::teacher(), Computer::learner());
    let file = teacher.file("class.cadet");
    teacher.bundle(&file, &[]);
    let serve = [
        "-ojson",
        "class",
        "serve",
        "--no-images",
        "--live",
        "--bundle",
        text(&file),
    ];
    let (serving, told) = Serving::spawn(room.teacher.enter(&teacher.command(&serve)));
    assert_eq!(told["addresses"], serde_json::json!([TEACHER, "127.0.0.1"]));
    let code = told["code"].as_str().unwrap();
    // Every address of this laptop, as it was printed, and no other port. What asks the kernel for
    // the way out has a datagram socket for a moment.
    let port = told["port"].as_u64().unwrap();
    let only = [format!("tcp 00000000:{port:04X}")];
    let alone = || (doors(serving.pid()) == only).then_some(());
    eventually("one port", Duration::from_secs(60), alone);

    let routes = room.learner.sh("ip route");
    assert_eq!(routes.lines().count(), 1, "{routes}");
    assert!(routes.contains(LEARNER), "{routes}");
    let join = ["class", "join", code, "--name", "Ada", "--report", "--only"];
    // With an access point that isolates its clients the first command already says so.
    room.isolates(true);
    at(&room.learner, &ada, &join).fails_with("CLASS_WIFI", 79);
    room.isolates(false);
    let joined = ok(&room.learner, &ada, &join);
    assert!(joined.out.contains("joined      as Ada"), "{joined}");
    for told in ["which lesson and step you are in", "cadet class leave"] {
        assert!(joined.out.contains(told), "{joined}");
    }
    let page = format!("https://{TEACHER}:7433/live#");
    assert!(joined.out.contains(&page), "{joined}");
    assert_eq!(serving.until("joined")["name"], "Ada");
    ok(&room.learner, &ada, &["image", "verify", "debian-13"]);

    // The access point begins to isolate its clients: it is told from a class that is over, and
    // what the teacher can do is one command away.
    room.isolates(true);
    let help = ["class", "help", "it", "hangs"];
    let apart = at(&room.learner, &ada, &help);
    apart.fails_with("CLASS_WIFI", 79);
    assert!(apart.err.contains("cadet help CLASS_WIFI"), "{apart}");
    let advice = ada.ok(&["help", "CLASS_WIFI"]).out;
    assert!(
        advice.contains("hotspot") && advice.contains("--split"),
        "{advice}"
    );
    room.isolates(false);
    ok(&room.learner, &ada, &help);
    assert_eq!(serving.until("asks")["words"], "it hangs");

    // The teacher's laptop comes back with another address: it tells the new code by itself, and
    // with it Ada is the learner she was.
    room.teacher.sh(&format!(
        "ip addr del {TEACHER}/24 dev wlan0; ip addr add {MOVED}/24 dev wlan0"
    ));
    let moved = serving.until("moved");
    assert_eq!(moved["address"], format!("{MOVED}:7433"));
    let code = moved["code"].as_str().unwrap();
    let again = ok(&room.learner, &ada, &["class", "join", code, "--only"]);
    assert!(again.out.contains("joined      as Ada;"), "{again}");
    let status = ok(&room.learner, &ada, &["class", "status"]);
    assert!(status.out.contains("help     asked"), "{status}");
    assert_eq!(serving.end()["learners"], 1);

    // Without any network a stick is enough.
    let (nowhere, bob) = (Laptop::alone(), Computer::learner());
    ok(&nowhere, &bob, &["class", "install", text(&file)]);
    ok(&nowhere, &bob, &["image", "verify", "debian-13"]);
    let programs = bob.sealed.state().class_programs();
    assert!(programs.join("kubectl").is_file());
    let lessons = bob.sealed.state().class_lessons();
    let lesson = Path::new("01-telescope/lesson.md");
    assert!(lessons.join(lesson).is_file());
}
