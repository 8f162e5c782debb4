//! Servers in the place of machines: what is typed wrong, who does not answer, whom not to trust,
//! and what only a machine can undergo. Nobody ever gets in: an sshd here knows no key.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cadet_tunnel::keys::{self, KeyPair};

use crate::support::{Run, Sealed, eventually, free_port};

/// A home with a key where ssh has it, and a program of this computer's kind to be carried.
struct Home {
    sealed: Sealed,
    program: PathBuf,
}

impl Home {
    fn new() -> Self {
        let sealed = Sealed::new();
        let ssh = sealed.dir.path().join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        let key = keys::generate("you").unwrap();
        std::fs::write(ssh.join("id_ed25519"), key.private).unwrap();
        let program = sealed.dir.path().join("cadet-node");
        let head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
        std::fs::write(&program, head).unwrap();
        Self { sealed, program }
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = self.sealed.command(args);
        Run::of(command.env("CADET_NODE_BINARY", &self.program))
    }

    fn start(&self, args: &[&str]) -> Run {
        self.run(&[&["start", "--driver", "ssh"][..], args].concat())
    }

    /// There is no profile, as if nothing had been typed.
    fn nothing_is_kept(&self) {
        let list = self.run(&["list"]);
        assert!(list.out.contains("No profiles yet"), "{list}");
    }

    /// A profile on a server where nobody answers.
    fn profile(&self, placed: bool) {
        let server = serde_json::json!({
            "host": "127.0.0.1", "port": 1, "user": "ann", "mark": "cadet 1", "placed": placed,
            "key": self.sealed.dir.path().join(".ssh/id_ed25519"),
            "hostKey": keys::generate("server").unwrap().public,
        });
        let profile = serde_json::json!({
            "name": "cadet", "created": 1, "phase": "stopped", "server": server,
            "spec": {"cpus": 2, "memoryMib": 1024, "diskGib": 8, "image": "server"},
        });
        let profile = serde_json::from_value(profile).unwrap();
        cadet_state::Store::open(&self.sealed.state())
            .unwrap()
            .put(&profile)
            .unwrap();
    }
}

/// OpenSSH's server, which lets nobody in.
struct Sshd {
    child: Child,
    dir: tempfile::TempDir,
    host: KeyPair,
    port: String,
}

impl Sshd {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let host = keys::generate("host").unwrap();
        let port = free_port();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let key = put("host_key", &host.private);
        let nobody = put("authorized_keys", "");
        let config = put(
            "config",
            &format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nAuthorizedKeysFile {nobody}\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nUseDNS no\n\
                 PermitRootLogin prohibit-password\nLogLevel ERROR\n"
            ),
        );
        // Debian's sshd wants its empty folder where it is root's; else it does without.
        let _ = std::fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &config])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs OpenSSH's server: apt-get install openssh-server");
        let address = format!("127.0.0.1:{port}");
        eventually("sshd answers", Duration::from_secs(60), || {
            std::net::TcpStream::connect(&address).ok()
        });
        Self {
            child,
            dir,
            host,
            port,
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It is gone already, or it is ended here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}

#[test]
fn what_is_no_server_is_refused_before_anything_is_made() {
    let home = Home::new();
    for args in [
        &["--host", "box"][..],
        &["--host", "ann@"],
        &["--host", "ann@box:0"],
        &["--host", "ann@box:ssh"],
        &["--host", "ann@fd00::1"],
        &["--host", "-oProxyCommand=x@box"],
        &["--host", "ann@box; reboot"],
        &["--host"],
        &[],
        &["--worker", "ann@box"],
        &["--host", "ann@box", "--worker", "bob@box:22"],
        &["--host", "ann@box", "--worker", "box"],
        &["--host", "ann@box", "--memory", "2g"],
        &["--host", "ann@box", "--nodes", "2"],
        &["--host", "ann@box", "--download-only"],
        &["--host", "ann@box", "--host-key", "f", "--accept-host-key"],
    ] {
        home.start(args).fails_with("PROGRAM_USAGE", 14);
    }
    home.run(&["start", "--driver", "qemu", "--host", "ann@box"])
        .fails_with("PROGRAM_USAGE", 14);
    home.run(&["start", "--driver", "docker"])
        .fails_with("PROGRAM_USAGE", 14);
    assert!(home.sealed.files().is_empty(), "{:?}", home.sealed.files());
}

#[test]
fn a_plan_calls_nobody() {
    let home = Home::new();
    let plan = home.start(&["--host", "ann@box.invalid", "--dry-run"]);
    assert_eq!(plan.code, 0, "{plan}");
    for step in ["servers", "install", "tunnel", "ready", "kubectl"] {
        assert!(plan.out.contains(&format!("· {step} ")), "{step}: {plan}");
    }
    assert!(!plan.out.contains("QEMU"), "{plan}");
    assert!(home.sealed.files().is_empty());
}

#[test]
fn keys_that_cannot_be_used_are_told() {
    let home = Home::new();
    let server = ["--host", "ann@127.0.0.1:1"];
    let with = |key: &Path| {
        let flag = format!("--ssh-key={}", key.display());
        home.start(&[server[0], server[1], &flag, "--accept-host-key"])
    };
    let dir = home.sealed.dir.path();
    with(&dir.join("none")).fails_with("SERVER_KEY", 87);
    let text = dir.join("text");
    std::fs::write(&text, "no key").unwrap();
    with(&text).fails_with("SERVER_KEY", 87);
    std::fs::remove_file(dir.join(".ssh/id_ed25519")).unwrap();
    let run = home.start(&server);
    run.fails_with("SERVER_KEY", 87);
    assert!(run.err.contains("ssh-keygen -t ed25519"), "{run}");
    home.nothing_is_kept();
}

#[test]
fn a_server_that_does_not_answer_leaves_nothing_behind() {
    let home = Home::new();
    home.start(&["--host", "ann@127.0.0.1:1"])
        .fails_with("SERVER_UNREACHABLE", 89);
    // Somebody is there, and it is no SSH server.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("ann@127.0.0.1:{}", web.local_addr().unwrap().port());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        // The other end may have heard enough.
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    home.start(&["--host", &host])
        .fails_with("SERVER_UNREACHABLE", 89);
    serving.join().unwrap();
    home.nothing_is_kept();
    assert!(!exists(&home.sealed.kubeconfig()));
}

#[test]
fn a_host_key_is_trusted_by_a_file_a_person_or_a_flag() {
    let (home, sshd) = (Home::new(), Sshd::start());
    let host = format!("ann@127.0.0.1:{}", sshd.port);
    let print = keys::fingerprint(&sshd.host.public).unwrap();

    // Nobody is at the terminal: the fingerprint is told, and nothing is taken on trust.
    let run = home.start(&["--host", &host]);
    run.fails_with("SERVER_HOST_KEY_UNKNOWN", 87);
    assert!(run.err.contains(&print), "{run}");
    assert!(run.err.contains("--host-key FILE"), "{run}");

    let other = keys::generate("other").unwrap().public;
    let of_others = sshd.file("others", &format!("{other}\nbox {}\n", sshd.host.public));
    let run = home.start(&["--host", &host, "--host-key", &of_others]);
    run.fails_with("SERVER_HOST_KEY", 87);
    assert!(run.err.contains(&print), "{run}");
    home.start(&["--host", &host, "--host-key", "/nowhere/keys"])
        .fails_with("HOST_NOT_READABLE", 37);

    // Trusted in either way, it is asked, and does not let the key in.
    let line = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host.public);
    let known = sshd.file("known_hosts", &line);
    for trust in [&["--host-key", &known][..], &["--accept-host-key"]] {
        let run = home.start(&[&["--host", host.as_str()][..], trust].concat());
        run.fails_with("SERVER_KEY_REFUSED", 87);
        assert!(run.err.contains("ssh-copy-id"), "{run}");
    }
    home.nothing_is_kept();
}

#[test]
fn a_host_key_that_changed_is_never_spoken_to() {
    let (home, sshd) = (Home::new(), Sshd::start());
    home.profile(false);
    // The profile's server is where the sshd is, and had another key.
    let state = home.sealed.state();
    let store = cadet_state::Store::open(&state).unwrap();
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    let mut profile = store.get(&name).unwrap().unwrap();
    if let Some(server) = &mut profile.server {
        server.port = sshd.port.parse().unwrap();
    }
    store.put(&profile).unwrap();
    drop(store);
    let run = home.run(&["start"]);
    run.fails_with("SERVER_HOST_KEY", 87);
    assert!(run.err.contains("--accept-host-key"), "{run}");
    // Once it is accepted it is asked, and does not let the key in.
    home.run(&["start", "--accept-host-key"])
        .fails_with("SERVER_KEY_REFUSED", 87);
}

#[test]
fn what_needs_a_machine_says_so_and_what_to_type_instead() {
    let home = Home::new();
    home.profile(false);
    for (args, instead) in [
        (&["pause"][..], "cadet stop"),
        (&["unpause"], "cadet stop"),
        (&["snapshot", "create"], "cadet kubectl"),
        (&["snapshot", "list"], "cadet kubectl"),
        (&["disk", "grow", "40g"], "cadet ssh -- df"),
        (&["disk", "show"], "cadet ssh -- df"),
        (&["mount", ".:/mnt/x"], "cadet cp"),
        (&["logs", "--machine"], "cadet ssh"),
        (&["stop", "--poweroff"], "cadet stop"),
        (&["node", "add"], "cadet start --worker"),
    ] {
        let run = home.run(args);
        run.fails_with("SERVER_NO_MACHINE", 86);
        assert!(run.err.contains(instead), "{args:?}: {run}");
    }
    home.run(&["start", "--cpus", "2"])
        .fails_with("PROGRAM_USAGE", 14);
    home.run(&["start", "--host", "ann@other"])
        .fails_with("RESOURCE_FIXED", 21);
    home.run(&["start", "--driver", "qemu"])
        .fails_with("RESOURCE_FIXED", 21);
}

#[test]
fn a_profile_on_servers_is_shown_stopped_and_deleted() {
    let home = Home::new();
    home.profile(false);
    let status = home.run(&["status"]);
    assert_eq!(status.code, 7, "{status}");
    assert!(status.out.contains("Stopped"), "{status}");
    let list = home.run(&["list"]);
    assert!(list.out.contains("ann@127.0.0.1:1"), "{list}");
    let stop = home.run(&["stop"]);
    assert!(stop.out.contains("nothing of Cadet is there"), "{stop}");
    let gone = home.run(&["delete", "--yes"]);
    assert_eq!(gone.code, 0, "{gone}");
    home.nothing_is_kept();

    // What lies on a server that does not answer is not forgotten, unless that is said.
    home.profile(true);
    assert!(home.run(&["status"]).out.contains("Silent"));
    home.run(&["ssh", "true"])
        .fails_with("SERVER_UNREACHABLE", 89);
    let run = home.run(&["delete", "--yes"]);
    run.fails_with("SERVER_UNREACHABLE", 89);
    assert!(run.err.contains("delete --leave-servers"), "{run}");
    assert!(home.run(&["list"]).out.contains("ann@127.0.0.1:1"));
    let left = home.run(&["delete", "--yes", "--leave-servers"]);
    assert!(left.out.contains("stays there"), "{left}");
    home.nothing_is_kept();
}

#[test]
fn a_machine_on_this_computer_does_not_become_a_server() {
    let home = Home::new();
    home.sealed.profile("cadet");
    home.start(&["--host", "ann@127.0.0.1:1"])
        .fails_with("RESOURCE_FIXED", 21);
    let off = home.run(&["disk", "grow", "40g"]);
    off.fails_with("GUEST_NOT_RUNNING", 83);
}
