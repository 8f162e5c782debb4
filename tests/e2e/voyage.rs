//! start → Telescope pod → page through SOCKS → container killed → stop → start → delete.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::inside::Inside;
use crate::lessons;
use crate::support::{Run, Sealed, eventually, free_port};

const POD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tutorials/01-telescope/manifests/telescope-pod.json"
);
/// A minute of a machine that has nothing else to do; others need more of them.
const MINUTES: Duration = Duration::from_secs(180);
/// Enough for every lesson.
const MEMORY: &str = "1536m";

/// A cluster under test, removed even when an assertion fails.
struct Voyage {
    home: Sealed,
    began: Instant,
}

impl Drop for Voyage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for args in [
                &["status"][..],
                &["logs", "--tail", "60"],
                &["logs", "--machine", "--tail", "40"],
            ] {
                self.tell(&format!("{args:?}: {}", self.home.run(args)));
            }
        }
        self.home.run(&["delete", "--yes"]);
    }
}

impl Voyage {
    #[allow(clippy::print_stdout)] // the test's own report
    fn tell(&self, text: &str) {
        println!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f64());
    }

    /// Real kubectl with the kubeconfig Cadet wrote: no `cadet kubectl` in between.
    fn kubectl(&self, args: &[&str]) -> Run {
        let mut command = Command::new("kubectl");
        command
            .args(args)
            .env("KUBECONFIG", self.home.kubeconfig())
            .env("HOME", self.home.dir.path());
        Run::of(command.stdin(Stdio::null()))
    }

    #[track_caller]
    fn kubectl_ok(&self, args: &[&str]) -> Run {
        let run = self.kubectl(args);
        assert!(run.code == 0, "kubectl {args:?}: {run}");
        run
    }

    fn pod(&self) -> Value {
        serde_json::from_str(
            &self
                .kubectl_ok(&["get", "pod", "telescope-pod", "-o", "json"])
                .out,
        )
        .unwrap()
    }

    #[track_caller]
    fn pod_runs(&self, minutes: u32) -> Value {
        self.pod_again(minutes, "")
    }

    /// The pod once it runs with a database container other than `old`: right after a boot
    /// the API still tells the state of before.
    #[track_caller]
    fn pod_again(&self, minutes: u32, old: &str) -> Value {
        eventually("telescope-pod 2/2 Running", MINUTES * minutes, || {
            let pod = self.pod();
            if id_of(&pod, "mongo") == Some(old) {
                return None;
            }
            let all = pod["status"]["containerStatuses"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = all.len() == 2 && all.iter().all(|c| c["ready"] == true);
            (ready && pod["status"]["phase"] == "Running").then_some(pod)
        })
    }

    /// curl through the tunnel, names resolved at the far end.
    fn curl(&self, port: &str, args: &[&str]) -> Run {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "120",
            "--socks5-hostname",
            &format!("127.0.0.1:{port}"),
        ]);
        Run::of(command.args(args))
    }

    /// Some if `url` answers 200 through the tunnel.
    fn answers(&self, port: &str, url: &str) -> Option<()> {
        let code = self
            .curl(port, &["-o", "/dev/null", "-w", "%{http_code}", url])
            .out;
        (code == "200").then_some(())
    }

    /// The page as Chromium renders it through the tunnel.
    fn chromium(&self, port: &str, url: &str) -> String {
        let profile = self.home.dir.path().join("chromium");
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--proxy-server=socks5://127.0.0.1:{port}"))
            .args([
                "--proxy-bypass-list=<-loopback>",
                "--virtual-time-budget=10000",
                "--timeout=60000",
            ])
            .args(["--dump-dom", url])
            .env("HOME", self.home.dir.path());
        Run::of(&mut command).out
    }

    fn qemu_pids(&self) -> Vec<u32> {
        let mine = self.home.home();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(&*mine.to_string_lossy()) {
                found.push(pid);
            }
        }
        found
    }
}

/// A Service whose one endpoint is a pod, and an Ingress for it.
fn named_page(ip: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: page}}
spec: {{clusterIP: None, ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: page-1
  labels: {{kubernetes.io/service-name: page, endpointslice.kubernetes.io/managed-by: voyage}}
addressType: IPv4
ports: [{{name: http, port: 80}}]
endpoints: [{{addresses: [{ip}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: page}}
spec:
  rules:
  - host: page.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: page, port: {{name: http}}}}}}
"
    )
}

/// The cache of base images is the developer's own: they are large and made once.
pub fn shared_cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    base.join("cadet")
}

#[test]
fn from_start_to_the_telescope_page_and_back() {
    let mut home = Sealed::new();
    home.cache = Some(shared_cache());
    let v = Voyage {
        home,
        began: Instant::now(),
    };

    v.tell("the base image is made or found");
    v.home.ok(&["image", "build", "debian-13"]);

    if std::env::var_os("CADET_LESSONS_ONLY").is_some() {
        v.home.ok(&["start", "--memory", MEMORY]);
        lessons::play(&v.home, |text| v.tell(text));
        return;
    }

    v.tell("start is killed in the middle, twice; the third finishes it");
    for seconds in [2, 9] {
        let mut child = v
            .home
            .command(&["start", "--memory", MEMORY])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(seconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let start = v.home.ok(&["start", "--memory", MEMORY]);
    v.tell(&start.out);
    assert!(start.out.contains("node cadet is Ready"), "{start}");
    assert_eq!(v.qemu_pids().len(), 1, "one machine, no daemon");

    v.tell("a second start changes nothing");
    let again = v.home.ok(&["start"]);
    assert!(again.out.contains("Cadet is ready"), "{again}");
    assert_eq!(v.home.run(&["status"]).code, 0);
    assert!(v.kubectl_ok(&["config", "current-context"]).out.trim() == "cadet");
    let node = v.kubectl_ok(&["get", "nodes"]).out;
    assert!(node.contains(" Ready "), "{node}");

    v.tell("kubectl create -f telescope-pod.json (v1beta3)");
    let create = v.kubectl_ok(&["create", "-f", POD]);
    assert!(create.out.contains("pod/telescope-pod created"), "{create}");
    assert!(
        create.err.contains("Warning: ") && create.err.contains("v1"),
        "{create}"
    );
    let pod = v.pod_runs(6);
    let ip = pod["status"]["podIP"].as_str().unwrap().to_string();
    let wide = v.kubectl_ok(&["get", "pod", "-o", "wide"]).out;
    v.tell(&wide);
    assert!(
        wide.contains("2/2") && wide.contains("Running") && wide.contains(&ip),
        "{wide}"
    );
    assert!(ip.starts_with("10.244."), "{ip}");
    let described = eventually("events say what was run", MINUTES, || {
        let described = v.kubectl_ok(&["describe", "pod", "telescope-pod"]).out;
        let reasons = ["Scheduled", "Started", "Substituted"];
        let all = reasons.iter().all(|reason| described.contains(reason));
        all.then_some(described)
    });
    v.tell(&described);

    v.tell("the page through SOCKS, by the pod's own address");
    let port = free_port();
    v.home.ok(&["tunnel", "--background", "--port", &port]);
    assert!(v.home.ok(&["tunnel", "--status"]).out.contains(&port));
    let url = format!("http://{ip}/");
    eventually("the page answers", MINUTES * 2, || v.answers(&port, &url));
    let printed = v.home.ok(&["open", "pod/telescope-pod", "--print"]).out;
    assert!(
        printed.contains(&format!("--socks5-hostname 127.0.0.1:{port} 'http://{ip}")),
        "{printed}"
    );
    let title = "A post from the voyage";
    let jar = v.home.dir.path().join("cookies").display().to_string();
    let form = v.curl(&port, &["-c", &jar, &format!("{url}submit")]).out;
    let token = hidden(&form, "token");
    let (title_field, token_field) = (format!("title={title}"), format!("token={token}"));
    let posted = v.curl(
        &port,
        &[
            "-b",
            &jar,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--data-urlencode",
            &title_field,
            "--data-urlencode",
            "url=https://example.com/voyage",
            "--data-urlencode",
            &token_field,
            &format!("{url}posts"),
        ],
    );
    assert!(
        ["200", "201", "302", "303"].contains(&posted.out.as_str()),
        "{posted}"
    );
    eventually("Chromium sees the post", MINUTES, || {
        v.chromium(&port, &url).contains(title).then_some(())
    });

    v.tell("the page by its Service's name, and as an Ingress");
    let dns = v.kubectl_ok(&["get", "service", "-n", "kube-system"]).out;
    assert!(
        dns.contains("kube-dns") && dns.contains("10.96.0.10") && dns.contains("53/UDP,53/TCP"),
        "{dns}"
    );
    let resolver = format!(
        "/var/lib/cadet/pods/{}/resolv.conf",
        pod["metadata"]["uid"].as_str().unwrap()
    );
    let resolver = v.home.ok(&["ssh", "--", "sudo", "cat", &resolver]).out;
    assert!(
        resolver.starts_with(
            "nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local"
        ) && resolver.ends_with("options ndots:5\n"),
        "{resolver}"
    );
    let named = v.home.dir.path().join("named.yaml");
    std::fs::write(&named, named_page(&ip)).unwrap();
    v.kubectl_ok(&["apply", "-f", &named.display().to_string()]);
    eventually("the name answers", MINUTES, || {
        v.answers(&port, "http://page.default.svc.cluster.local/")
    });
    let node = eventually("the Ingress says where it is", MINUTES, || {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        let run = v.kubectl(&["get", "ingress", "page", "-o", path]);
        (!run.out.is_empty()).then_some(run.out)
    });
    eventually("the Ingress answers", MINUTES, || {
        let host = "Host: page.example";
        let page = v.curl(&port, &["-H", host, &format!("http://{node}/")]).out;
        page.contains(title).then_some(())
    });

    v.tell("a Service at its own port of the laptop, the engine at a socket");
    crate::doors::play(&v.home);

    v.tell("what a day brings: a pause, files to and fro, a folder lent, a disk that grows");
    crate::comfort::play(&v.home);

    v.tell("as a server it has a cluster already, and is refused");
    crate::ssh::refused(&v.home);

    v.tell("logs through the API server");
    let logs = v
        .kubectl_ok(&["logs", "telescope-pod", "-c", "telescope"])
        .out;
    assert!(!logs.trim().is_empty());

    v.tell("the telescope container is killed: it comes back, the post is still there");
    let id = container_id(&pod, "telescope");
    v.home.ok(&["ssh", "--", "docker", "kill", &id]);
    eventually("telescope restarted", MINUTES * 2, || {
        let all = v.pod()["status"]["containerStatuses"].clone();
        let one = all
            .as_array()?
            .iter()
            .find(|c| c["name"] == "telescope")?
            .clone();
        (one["restartCount"] == 1 && one["ready"] == true).then_some(())
    });
    eventually("the post is still there", MINUTES, || {
        v.curl(&port, &[&url]).out.contains(title).then_some(())
    });

    v.tell("the agent is killed: no container restarts");
    let before = container_id(&v.pod(), "mongo");
    v.home.ok(&[
        "ssh",
        "--",
        "sudo",
        "systemctl",
        "kill",
        "-s",
        "KILL",
        "cadet-agent",
    ]);
    eventually("the agent is back", MINUTES, || {
        (v.home
            .run(&["ssh", "--", "systemctl", "is-active", "cadet-agent"])
            .out
            .trim()
            == "active")
            .then_some(())
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(container_id(&v.pod_runs(1), "mongo"), before);

    v.tell("what the documentation says of pods, workloads and the network, in this machine");
    let inside = Inside::new(&v.home);
    inside.areas();
    v.tell("an image comes from a registry");
    inside.pulls();
    v.tell("server, agent, engine and machine die under load");
    inside.deaths(|| {
        v.home.ok(&["start"]);
    });
    let before = container_id(&v.pod_again(4, &before), "mongo");

    v.tell("stop, start: the pod runs again, the tunnel is told to end");
    let stop = v.home.ok(&["stop", "--poweroff"]);
    v.tell(&stop.out);
    assert_eq!(v.qemu_pids(), Vec::<u32>::new());
    assert_eq!(v.home.run(&["status"]).code, 7);
    v.tell("a damaged disk is told, and nothing is done to it");
    damaged(&v.home.home().join("profiles/cadet/disk.qcow2"), || {
        v.home.run(&["start"]).fails_with("IMAGE_CORRUPT", 68);
    });
    let start = v.home.ok(&["start"]);
    v.tell(&start.out);
    let ip = v.pod_again(4, &before)["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_string();
    v.home.ok(&["tunnel", "--background", "--port", &port]);
    eventually("the page answers again", MINUTES * 2, || {
        v.answers(&port, &format!("http://{ip}/"))
    });

    v.tell("the machine is killed under us: status says so, start mends it, the tunnel reconnects");
    let before = container_id(&v.pod(), "mongo");
    let pid = qemu_pid(&v);
    Run::of(Command::new("kill").args(["-9", &pid.to_string()]));
    eventually("status notices", MINUTES, || {
        let run = v.home.run(&["status"]);
        (run.code == 7 && run.out.contains("why")).then_some(())
    });
    v.home.ok(&["start"]);
    let ip = v.pod_again(4, &before)["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_string();
    eventually("the same tunnel leads in again", MINUTES * 2, || {
        v.answers(&port, &format!("http://{ip}/"))
    });

    v.kubectl_ok(&[
        "delete",
        "pod/telescope-pod",
        "service/page",
        "ingress/page",
        "endpointslice/page-1",
        "--ignore-not-found",
    ]);
    lessons::play(&v.home, |text| v.tell(text));

    v.tell("delete leaves no process, file or context; a learner's progress stays");
    v.home.ok(&["delete", "--yes"]);
    assert_eq!(v.qemu_pids(), Vec::<u32>::new());
    let left: Vec<_> = v
        .home
        .files()
        .into_iter()
        .filter(|p| !p.starts_with(v.home.home().join("state.sled")))
        .filter(|p| !p.starts_with(v.home.home().join("lessons")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let config = std::fs::read_to_string(v.home.kubeconfig()).unwrap();
    assert!(
        !config.contains("cadet") && !config.contains("127.0.0.1"),
        "{config}"
    );
    v.home.run(&["status"]).fails_with("GUEST_NOT_FOUND", 85);
    v.tell("done");
}

/// Value of the hidden field `name` in a form.
fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .expect("the form has it");
    rest.split('"').next().unwrap().to_string()
}

/// Runs `act` while the head of `file` is overwritten, then puts the bytes back.
fn damaged(file: &std::path::Path, act: impl FnOnce()) {
    use std::os::unix::fs::FileExt;
    let open = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut head = vec![0; 4096];
    open.read_exact_at(&mut head, 0).unwrap();
    open.write_all_at(&[0x55; 4096], 0).unwrap();
    act();
    let mut now = vec![0; 4096];
    open.read_exact_at(&mut now, 0).unwrap();
    assert!(
        now.iter().all(|b| *b == 0x55),
        "the damaged file was changed"
    );
    open.write_all_at(&head, 0).unwrap();
}

fn qemu_pid(v: &Voyage) -> u32 {
    let all = v.qemu_pids();
    // Its short name is Cadet's own; the program it was started as tells.
    let is_qemu = |pid: &&u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split(|b| *b == 0).next().unwrap_or_default();
        String::from_utf8_lossy(program).contains("qemu-system")
    };
    *all.iter().find(is_qemu).expect("QEMU runs")
}

fn status_of<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let all = pod["status"]["containerStatuses"].as_array()?;
    all.iter().find(|c| c["name"] == name)
}

fn id_of<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let id = status_of(pod, name)?["containerID"].as_str()?;
    Some(id.trim_start_matches("docker://"))
}

fn container_id(pod: &Value, name: &str) -> String {
    id_of(pod, name)
        .expect("the container was made")
        .to_string()
}
