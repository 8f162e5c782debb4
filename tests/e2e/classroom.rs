//! A class with its real sizes. The bundle of the first three lessons is made of the real guest and
//! goes to a learner without any network. `CADET_CLASS=1` (root; `scripts/test` says it) plays the
//! day itself: two machines, of a teacher and of a learner whose only way is to the teacher, from
//! the code to a solved step, with an image from a registry that is gone when the learner comes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cadet_class::mirror::Digest;
use cadet_image::Arch;
use serde_json::{Value, json};

use crate::image;
use crate::room::{Laptop, Room};
use crate::support::{Run, Sealed, eventually};
use crate::voyage::shared_cache;

const LESSONS: [&str; 3] = ["telescope", "telescope-heals", "telescope-service"];
/// What thirty learners fetch in twelve minutes, and the smallest stick holds.
const MOST: u64 = 300_000_000;
/// Two machines share the processors, perhaps under emulation.
const PATIENCE: Duration = Duration::from_secs(900);
/// Small, so that two fit.
const MEMORY: &str = "1g";

#[allow(clippy::print_stdout)] // the test's own report
fn tell(text: &str) {
    println!("{text}");
}

/// A teacher's home with the prepared base image, and the bundle of the first lessons.
fn teacher() -> (Sealed, PathBuf, Value) {
    let mut home = Sealed::new();
    home.cache = Some(shared_cache());
    home.ok(&["image", "build", "debian-13"]);
    let file = home.dir.path().join("class.cadet");
    let out = file.display().to_string();
    let mut words = vec!["-ojson", "class", "bundle", "--out", out.as_str()];
    words.extend(["--title", "Kubernetes on Tuesday"]);
    words.extend(LESSONS);
    let made = home.ok(&words).out;
    let last = made.lines().next_back().unwrap_or_default();
    let made: Value = serde_json::from_str(last).expect(last);
    (home, file, made)
}

#[test]
fn the_first_lessons_fit_into_300_megabytes_and_need_no_network() {
    let (_home, file, made) = teacher();
    let bytes = made["bytes"].as_u64().unwrap();
    let bundle = cadet_bundle::Bundle::open(&file).unwrap();
    let manifest = &bundle.head.manifest;
    for entry in &manifest.entries {
        let piece = &manifest.pieces[entry.piece];
        let (packed, size) = (piece.packed_size, piece.size);
        tell(&format!(
            "{packed:>11} of {size:>11} bytes  {}",
            entry.place
        ));
    }
    tell(&format!("{bytes:>11} bytes"));
    assert!(bytes <= MOST, "{bytes} bytes");

    let (nowhere, learner) = (Laptop::alone(), Sealed::new());
    let ok = |args: &[&str]| {
        let run = Run::of(&mut nowhere.enter(&learner.command(args)));
        assert_eq!(run.code, 0, "cadet {args:?}: {run}");
        run
    };
    ok(&["class", "install", &file.display().to_string()]);
    // Ready for `start`, which downloads nothing more.
    let list = ok(&["image", "list"]).out;
    let line = list.lines().find(|line| line.starts_with("debian-13"));
    assert!(line.is_some_and(|line| line.contains(" yes ")), "{list}");
    let kubectl = learner.state().class_programs().join("kubectl");
    let asked = Run::of(Command::new(kubectl).args(["version", "--client"]));
    assert_eq!(asked.code, 0, "{asked}");
}

/// A folder of QEMU's programs alone, to be a learner's PATH.
fn qemu_alone(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).filter_map(|dir| dir.read_dir().ok());
    for program in there.flatten().map_while(Result::ok) {
        if program.file_name().to_string_lossy().starts_with("qemu-") {
            // The first one of a name counts, as in every PATH.
            let _ = std::os::unix::fs::symlink(program.path(), folder.join(program.file_name()));
        }
    }
}

/// A laptop of the room.
struct Seat<'a> {
    home: Sealed,
    network: &'a Laptop,
    /// Its cadet, if nothing else of Cadet's or of Kubernetes' is on this laptop.
    alone: Option<PathBuf>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for args in [
                &["status"][..],
                &["class", "status"],
                &["logs", "--tail", "60"],
                &["logs", "--machine", "--tail", "40"],
            ] {
                tell(&format!("{args:?}: {}", self.run(args)));
            }
            let pods = self.kubectl(&["get", "pods,events", "-A", "-o", "wide"]);
            tell(&pods.to_string());
        }
        self.run(&["delete", "--yes"]);
    }
}

impl Seat<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut inner = match &self.alone {
            None => self.home.command(args),
            Some(cadet) => {
                let mut inner = self.home.command_of(cadet, args);
                inner.env("PATH", cadet.with_file_name("qemu"));
                inner
            }
        };
        // No proxy is in the room.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            inner.env_remove(name);
        }
        self.network.enter(&inner)
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Run {
        let began = Instant::now();
        let run = self.run(args);
        assert_eq!(run.code, 0, "cadet {args:?}: {run}");
        let seconds = began.elapsed().as_secs_f64();
        tell(&format!("{args:?} took {seconds:.1} s"));
        run
    }

    fn kubectl(&self, args: &[&str]) -> Run {
        let mut inner = Command::new("kubectl");
        inner
            .args(args)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBECONFIG", self.home.kubeconfig())
            .env("HOME", self.home.dir.path());
        Run::of(&mut self.network.enter(&inner))
    }

    /// Its machine uses the class's images, and the first lesson begins.
    #[track_caller]
    fn begins(&self, code: &[&str]) {
        let joined = self.ok(&[&["class", "join"], code].concat());
        assert!(joined.out.contains("Step 1 of"), "{joined}");
        let without = "does not use the class's images";
        assert!(!joined.err.contains(without), "{joined}");
    }

    /// A pod of this image comes to run.
    #[track_caller]
    fn runs(&self, image: &str) {
        let wanted = format!("--image={image}");
        let made = ["run", "greeting", &wanted, "--command", "--"];
        let made = self.kubectl(&[&made[..], &["/bin/sleep", "86400"]].concat());
        assert_eq!(made.code, 0, "{made}");
        eventually("the pod runs", PATIENCE, || {
            let run = self.kubectl(&["get", "pod", "greeting", "-o", "json"]);
            let pod: Value = serde_json::from_str(&run.out).ok()?;
            (pod["status"]["containerStatuses"][0]["ready"] == true).then_some(())
        });
    }
}

/// `cadet class serve` on the teacher's laptop.
struct Serving {
    child: Child,
    events: mpsc::Receiver<Value>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The day is over, well or not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn start(teacher: &Seat, bundle: &Path, registry: &str) -> (Self, String) {
        let bundle = bundle.display().to_string();
        let mut words = vec![
            "-ojson",
            "class",
            "serve",
            "--new",
            "--bundle",
            bundle.as_str(),
        ];
        words.extend(["--registry", registry]);
        let mut command = teacher.command(&words);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect(&line);
                // Nobody waits any more: read on, so that the class is never held up.
                let _ = tell.send(event);
            }
        });
        let serving = Self { child, events };
        let told = serving.until("serving");
        let code = told["code"].as_str().unwrap().to_owned();
        (serving, code)
    }

    #[track_caller]
    fn until(&self, kind: &str) -> Value {
        loop {
            let event: Value = self.events.recv_timeout(PATIENCE).expect(kind);
            if event["type"] == kind {
                return event;
            }
        }
    }
}

/// A registry with one image, on the teacher's laptop.
struct Registry {
    address: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Registry {
    /// `network` is a process in the teacher's network.
    fn open(network: u32, tag: &str) -> Self {
        let (files, open) = (greeting(tag), Arc::new(AtomicBool::new(true)));
        let (tell, told) = mpsc::channel();
        let is_open = open.clone();
        std::thread::spawn(move || {
            let space = File::open(format!("/proc/{network}/ns/net")).unwrap();
            // SAFETY: setns(2) reads and writes no memory of ours; the descriptor is open, and it
            // is this thread alone that goes to another network.
            let gone = unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(gone, 0, "only root joins networks");
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            for stream in listener.incoming() {
                // Closed is closed: who comes then is hung up on.
                if is_open.load(Ordering::SeqCst) {
                    answer(stream.unwrap(), &files);
                }
            }
        });
        let address = told.recv_timeout(PATIENCE).unwrap();
        Self { address, open }
    }

    fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }
}

/// Media type and bytes, by path.
type Files = HashMap<String, (&'static str, Vec<u8>)>;

fn answer(mut stream: TcpStream, files: &Files) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, (kind, bytes)) = match files.get(path) {
        Some((kind, bytes)) => ("200 OK", (*kind, &bytes[..])),
        None => ("404 Not Found", ("text/plain", &b""[..])),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        bytes.len()
    );
    // The client may have gone.
    let _ = stream.write_all(&[head.as_bytes(), bytes].concat());
}

/// The image `library/greeting`: a busybox, as a registry has it (OCI image specification).
fn greeting(tag: &str) -> Files {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    let root = tempfile::tempdir().unwrap();
    image::lay_out(root.path());
    let layer = image::pack(root.path());
    let layer_sum = Digest::of(&layer).to_string();
    let config = json!({
        "architecture": Arch::host().unwrap().name(), "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [&layer_sum]},
    });
    let config = config.to_string().into_bytes();
    let config_sum = Digest::of(&config).to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": config.len(), "digest": &config_sum},
        "layers": [{"mediaType": LAYER, "size": layer.len(), "digest": &layer_sum}],
    });
    let manifest = manifest.to_string().into_bytes();
    let at = |rest: String| format!("/v2/library/greeting/{rest}");
    let sum = Digest::of(&manifest).to_string();
    HashMap::from([
        (at(format!("manifests/{sum}")), (MANIFEST, manifest.clone())),
        (at(format!("manifests/{tag}")), (MANIFEST, manifest)),
        (at(format!("blobs/{config_sum}")), (CONFIG, config)),
        (at(format!("blobs/{layer_sum}")), (LAYER, layer)),
    ])
}

/// Figures of the lesson's first step, once `wanted` is true of them.
#[track_caller]
fn pace(teacher: &Seat, what: &str, wanted: impl Fn(&Value) -> bool) {
    eventually(what, PATIENCE, || {
        let told = teacher.run(&["-ojson", "class", "board", "--pace"]);
        assert_eq!(told.code, 0, "{told}");
        let told: Value = serde_json::from_str(&told.out).unwrap();
        let lessons = told["lessons"].as_array().unwrap();
        let lesson = lessons.iter().find(|l| l["name"] == LESSONS[0])?;
        wanted(&lesson["paces"][0]).then_some(())
    });
}

#[test]
fn two_machines_in_one_room() {
    if std::env::var("CADET_CLASS").as_deref() != Ok("1") {
        return;
    }
    let room = Room::new();
    let (home, bundle, _) = teacher();
    let teacher = Seat {
        home,
        network: &room.teacher,
        alone: None,
    };
    // The class's images outlive a run: each run has a tag that no other one had.
    let tag = format!("run-{}", teacher.home.dir.path().display())
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let registry = Registry::open(room.teacher.id(), &tag);
    let url = format!("http://{}", registry.address);
    let (serving, code) = Serving::start(&teacher, &bundle, &url);
    let image = format!("greeting:{tag}");

    tell("the day before: the teacher plays it, and the class's cache fills");
    teacher.ok(&[
        "class",
        "join",
        &code,
        "--name",
        "Teacher",
        "--no-report",
        "--only",
    ]);
    teacher.ok(&["start", "--memory", MEMORY]);
    teacher.begins(&[]);
    teacher.runs(&image);
    let fetched = serving.until("fetched");
    assert_eq!(fetched["image"], format!("library/{image}"));
    registry.close();

    tell("the class: Ada has the code and no other way");
    let home = Sealed::new();
    let cadet = home.dir.path().join("cadet");
    std::fs::copy(env!("CARGO_BIN_EXE_cadet"), &cadet).unwrap();
    qemu_alone(&cadet.with_file_name("qemu"));
    let ada = Seat {
        home,
        network: &room.learner,
        alone: Some(cadet),
    };
    ada.ok(&["config", "set", "memory", MEMORY]);
    ada.begins(&[&code, "--name", "Ada", "--report"]);
    let programs = ada.home.state().class_programs();
    assert!(programs.join("kubectl").is_file(), "{}", programs.display());
    pace(&teacher, "Ada is in the first step", |step| {
        step["here"] == 1
    });
    ada.ok(&["tutorial", "solve"]);
    pace(&teacher, "it was solved for her", |step| {
        step["solved"] == 1
    });
    ada.runs(&image);
    ada.ok(&["class", "help", "it", "hangs"]);
    assert_eq!(serving.until("asks")["name"], "Ada");
    // The whole of it, with what came in the bundle and from nowhere else.
    ada.ok(&["tutorial", "play", LESSONS[0], "--timeout", "15m"]);
    ada.ok(&["class", "leave"]);
}
