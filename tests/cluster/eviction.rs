//! Pods on nodes with NoExecute taints, and on nodes that are not ready.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

fn pod(name: &str, image: &str, tolerations: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "containers": [{"name": "c", "image": image}], "tolerations": tolerations}})
    .to_string()
}

async fn taint(cluster: &Cluster, taints: Value) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let patch = json!({"spec": {"taints": taints}});
    nodes
        .patch("node-1", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("tainted");
}

#[tokio::test]
async fn who_does_not_tolerate_a_taint_goes() {
    let cluster = Cluster::start().await;
    let forever = json!([{"key": "fire", "operator": "Exists", "effect": "NoExecute"}]);
    let long = json!([{"key": "fire", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}]);
    let short = json!([{"key": "fire", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]);
    for (name, image, tolerations) in [
        ("plain", "slow", &json!([])),
        ("brave", "web", &forever),
        ("patient", "web", &long),
        ("hasty", "web", &short),
    ] {
        cluster.create(&pod(name, image, tolerations)).await;
        cluster
            .until::<Pod>("default", name, |pod| pod.is_some_and(Cluster::is_ready))
            .await;
    }
    taint(&cluster, json!([{"key": "fire", "effect": "NoExecute"}])).await;
    let going = cluster
        .until::<Pod>("default", "plain", |pod| {
            pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
        })
        .await
        .expect("it goes slowly");
    let conditions = going
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let disrupted = conditions
        .iter()
        .find(|c| c.type_ == "DisruptionTarget")
        .expect("why");
    assert_eq!(disrupted.status, "True");
    assert_eq!(disrupted.reason.as_deref(), Some("DeletionByTaintManager"));
    assert_eq!(
        disrupted.message.as_deref(),
        Some("Taint manager: deleting due to NoExecute taint")
    );
    cluster
        .until_event(
            "plain",
            "TaintManagerEviction: Marking for deletion Pod default/plain",
        )
        .await;
    cluster
        .until::<Pod>("default", "hasty", |pod| pod.is_none())
        .await;
    taint(&cluster, json!([])).await;
    cluster
        .until_event(
            "patient",
            "TaintManagerEviction: Cancelling deletion of Pod default/patient",
        )
        .await;
    for name in ["brave", "patient"] {
        let pod = cluster.api::<Pod>().get(name).await.expect("it stays");
        assert!(pod.metadata.deletion_timestamp.is_none(), "{name}");
    }
}

async fn not_ready(cluster: &Cluster) {
    let now = Timestamp::now().to_string();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown",
        "reason": "NodeStatusUnknown", "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
    nodes
        .patch_status("node-1", &PatchParams::default(), &Patch::Strategic(status))
        .await
        .expect("status");
}

#[tokio::test]
async fn pods_of_a_node_out_of_service_need_no_agent_to_go() {
    let cluster = Cluster::start().await;
    cluster.create(&pod("slow", "slow", &json!([]))).await;
    cluster
        .until::<Pod>("default", "slow", |pod| pod.is_some_and(Cluster::is_ready))
        .await;
    not_ready(&cluster).await;
    let off = json!([{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown",
        "effect": "NoExecute"}]);
    taint(&cluster, off).await;
    cluster
        .until::<Pod>("default", "slow", |pod| pod.is_none())
        .await;
}

#[tokio::test]
async fn pods_of_a_node_that_is_not_ready_are_not_ready_either() {
    let cluster = Cluster::start().await;
    cluster.create(&pod("web", "web", &json!([]))).await;
    cluster
        .until::<Pod>("default", "web", |pod| pod.is_some_and(Cluster::is_ready))
        .await;
    not_ready(&cluster).await;
    let pod = cluster
        .until::<Pod>("default", "web", |pod| {
            pod.is_some_and(|pod| !Cluster::is_ready(pod))
        })
        .await
        .expect("the pod");
    // It has five minutes, as admission gave it.
    assert!(pod.metadata.deletion_timestamp.is_none());
    cluster
        .until_event("web", "NodeNotReady: Node is not ready")
        .await;
    cluster
        .until_event(
            "node-1",
            "NodeNotReady: Node node-1 status is now: NodeNotReady",
        )
        .await;
    // New ones stay away, but there is nowhere to send those that are here.
    let taints = |node: &Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
        let taints = taints.unwrap_or_default().into_iter();
        taints
            .map(|taint| format!("{}:{}", taint.key, taint.effect))
            .collect::<Vec<_>>()
    };
    let node = cluster
        .until_cluster::<Node>("node-1", |node| {
            node.is_some_and(|node| !taints(node).is_empty())
        })
        .await
        .expect("the node");
    assert_eq!(taints(&node), ["node.kubernetes.io/unreachable:NoSchedule"]);
}
