//! Where pods go, and what is said of those that go nowhere.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A pod whose container asks for so much CPU.
fn asking(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "web",
            "resources": {"requests": {"cpu": cpu}}}]}})
}

fn node_of(pod: Option<&Pod>) -> &str {
    let spec = pod.and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

/// Reason and message of PodScheduled.
fn scheduled(pod: Option<&Pod>) -> (String, String) {
    let status = pod.and_then(|pod| pod.status.as_ref());
    let conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
    let found = conditions.into_iter().find(|c| c.type_ == "PodScheduled");
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    found.map_or_else(Default::default, |c| (text(&c.reason), text(&c.message)))
}

#[tokio::test]
async fn a_pod_too_large_waits_for_a_node_that_is_large_enough() {
    let cluster = Cluster::start().await;
    cluster.create(&asking("huge", "100").to_string()).await;
    let words = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, \
        preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let told = format!("FailedScheduling: {words}");
    cluster.until_event("huge", &told).await;
    cluster
        .until("default", "huge", |pod: Option<&Pod>| {
            scheduled(pod) == ("Unschedulable".into(), words.into())
        })
        .await;
    let room = json!({"cpu": "200", "memory": "1Ti", "pods": "10"});
    let large = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "large"},
        "status": {"capacity": room, "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True"}]}});
    cluster.create(&large.to_string()).await;
    cluster
        .until("default", "huge", |pod: Option<&Pod>| {
            node_of(pod) == "large"
        })
        .await;
    let told = "Scheduled: Successfully assigned default/huge to large";
    cluster.until_event("huge", told).await;
}

#[tokio::test]
async fn a_closed_node_takes_pods_again_when_it_is_opened() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let close = async |closed: bool| {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": closed}}));
        let params = PatchParams::default();
        nodes.patch("node-1", &params, &patch).await.expect("node");
    };
    close(true).await;
    cluster.create(&asking("waits", "1").to_string()).await;
    let told = "FailedScheduling: 0/1 nodes are available: 1 node(s) were unschedulable.";
    cluster.until_event("waits", told).await;
    close(false).await;
    cluster
        .until("default", "waits", |pod: Option<&Pod>| {
            node_of(pod) == "node-1"
        })
        .await;
}

#[tokio::test]
async fn gates_hold_a_pod_back() {
    let cluster = Cluster::start().await;
    let mut gated = asking("gated", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/quota"}]);
    let born = cluster.create(&gated.to_string()).await;
    let born: Pod = born.try_parse().expect("a pod");
    assert_eq!(
        scheduled(Some(&born)),
        (
            "SchedulingGated".into(),
            "Scheduling is blocked due to non-empty scheduling gates".into()
        )
    );
    // Whoever comes later and is free goes first.
    cluster.create(&asking("free", "1").to_string()).await;
    cluster
        .until("default", "free", |pod: Option<&Pod>| {
            node_of(pod) == "node-1"
        })
        .await;
    let pods = cluster.api::<Pod>();
    let still = pods.get("gated").await.expect("pod");
    assert_eq!(node_of(Some(&still)), "");
    let patch = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
    let params = PatchParams::default();
    pods.patch("gated", &params, &patch).await.expect("open");
    cluster
        .until("default", "gated", |pod: Option<&Pod>| {
            node_of(pod) == "node-1"
        })
        .await;
}

#[tokio::test]
async fn pods_that_avoid_each_other_need_as_many_nodes() {
    let mut cluster = Cluster::with_nodes(2).await;
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]}});
    for name in ["db-0", "db-1", "db-2"] {
        let mut pod = asking(name, "1");
        pod["metadata"]["labels"] = json!({"app": "db"});
        pod["spec"]["affinity"] = apart.clone();
        cluster.create(&pod.to_string()).await;
    }
    let waits = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. \
        no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption \
        victims found for incoming pod.";
    let placed = cluster
        .until_all::<Pod>("app=db", |pods| {
            let waiting = pods.iter().filter(|pod| scheduled(Some(pod)).1 == waits);
            pods.iter()
                .filter(|pod| !node_of(Some(pod)).is_empty())
                .count()
                == 2
                && waiting.count() == 1
        })
        .await;
    let mut nodes: Vec<&str> = placed.iter().map(|pod| node_of(Some(pod))).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["", "node-1", "node-2"]);
    cluster.add_node("node-3").await;
    cluster
        .until_all::<Pod>("app=db", |pods| {
            pods.iter().all(|pod| !node_of(Some(pod)).is_empty())
        })
        .await;
}

#[tokio::test]
async fn a_claim_is_told_the_node_and_the_pod_waits_for_its_volume() {
    let cluster = Cluster::start().await;
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "made"}, "provisioner": "example.com/disks",
        "volumeBindingMode": "WaitForFirstConsumer"});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"}, "spec": {"storageClassName": "made",
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let mut pod = asking("user", "1");
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    cluster.create(&pod.to_string()).await;
    let told = "FailedScheduling: 0/1 nodes are available: persistentvolumeclaim \"data\" not \
        found. not found";
    cluster.until_event("user", told).await;
    cluster.create(&class.to_string()).await;
    cluster.create(&claim.to_string()).await;
    let told = cluster
        .until(
            "default",
            "data",
            |claim: Option<&PersistentVolumeClaim>| {
                claim.is_some_and(|claim| {
                    claim
                        .annotations()
                        .contains_key("volume.kubernetes.io/selected-node")
                })
            },
        )
        .await
        .expect("claim");
    assert_eq!(
        told.annotations()["volume.kubernetes.io/selected-node"],
        "node-1"
    );
    let pods = cluster.api::<Pod>();
    assert_eq!(node_of(Some(&pods.get("user").await.expect("pod"))), "");
    // The test is the provisioner.
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"storageClassName": "made", "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/disk"},
            "claimRef": {"namespace": "default", "name": "data", "uid": told.uid()}}});
    cluster.create(&volume.to_string()).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    let params = PatchParams::default();
    let patch = Patch::Merge(json!({"spec": {"volumeName": "disk"}}));
    claims.patch("data", &params, &patch).await.expect("claim");
    let patch = Patch::Merge(json!({"status": {"phase": "Bound"}}));
    let bound = claims.patch_status("data", &params, &patch).await;
    bound.expect("bound");
    cluster
        .until("default", "user", |pod: Option<&Pod>| {
            node_of(pod) == "node-1"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_at_once_each_get_one_node_and_no_node_too_many() {
    let cluster = Cluster::with_nodes(4).await;
    for number in 0..120 {
        let mut pod = asking(&format!("many-{number}"), "1");
        pod["metadata"]["labels"] = json!({"app": "many"});
        cluster.create(&pod.to_string()).await;
    }
    let placed = cluster
        .until_all::<Pod>("app=many", |pods| {
            pods.len() == 120 && pods.iter().all(|pod| !node_of(Some(pod)).is_empty())
        })
        .await;
    for number in 1..=4 {
        let name = format!("node-{number}");
        let here = placed.iter().filter(|pod| node_of(Some(pod)) == name);
        let here = here.count();
        // Four times 64 CPUs for 120 pods of one: emptier nodes are preferred.
        assert!((22..=38).contains(&here), "{here} pods on {name}");
    }
}
