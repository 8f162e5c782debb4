//! DaemonSets: one pod on every node that suits, rolled and undone.

use crate::cluster::Cluster;
use crate::cluster::program::has;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

fn set(name: &str, image: &str, more: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
{more}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
{pod}
      containers: [{{name: c, image: {image}}}]"
    )
}

/// Node and image of each pod, by node.
fn placed(pods: &[Pod]) -> Vec<String> {
    let mut all: Vec<String> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref())
        .map(|spec| {
            let node = spec.node_name.as_deref().unwrap_or("nowhere");
            let image = spec.containers[0].image.as_deref().unwrap_or_default();
            format!("{node} {image}")
        })
        .collect();
    all.sort();
    all
}

async fn until_placed(cluster: &Cluster, name: &str, wanted: &[&str]) -> Vec<Pod> {
    let fits = |pods: &[Pod]| pods.iter().all(Cluster::is_ready) && placed(pods) == wanted;
    cluster.until_all(&format!("app={name}"), fits).await
}

fn status(set: &DaemonSet) -> Value {
    serde_json::to_value(&set.status).expect("status")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_one_new_nodes_too() {
    let mut cluster = Cluster::with_nodes(2).await;
    cluster.create(&set("agent", "web:1", "", "")).await;
    let pods = until_placed(&cluster, "agent", &["node-1 web:1", "node-2 web:1"]).await;
    let spec = serde_json::to_value(&pods[0].spec).expect("spec");
    let node = pods[0].spec.as_ref().and_then(|s| s.node_name.clone());
    assert_eq!(
        spec.pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms"),
        Some(&json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]))
    );
    let tolerated: Vec<&str> = spec["tolerations"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|t| t["key"].as_str())
        .collect();
    for key in [
        "not-ready",
        "unreachable",
        "disk-pressure",
        "memory-pressure",
        "pid-pressure",
        "unschedulable",
    ] {
        let key = format!("node.kubernetes.io/{key}");
        assert!(tolerated.contains(&key.as_str()), "{tolerated:?}");
    }
    assert_eq!(pods[0].labels()["pod-template-generation"], "1");
    cluster.add_node("node-3").await;
    until_placed(
        &cluster,
        "agent",
        &["node-1 web:1", "node-2 web:1", "node-3 web:1"],
    )
    .await;
    let full = cluster
        .until::<DaemonSet>("default", "agent", |set| {
            set.is_some_and(|set| status(set)["numberAvailable"] == 3)
        })
        .await
        .expect("a set");
    assert_eq!(
        status(&full),
        json!({"observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
            "numberMisscheduled": 0, "numberReady": 3, "numberAvailable": 3, "updatedNumberScheduled": 3})
    );
    cluster
        .until_event(
            "agent",
            &format!("SuccessfulCreate: Created pod: {}", pods[0].name_any()),
        )
        .await;

    let (_served, kubectl) = cluster.kubectl().await;
    kubectl.run("delete pod -l app=agent --wait=false").await;
    cluster
        .until_all::<Pod>("app=agent", |now| {
            let new = now
                .iter()
                .filter(|pod| !pods.iter().any(|old| old.uid() == pod.uid()));
            new.filter(|pod| Cluster::is_ready(pod)).count() == 3
        })
        .await;
    kubectl.run("cordon node-2").await;
    kubectl.run("taint node node-3 only=others:NoExecute").await;
    until_placed(&cluster, "agent", &["node-1 web:1", "node-2 web:1"]).await;
    kubectl
        .run("taint node node-3 only=others:NoExecute-")
        .await;
    until_placed(
        &cluster,
        "agent",
        &["node-1 web:1", "node-2 web:1", "node-3 web:1"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_nodes_choose() {
    let cluster = Cluster::with_nodes(2).await;
    let (_served, kubectl) = cluster.kubectl().await;
    cluster
        .create(&set("ssd", "web", "", "      nodeSelector: {disk: ssd}"))
        .await;
    cluster
        .until::<DaemonSet>("default", "ssd", |set| {
            set.is_some_and(|set| status(set)["observedGeneration"] == 1)
        })
        .await;
    kubectl.run("label node node-2 disk=ssd").await;
    until_placed(&cluster, "ssd", &["node-2 web"]).await;
    kubectl.run("label node node-2 disk-").await;
    cluster
        .until_all::<Pod>("app=ssd", |pods| pods.is_empty())
        .await;
    cluster
        .until_event("ssd", "SuccessfulDelete: Deleted pod: ssd-")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_rollouts_with_kubectl() {
    let cluster = Cluster::with_nodes(3).await;
    let (_served, kubectl) = cluster.kubectl().await;
    cluster.create(&set("agent", "web:1", "", "")).await;
    has(
        &kubectl.run("rollout status ds/agent --timeout=240s").await,
        &["daemon set \"agent\" successfully rolled out"],
    );
    kubectl.run("set image ds/agent c=web:2").await;
    kubectl.run("rollout status ds/agent --timeout=240s").await;
    until_placed(
        &cluster,
        "agent",
        &["node-1 web:2", "node-2 web:2", "node-3 web:2"],
    )
    .await;
    has(
        &kubectl.run("rollout history ds/agent").await,
        &[
            "REVISION  CHANGE-CAUSE",
            "1         <none>",
            "2         <none>",
        ],
    );
    has(
        &kubectl.run("rollout history ds/agent --revision=1").await,
        &["Image:\tweb:1"],
    );
    has(
        &kubectl.run("rollout undo ds/agent --to-revision=1").await,
        &["daemonset.apps/agent rolled back"],
    );
    kubectl.run("rollout status ds/agent --timeout=240s").await;
    let pods = until_placed(
        &cluster,
        "agent",
        &["node-1 web:1", "node-2 web:1", "node-3 web:1"],
    )
    .await;
    let mut numbers: Vec<i64> = cluster
        .until_all::<ControllerRevision>("app=agent", |all| all.len() == 2)
        .await
        .iter()
        .map(|revision| revision.revision)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "the first has become the last");
    has(
        &kubectl.run("rollout restart ds/agent").await,
        &["daemonset.apps/agent restarted"],
    );
    kubectl.run("rollout status ds/agent --timeout=240s").await;
    cluster
        .until_all::<Pod>("app=agent", |now| {
            let new = now
                .iter()
                .filter(|pod| !pods.iter().any(|old| old.uid() == pod.uid()));
            new.filter(|pod| Cluster::is_ready(pod)).count() == 3
        })
        .await;
    has(
        &kubectl.run("get ds agent").await,
        &["3         3         3       3            3"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_template_takes_no_more_nodes_than_it_may() {
    let cluster = Cluster::with_nodes(3).await;
    let (_served, kubectl) = cluster.kubectl().await;
    let one = "  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1}}";
    cluster.create(&set("agent", "web:1", one, "")).await;
    let wanted = ["node-1 web:1", "node-2 web:1", "node-3 web:1"];
    until_placed(&cluster, "agent", &wanted).await;
    kubectl.run("set image ds/agent c=unready").await;
    let stuck = cluster
        .until::<DaemonSet>("default", "agent", |set| {
            let status = set.map(status).unwrap_or_default();
            status["updatedNumberScheduled"] == 1
                && status["numberUnavailable"] == 1
                && status["observedGeneration"] == 2
        })
        .await
        .expect("a set");
    assert_eq!(status(&stuck)["numberReady"], 2);
    kubectl.run("set image ds/agent c=web:3").await;
    until_placed(
        &cluster,
        "agent",
        &["node-1 web:3", "node-2 web:3", "node-3 web:3"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_leaves_no_node_without() {
    let cluster = Cluster::with_nodes(2).await;
    let (_served, kubectl) = cluster.kubectl().await;
    let surge =
        "  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    cluster.create(&set("agent", "web:1", surge, "")).await;
    until_placed(&cluster, "agent", &["node-1 web:1", "node-2 web:1"]).await;
    kubectl.run("set image ds/agent c=unready").await;
    cluster
        .until_all::<Pod>("app=agent", |pods| {
            pods.len() == 3 && pods.iter().filter(|pod| Cluster::is_ready(pod)).count() == 2
        })
        .await;
    kubectl.run("set image ds/agent c=web:2").await;
    until_placed(&cluster, "agent", &["node-1 web:2", "node-2 web:2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_delete_waits_and_failures_are_cleared_away() {
    let cluster = Cluster::start().await;
    let (_served, kubectl) = cluster.kubectl().await;
    let by_hand = "  updateStrategy: {type: OnDelete}";
    cluster.create(&set("agent", "web:1", by_hand, "")).await;
    let pods = until_placed(&cluster, "agent", &["node-1 web:1"]).await;
    kubectl.run("set image ds/agent c=web:2").await;
    cluster
        .until::<DaemonSet>("default", "agent", |set| {
            set.is_some_and(|set| status(set)["observedGeneration"] == 2)
        })
        .await;
    until_placed(&cluster, "agent", &["node-1 web:1"]).await;
    kubectl
        .run(&format!("delete pod {}", pods[0].name_any()))
        .await;
    until_placed(&cluster, "agent", &["node-1 web:2"]).await;

    cluster.create(&set("sick", "exits-1", "", "")).await;
    let event = "FailedDaemonPod: Found failed daemon pod default/sick-";
    cluster.until_event("sick", event).await;
}
