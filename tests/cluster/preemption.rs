//! Important pods push others off their node.

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn class(name: &str, value: i32, policy: &str) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value, "preemptionPolicy": policy})
}

/// A pod that needs most of a node of 64 cores.
fn large(name: &str, class: &str, image: &str) -> String {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": image,
            "resources": {"requests": {"cpu": "40"}}}]}});
    if !class.is_empty() {
        pod["spec"]["priorityClassName"] = json!(class);
    }
    pod.to_string()
}

fn node_of(pod: Option<&Pod>) -> &str {
    let spec = pod.and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

fn nominated(pod: Option<&Pod>) -> &str {
    let status = pod.and_then(|pod| pod.status.as_ref());
    status
        .and_then(|status| status.nominated_node_name.as_deref())
        .unwrap_or_default()
}

async fn placed(cluster: &Cluster, name: &str) {
    cluster
        .until("default", name, |pod: Option<&Pod>| {
            node_of(pod) == "node-1"
        })
        .await;
}

#[tokio::test]
async fn the_important_pod_gets_the_node_once_its_victim_has_gone() {
    let cluster = Cluster::start().await;
    cluster
        .create(&class("high", 1000, "PreemptLowerPriority").to_string())
        .await;
    cluster.create(&large("victim", "", "slow")).await;
    placed(&cluster, "victim").await;
    cluster.create(&large("strong", "high", "web")).await;
    let strong = cluster
        .until("default", "strong", |pod: Option<&Pod>| {
            nominated(pod) == "node-1"
        })
        .await
        .expect("strong");
    assert_eq!(node_of(Some(&strong)), "");
    let victim = cluster
        .until("default", "victim", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
        })
        .await
        .expect("victim");
    // It goes with its grace, and says why.
    assert_eq!(victim.metadata.deletion_grace_period_seconds, Some(30));
    let conditions = victim.status.and_then(|s| s.conditions).unwrap_or_default();
    let target = conditions.iter().find(|c| c.type_ == "DisruptionTarget");
    let target = target.expect("a reason to go");
    assert_eq!(target.reason.as_deref(), Some("PreemptionByScheduler"));
    assert_eq!(
        target.message.as_deref(),
        Some("default-scheduler: preempting to accommodate a higher priority pod")
    );
    let uid = strong.metadata.uid.clone().unwrap_or_default();
    let told = format!("Preempted: Preempted by pod {uid} on node node-1");
    cluster.until_event("victim", &told).await;
    // Room kept for the strong one is not given away.
    cluster.create(&large("weak", "", "web")).await;
    cluster
        .until_event(
            "weak",
            "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu.",
        )
        .await;
    let now = DeleteParams::default().grace_period(0);
    let pods = cluster.api::<Pod>();
    pods.delete("victim", &now).await.expect("gone");
    placed(&cluster, "strong").await;
    let strong = pods.get("strong").await.expect("strong");
    assert_eq!(
        nominated(Some(&strong)),
        "",
        "it has the node it waited for"
    );
}

#[tokio::test]
async fn a_meek_pod_waits_for_its_turn() {
    let cluster = Cluster::start().await;
    cluster
        .create(&class("meek", 1000, "Never").to_string())
        .await;
    cluster.create(&large("first", "", "web")).await;
    placed(&cluster, "first").await;
    cluster.create(&large("second", "meek", "web")).await;
    let told = "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. no new \
        claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.";
    cluster.until_event("second", told).await;
    let pods = cluster.api::<Pod>();
    let first = pods.get("first").await.expect("pod");
    assert!(first.metadata.deletion_timestamp.is_none());
    let params = DeleteParams::default();
    pods.delete("first", &params).await.expect("deleted");
    placed(&cluster, "second").await;
}
