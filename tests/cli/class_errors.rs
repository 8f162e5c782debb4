//! Classes: words that make no sense, and bundles that are damaged, foreign or none.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cadet_bundle::{Bundle, Plan, Platform, Source, TeacherKey};
use cadet_class::JoinCode;

use crate::class::{Computer, text};
use crate::support::Sealed;

/// A join code of a class that nobody holds.
fn code() -> String {
    let code = JoinCode {
        address: ([192, 168, 1, 20], 7433).into(),
        pin: [7; 8],
        token: [3; 5],
    };
    code.to_string()
}

#[test]
fn words_that_do_not_fit_are_refused() {
    let home = Sealed::new();
    let code = code();
    let code = code.as_str();
    for args in [
        &["class"][..],
        &["class", "teach"],
        &["class", "bundle"],
        &["class", "bundle", "telescope", "--all"],
        &["class", "bundle", "telescope", "--split=0"],
        &["class", "bundle", "telescope", "--split=big"],
        &["class", "bundle", "telescope", "--title", ""],
        &["class", "bundle", "telescope", "--arch", "mips"],
        &["class", "install"],
        &["class", "install", "/does/not/exist.cadet"],
        &["class", "install", "x.cadet", "--key", "short"],
        &[
            "class",
            "install",
            "x.cadet",
            "--key",
            "UUUU-UUUU-UUUU-UUUU",
        ],
        &["class", "cards"],
        &["class", "cards", "abc"],
        &["class", "cards", "K3Q9 7ZQ3 <b>"],
        &["class", "cards", "K3Q9-7ZQ3"],
        &["class", "cards", code, "--count", "0"],
        &["class", "cards", code, "--names", "/does/not/exist"],
        &["class", "cards", code, "--names", "x", "--count", "3"],
    ] {
        let run = home.run(args);
        assert_eq!(run.code, 14, "{args:?}\n{run}");
        assert!(!run.err.contains("panicked"), "{run}");
    }
    home.run(&["class", "bundle", "no-such-lesson"])
        .fails_with("LESSON_UNKNOWN", 15);
    home.run(&["class", "bundle", "telescope", "--image", "windows-95"])
        .fails_with("IMAGE_UNKNOWN", 65);
}

#[test]
fn what_is_no_bundle_is_told() {
    let home = Sealed::new();
    let file = home.dir.path().join("x.cadet");
    // A head that says that four gigabytes of it follow.
    let mut vast = b"cadet\x1ab\n\x01\0\0\0\xff\xff\xff\xff".to_vec();
    vast.resize(5000, 0);
    for bytes in [&b""[..], b"cadet", b"hello", &[0; 5000], &vast[..]] {
        std::fs::write(&file, bytes).unwrap();
        home.run(&["class", "install", text(&file)])
            .fails_with("BUNDLE_INVALID", 68);
    }
    let empty = home.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    home.run(&["class", "install", text(&empty)])
        .fails_with("PROGRAM_USAGE", 14);
    // A port where nobody listens.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/class.cadet", nobody.local_addr().unwrap());
    drop(nobody);
    let learner = Computer::learner();
    learner
        .run(&["class", "install", &url])
        .fails_with("INET_UNREACHABLE", 49);
}

/// A server that begins each answer like this and goes on with `x` until nobody takes any more.
struct Endless {
    url: String,
    /// How many bytes of an answer were taken at most.
    taken: std::sync::Arc<std::sync::Mutex<usize>>,
}

impl Endless {
    fn start(begins: &'static [u8]) -> Self {
        use std::io::{BufRead as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/class.cadet", listener.local_addr().unwrap());
        let taken = std::sync::Arc::new(std::sync::Mutex::new(0));
        let most = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked = std::io::BufReader::new(&stream).lines();
                let head = asked.map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                let piece = [b'x'; 64 << 10];
                let (mut next, mut sent) = (begins, 0usize);
                // Four gigabytes, if anybody took them.
                while sent < 4 << 30 && stream.write_all(next).is_ok() {
                    sent += next.len();
                    next = &piece;
                }
                let mut most = most.lock().unwrap();
                *most = sent.max(*most);
            }
        });
        Self { url, taken }
    }
}

#[test]
fn an_answer_without_an_end_fills_neither_memory_nor_disk() {
    // A head that never ends; a body that is none; one that says the same of its own head.
    let answers: [(&'static [u8], &str, i32); 3] = [
        (
            b"HTTP/1.1 206 Partial Content\r\nfiller: ",
            "INET_UNREACHABLE",
            49,
        ),
        (
            b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n\r\n",
            "BUNDLE_INVALID",
            68,
        ),
        (
            b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n\r\n\
              cadet\x1ab\n\x01\0\0\0\xff\xff\xff\xff",
            "BUNDLE_INVALID",
            68,
        ),
    ];
    let learner = Computer::learner();
    for (begins, id, code) in answers {
        let server = Endless::start(begins);
        let run = learner.run(&["class", "install", &server.url]);
        run.fails_with(id, code);
        let taken = crate::support::eventually(
            "the server is left",
            std::time::Duration::from_secs(60),
            || Some(*server.taken.lock().unwrap()).filter(|taken| *taken > 0),
        );
        // What the kernels on both sides hold, and not more.
        assert!(taken < 64 << 20, "{taken} bytes of an answer were taken");
        assert!(!learner.sealed.state().class_record().exists());
    }
}

struct Damaged {
    learner: Computer,
    sound: Vec<u8>,
    file: PathBuf,
}

impl Damaged {
    fn install(&self, bytes: &[u8], id: &str, code: i32) -> String {
        std::fs::write(&self.file, bytes).unwrap();
        let run = self.learner.run(&["class", "install", text(&self.file)]);
        run.fails_with(id, code);
        // Nothing of it is in use.
        let home = self.learner.sealed.state();
        assert!(!home.class_programs().exists() && !home.class_record().exists());
        run.err
    }
}

#[test]
fn damage_is_named_and_what_was_whole_is_kept() {
    let teacher = Computer::teacher();
    let file = teacher.file("class.cadet");
    teacher.bundle(&file, &[]);
    let head = Bundle::open(&file).unwrap().head;
    let learner = Computer::learner();
    let test = Damaged {
        sound: std::fs::read(&file).unwrap(),
        file: learner.file("class.cadet"),
        learner,
    };
    let sound = &test.sound;
    let changed = |at: usize, to: u8| {
        let mut bytes = sound.clone();
        bytes[at] = to;
        bytes
    };

    let err = test.install(&changed(8, 0), "BUNDLE_FORMAT", 66);
    assert!(err.contains("older"), "{err}");
    let err = test.install(&changed(8, 200), "BUNDLE_FORMAT", 66);
    assert!(err.contains("newer"), "{err}");
    test.install(&changed(60, !sound[60]), "BUNDLE_SIGNATURE", 67);
    test.install(&changed(150, !sound[150]), "BUNDLE_SIGNATURE", 67);
    test.install(&sound[..60], "BUNDLE_TRUNCATED", 69);
    test.install(&sound[..sound.len() - 1], "BUNDLE_TRUNCATED", 69);
    let long = [&sound[..], b"x"].concat();
    test.install(&long, "BUNDLE_TAMPERED", 68);

    // The last piece is a lesson's: all before it is unpacked and kept for the next try.
    let last = head.manifest.entries.last().unwrap();
    let at = usize::try_from(head.range(last.piece).start).unwrap() + 9;
    let err = test.install(&changed(at, !sound[at]), "BUNDLE_TAMPERED", 68);
    assert!(err.contains(&last.place.to_string()), "{err}");
    let pieces = test.learner.sealed.home().join("cache/class/pieces");
    assert_eq!(
        std::fs::read_dir(&pieces).unwrap().count(),
        head.manifest.pieces.len() - 1
    );
    std::fs::write(&test.file, sound).unwrap();
    assert_eq!(test.learner.install(text(&test.file))["changed"], true);
    assert!(!pieces.exists());
}

#[test]
fn a_class_for_other_processors_is_refused() {
    let home = Sealed::new();
    let dir = home.dir.path();
    let key = TeacherKey::load_or_make(&dir.join("key")).unwrap();
    let other = match std::env::consts::ARCH {
        "x86_64" => "arm64",
        _ => "amd64",
    };
    let plan = Plan {
        class: "Tuesday".into(),
        cadet: "0.1.0".into(),
        image: "debian-13".into(),
        lessons: Vec::new(),
        sources: vec![Source {
            place: format!("base/{other}/root.qcow2").parse().unwrap(),
            file: dir.join("key"),
        }],
    };
    let file = dir.join("other.cadet");
    cadet_bundle::write(plan, &key, dir, &file, None, &mut |_, _, _| {}).unwrap();
    let run = home.run(&["class", "install", text(&file)]);
    run.fails_with("BUNDLE_PLATFORM", 66);
    assert!(run.err.contains(other), "{run}");
}

#[test]
fn a_full_disk_is_told_and_freeing_space_is_enough() {
    let teacher = Computer::teacher();
    let file = teacher.file("class.cadet");
    teacher.bundle(&file, &[]);
    let learner = Computer::learner();
    // The shell's limit of a file's size plays the full disk, 512 bytes a block.
    let program = learner.command(&["class", "install", text(&file)]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear();
    for (name, value) in program.get_envs() {
        limited.env(name, value.unwrap());
    }
    crate::support::Run::of(&mut limited).fails_with("HOST_DISK_FULL", 31);
    assert_eq!(learner.install(text(&file))["changed"], true);
}

#[test]
fn a_bundle_is_not_written_over_other_files_and_the_key_is_private() {
    let teacher = Computer::teacher();
    let thesis = teacher.file("thesis.cadet");
    std::fs::write(&thesis, "years of work").unwrap();
    let out = text(&thesis);
    let args = ["class", "bundle", "telescope", "--out", out];
    teacher.run(&args).fails_with("BUNDLE_EXISTS", 61);
    assert_eq!(std::fs::read_to_string(&thesis).unwrap(), "years of work");

    teacher.bundle(&teacher.file("class.cadet"), &[]);
    let key = teacher.sealed.state().teacher_key();
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&key, "not a key").unwrap();
    let out = teacher.file("again.cadet");
    let args = ["class", "bundle", "telescope", "--out", text(&out)];
    teacher.run(&args).fails_with("HOST_STATE_CORRUPT", 38);
    // Nothing is left of the work.
    assert!(!teacher.sealed.home().join("cache/class/bundle").exists());
}

#[test]
fn programs_of_other_platforms_are_taken_along() {
    let teacher = Computer::teacher();
    let (here, release) = (Platform::here(), teacher.file("release"));
    let all: Vec<Platform> = Platform::all()
        .filter(|platform| platform.arch() == here.arch())
        .collect();
    for platform in all.iter().filter(|platform| **platform != here) {
        let folder = release.join(platform.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["cadet", "kubectl"] {
            let program = format!("{name} of {platform}");
            std::fs::write(folder.join(platform.program(name)), program).unwrap();
        }
    }
    let out = teacher.file("class.cadet");
    let made = teacher.bundle(&out, &["--programs", text(&release)]);
    let mut names: Vec<String> = all.iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(made["platforms"], serde_json::json!(names));
    let manifest = Bundle::open(&out).unwrap().head.manifest;
    for platform in &all {
        for name in ["cadet", "kubectl"] {
            let place = format!("host/{platform}/{}", platform.program(name));
            let mut places = manifest.entries.iter().map(|e| e.place.to_string());
            assert!(places.any(|one| one == place), "{place}");
        }
    }
    // Each learner gets their own platform's.
    let learner = Computer::learner();
    assert_eq!(learner.install(text(&out))["changed"], true);
    let kubectl = learner.sealed.state().class_programs();
    let kubectl = std::fs::read(kubectl.join(here.program("kubectl"))).unwrap();
    assert_eq!(kubectl, std::fs::read(teacher.file("kubectl")).unwrap());
}

#[test]
fn programs_of_other_platforms_must_be_there() {
    let teacher = Computer::teacher();
    let out = teacher.file("class.cadet");
    let kubectl = teacher.file("kubectl");
    let other = match std::env::consts::ARCH {
        "x86_64" => "arm64",
        _ => "amd64",
    };
    let args = [
        "class",
        "bundle",
        "telescope",
        "--out",
        text(&out),
        "--arch",
        other,
    ];
    teacher.run(&args).fails_with("IMAGE_UNKNOWN", 65);
    std::fs::write(&kubectl, "#!/bin/sh\n").unwrap();
    let args = [
        "class",
        "bundle",
        "telescope",
        "--out",
        text(&out),
        "--kubectl",
        text(&kubectl),
    ];
    teacher.run(&args).fails_with("HOST_KUBECTL_MISSING", 35);
    assert!(!out.exists());
}

#[test]
fn cards_are_written_for_a_printer() {
    let (home, code) = (Sealed::new(), code());
    let names = home.dir.path().join("names.txt");
    std::fs::write(&names, "Ada\n<img src=x onerror=alert(1)>\n").unwrap();
    let out = home.dir.path().join("cards.html");
    let (names, shown) = (text(&names), text(&out));
    let run = home.ok(&["class", "cards", &code, "--names", names, "--out", shown]);
    assert!(run.out.contains("2 cards"), "{run}");
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains(&format!("cadet class join {code}")) && page.contains("<svg"));
    assert!(page.contains("&lt;img") && !page.contains("<img"));
    home.ok(&["class", "cards", &code, "--count", "3", "--out", shown]);
    std::fs::write(&out, "my thesis").unwrap();
    home.run(&["class", "cards", &code, "--out", shown])
        .fails_with("PROGRAM_USAGE", 14);
}
