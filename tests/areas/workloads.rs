//! Deployments: rollout, undo, and what dies comes back.

use serde_json::{Value, json};

use super::{Cluster, SERVE, shell};

/// A Deployment whose pods serve their name.
pub fn deployment(name: &str, replicas: u32) -> Value {
    let mut app = shell("app", SERVE);
    app["readinessProbe"] =
        json!({"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 20});
    app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}}}})
}

pub fn play(cluster: &dyn Cluster) {
    cluster.create(&deployment("web", 3));
    rolled_out(cluster, "web");
    what_dies_comes_back(cluster);

    cluster.kubectl(&["set", "env", "deployment/web", "VERSION=2"]);
    rolled_out(cluster, "web");
    let env = ".spec.containers[0].env[0].value";
    let versions = format!("jsonpath={{.items[*]{env}}}");
    let told = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", &versions]);
    assert_eq!(told, "2 2 2");
    cluster.kubectl(&["rollout", "undo", "deployment/web"]);
    rolled_out(cluster, "web");
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"]);
    assert!(
        history.contains("\n2 ") && history.contains("\n3 "),
        "{history}"
    );

    cluster.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    cluster.until_gone(&["pod", "-l", "app=web"]);
    cluster.forget(&["deployment/web"]);
}

fn what_dies_comes_back(cluster: &dyn Cluster) {
    let names = ["get", "pods", "-l", "app=web", "-o", "name"];
    let pods = cluster.kubectl(&names);
    let first = pods.lines().next().expect("a pod").to_owned();
    let name = first.trim_start_matches("pod/");
    let (id, restarts) = cluster.container(name);
    assert_eq!(restarts, "0");
    cluster.kill_container(&id);
    cluster.restarted(name);
    cluster.ready(name);

    cluster.kubectl(&["delete", &first]);
    rolled_out(cluster, "web");
    let now = cluster.kubectl(&names);
    assert_eq!(now.lines().count(), 3, "{now}");
    assert!(!now.contains(&first), "{now}");
}

/// Waits until a Deployment of this name has no pods but those it wants.
#[track_caller]
pub fn rolled_out(cluster: &dyn Cluster, name: &str) {
    let said = cluster.rolled_out(&format!("deployment/{name}"));
    assert!(said.contains("successfully rolled out"), "{said}");
    // Those on their way out are no longer counted, and are gone soon.
    let label = format!("app={name}");
    let leaving = "jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}";
    let leaving = cluster.kubectl(&["get", "pods", "-l", &label, "-o", leaving]);
    for pod in leaving.split_whitespace() {
        let pod = format!("pod/{pod}");
        cluster.try_kubectl(&["wait", "--for=delete", &pod, cluster.soon()]);
    }
}
