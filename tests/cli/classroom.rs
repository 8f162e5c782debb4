//! A class over the network: the teacher's `serve`, a learner's `join`, each with a home of its own.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::class::{Computer, text};
use crate::support::{Run, Sealed, free_port};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A `cadet class serve` that runs.
pub struct Serving {
    child: Child,
    events: mpsc::Receiver<Value>,
}

impl Serving {
    /// Starts it for this computer alone.
    pub fn start(teacher: &Computer, port: &str, flags: &[&str]) -> (Self, Value) {
        let mut args = vec![
            "-ojson",
            "class",
            "serve",
            "--no-images",
            "--address",
            "127.0.0.1",
            "--port",
            port,
        ];
        args.extend_from_slice(flags);
        Self::spawn(teacher.command(&args))
    }

    /// Starts it as `command` says; the first event tells where it is.
    pub fn spawn(mut command: Command) -> (Self, Value) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect(&line);
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        let serving = Self { child, events };
        let first = serving.until("serving");
        (serving, first)
    }

    /// The next event of this type.
    #[track_caller]
    pub fn until(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect(kind);
            if event["type"] == kind {
                return event;
            }
            assert_ne!(event["type"], "error", "{event}");
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ctrl-C, and its last event.
    pub fn end(mut self) -> Value {
        signal(self.pid(), "-INT");
        let done = self.until("done");
        assert!(self.child.wait().unwrap().success());
        done
    }
}

/// Sends a process a signal.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "{name} {pid}");
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn events(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn a_class_from_the_code_on_the_wall_to_its_end() {
    let teacher = Computer::teacher();
    let file = teacher.file("class.cadet");
    teacher.bundle(&file, &["--title", "Tuesday"]);
    let port = free_port();
    let bundle = ["--bundle", text(&file)];
    let (serving, told) = Serving::start(&teacher, &port, &bundle);
    assert_eq!(told["title"], "Tuesday");
    assert_eq!(told["addresses"], serde_json::json!(["127.0.0.1"]));
    let code = told["code"].as_str().unwrap().to_owned();

    // In lower case and with blanks, as it is read aloud.
    let typed = code.to_lowercase().replace('-', " ");
    let learner = Computer::learner();
    // The learner's cadet is another one than the class's, which goes on as the same learner. A
    // byte behind an ELF program changes nothing else (elf(5)).
    let cadets = if cfg!(target_os = "linux") {
        let mut own = std::fs::File::options();
        let mut own = own.append(true).open(learner.file("bin/cadet")).unwrap();
        own.write_all(b"\n").unwrap();
        2
    } else {
        1
    };
    let join = [
        "-ojson", "class", "join", &typed, "--name", "Ada", "--report", "--only",
    ];
    let joined = events(&learner.ok(&join).out);
    let mine: Vec<&Value> = joined.iter().filter(|e| e["type"] == "joined").collect();
    assert_eq!(mine.len(), cadets, "{joined:?}");
    for mine in mine {
        assert_eq!(mine["class"], "Tuesday");
        assert_eq!(mine["name"], "Ada");
        assert_eq!(mine["reports"], true);
    }
    assert_eq!(serving.until("joined")["name"], "Ada");
    let programs = learner.sealed.state().class_programs();
    assert!(programs.join("kubectl").is_file());
    assert!(programs.join("tutorials/01-telescope/lesson.md").is_file());
    // Without the code: the same class, the same learner, nothing to do.
    learner.ok(&["-ojson", "class", "join", "--only"]);

    learner.ok(&["class", "help", "it", "hangs"]);
    assert_eq!(serving.until("asks")["words"], "it hangs");
    let status = events(&learner.ok(&["-ojson", "class", "status"]).out);
    assert_eq!(status[0]["asked"], true);
    learner.ok(&["class", "help", "--done"]);

    // The teacher's other terminal.
    let board = events(&teacher.ok(&["-ojson", "class", "board"]).out);
    assert_eq!(board[0]["url"], told["board"]);
    assert!(
        teacher
            .ok(&["class", "board", "--phone"])
            .out
            .contains("https://127.0.0.1")
    );
    teacher.ok(&["class", "board", "--pace"]);
    let table = teacher.file("steps.csv");
    teacher.ok(&["class", "board", "--export", text(&table)]);
    let rows = std::fs::read_to_string(&table).unwrap();
    assert!(
        rows.starts_with("learner,lesson,step") && !rows.contains("Ada"),
        "{rows}"
    );
    teacher
        .run(&["class", "board", "--export", text(&table)])
        .fails_with("PROGRAM_USAGE", 14);
    let other = free_port();
    let second = ["class", "serve", "--no-images", "--address", "127.0.0.1"];
    teacher
        .run(&[&second[..], &["--port", &other]].concat())
        .fails_with("CLASS_SERVED", 71);
    serving.end();

    // Over, and open again: nobody has to join anew.
    learner
        .run(&["class", "help"])
        .fails_with("CLASS_SILENT", 79);
    assert_eq!(learner.run(&["class", "status"]).code, 1);
    teacher
        .run(&["class", "board"])
        .fails_with("CLASS_NOT_SERVED", 73);
    teacher.ok(&["class", "board", "--pace"]);
    let afterwards = teacher.file("afterwards.csv");
    teacher.ok(&["class", "board", "--export", text(&afterwards)]);
    let rows = std::fs::read_to_string(&afterwards).unwrap();
    assert!(
        rows.starts_with("learner,lesson,step") && !rows.contains("Ada"),
        "{rows}"
    );
    let (serving, again) = Serving::start(&teacher, &port, &bundle);
    assert_eq!(again["code"], told["code"]);
    assert_eq!(again["learners"], 1);
    learner.ok(&["class", "status"]);
    let left = learner.ok(&["class", "leave", "--forget"]);
    assert!(left.out.contains("Tuesday"), "{left}");
    learner
        .run(&["class", "status"])
        .fails_with("CLASS_NOT_JOINED", 73);
    // What is kept of a membership is damaged: with the code there is a way on.
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    cadet_state::Store::open(&learner.sealed.state())
        .unwrap()
        .put_membership(&name, b"{}")
        .unwrap();
    learner
        .run(&["class", "status"])
        .fails_with("HOST_STATE_CORRUPT", 38);
    let anew = learner.ok(&["class", "join", &code, "--name", "Ada", "--only"]);
    assert!(anew.out.contains("joined      as Ada;"), "{anew}");
    assert!(
        anew.out.contains("it sees nothing of what you do"),
        "{anew}"
    );
    learner.ok(&["class", "leave", "--forget"]);
    serving.end();

    // Another class: the old code is of no use.
    let (serving, new) = Serving::start(&teacher, &port, &["--new", "--title", "Wednesday"]);
    assert_ne!(new["code"], told["code"]);
    assert_eq!(new["learners"], 0);
    let old = learner.run(&["class", "join", &code, "--name", "Ada", "--only"]);
    old.fails_with("CLASS_STRANGER", 77);
    serving.end();
}

#[test]
fn a_teacher_reads_where_the_class_is_and_a_code_to_type_or_to_scan() {
    let teacher = Computer::learner();
    let port = free_port();
    let args = ["class", "serve", "--no-images", "--address", "127.0.0.1"];
    let mut command = teacher.command(&[&args[..], &["--port", &port]].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    // Ends with this test, whatever becomes of it.
    let (_, events) = mpsc::channel();
    let mut serving = Serving { child, events };
    let mut lines = out.lines().map(Result::unwrap);
    let shown = lines.by_ref();
    let told: Vec<String> = shown.take_while(|l| !l.contains("Ctrl-C ends")).collect();
    let text = told.join("\n");
    let listening = format!("on port {port} of 127.0.0.1, and nowhere else");
    assert!(text.contains(&listening), "{text}");
    assert!(
        text.contains(&format!("https://127.0.0.1:{port}/board#")),
        "{text}"
    );
    let typed: Vec<&str> = told
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("cadet class join "))
        .collect();
    let [typed] = typed[..] else {
        panic!("{text}");
    };
    let word = typed.rsplit(' ').next().unwrap();
    let code = cadet_class::JoinCode::parse(word).unwrap();
    assert_eq!(code.address.to_string(), format!("127.0.0.1:{port}"));
    for line in cadet_bundle::qr::Qr::of(typed).unwrap().lines() {
        assert!(told.contains(&format!("  {line}")), "{line}\n{text}");
    }
    // It lets in whoever types it, and says so.
    Sealed::new().ok(&["class", "join", word, "--name", "Ada", "--only"]);
    assert!(lines.any(|l| l.contains("joined      Ada (1)")));
    signal(serving.pid(), "-INT");
    let last: Vec<String> = lines.collect();
    assert!(
        last.iter().any(|l| l.contains("cadet class board --pace")),
        "{last:?}"
    );
    assert!(serving.child.wait().unwrap().success());
}

/// Where a process listens or waits for datagrams: protocol, address and port as the kernel writes
/// them (proc_pid_net(5), proc_pid_fd(5)).
#[cfg(target_os = "linux")]
pub fn doors(pid: u32) -> Vec<String> {
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        // A file may have been closed since.
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let mut found = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{protocol}"));
        for line in table.unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            // 0A is LISTEN; datagrams have no such state.
            let waits = state == "0A" || protocol.starts_with("udp");
            if waits && open.contains(&format!("socket:[{inode}]")) {
                found.push(format!("{protocol} {local}"));
            }
        }
    }
    found
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_listens_before_serve_and_then_only_what_it_prints() {
    let teacher = Computer::learner();
    let port = free_port();
    let number: u16 = port.parse().unwrap();
    let nobody = || std::net::TcpStream::connect(("127.0.0.1", number)).is_err();
    assert!(nobody());
    let (serving, told) = Serving::start(&teacher, &port, &[]);
    assert_eq!(told["port"], number);
    assert_eq!(told["addresses"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(doors(serving.pid()), [format!("tcp 0100007F:{number:04X}")]);
    serving.end();
    assert!(nobody());
}

#[test]
fn a_code_that_is_none_is_told_before_anything_is_asked() {
    let home = Sealed::new();
    for code in ["", "hello", "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA-AAA", "ÄÖÜ"] {
        home.run(&["class", "join", code, "--name", "Ada"])
            .fails_with("PROGRAM_USAGE", 14);
    }
    for args in [&["join"][..], &["status"], &["help"], &["leave"]] {
        let args = [&["class"], args].concat();
        home.run(&args).fails_with("CLASS_NOT_JOINED", 73);
    }
    for args in [&["board"][..], &["board", "--phone"], &["board", "--pace"]] {
        let args = [&["class"], args].concat();
        home.run(&args).fails_with("CLASS_NOT_SERVED", 73);
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn a_port_that_is_taken_is_told() {
    let home = Sealed::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = ["class", "serve", "--no-images", "--address", "127.0.0.1"];
    let args = [&args[..], &["--port", &port]].concat();
    home.run(&args).fails_with("NET_PORT_TAKEN", 71);
    let split = ["class", "serve", "--bundle", "/nowhere/class.cadet"];
    home.run(&split).fails_with("PROGRAM_USAGE", 14);
    // A file and parts of the same name: which is the newer one, nobody knows.
    let file = home.dir.path().join("class.cadet");
    for name in ["class.cadet", "class.cadet.001"] {
        std::fs::write(file.with_file_name(name), "any").unwrap();
    }
    let both = home.run(&["class", "serve", "--bundle", file.to_str().unwrap()]);
    both.fails_with("PROGRAM_USAGE", 14);
    assert!(both.err.contains("class.cadet.001"), "{both}");
}

/// The code that `doctor --class` ends in.
#[track_caller]
fn checkup_of(seen: &Run) -> &str {
    let mut lines = seen.out.lines();
    let code = lines.find_map(|line| line.strip_prefix("Code for your teacher:"));
    code.unwrap_or_else(|| panic!("{seen}")).trim()
}

#[test]
fn the_week_before_ends_in_a_code_that_says_what_is_wrong() {
    let home = Sealed::new();
    let seen = home.run(&["doctor", "--class"]);
    let code = checkup_of(&seen);
    let told = home.run(&["doctor", &format!("--class={code}")]);
    assert_eq!(told.code, seen.code, "{told}\n{seen}");
    assert!(told.out.contains("processors"), "{told}");
    let json = home.run(&[
        "-ojson",
        "doctor",
        &format!("--class={}", code.to_lowercase()),
    ]);
    let json: Value = serde_json::from_str(json.out.trim()).unwrap();
    assert_eq!(json["type"], "checkup");
    home.run(&["doctor", "--class=nonsense"])
        .fails_with("PROGRAM_USAGE", 14);
}

// Elsewhere QEMU is looked for in the folders of package managers as well.
#[cfg(target_os = "linux")]
#[test]
fn what_a_laptop_lacks_is_read_out_of_its_code_on_another() {
    let home = Sealed::new();
    let empty = home.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let bare = Run::of(home.command(&["doctor", "--class"]).env("PATH", &empty));
    let told = home.run(&["doctor", &format!("--class={}", checkup_of(&bare))]);
    assert_eq!((bare.code, told.code), (1, 1), "{bare}\n{told}");
    assert!(told.out.contains("✗ qemu"), "{told}");
}
