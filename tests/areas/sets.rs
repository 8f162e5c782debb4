//! Pods with a name and storage of their own, and pods that each node has one of.

use serde_json::{Value, json};

use super::{Cluster, SERVE, WAIT, shell};

/// When an object was made, RFC 3339 in UTC: as text in order.
const BORN: &str = ".metadata.creationTimestamp";

pub fn play(cluster: &dyn Cluster) {
    cluster.create(&shelf());
    cluster.create(&each());
    one_after_the_other(cluster);
    name_and_data_outlive_a_pod(cluster);
    the_last_is_renewed_first_and_goes_first(cluster);
    one_on_the_node(cluster);
    cluster.forget(&[
        "statefulset/shelf",
        "daemonset/each",
        "pvc/data-shelf-0",
        "pvc/data-shelf-1",
    ]);
    cluster.until_gone(&["pod", "-l", "app=shelf"]);
}

/// A StatefulSet of two whose pods write their name into a log of their own.
fn shelf() -> Value {
    let mut app = shell("app", &format!("hostname >> /data/log; {SERVE}"));
    app["readinessProbe"] =
        json!({"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 20});
    app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let claim = json!({"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "shelf"},
        "spec": {"serviceName": "shelf", "replicas": 2,
            "selector": {"matchLabels": {"app": "shelf"}}, "volumeClaimTemplates": [claim],
            "template": {"metadata": {"labels": {"app": "shelf"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}}}})
}

fn each() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "each"},
        "spec": {"selector": {"matchLabels": {"app": "each"}},
            "template": {"metadata": {"labels": {"app": "each"}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [shell("app", WAIT)]}}}})
}

fn one_after_the_other(cluster: &dyn Cluster) {
    let said = cluster.rolled_out("statefulset/shelf");
    assert!(
        said.contains("partitioned roll out complete: 2 new pods have been updated..."),
        "{said}"
    );
    let names = "jsonpath={.items[*].metadata.name}";
    let names = cluster.kubectl(&["get", "pods", "-l", "app=shelf", "-o", names]);
    assert_eq!(names, "shelf-0 shelf-1");
    let ready = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime";
    let ready = cluster.field("pod/shelf-0", ready);
    // Both to the second, so they may be the same.
    let next = cluster.field("pod/shelf-1", BORN);
    assert!(ready <= next, "{ready} {next}");
    let row = cluster.row("statefulset/shelf");
    assert!(row.starts_with("shelf 2/2 "), "{row}");
}

fn name_and_data_outlive_a_pod(cluster: &dyn Cluster) {
    cluster.inside("shelf-0", "echo precious > /data/mine");
    let uid = cluster.field("pod/shelf-0", ".metadata.uid");
    cluster.forget(&["pod/shelf-0"]);
    let state = "jsonpath={.metadata.uid} {.status.conditions[?(@.type==\"Ready\")].status}";
    let state = ["get", "pod", "shelf-0", "--ignore-not-found", "-o", state];
    cluster.until_said(&state, &|state| {
        state.ends_with(" True") && !state.starts_with(&uid)
    });
    let kept = cluster.inside("shelf-0", "cat /data/mine /data/log");
    assert_eq!(kept, "precious\nshelf-0\nshelf-0");
    let other = cluster.inside("shelf-1", "cat /data/log");
    assert_eq!(other, "shelf-1");
}

fn the_last_is_renewed_first_and_goes_first(cluster: &dyn Cluster) {
    cluster.kubectl(&["set", "env", "statefulset/shelf", "VERSION=2"]);
    cluster.rolled_out("statefulset/shelf");
    let versions = "jsonpath={.items[*].spec.containers[0].env[0].value}";
    let versions = cluster.kubectl(&["get", "pods", "-l", "app=shelf", "-o", versions]);
    assert_eq!(versions, "2 2");
    let [first, last] = ["pod/shelf-0", "pod/shelf-1"].map(|pod| cluster.field(pod, BORN));
    assert!(last <= first, "{last} {first}");

    cluster.kubectl(&["scale", "statefulset/shelf", "--replicas=1"]);
    cluster.until_gone(&["pod/shelf-1"]);
    let row = cluster.row("pod/shelf-0");
    assert!(row.starts_with("shelf-0 1/1 Running 0 "), "{row}");
    // Storage waits for its pod to come back.
    let phase = cluster.field("pvc/data-shelf-1", ".status.phase");
    assert_eq!(phase, "Bound");
}

fn one_on_the_node(cluster: &dyn Cluster) {
    let done = "daemon set \"each\" successfully rolled out";
    let said = cluster.rolled_out("daemonset/each");
    assert!(said.contains(done), "{said}");
    let row = cluster.row("daemonset/each");
    assert!(row.starts_with("each 1 1 1 1 1 <none> "), "{row}");
    let node = "jsonpath={.items[*].spec.nodeName}";
    let node = cluster.kubectl(&["get", "pods", "-l", "app=each", "-o", node]);
    assert_eq!(node, cluster.node());

    cluster.kubectl(&["set", "env", "daemonset/each", "VERSION=2"]);
    let said = cluster.rolled_out("daemonset/each");
    assert!(said.contains(done), "{said}");
    // Room is made before it is filled: there is one pod only.
    let version = "jsonpath={.items[*].spec.containers[0].env[0].value}";
    let version = cluster.kubectl(&["get", "pods", "-l", "app=each", "-o", version]);
    assert_eq!(version, "2");
}
