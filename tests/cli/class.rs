//! A class's bundle from the teacher's computer to a learner's, with small files for large ones.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use cadet_image::catalog::Image;
use cadet_image::{Arch, Cache, Catalog, Manifest, debian};
use serde_json::Value;

use crate::support::{Run, Sealed};

const LESSONS: [&str; 2] = ["telescope", "telescope-heals"];
const APPS: [&str; 4] = ["cadet-node", "telescope", "mongod", "hello"];

/// A computer with a `cadet` of its own, so that what lies beside it is known.
pub struct Computer {
    pub sealed: Sealed,
    program: PathBuf,
}

impl Computer {
    pub fn learner() -> Self {
        let sealed = Sealed::new();
        let bin = sealed.dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let program = bin.join("cadet");
        std::fs::copy(env!("CARGO_BIN_EXE_cadet"), &program).unwrap();
        Self { sealed, program }
    }

    /// With the programs of machines, a kubectl and a prepared base image.
    pub fn teacher() -> Self {
        let teacher = Self::learner();
        for name in APPS {
            let bytes = format!("{name} ").repeat(5000);
            std::fs::write(teacher.program.with_file_name(name), bytes).unwrap();
        }
        std::fs::write(teacher.file("kubectl"), b"\x7fELF kubectl").unwrap();
        teacher.prepare_base();
        teacher
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.sealed.dir.path().join(name)
    }

    pub fn cache(&self) -> Cache {
        Cache::open(&self.sealed.state().images()).unwrap()
    }

    fn prepare_base(&self) {
        let arch = Arch::host().unwrap();
        let catalog = Catalog::built_in().unwrap();
        let image = catalog.get("debian-13", arch).unwrap();
        let Image::Packages {
            suite,
            mirrors,
            root,
            ..
        } = image
        else {
            panic!("{image:?}");
        };
        let build = debian::Build {
            image: "debian-13",
            arch,
            suite,
            mirrors,
            root,
            as_root: false,
        };
        let cache = self.cache();
        let space = cache.workspace("debian-13", arch).unwrap();
        // No two bytes in a row tell the next one: as compressed as a real disk.
        let mut state = 7u32;
        let mut disk = Vec::new();
        while disk.len() < 1_500_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            disk.push(u8::try_from(state >> 24).unwrap());
        }
        std::fs::write(space.path("root.qcow2"), &disk).unwrap();
        std::fs::write(space.path("vmlinuz"), &disk[..9000]).unwrap();
        std::fs::write(space.path("initrd"), &disk[..8000]).unwrap();
        let draft = Manifest {
            image: "debian-13".into(),
            arch,
            recipe: build.recipe(),
            created: 1_700_000_000,
            root: root.clone(),
            files: std::collections::BTreeMap::new(),
            versions: std::collections::BTreeMap::new(),
        };
        cache.install(&space, draft).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sealed.command_of(&self.program, args);
        // Servers of these tests are on this computer.
        command
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Run {
        let run = self.run(args);
        assert!(run.code == 0, "cadet {args:?} failed:\n{run}");
        run
    }

    /// Makes a bundle of the lessons with these further flags; the last event.
    #[track_caller]
    pub fn bundle(&self, out: &Path, flags: &[&str]) -> Value {
        let (out, kubectl) = (out.to_str().unwrap(), self.file("kubectl"));
        let mut args = vec!["-ojson", "class", "bundle", "--out", out, "--kubectl"];
        args.push(kubectl.to_str().unwrap());
        args.extend_from_slice(flags);
        args.extend(LESSONS);
        last_event(&self.ok(&args))
    }

    #[track_caller]
    pub fn install(&self, what: &str) -> Value {
        last_event(&self.ok(&["-ojson", "class", "install", what]))
    }
}

#[track_caller]
pub fn last_event(run: &Run) -> Value {
    let line = run.out.lines().last().unwrap_or_default();
    let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}\n{run}"));
    assert_eq!(event["type"], "done", "{run}");
    event
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_learner_without_anything_gets_everything() {
    let teacher = Computer::teacher();
    let file = teacher.file("class.cadet");
    let made = teacher.bundle(&file, &["--title", "Tuesday"]);
    assert_eq!(made["lessons"], serde_json::json!(LESSONS));
    assert_eq!(made["bytes"], std::fs::metadata(&file).unwrap().len());

    let learner = Computer::learner();
    let run = learner.ok(&["class", "install", text(&file)]);
    assert!(run.out.contains("\"Tuesday\" is installed"), "{run}");
    assert!(run.out.contains(made["key"].as_str().unwrap()), "{run}");

    // The base is the teacher's, whole, and what `start` would use.
    let base = learner
        .cache()
        .find("debian-13", Arch::host().unwrap(), None)
        .unwrap()
        .unwrap();
    base.verify().unwrap();
    let theirs = teacher.cache().list().unwrap();
    assert_eq!(base.manifest, theirs[0].as_ref().unwrap().manifest);
    learner.ok(&["image", "verify", "debian-13"]);
    let list = learner.ok(&["image", "list"]);
    let line = list.out.lines().find(|l| l.starts_with("debian-13"));
    assert!(line.is_some_and(|l| l.contains(" yes ")), "{list}");

    // Programs can be run and are the teacher's.
    let programs = learner.sealed.state().class_programs();
    for name in APPS {
        let file = programs.join(name);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name}");
        let own = teacher.program.with_file_name(name);
        assert!(std::fs::read(&file).unwrap() == std::fs::read(own).unwrap());
    }
    assert!(programs.join("kubectl").is_file() && programs.join("cadet").is_file());

    // Lessons are those of the sources, and nothing is left over.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tutorials/01-telescope/lesson.md");
    let lesson = programs.join("tutorials/01-telescope/lesson.md");
    assert!(std::fs::read(lesson).unwrap() == std::fs::read(source).unwrap());
    assert!(!learner.sealed.home().join("cache/class/pieces").exists());

    // The class's own cadet finds the class's lessons beside itself.
    let mut own = Command::new(programs.join("cadet"));
    let listed = learner.command(&["-ojson", "tutorial", "list"]);
    own.args(listed.get_args()).env_clear();
    for (name, value) in listed.get_envs() {
        own.env(name, value.unwrap());
    }
    let run = Run::of(&mut own);
    assert_eq!(run.code, 0, "{run}");
    for lesson in LESSONS {
        assert!(run.out.contains(&format!("\"{lesson}\"")), "{run}");
    }

    // Once more is nothing to do.
    assert_eq!(learner.install(text(&file))["changed"], false);
    std::fs::write(programs.join("hello"), "damaged").unwrap();
    assert_eq!(learner.install(text(&file))["changed"], true);
    assert!(
        std::fs::read(programs.join("hello"))
            .unwrap()
            .starts_with(b"hello ")
    );
}

#[test]
fn the_same_class_gives_the_same_bytes_whole_or_in_parts() {
    let teacher = Computer::teacher();
    let (one, two) = (teacher.file("one.cadet"), teacher.file("two.cadet"));
    teacher.bundle(&one, &[]);
    teacher.bundle(&two, &[]);
    let bytes = std::fs::read(&one).unwrap();
    assert!(bytes == std::fs::read(&two).unwrap());

    let stick = teacher.file("stick");
    std::fs::create_dir(&stick).unwrap();
    let made = teacher.bundle(&stick.join("class.cadet"), &["--split=1m"]);
    let files = made["files"].as_array().unwrap();
    assert_eq!(files.len(), bytes.len().div_ceil(1 << 20));
    let joined: Vec<u8> = files
        .iter()
        .flat_map(|f| std::fs::read(f.as_str().unwrap()).unwrap())
        .collect();
    assert!(bytes == joined);

    let learner = Computer::learner();
    let second = stick.join("class.cadet.002");
    let aside = teacher.file("aside");
    std::fs::rename(&second, &aside).unwrap();
    let run = learner.run(&["class", "install", text(&stick)]);
    run.fails_with("BUNDLE_TRUNCATED", 69);
    assert!(run.err.contains("class.cadet.002"), "{run}");
    std::fs::rename(&aside, &second).unwrap();
    assert_eq!(learner.install(text(&stick))["changed"], true);
}

/// A file server with ranges that cuts its first answers after some bytes.
struct Server {
    url: String,
    /// First lines and ranges of all requests.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(file: &Path, cuts: usize) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/class.cadet", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        std::thread::spawn(move || {
            let mut cuts = cuts;
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let range = range_of(&stream);
                log.lock().unwrap().push(format!("{range:?}"));
                let Some((first, last)) = range else { continue };
                let last = last.min(bytes.len() - 1);
                let length = last + 1 - first;
                let mut sent = length;
                if length > 500_000 && cuts > 0 {
                    cuts -= 1;
                    sent = 200_000;
                }
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\
                     Content-Range: bytes {first}-{last}/{}\r\nETag: \"1\"\r\n\
                     Connection: close\r\n\r\n",
                    bytes.len()
                );
                // The client may have gone.
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&bytes[first..first + sent]);
            }
        });
        Self { url, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// The range a request asks for.
fn range_of(stream: &TcpStream) -> Option<(usize, usize)> {
    let mut range = None;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(asked) = line.strip_prefix("range: bytes=") {
            let (first, last) = asked.split_once('-')?;
            range = Some((first.parse().ok()?, last.parse().unwrap_or(usize::MAX)));
        }
    }
    range
}

#[test]
fn over_the_network_it_goes_on_where_it_broke() {
    let teacher = Computer::teacher();
    let file = teacher.file("class.cadet");
    let made = teacher.bundle(&file, &[]);
    let key = made["key"].as_str().unwrap();
    let size = usize::try_from(made["bytes"].as_u64().unwrap()).unwrap();

    let server = Server::start(&file, 2);
    let learner = Computer::learner();
    // Over an open line somebody must have read out the key.
    learner
        .run(&["class", "install", &server.url])
        .fails_with("CLASS_TEACHER", 67);
    learner
        .run(&[
            "class",
            "install",
            &server.url,
            "--key",
            "0000-0000-0000-0000",
        ])
        .fails_with("CLASS_TEACHER", 67);
    learner.ok(&["class", "install", &server.url, "--key", key]);
    let heard = server.heard();
    let starts: Vec<usize> = heard
        .iter()
        .filter_map(|r| r.strip_prefix("Some((")?.split_once(',')?.0.parse().ok())
        .collect();
    assert_eq!(starts.len(), heard.len(), "{heard:?}");
    // Each piece is asked for once, and once more from the middle for each cut.
    let mut once = starts.clone();
    once.sort_unstable();
    once.dedup();
    let heads = starts.iter().filter(|s| **s == 0).count();
    assert_eq!(once.len(), starts.len() - (heads - 1), "{heard:?}");
    assert!(starts.iter().all(|s| *s < size));
    learner
        .cache()
        .find("debian-13", Arch::host().unwrap(), None)
        .unwrap()
        .unwrap()
        .verify()
        .unwrap();

    // All is there: only the head and the small description of the base are asked for.
    let before = server.heard().len();
    let again = learner.install(&server.url);
    assert_eq!(again["changed"], false);
    assert!(server.heard().len() <= before + 2);

    // One byte that changed on the way is found, and nothing of that bundle is in use.
    let first = cadet_bundle::Bundle::open(&file).unwrap().head.range(0);
    let middle = usize::try_from(first.start.midpoint(first.end)).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[middle] = !bytes[middle];
    let bad = teacher.file("bad.cadet");
    std::fs::write(&bad, bytes).unwrap();
    let server = Server::start(&bad, 0);
    let other = Computer::learner();
    other
        .run(&["class", "install", &server.url, "--key", key])
        .fails_with("BUNDLE_TAMPERED", 68);
    let home = other.sealed.state();
    assert!(!home.class_programs().exists() && !home.class_record().exists());
}

#[test]
fn a_class_keeps_its_teacher() {
    let (first, second) = (Computer::teacher(), Computer::teacher());
    let (ours, theirs) = (first.file("class.cadet"), second.file("class.cadet"));
    first.bundle(&ours, &[]);
    let key = second.bundle(&theirs, &[])["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let learner = Computer::learner();
    learner.install(text(&ours));
    let refused = learner.run(&["class", "install", text(&theirs)]);
    refused.fails_with("CLASS_TEACHER", 67);
    assert!(refused.err.contains(&key), "{refused}");
    learner.install(text(&ours));
    learner.ok(&[
        "class",
        "install",
        text(&theirs),
        "--key",
        &key.to_lowercase(),
    ]);
    learner.install(text(&theirs));
    learner
        .run(&["class", "install", text(&ours)])
        .fails_with("CLASS_TEACHER", 67);
}
