//! A class of one: a teacher's `serve` beside the learner's running machine, from the code to the
//! first lesson, and what the class hears of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Sealed, eventually, free_port};

const PATIENCE: Duration = Duration::from_secs(120);
const LESSON: &str = "telescope";

struct Teacher {
    home: Sealed,
    child: Child,
    code: String,
}

impl Drop for Teacher {
    fn drop(&mut self) {
        // The day is over, well or not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Teacher {
    fn serve() -> Self {
        let (home, port) = (Sealed::new(), free_port());
        let args = [
            "-ojson",
            "class",
            "serve",
            "--no-images",
            "--lessons",
            LESSON,
            "--address",
            "127.0.0.1",
            "--port",
            &port,
        ];
        let mut command = home.command(&args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect(&line);
        // News of the class are read away, so that its output never blocks it.
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(drop));
        let code = told["code"].as_str().expect(&line).to_owned();
        Self { home, child, code }
    }

    /// Figures of the lesson's first step, once `wanted` is true of them.
    fn pace(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        eventually(what, PATIENCE, || {
            let told = self.home.ok(&["-ojson", "class", "board", "--pace"]).out;
            let told: Value = serde_json::from_str(&told).unwrap();
            let lessons = told["lessons"].as_array().unwrap();
            let lesson = lessons.iter().find(|l| l["name"] == LESSON)?;
            wanted(&lesson["paces"][0]).then_some(())
        });
    }
}

/// Plays it with the running cluster of `home`.
pub fn hold(home: &Sealed, tell: impl Fn(&str)) {
    tell("a class of one");
    let teacher = Teacher::serve();
    let join = ["class", "join", &teacher.code, "--name", "Ada", "--report"];
    // Nobody is at the keyboard: the lesson is shown and left.
    let joined = home.ok(&join);
    assert!(joined.out.contains("joined      as Ada"), "{joined}");
    assert!(joined.out.contains("Step 1 of"), "{joined}");
    teacher.pace("Ada is in the first step", |step| step["here"] == 1);
    home.ok(&["tutorial", "solve"]);
    teacher.pace("it was solved for her", |step| step["solved"] == 1);
    home.ok(&["class", "help", "it", "hangs"]);
    let status = home.ok(&["class", "status"]);
    assert!(status.out.contains("help     asked"), "{status}");
    let left = home.ok(&["class", "leave"]);
    assert!(left.out.contains("nothing is reported any more"), "{left}");
    home.ok(&["tutorial", "reset"]);
}
