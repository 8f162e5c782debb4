//! Several machines, one cluster: pods and Services across them, one that is killed, one that is
//! deleted and made anew. Takes three machines of 768 MiB; `CADET_NODES=1` plays it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::areas::{BUSYBOX, Cluster, SERVE, Said, WAIT, shell};
use crate::image;
use crate::support::{Sealed, eventually};
use crate::voyage::shared_cache;

/// Three machines share two processors under emulation.
const PATIENCE: Duration = Duration::from_secs(900);
const ALL: [&str; 3] = ["cadet", "cadet-2", "cadet-3"];

struct Several {
    home: Sealed,
    began: Instant,
    /// The image as `docker import` takes it.
    busybox: Vec<u8>,
}

impl Drop for Several {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for args in [
                &["status"][..],
                &["node", "list"],
                &["logs", "--tail", "60"],
                &["logs", "--machine", "--tail", "40", "--node", "cadet-2"],
            ] {
                self.tell(&format!("{args:?}: {}", self.home.run(args)));
            }
            let pods = self.try_kubectl(&["get", "nodes,pods,events", "-A", "-o", "wide"]);
            self.tell(&pods.to_string());
        }
        self.home.run(&["delete", "--yes"]);
    }
}

impl Cluster for Several {
    fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(words)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.home.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn on_node(&self, line: &str) -> Said {
        self.on("cadet", line)
    }

    fn node(&self) -> &str {
        "cadet"
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.kubeconfig()
    }

    fn soon(&self) -> &str {
        "--timeout=900s"
    }

    fn is_fast(&self) -> bool {
        false
    }

    /// As `cadet dashboard` says it.
    fn dashboard(&self) -> (String, Option<String>) {
        let told = self.home.ok(&["dashboard", "--url", "--output", "json"]);
        let told: Value = serde_json::from_str(told.out.trim()).expect("one object");
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        (text("url").expect("an address"), text("socks"))
    }
}

impl Several {
    #[allow(clippy::print_stdout)] // the test's own report
    fn tell(&self, text: &str) {
        println!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f64());
    }

    /// Runs a line of shell as root on one machine.
    fn on(&self, node: &str, line: &str) -> Said {
        let words = ["ssh", "--node", node, "--", "sudo", "sh", "-c", line];
        Said::of(&mut self.home.command(&words))
    }

    /// Brings the image into a machine's engine.
    fn import(&self, node: &str) {
        let words = ["ssh", "--node", node, "--", "sudo", "docker", "import"];
        let mut import = self.home.command(&words);
        import.args(["--change", "ENV PATH=/bin", "--change", "CMD [\"sh\"]", "-"]);
        let imported = Said::fed(import.arg(BUSYBOX), &self.busybox);
        assert!(imported.code == 0, "{node}: {imported}");
    }

    /// The pods with this label that are Ready: name, node, address.
    fn ready_pods(&self, label: &str) -> Vec<(String, String, String)> {
        let listed = self.kubectl(&["get", "pods", "-l", label, "-o", "json"]);
        let listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is_ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions
                    .into_iter()
                    .flatten()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        let pods = listed["items"].as_array().expect("a list");
        pods.iter()
            .filter(is_ready)
            .map(|pod| {
                (
                    text(&pod["metadata"]["name"]),
                    text(&pod["spec"]["nodeName"]),
                    text(&pod["status"]["podIP"]),
                )
            })
            .collect()
    }

    /// Once a page is served on each of these nodes: its pods there.
    fn pages_on(&self, nodes: &[&str]) -> Vec<(String, String, String)> {
        eventually("a page on each node", PATIENCE, || {
            let pods = self.ready_pods("app=page");
            let there = |node: &&str| pods.iter().any(|(_, on, _)| on == node);
            (pods.len() == nodes.len() && nodes.iter().all(there)).then_some(pods)
        })
    }

    /// Each pod reaches each other one by its address, and all by the Service's name; so does
    /// the machine of the control plane.
    fn all_reach_all(&self, pods: &[(String, String, String)]) {
        for (from, on, _) in pods {
            for (to, at, ip) in pods {
                let what = format!("{from} on {on} reaches {to} on {at}");
                let url = format!("http://{ip}:8080/");
                eventually(&what, PATIENCE, || {
                    (self.fetched(from, &url) == *to).then_some(())
                });
            }
            let url = "http://page.default.svc.cluster.local:8080/";
            self.all_answer(pods, &format!("{from} on {on}"), || self.fetched(from, url));
        }
        let address = self.field("service/page", ".spec.clusterIP");
        let page = || {
            let said = self.page(&format!("{address}:8080"));
            said.lines().last().unwrap_or_default().to_owned()
        };
        self.all_answer(pods, "the first machine", page);
    }

    /// The page at `url` as a pod sees it; nothing if nobody answers.
    fn fetched(&self, pod: &str, url: &str) -> String {
        // Debian's busybox before 1.36.1-5 is built without `wget -T` and dies of it.
        let said = self.try_inside(pod, &format!("timeout 20 wget -qO- {url}"));
        said.out.trim().to_owned()
    }

    /// Asks until each of the pods has answered once.
    fn all_answer(&self, pods: &[(String, String, String)], who: &str, ask: impl Fn() -> String) {
        let mut missing: Vec<&str> = pods.iter().map(|(name, ..)| name.as_str()).collect();
        eventually(&format!("all pages answer {who}"), PATIENCE, || {
            let said = ask();
            missing.retain(|name| *name != said);
            missing.is_empty().then_some(())
        });
    }

    /// Waits until a node's condition Ready has this status.
    fn node_is(&self, node: &str, status: &str) {
        self.until_condition(&format!("node/{node}"), &format!("Ready={status}"));
    }

    /// QEMU of a machine beside the first, by the folder it lies in.
    fn qemu_of(&self, number: u8) -> u32 {
        let folder = format!("nodes/{number}/disk.qcow2");
        let home = self.home.home().display().to_string();
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let found = processes.filter_map(|entry| {
            let pid = entry.file_name().to_string_lossy().parse::<u32>().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            (line.contains(&home) && line.contains(&folder)).then_some(pid)
        });
        let all: Vec<u32> = found.collect();
        assert_eq!(all.len(), 1, "one QEMU has {folder}");
        all[0]
    }
}

/// A page on every node: its pod's name.
fn pages() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "page"},
        "spec": {"selector": {"matchLabels": {"app": "page"}},
            "template": {"metadata": {"labels": {"app": "page"}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [shell("app", SERVE)]}}}})
}

/// One pod on some machine beside the first, which gives its node up soon after it is silent.
fn mover() -> Value {
    let away = |key: &str| {
        json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": 5})
    };
    let beside = json!({"key": "kubernetes.io/hostname", "operator": "In",
        "values": ["cadet-2", "cadet-3"]});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mover"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "mover"}},
            "template": {"metadata": {"labels": {"app": "mover"}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "tolerations": [away("not-ready"), away("unreachable")],
                    "affinity": {"nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [beside]}]}}},
                    "containers": [shell("app", WAIT)]}}}})
}

#[test]
fn three_machines_are_one_cluster() {
    if std::env::var("CADET_NODES").as_deref() != Ok("1") {
        return;
    }
    let mut home = Sealed::new();
    home.cache = Some(shared_cache());
    let root = tempfile::tempdir().expect("folder");
    image::lay_out(root.path());
    let c = Several {
        home,
        began: Instant::now(),
        busybox: image::pack(root.path()),
    };
    c.home.ok(&["image", "build", "debian-13"]);

    c.tell("three machines start, in one command");
    let sizes = ["start", "--nodes", "3", "--memory", "768m"];
    let mut start = sizes.to_vec();
    start.extend(["--image", "debian-13", "--wait-timeout", "20m"]);
    let started = c.home.ok(&start);
    c.tell(&started.out);
    assert!(
        started.out.contains("cadet-2, cadet-3 are Ready"),
        "{started}"
    );
    for (number, node) in (1..).zip(ALL) {
        c.node_is(node, "True");
        let object = c.object(&format!("node/{node}"));
        let address = format!("10.89.0.{number}");
        assert_eq!(object["status"]["addresses"][0]["address"], address);
        let range = format!("10.244.{}.0/24", number - 1);
        assert_eq!(object["spec"]["podCIDR"], range);
        c.import(node);
    }
    assert_eq!(c.home.run(&["status"]).code, 0);

    c.tell("pods and a Service reach across");
    c.create(&pages());
    c.create(
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "page"},
        "spec": {"selector": {"app": "page"}, "ports": [{"port": 8080}]}}),
    );
    let pods = c.pages_on(&ALL);
    c.all_reach_all(&pods);

    c.tell("one is killed: its node is NotReady, its pods move");
    c.create(&mover());
    c.rolled_out("deployment/mover");
    let (_, victim, _) = c.ready_pods("app=mover").remove(0);
    let number: u8 = victim.trim_start_matches("cadet-").parse().expect("number");
    let pid = c.qemu_of(number).to_string();
    let killed = Said::of(Command::new("kill").args(["-9", &pid]));
    assert!(killed.code == 0, "{killed}");
    c.node_is(&victim, "Unknown");
    let other = eventually("the pod is on another node", PATIENCE, || {
        let pods = c.ready_pods("app=mover");
        pods.into_iter()
            .map(|(_, on, _)| on)
            .find(|on| *on != victim)
    });
    assert!(ALL.contains(&other.as_str()) && other != "cadet");
    let status = c.home.run(&["status"]);
    assert_eq!(status.code, 5, "machine and node bits: {status}");
    assert!(
        status.out.contains(&format!("node start {victim}")),
        "{status}"
    );
    let left: Vec<_> = ALL.into_iter().filter(|node| *node != victim).collect();
    let pods = c.ready_pods("app=page");
    let pods: Vec<_> = pods
        .into_iter()
        .filter(|(_, on, _)| *on != victim)
        .collect();
    assert_eq!(pods.len(), left.len());
    c.all_reach_all(&pods);

    c.tell("it is started again and belongs to the cluster as before");
    let back = c
        .home
        .ok(&["node", "start", &victim, "--wait-timeout", "20m"]);
    assert!(back.out.contains("is Ready"), "{back}");
    let pods = c.pages_on(&ALL);
    c.all_reach_all(&pods);

    c.tell("it is deleted and another takes its place");
    c.home.ok(&["node", "delete", &victim, "--yes"]);
    c.until_gone(&[&format!("node/{victim}")]);
    assert!(!c.home.ok(&["node", "list"]).out.contains(&victim));
    c.pages_on(&left);
    let added = c.home.ok(&["node", "add", "--wait-timeout", "20m"]);
    assert!(added.out.contains(&format!("{victim} joined")), "{added}");
    c.import(&victim);
    let pods = c.pages_on(&ALL);
    c.all_reach_all(&pods);

    c.tell("all stop and all start");
    c.home.ok(&["stop", "--poweroff"]);
    assert_eq!(c.home.run(&["status"]).code, 7);
    c.home.ok(&["start", "--wait-timeout", "20m"]);
    let pods = c.pages_on(&ALL);
    c.all_reach_all(&pods);

    c.tell("delete leaves nothing of any");
    c.home.ok(&["delete", "--yes"]);
    let profiles = c.home.home().join("profiles");
    let left: Vec<_> = c
        .home
        .files()
        .into_iter()
        .filter(|f| f.starts_with(&profiles))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    c.tell("done");
}
