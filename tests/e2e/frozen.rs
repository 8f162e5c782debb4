//! Machines that stand still in files, with a real guest: suspended and woken, copied from a
//! template, put back to a snapshot, and in the end all that may befall a machine (`faults`).
//! `CADET_FROZEN=1` plays it; every part tells how long it took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::image;
use crate::support::{Run, Sealed, eventually, free_port};
use crate::voyage::shared_cache;

pub const MINUTES: Duration = Duration::from_secs(300);
/// Small, so that two fit.
const MEMORY: &str = "1g";
const IMAGE: &str = "example.test/busybox:1";

pub struct Frozen {
    pub home: Sealed,
    began: Instant,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for profile in ["cadet", "copy"] {
                for args in [
                    &["status"][..],
                    &["logs", "--tail", "60"],
                    &["logs", "--machine", "--tail", "40"],
                    &[
                        "ssh",
                        "--",
                        "sudo",
                        "journalctl",
                        "-u",
                        "cadet-keeper",
                        "-n",
                        "30",
                    ],
                ] {
                    let words = [&["-p", profile][..], args].concat();
                    self.tell(&format!("{words:?}: {}", self.home.run(&words)));
                }
            }
            let log = self.home.home().join("profiles/cadet/qemu.log");
            self.tell(&std::fs::read_to_string(log).unwrap_or_default());
        }
        self.home.run(&["delete", "--all", "--yes"]);
    }
}

impl Frozen {
    #[allow(clippy::print_stdout)] // the test's own report
    pub fn tell(&self, text: &str) {
        println!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f64());
    }

    /// A command that must do its work, and what it took.
    #[track_caller]
    pub fn timed(&self, args: &[&str]) -> Run {
        let began = Instant::now();
        let run = self.home.ok(args);
        let seconds = began.elapsed().as_secs_f64();
        self.tell(&format!(
            "{args:?} took {seconds:.2} s\n{}{}",
            run.out, run.err
        ));
        run
    }

    pub fn kubectl(&self, profile: &str, args: &[&str]) -> Run {
        let mut command = Command::new("kubectl");
        command
            .args(["--context", profile])
            .args(args)
            .env("KUBECONFIG", self.home.kubeconfig())
            .env("HOME", self.home.dir.path());
        Run::of(command.stdin(Stdio::null()))
    }

    #[track_caller]
    fn kubectl_ok(&self, profile: &str, args: &[&str]) -> String {
        let run = self.kubectl(profile, args);
        assert!(run.code == 0, "kubectl {args:?}: {run}");
        run.out
    }

    /// A line of shell as root in a profile's first machine.
    #[track_caller]
    pub fn inside(&self, profile: &str, line: &str) -> String {
        let words = ["-p", profile, "ssh", "--", "sudo", "sh", "-c", line];
        self.home.ok(&words).out.trim().to_owned()
    }

    /// The container of the counting pod, once it runs.
    #[track_caller]
    pub fn container(&self, profile: &str) -> (String, u64) {
        eventually("the counter runs", MINUTES, || {
            let run = self.kubectl(profile, &["get", "pod", "counter", "-o", "json"]);
            let pod: Value = serde_json::from_str(&run.out).ok()?;
            let status = &pod["status"]["containerStatuses"][0];
            let id = status["containerID"].as_str()?.to_owned();
            (status["ready"] == true).then_some((id, status["restartCount"].as_u64()?))
        })
    }

    /// How far the counting pod has come; it holds the number in memory only.
    #[track_caller]
    pub fn counted(&self, profile: &str) -> u64 {
        eventually("the counter says a number", MINUTES, || {
            let run = self.kubectl(profile, &["logs", "counter", "--tail=1"]);
            run.out.trim().parse().ok()
        })
    }

    /// Seconds between the guest's clock and ours, by a question that takes its time.
    pub fn clock_off(&self, profile: &str) -> u64 {
        let guest: u64 = self.inside(profile, "date +%s").parse().expect("seconds");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
        now.as_secs().abs_diff(guest)
    }

    fn qemus(&self) -> usize {
        let mine = self.home.home().display().to_string();
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        processes
            .filter(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("qemu-system") && line.contains(&mine)
            })
            .count()
    }

    /// Brings the image into the engine and starts the pod that counts.
    fn count(&self, profile: &str, busybox: &[u8]) {
        let mut import = self.home.command(&[
            "-p", profile, "ssh", "--", "sudo", "docker", "import", "-", IMAGE,
        ]);
        let mut child = import
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cadet runs");
        std::io::Write::write_all(child.stdin.as_mut().expect("piped"), busybox).expect("sent");
        assert!(child.wait_with_output().expect("it ends").status.success());
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "counter"},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "app", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c",
                    "i=0; while :; do i=$((i+1)); echo $i; sleep 1; done"],
            }]},
        });
        let file = self.home.dir.path().join("counter.json");
        std::fs::write(&file, pod.to_string()).expect("written");
        self.kubectl_ok(profile, &["create", "-f", &file.display().to_string()]);
    }
}

#[test]
fn machines_stand_still_and_go_on() {
    if std::env::var("CADET_FROZEN").as_deref() != Ok("1") {
        return;
    }
    let mut home = Sealed::new();
    home.cache = Some(shared_cache());
    let f = Frozen {
        home,
        began: Instant::now(),
    };
    let root = tempfile::tempdir().expect("folder");
    image::lay_out(root.path());
    let busybox = image::pack(root.path());
    f.home.ok(&["image", "build", "debian-13"]);

    f.tell("part 1: a template is made or found, and the first machine is its copy");
    let start = f.timed(&["start", "--memory", MEMORY, "--image", "debian-13"]);
    assert!(start.out.contains("copied from the template"), "{start}");
    assert!(start.out.contains("node cadet is Ready"), "{start}");
    assert_eq!(f.inside("cadet", "hostname"), "cadet");
    assert!(f.clock_off("cadet") <= 3);
    assert_eq!(
        f.inside("cadet", "systemctl is-active cadet-keeper"),
        "active"
    );
    f.count("cadet", &busybox);
    let (container, restarts) = f.container("cadet");
    assert_eq!(restarts, 0);
    let port = free_port();
    f.home.ok(&["tunnel", "--background", "--port", &port]);

    f.tell("part 2: suspended, and awake again with all that ran");
    let before = f.counted("cadet");
    let stop = f.timed(&["stop"]);
    assert!(stop.out.contains("Suspended"), "{stop}");
    assert_eq!(f.qemus(), 0);
    let status = f.home.run(&["status"]);
    assert_eq!(status.code, 7, "{status}");
    assert!(status.out.contains("Suspended"), "{status}");
    assert!(f.home.ok(&["stop"]).out.contains("suspended already"));
    std::thread::sleep(Duration::from_secs(8)); // so that its clock has something to be behind by
    let start = f.timed(&["start"]);
    assert!(start.out.contains("awake after"), "{start}");
    assert!(f.clock_off("cadet") <= 3, "the clock is behind");
    assert_eq!(f.container("cadet"), (container.clone(), 0));
    assert!(f.counted("cadet") >= before);
    let status = f.home.run(&["status"]);
    assert!(status.out.contains("clock corrected"), "{status}");
    f.tell(&status.out);
    f.tell("the tunnel of before leads in again");
    eventually("the API answers through the tunnel", MINUTES, || {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "20", "--socks5-hostname"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("https://kubernetes.default.svc.cluster.local/version");
        Run::of(&mut curl).out.contains("gitVersion").then_some(())
    });

    f.tell("part 3: a state that was cut off is no state; the disk boots");
    f.timed(&["stop"]);
    let state = f.home.home().join("profiles/cadet/suspended.state");
    let length = state.metadata().expect("the state").len();
    let file = std::fs::File::options()
        .write(true)
        .open(&state)
        .expect("the state");
    file.set_len(length / 2).expect("cut");
    drop(file);
    let start = f.timed(&["start"]);
    let said = format!("{}{}", start.out, start.err);
    assert!(said.contains("cannot be woken"), "{start}");
    assert!(!state.exists());
    eventually("the counter was started anew", MINUTES, || {
        (f.container("cadet").0 != container).then_some(())
    });
    f.tell("a suspended machine is shut down in order when asked");
    f.timed(&["stop"]);
    let off = f.timed(&["stop", "--poweroff"]);
    assert!(off.out.contains("shut down"), "{off}");
    assert!(!state.exists());

    f.tell("part 4: another profile is another copy");
    let start = f.timed(&[
        "-p",
        "copy",
        "start",
        "--memory",
        MEMORY,
        "--image",
        "debian-13",
    ]);
    assert!(start.out.contains("frozen earlier"), "{start}");
    assert!(start.out.contains("copied from the template"), "{start}");
    f.timed(&["start"]);
    for line in [
        "cat /etc/machine-id",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
        "cat /proc/sys/kernel/random/uuid",
        "sha256sum /var/lib/cadet/pki/ca.crt",
        "sha256sum /var/lib/systemd/random-seed",
    ] {
        let (one, two) = (f.inside("cadet", line), f.inside("copy", line));
        assert_ne!(one, two, "{line}");
    }
    assert_eq!(f.inside("copy", "hostname"), "copy");
    f.home.ok(&["stop", "--poweroff"]);

    f.tell("part 5: a snapshot while it runs, and back to it, twice");
    f.count("copy", &busybox);
    let (container, _) = f.container("copy");
    f.kubectl_ok("copy", &["create", "configmap", "before"]);
    let kept = f.counted("copy");
    f.timed(&["-p", "copy", "snapshot", "create", "first"]);
    f.home
        .run(&["-p", "copy", "snapshot", "create", "first"])
        .fails_with("SNAPSHOT_EXISTS", 81);
    for round in 0..2 {
        f.kubectl_ok("copy", &["delete", "configmap", "before"]);
        f.kubectl_ok("copy", &["create", "configmap", "after"]);
        f.kubectl_ok("copy", &["delete", "pod", "counter", "--wait=false"]);
        f.timed(&["-p", "copy", "snapshot", "restore", "first", "--yes"]);
        eventually("the API answers again", MINUTES, || {
            let run = f.kubectl("copy", &["get", "configmaps", "-o", "name"]);
            (run.code == 0).then_some(())
        });
        let maps = f.kubectl_ok("copy", &["get", "configmaps", "-o", "name"]);
        assert!(maps.contains("before") && !maps.contains("after"), "{maps}");
        assert_eq!(f.container("copy").0, container, "round {round}");
        assert!(f.counted("copy") >= kept);
        assert!(f.clock_off("copy") <= 3);
    }
    let listed = f.home.ok(&["-p", "copy", "snapshot", "list"]).out;
    assert!(listed.contains("first"), "{listed}");
    f.timed(&["-p", "copy", "snapshot", "delete", "first"]);
    f.home
        .run(&["-p", "copy", "snapshot", "restore", "first"])
        .fails_with("SNAPSHOT_NOT_FOUND", 85);

    f.tell("part 6: a copy boots from its disk as every machine does");
    f.timed(&["-p", "copy", "stop", "--poweroff"]);
    let start = f.timed(&["-p", "copy", "start"]);
    assert!(start.out.contains("boots"), "{start}");
    assert!(start.out.contains("node copy is Ready"), "{start}");
    f.container("copy");
    assert_eq!(f.inside("copy", "hostname"), "copy");

    f.tell("part 7: what may befall it");
    crate::faults::play(&f, "copy");

    f.tell("part 8: delete leaves nothing");
    f.home.ok(&["delete", "--all", "--yes"]);
    assert_eq!(f.qemus(), 0);
    let profiles = f.home.home().join("profiles");
    let files = f.home.files();
    let left: Vec<_> = files.iter().filter(|p| p.starts_with(&profiles)).collect();
    assert!(left.is_empty(), "{left:?}");
    f.tell("done");
}
