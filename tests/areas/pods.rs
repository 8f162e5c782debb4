//! Pods as a learner meets them: logs, exec, port-forward, probes, volumes, order.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::json;

use super::{Cluster, SERVE, WAIT, shell};

pub fn play(cluster: &dyn Cluster) {
    first_pod(cluster);
    initial_work_comes_first(cluster);
    a_sick_container_is_restarted(cluster);
    a_changed_configuration_is_seen(cluster);
}

fn first_pod(cluster: &dyn Cluster) {
    let talk = format!("echo hello; echo oops >&2; {SERVE}");
    cluster.pod(
        "first",
        json!({"containers": [shell("app", &talk), shell("side", WAIT)]}),
    );
    cluster.ready("first");
    let row = cluster.row("pod/first");
    assert!(row.starts_with("first 2/2 Running 0 "), "{row}");
    // Two pipes: which the engine reads first is its own affair.
    let logs = ["logs", "first", "-c", "app"];
    let logs = cluster.until_said(&logs, &|logs| logs.lines().count() == 2);
    let mut lines: Vec<&str> = logs.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["hello", "oops"]);

    let said = cluster.inside("first -c side", "cat /etc/hostname");
    assert_eq!(said, "first");
    let failed = cluster.try_inside("first -c app", "exit 7");
    assert_eq!(failed.code, 7, "{failed}");
    // Containers of a pod share the network.
    let page = "until wget -qO- 127.0.0.1:8080; do sleep 0.1; done";
    assert_eq!(cluster.inside("first -c side", page), "first");

    let mut forward = cluster.kubectl_command(&["port-forward", "pod/first", ":8080"]);
    let mut forward = forward.stdout(Stdio::piped()).spawn().expect("kubectl");
    let mut line = String::new();
    let mut words = BufReader::new(forward.stdout.take().expect("stdout"));
    words.read_line(&mut line).expect("line");
    // `Forwarding from 127.0.0.1:40123 -> 8080`
    let port = line
        .split([':', ' '])
        .nth(3)
        .and_then(|port| port.parse().ok());
    let port: u16 = port.unwrap_or_else(|| panic!("{line}"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("write");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("read");
    assert!(
        page.starts_with("HTTP/1.") && page.ends_with("first\n"),
        "{page}"
    );
    forward.kill().expect("kill");
    forward.wait().expect("wait");

    let node = cluster.kubectl(&["get", "nodes", "--no-headers"]);
    assert!(node.contains(" Ready "), "{node}");
    cluster.kubectl(&["delete", "pod", "first"]);
}

fn initial_work_comes_first(cluster: &dyn Cluster) {
    let mount = json!([{"name": "work", "mountPath": "/steps"}]);
    let mut one = shell("one", "echo one >> /steps/log");
    let mut two = shell("two", "sleep 0.2; echo two >> /steps/log");
    let mut app = shell("app", "cat /steps/log");
    for container in [&mut one, &mut two, &mut app] {
        container["volumeMounts"] = mount.clone();
    }
    cluster.pod(
        "ordered",
        json!({"restartPolicy": "Never", "initContainers": [one, two], "containers": [app],
            "volumes": [{"name": "work", "emptyDir": {}}]}),
    );
    cluster.until("pod/ordered", ".status.phase", "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "ordered"]), "one\ntwo");
    let row = cluster.row("pod/ordered");
    assert!(row.starts_with("ordered 0/1 Completed 0 "), "{row}");
    cluster.forget(&["pod/ordered"]);
}

fn a_sick_container_is_restarted(cluster: &dyn Cluster) {
    let mut app = shell(
        "app",
        &format!("touch /tmp/ok; (sleep 1; rm /tmp/ok) & {WAIT}"),
    );
    app["livenessProbe"] = json!({"exec": {"command": ["cat", "/tmp/ok"]},
        "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30});
    cluster.pod("sick", json!({"containers": [app]}));
    cluster.restarted("sick");
    cluster.until_said(&["describe", "pod", "sick"], &|told| {
        told.contains("Liveness probe failed: cat: can't open '/tmp/ok'")
            && told.contains("Container app failed liveness probe, will be restarted")
    });
    cluster.forget(&["pod/sick"]);
}

fn a_changed_configuration_is_seen(cluster: &dyn Cluster) {
    cluster.kubectl(&[
        "create",
        "configmap",
        "settings",
        "--from-literal=color=red",
    ]);
    let mut app = shell(
        "app",
        "until grep -q blue /cm/color; do sleep 0.1; done; echo seen",
    );
    app["volumeMounts"] = json!([{"name": "cm", "mountPath": "/cm"}]);
    cluster.pod(
        "watcher",
        json!({"restartPolicy": "Never", "containers": [app],
            "volumes": [{"name": "cm", "configMap": {"name": "settings"}}]}),
    );
    cluster.ready("watcher");
    let blue = r#"{"data": {"color": "blue"}}"#;
    cluster.kubectl(&["patch", "configmap", "settings", "-p", blue]);
    cluster.until("pod/watcher", ".status.phase", "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "watcher"]), "seen");
    cluster.forget(&["pod/watcher", "configmap/settings"]);
}
