//! A cluster on a server one has already. In the day's voyage its machine is such a server, one
//! with a cluster, and is refused. `CADET_SSH_DRIVER=1` boots a machine of 1 GiB, takes Cadet out of
//! it, and plays a first day on what is left: Debian with Docker, an sshd and sudo.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::image;
use crate::support::{Run, Sealed, eventually};
use crate::voyage::shared_cache;

const MINUTES: Duration = Duration::from_secs(300);
const IMAGE: &str = "example.test/busybox:1";

/// Makes a machine of Cadet's a plain server: what it got at its birth goes, Docker and sshd stay.
const PLAIN: &str = r#"
set -eu
printf '%s' '{"docker":"/var/run/docker.sock","config":"/etc/cadet/node.json","systemd":true}' \
    >/var/lib/cadet/up.json
systemctl disable --now cadet-keeper.service cadet-seed.service
/usr/local/bin/cadet-node down --purge >&2
rm -f /etc/systemd/system/cadet-*.service /usr/local/bin/cadet-node
rm -rf /etc/cadet /usr/lib/cadet /usr/local/lib/cadet
sed -i '/10\.96\.0\.10$/d; /cadet-node agent/d; /^options timeout:1$/d' /etc/resolv.conf
systemctl daemon-reload
"#;

/// What is there of Cadet's, one line each.
const LEFT: &str = r#"
for path in /etc/cadet /var/lib/cadet /usr/lib/cadet /usr/local/bin/cadet-node \
    /etc/systemd/system/cadet-server.service /etc/systemd/system/cadet-agent.service; do
    [ ! -e "$path" ] || echo "$path"
done
ls -d /var/tmp/cadet-place.* 2>/dev/null || true
docker ps -aq
ip -br link | grep cadet0 || true
nft list tables | grep cadet || true
"#;

/// Where a running machine of `home` answers, and the key that opens it.
fn server_of(home: &Sealed) -> (String, String) {
    let told = home.ok(&["list", "-o", "json"]).out;
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let port = &told["ports"]["ssh"];
    let key = home.home().join("profiles/cadet/id_ed25519");
    (format!("cadet@127.0.0.1:{port}"), key.display().to_string())
}

/// Plays it on a machine whose cluster runs, and that must not notice.
pub fn refused(home: &Sealed) {
    let (server, key) = server_of(home);
    let other = Sealed::new();
    let words = ["start", "--driver", "ssh", "--host", &server];
    let with = |more: &[&str]| other.run(&[&words[..], more].concat());
    let stranger = other.dir.path().join("key");
    let pair = cadet_tunnel::keys::generate("stranger").unwrap();
    std::fs::write(&stranger, pair.private).unwrap();
    let stranger = stranger.display().to_string();

    with(&["--ssh-key", &key]).fails_with("SERVER_HOST_KEY_UNKNOWN", 87);
    with(&["--ssh-key", &stranger, "--accept-host-key"]).fails_with("SERVER_KEY_REFUSED", 87);
    let taken = with(&["--ssh-key", &key, "--accept-host-key"]);
    taken.fails_with("SERVER_TAKEN", 81);
    assert!(taken.err.contains("/etc/cadet/node.json"), "{taken}");
    assert!(other.ok(&["list"]).out.contains("No profiles yet"));
    assert_eq!(home.run(&["status"]).code, 0);
}

struct Day {
    /// Has the machine.
    owner: Sealed,
    /// Has a server.
    home: Sealed,
    began: Instant,
}

impl Drop for Day {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for args in [&["status"][..], &["logs", "--tail", "60"]] {
                self.tell(&format!("{args:?}: {}", self.home.run(args)));
            }
            let log = self.home.home().join("profiles/cadet/tunnel.log");
            self.tell(&std::fs::read_to_string(log).unwrap_or_default());
        }
        self.home.run(&["delete", "--yes", "--leave-servers"]);
        self.owner.run(&["delete", "--yes"]);
    }
}

impl Day {
    #[allow(clippy::print_stdout)] // the test's own report
    fn tell(&self, text: &str) {
        println!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f64());
    }

    #[track_caller]
    fn kubectl(&self, args: &[&str]) -> String {
        let run = self.try_kubectl(args);
        assert!(run.code == 0, "kubectl {args:?}: {run}");
        run.out
    }

    fn try_kubectl(&self, args: &[&str]) -> Run {
        let mut command = Command::new("kubectl");
        command
            .args(args)
            .env("KUBECONFIG", self.home.kubeconfig())
            .env("HOME", self.home.dir.path());
        Run::of(command.stdin(Stdio::null()))
    }

    /// A line of shell as root on the server, by its owner's own way.
    #[track_caller]
    fn on_server(&self, line: &str) -> String {
        self.owner.ok(&["ssh", "--", "sudo", "sh", "-c", line]).out
    }

    /// The pod's address, once it is ready.
    #[track_caller]
    fn pod_runs(&self) -> String {
        eventually("the first pod runs", MINUTES, || {
            let run = self.try_kubectl(&["get", "pod", "first", "-o", "json"]);
            let pod: Value = serde_json::from_str(&run.out).ok()?;
            let status = &pod["status"];
            let ready = status["containerStatuses"][0]["ready"] == true;
            let ip = status["podIP"].as_str()?.to_owned();
            ready.then_some(ip)
        })
    }

    /// The pod's page, through the tunnel.
    fn page(&self, ip: &str) {
        let told = self.home.ok(&["tunnel", "--status", "-o", "json"]).out;
        let told: Value = serde_json::from_str(told.trim()).unwrap();
        let socks = told["socks"].as_str().unwrap().to_owned();
        eventually("the page answers", MINUTES, || {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "20", "--socks5-hostname", &socks])
                .arg(format!("http://{ip}:8080/"));
            Run::of(&mut curl).out.contains("hello").then_some(())
        });
        eventually("the cluster's names are known", MINUTES, || {
            let mut curl = Command::new("curl");
            curl.args(["-sk", "--max-time", "20", "--socks5-hostname", &socks])
                .arg("https://kubernetes.default.svc.cluster.local/version");
            Run::of(&mut curl).out.contains("gitVersion").then_some(())
        });
    }
}

#[test]
fn a_server_becomes_a_cluster_and_a_server_again() {
    if std::env::var("CADET_SSH_DRIVER").as_deref() != Ok("1") {
        return;
    }
    let mut owner = Sealed::new();
    owner.cache = Some(shared_cache());
    let day = Day {
        owner,
        home: Sealed::new(),
        began: Instant::now(),
    };
    let root = tempfile::tempdir().expect("folder");
    image::lay_out(root.path());
    let busybox = image::pack(root.path());

    day.tell("a machine becomes a plain server");
    day.owner.ok(&["image", "build", "debian-13"]);
    day.owner
        .ok(&["start", "--memory", "1g", "--image", "debian-13"]);
    day.on_server(PLAIN);
    assert_eq!(day.on_server(LEFT).trim(), "", "it is plain");
    let (server, key) = server_of(&day.owner);

    day.tell("and a cluster, in one command");
    let words = [
        "start",
        "--driver",
        "ssh",
        "--host",
        &server,
        "--ssh-key",
        &key,
    ];
    let start = day
        .home
        .ok(&[&words[..], &["--accept-host-key", "--wait-timeout", "20m"]].concat());
    day.tell(&start.out);
    assert!(start.out.contains("node cadet is Ready"), "{start}");
    assert!(!start.out.contains("QEMU"), "{start}");
    assert_eq!(day.home.run(&["status"]).code, 0);
    let again = day.home.ok(&["start"]);
    assert!(
        again.out.contains("there"),
        "nothing is done twice: {again}"
    );
    assert!(day.kubectl(&["config", "current-context"]).trim() == "cadet");

    day.tell("the first pod, and its page through the tunnel");
    let mut import = day
        .home
        .command(&["ssh", "--", "docker", "import", "-", IMAGE]);
    let mut child = import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("cadet runs");
    std::io::Write::write_all(child.stdin.as_mut().expect("piped"), &busybox).expect("sent");
    assert!(child.wait_with_output().expect("it ends").status.success());
    let serve = "mkdir -p /www; echo hello >/www/index.html; exec httpd -f -p 8080 -h /www";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "app", "image": IMAGE, "imagePullPolicy": "Never",
            "command": ["/bin/sh", "-c", serve],
        }]},
    });
    let file = day.home.dir.path().join("first.json");
    std::fs::write(&file, pod.to_string()).expect("written");
    day.kubectl(&["create", "-f", &file.display().to_string()]);
    let ip = day.pod_runs();
    day.page(&ip);
    let why = day.home.ok(&["why", "pod/first"]);
    assert!(why.out.contains("first"), "{why}");

    day.tell("the tunnel is ended: the next question opens the way again");
    day.home.ok(&["tunnel", "--stop"]);
    assert_eq!(day.home.run(&["status"]).code, 0);
    day.kubectl(&["get", "pods"]);

    day.tell("stopped and started: the pod runs again");
    let stop = day.home.ok(&["stop"]);
    assert!(stop.out.contains("the server stays on"), "{stop}");
    assert_eq!(day.home.run(&["status"]).code, 7);
    assert_eq!(day.on_server("docker ps -q").trim(), "");
    day.home.ok(&["start", "--wait-timeout", "20m"]);
    let ip = day.pod_runs();
    day.page(&ip);

    day.tell("what needs a machine is refused");
    day.home.run(&["pause"]).fails_with("SERVER_NO_MACHINE", 86);

    day.tell("deleted: nothing is left, there and here");
    let delete = day.home.ok(&["delete", "--yes"]);
    assert!(delete.out.contains("put on the servers"), "{delete}");
    assert_eq!(day.on_server(LEFT).trim(), "");
    assert_eq!(day.on_server("systemctl is-active docker").trim(), "active");
    let profiles = day.home.home().join("profiles");
    let mut left = day.home.files();
    left.retain(|file| file.starts_with(&profiles));
    assert!(left.is_empty(), "{left:?}");
    day.tell("done");
}
