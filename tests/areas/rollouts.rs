//! Deployments that stall, wait and start anew; their ancestor; and what becomes of what they
//! own.

use serde_json::{Value, json};

use super::workloads::{deployment, rolled_out};
use super::{Cluster, WAIT, shell};

/// Where pods of two generations would meet; on the node.
const MEETING: &str = "/var/tmp/cadet-areas-meeting";

/// Why a Deployment goes on or does not.
const PROGRESS: &str = ".status.conditions[?(@.type==\"Progressing\")].reason";

pub fn play(cluster: &dyn Cluster) {
    cluster.node_says(&format!("rm -rf {MEETING}"));
    let mut roll = deployment("roll", 2);
    roll["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    cluster.create(&roll);
    cluster.create(&lone());
    cluster.create(&old());

    a_broken_rollout_stalls_and_is_undone(cluster);
    a_paused_rollout_waits(cluster);
    never_two_generations_at_once(cluster);
    the_old_controller_still_works(cluster);
    what_is_owned_stays_or_goes(cluster);
    cluster.node_says(&format!("rm -rf {MEETING}"));
}

/// A Deployment whose pods take a moment to end, and complain where they meet another.
fn lone() -> Value {
    let line = "mkdir /meeting/here || echo two >> /meeting/trouble; \
                trap 'sleep 1; rmdir /meeting/here; exit 0' TERM; sleep 99999 & wait";
    let mut app = shell("app", line);
    app["volumeMounts"] = json!([{"name": "meeting", "mountPath": "/meeting"}]);
    let meeting = json!({"path": MEETING, "type": "DirectoryOrCreate"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "lone"},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "lone"}},
            "template": {"metadata": {"labels": {"app": "lone"}},
                "spec": {"terminationGracePeriodSeconds": 60, "containers": [app],
                    "volumes": [{"name": "meeting", "hostPath": meeting}]}}}})
}

fn old() -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 1, "selector": {"app": "old"},
            "template": {"metadata": {"labels": {"app": "old"}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [shell("app", WAIT)]}}}})
}

fn a_broken_rollout_stalls_and_is_undone(cluster: &dyn Cluster) {
    rolled_out(cluster, "roll");
    let serving = addresses(cluster, "roll");
    assert_eq!(serving.len(), 2, "{serving:?}");
    let broken = r#"{"spec": {"progressDeadlineSeconds": 5, "template": {"spec": {"containers": [
        {"name": "app", "image": "nowhere:test", "imagePullPolicy": "Never"}]}}}}"#;
    cluster.kubectl(&["patch", "deployment", "roll", "-p", broken]);
    cluster.until("deployment/roll", PROGRESS, "ProgressDeadlineExceeded");
    let status = cluster.try_kubectl(&["rollout", "status", "deployment/roll"]);
    assert!(
        status.code == 1
            && status
                .err
                .contains("error: deployment \"roll\" exceeded its progress deadline"),
        "{status}"
    );

    // One more than wanted, and none of the old ones has gone for it.
    let rows = ["get", "pods", "-l", "app=roll", "--no-headers"];
    let rows = cluster.until_said(&rows, &|rows| rows.contains(" ErrImageNeverPull "));
    assert_eq!(rows.lines().count(), 3, "{rows}");
    cluster.until_condition("deployment/roll", "Available");
    let row = cluster.row("deployment/roll");
    assert!(row.starts_with("roll 2/2 1 2 "), "{row}");
    for (name, address) in &serving {
        let page = cluster.page(&format!("{address}:8080"));
        assert!(page.contains(name), "{name}: {page}");
    }

    let said = cluster.kubectl(&["rollout", "undo", "deployment/roll"]);
    assert_eq!(said, "deployment.apps/roll rolled back");
    rolled_out(cluster, "roll");
    assert_eq!(addresses(cluster, "roll"), serving);
}

fn a_paused_rollout_waits(cluster: &dyn Cluster) {
    cluster.kubectl(&["rollout", "pause", "deployment/roll"]);
    // What runs well may take longer than what is broken was given.
    let patient = r#"{"spec": {"progressDeadlineSeconds": 600}}"#;
    cluster.kubectl(&["patch", "deployment", "roll", "-p", patient]);
    cluster.kubectl(&["set", "env", "deployment/roll", "COLOR=blue"]);
    let generation = cluster.field("deployment/roll", ".metadata.generation");
    cluster.until("deployment/roll", ".status.observedGeneration", &generation);
    cluster.until("deployment/roll", PROGRESS, "DeploymentPaused");
    let sets = ["get", "replicasets", "-l", "app=roll", "-o", "name"];
    let paused = cluster.kubectl(&sets);
    assert_eq!(paused.lines().count(), 2, "{paused}");

    cluster.kubectl(&["rollout", "resume", "deployment/roll"]);
    rolled_out(cluster, "roll");
    let resumed = cluster.kubectl(&sets);
    assert_eq!(resumed.lines().count(), 3, "{resumed}");
    let env = "jsonpath={.items[*].spec.containers[0].env[0].value}";
    let colors = cluster.kubectl(&["get", "pods", "-l", "app=roll", "-o", env]);
    assert_eq!(colors, "blue blue");

    // The first became the third when it was undone.
    for (revision, words) in [("2", "nowhere:test"), ("4", "blue")] {
        let revision = format!("--revision={revision}");
        let told = cluster.kubectl(&["rollout", "history", "deployment/roll", &revision]);
        assert!(told.contains(words), "{told}");
    }
}

fn never_two_generations_at_once(cluster: &dyn Cluster) {
    rolled_out(cluster, "lone");
    let look = format!("until test -e {MEETING}/here; do sleep 0.1; done; ls {MEETING}");
    assert_eq!(cluster.node_says(&look), "here");
    let first = addresses(cluster, "lone");
    cluster.kubectl(&["set", "env", "deployment/lone", "VERSION=2"]);
    rolled_out(cluster, "lone");
    let second = addresses(cluster, "lone");
    assert!(first != second && second.len() == 1, "{first:?} {second:?}");
    assert_eq!(cluster.node_says(&look), "here");
}

fn the_old_controller_still_works(cluster: &dyn Cluster) {
    cluster.until("rc/old", ".status.readyReplicas", "1");
    let row = cluster.row("rc/old");
    assert!(row.starts_with("old 1 1 1 "), "{row}");
    let name = "jsonpath={.items[*].metadata.name}";
    let name = ["get", "pods", "-l", "app=old", "-o", name];
    let first = cluster.kubectl(&name);
    cluster.forget(&[&format!("pod/{first}")]);
    let second = cluster.until_said(&name, &|names| !names.is_empty() && !names.contains(&first));
    cluster.ready(&second);
    cluster.kubectl(&["scale", "rc/old", "--replicas=0"]);
    cluster.until_gone(&["pod", "-l", "app=old"]);
    cluster.forget(&["rc/old"]);
}

fn what_is_owned_stays_or_goes(cluster: &dyn Cluster) {
    let pods = addresses(cluster, "roll");
    cluster.kubectl(&["delete", "deployment/roll", "--cascade=orphan"]);
    let owners = "jsonpath={.items[*].metadata.ownerReferences}";
    let owners = cluster.kubectl(&["get", "replicasets", "-l", "app=roll", "-o", owners]);
    assert_eq!(owners, "");
    assert_eq!(addresses(cluster, "roll"), pods);

    // In the foreground the owner goes last.
    let foreground = "--cascade=foreground";
    cluster.kubectl(&["delete", "replicasets", "-l", "app=roll", foreground]);
    let left = addresses(cluster, "roll");
    assert!(left.is_empty(), "{left:?}");

    cluster.kubectl(&["delete", "deployment/lone"]);
    cluster.until_gone(&["replicasets,pods", "-l", "app=lone"]);
}

/// Names and addresses of an application's pods.
fn addresses(cluster: &dyn Cluster, app: &str) -> Vec<(String, String)> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
    let label = format!("app={app}");
    let listed = cluster.kubectl(&["get", "pods", "-l", &label, "-o", path]);
    let pods = listed.lines().filter_map(|line| line.split_once(' '));
    pods.map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect()
}
