//! `up` can be repeated, `down` keeps the data, `down --purge` leaves nothing.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cadet_kubelet::runtime::Runtime as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::areas::{Cluster as _, Said, WAIT, shell};
use crate::engine::run;
use crate::machine::{Machine, play};

/// All that a cluster may leave on a machine, as lines that are easily compared.
fn traces(machine: &Machine) -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    let mut add = |kind: &str, text: &str| {
        traces.extend(
            text.lines()
                .map(|line| format!("{kind} {}", line.trim_end())),
        );
    };
    add("link", &run(Command::new("ip").args(["-o", "link"])));
    add(
        "address",
        &run(Command::new("ip").args(["-o", "-4", "address"])),
    );
    add("route", &run(Command::new("ip").arg("route")));
    add("rule", &run(Command::new("nft").args(["list", "ruleset"])));
    // Of a child: namespaces are a matter of threads.
    let mounts = run(Command::new("cat").arg("/proc/self/mounts"));
    add("mount", &mounts);
    machine.block_on(async {
        let runtime = &machine.engine.runtime;
        for container in runtime.all_containers().await.expect("containers") {
            add("container", &container.id);
        }
        for image in runtime.images().await.expect("images") {
            add("image", &image.names.join(" "));
        }
    });
    let mut files = Vec::new();
    walk(machine.folder(), &mut files);
    add("file", &files.join("\n"));
    for word in ["server", "agent", "supervise"] {
        for pid in machine.processes(word) {
            add("process", &format!("{word} {pid}"));
        }
    }
    traces
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // kubectl's own.
        if path.ends_with(".kube/cache") {
            continue;
        }
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        }
    }
}

#[test]
fn purge_leaves_nothing_and_down_keeps_the_data() {
    play(|| {
        let machine = Machine::new();
        let kube = machine.home().join(".kube");
        std::fs::create_dir(&kube).expect("folder");
        let mine = "current-context: work\ncontexts:\n- name: work\n  context: {cluster: work}\n";
        std::fs::write(kube.join("config"), mine).expect("write");
        let mut before = traces(&machine);
        // Where the program is not static the test has made that image itself.
        before.retain(|line| !line.starts_with("image cadet/pause:"));

        let cluster = machine.up();
        let secret = [
            "create",
            "secret",
            "generic",
            "door",
            "--from-literal=key=s3same",
        ];
        cluster.kubectl(&secret);
        let mut app = shell("app", WAIT);
        app["volumeMounts"] = json!([{"name": "door", "mountPath": "/door"}]);
        app["ports"] = json!([{"containerPort": 80, "hostPort": 8088}]);
        cluster.pod(
            "kept",
            json!({"containers": [app],
                "volumes": [{"name": "door", "secret": {"secretName": "door"}}]}),
        );
        cluster.ready("kept");
        let during = traces(&cluster.machine);
        for kind in ["link", "rule", "mount", "container", "process", "file"] {
            let more = during.difference(&before);
            let more = more.filter(|line| line.starts_with(kind)).count();
            assert!(more > 0, "{kind} are compared for nothing");
        }

        let again = Said::of(&mut cluster.machine.up_with(&[]));
        assert!(
            again.code == 0 && again.out.contains("Cadet runs"),
            "{again}"
        );
        let same = Said::of(&mut cluster.machine.up_with(&["--pod-cidr", "10.9.0.0/16"]));
        assert_eq!(same.code, 21, "{same}");
        same.complains("RESOURCE_FIXED", 21);

        let down = Said::of(&mut cluster.machine.cadet(&["down"]));
        assert!(
            down.code == 0 && down.out.contains("its data stays in"),
            "{down}"
        );
        for word in ["server", "agent", "supervise"] {
            assert_eq!(cluster.machine.processes(word), [0; 0], "{word}");
        }
        let links = run(Command::new("ip").args(["-o", "link"]));
        assert!(!links.contains("cadet0"), "{links}");
        let running = cluster.machine.block_on(async {
            let all = cluster.machine.engine.runtime.all_containers().await;
            let all = all.expect("containers");
            all.iter().filter(|container| container.pid != 0).count()
        });
        assert_eq!(running, 0, "nothing runs");

        let up = Said::of(&mut cluster.machine.up_with(&[]));
        assert!(up.code == 0 && up.out.contains("Cadet is ready"), "{up}");
        cluster.ready("kept");
        assert_eq!(cluster.field("secret/door", ".data.key"), "czNzYW1l");

        let purge = Said::of(&mut cluster.machine.cadet(&["down", "--purge"]));
        assert!(purge.code == 0, "{purge}");
        assert!(
            purge.out.contains("Nothing of the cluster is left."),
            "{purge}"
        );
        // The kernel takes links away behind the back of who asks for it.
        let mut tries = 0..300;
        loop {
            let after = traces(&cluster.machine);
            if after == before {
                break;
            }
            let left: Vec<_> = after.difference(&before).collect();
            let lost: Vec<_> = before.difference(&after).collect();
            assert!(tries.next().is_some(), "left {left:#?}\nlost {lost:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
        let config = std::fs::read_to_string(kube.join("config")).expect("read");
        assert!(
            config.contains("current-context: work") && !config.contains("cadet"),
            "{config}"
        );
        let again = Said::of(&mut cluster.machine.cadet(&["down", "--purge"]));
        assert!(
            again.code == 0 && again.out.starts_with("No cluster"),
            "{again}"
        );
    });
}

#[test]
fn a_cluster_in_the_foreground_ends_with_its_command() {
    play(|| {
        let machine = Machine::new();
        let mut command = machine.up_with(&["--foreground", "-o", "json"]);
        let mut up = command.stdout(Stdio::piped()).spawn().expect("start");
        let lines = BufReader::new(up.stdout.take().expect("stdout")).lines();
        let mut steps = Vec::new();
        for line in lines.map_while(Result::ok) {
            let event: serde_json::Value = serde_json::from_str(&line).expect("an event");
            if event["type"] == "done" {
                break;
            }
            if event["type"] == "step.done" {
                steps.push(event["step"].as_str().unwrap_or_default().to_owned());
            }
        }
        let all = [
            "machine",
            "config",
            "authority",
            "server",
            "node",
            "kubectl",
        ];
        assert_eq!(steps, all);
        let second = Said::of(&mut machine.up_with(&["--foreground"]));
        second.complains("CLUSTER_RUNNING", 101);
        let pid = Pid::from_raw(up.id().try_into().expect("pid"));
        kill(pid, Signal::SIGINT).expect("signal");
        assert!(up.wait().expect("wait").success());
        for word in ["server", "agent"] {
            assert_eq!(machine.processes(word), [0; 0], "{word}");
        }
        let purge = Said::of(&mut machine.cadet(&["down", "--purge"]));
        assert!(purge.code == 0, "{purge}");
    });
}
