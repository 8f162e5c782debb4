//! StatefulSets: in order, by name, with storage, rolled and undone.

use crate::cluster::Cluster;
use crate::cluster::program::has;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

fn set(name: &str, replicas: i32, image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  serviceName: {name}
  selector: {{matchLabels: {{app: {name}}}}}
{more}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: {image}}}]}}"
    )
}

const CLAIMS: &str = "  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}";

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(ResourceExt::name_any).collect()
}

fn images(pods: &[Pod]) -> Vec<String> {
    let image = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|s| s.containers[0].image.clone())
    };
    pods.iter().filter_map(image).collect()
}

/// Waits for these pods, all ready and of these images.
async fn until_images(cluster: &Cluster, name: &str, wanted: &[&str]) -> Vec<Pod> {
    let fits = |pods: &[Pod]| pods.iter().all(Cluster::is_ready) && images(pods) == wanted;
    cluster.until_all(&format!("app={name}"), fits).await
}

fn status(set: &StatefulSet) -> Value {
    let mut status = serde_json::to_value(&set.status).expect("status");
    let members = status.as_object_mut().expect("an object");
    for key in ["currentRevision", "updateRevision", "collisionCount"] {
        members.remove(key);
    }
    status
}

async fn make_ready(cluster: &Cluster, pod: &str) {
    let condition =
        json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = json!({"status": {"conditions": [condition]}});
    let params = PatchParams::default();
    let pods = cluster.api::<Pod>();
    pods.patch_status(pod, &params, &Patch::Strategic(patch))
        .await
        .expect("status");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_one_after_the_other_and_go_the_other_way() {
    let cluster = Cluster::start().await;
    cluster.create(&set("web", 3, "unready", "")).await;
    for ordinal in 0..3 {
        let pods = cluster
            .until_all::<Pod>("app=web", |pods| {
                let running = |pod: &Pod| {
                    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
                    phase == Some("Running")
                };
                pods.len() == ordinal + 1 && pods.iter().all(running)
            })
            .await;
        let name = format!("web-{ordinal}");
        let pod = &pods[ordinal];
        assert_eq!(pod.name_any(), name);
        assert_eq!(pod.labels()["statefulset.kubernetes.io/pod-name"], name);
        assert_eq!(
            pod.labels()["apps.kubernetes.io/pod-index"],
            ordinal.to_string()
        );
        let spec = pod.spec.as_ref().expect("spec");
        assert_eq!(spec.hostname.as_deref(), Some(name.as_str()));
        assert_eq!(spec.subdomain.as_deref(), Some("web"));
        make_ready(&cluster, &name).await;
        let event = format!("SuccessfulCreate: create Pod {name} in StatefulSet web successful");
        cluster.until_event("web", &event).await;
    }
    let all = cluster
        .until::<StatefulSet>("default", "web", |set| {
            set.is_some_and(|set| status(set)["readyReplicas"] == 3)
        })
        .await
        .expect("a set");
    assert_eq!(
        status(&all),
        json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "currentReplicas": 3, "updatedReplicas": 3})
    );
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| pods.len() == 3)
        .await;
    let revision = all.status.as_ref().and_then(|s| s.current_revision.clone());
    assert_eq!(
        Some(&pods[0].labels()["controller-revision-hash"]),
        revision.as_ref()
    );

    let (_served, kubectl) = cluster.kubectl().await;
    kubectl.run("scale sts web --replicas=1").await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| pods.len() == 1)
        .await;
    assert_eq!(names(&pods), ["web-0"]);
    for name in ["web-2", "web-1"] {
        let event = format!("SuccessfulDelete: delete Pod {name} in StatefulSet web successful");
        cluster.until_event("web", &event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_rollouts_with_kubectl() {
    let cluster = Cluster::start().await;
    let (_served, kubectl) = cluster.kubectl().await;
    cluster.create(&set("web", 3, "web:1", "")).await;
    has(
        &kubectl.run("rollout status sts/web --timeout=240s").await,
        &["partitioned roll out complete: 3 new pods have been updated..."],
    );
    kubectl.run("set image sts/web c=web:2").await;
    kubectl.run("rollout status sts/web --timeout=240s").await;
    until_images(&cluster, "web", &["web:2", "web:2", "web:2"]).await;
    has(
        &kubectl.run("rollout history sts/web").await,
        &[
            "REVISION  CHANGE-CAUSE",
            "1         <none>",
            "2         <none>",
        ],
    );
    has(
        &kubectl.run("rollout history sts/web --revision=1").await,
        &["Image:\tweb:1"],
    );
    has(
        &kubectl.run("rollout undo sts/web").await,
        &["statefulset.apps/web rolled back"],
    );
    kubectl.run("rollout status sts/web --timeout=240s").await;
    let before = until_images(&cluster, "web", &["web:1", "web:1", "web:1"]).await;
    let mut numbers: Vec<i64> = cluster
        .until_all::<ControllerRevision>("app=web", |all| all.len() == 2)
        .await
        .iter()
        .map(|revision| revision.revision)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "the first has become the last");
    let done = cluster
        .until::<StatefulSet>("default", "web", |set| {
            let status = set.and_then(|set| set.status.as_ref());
            status.is_some_and(|s| {
                s.current_revision == s.update_revision && s.ready_replicas == Some(3)
            })
        })
        .await
        .expect("a set");
    assert_eq!(status(&done)["currentReplicas"], 3);

    has(
        &kubectl.run("rollout restart sts/web").await,
        &["statefulset.apps/web restarted"],
    );
    kubectl.run("rollout status sts/web --timeout=240s").await;
    let old: Vec<_> = before.iter().map(ResourceExt::uid).collect();
    cluster
        .until_all::<Pod>("app=web", |pods| {
            let new = pods.iter().filter(|pod| !old.contains(&pod.uid()));
            new.filter(|pod| Cluster::is_ready(pod)).count() == 3
        })
        .await;
    has(&kubectl.run("get sts web").await, &["3/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_holds_a_rollout_back() {
    let cluster = Cluster::start().await;
    let partition = "  podManagementPolicy: Parallel
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}";
    cluster.create(&set("part", 4, "web:1", partition)).await;
    let all = ["web:1"; 4];
    until_images(&cluster, "part", &all).await;
    let (_served, kubectl) = cluster.kubectl().await;
    kubectl.run("set image sts/part c=web:2").await;
    let pods = until_images(&cluster, "part", &["web:1", "web:1", "web:2", "web:2"]).await;
    assert_eq!(names(&pods), ["part-0", "part-1", "part-2", "part-3"]);
    // What is lost below the partition comes back as it was.
    kubectl.run("delete pod part-0 --wait=false").await;
    cluster
        .until::<Pod>("default", "part-0", |pod| {
            pod.is_some_and(|pod| pod.uid() != pods[0].uid() && Cluster::is_ready(pod))
        })
        .await;
    until_images(&cluster, "part", &["web:1", "web:1", "web:2", "web:2"]).await;
    let half = cluster
        .until::<StatefulSet>("default", "part", |set| {
            set.is_some_and(|set| status(set)["readyReplicas"] == 4)
        })
        .await
        .expect("a set");
    assert_eq!(status(&half)["updatedReplicas"], 2);
    assert_eq!(status(&half)["currentReplicas"], 2);
    kubectl
        .run("patch sts part --type=merge -p {\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"partition\":0}}}}")
        .await;
    until_images(&cluster, "part", &["web:2"; 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_delete_waits_for_somebody_to_delete() {
    let cluster = Cluster::start().await;
    let by_hand = "  updateStrategy: {type: OnDelete}\n  ordinals: {start: 5}";
    cluster.create(&set("hand", 2, "web:1", by_hand)).await;
    let pods = until_images(&cluster, "hand", &["web:1"; 2]).await;
    assert_eq!(names(&pods), ["hand-5", "hand-6"]);
    let (_served, kubectl) = cluster.kubectl().await;
    kubectl.run("set image sts/hand c=web:2").await;
    cluster
        .until::<StatefulSet>("default", "hand", |set| {
            set.is_some_and(|set| status(set)["observedGeneration"] == 2)
        })
        .await;
    until_images(&cluster, "hand", &["web:1"; 2]).await;
    // kubectl would wait by name, and the next pod of that name may be there before it looks.
    kubectl.run("delete pod hand-5 --wait=false").await;
    until_images(&cluster, "hand", &["web:2", "web:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_has_a_claim_of_its_own() {
    let cluster = Cluster::start().await;
    let policy = "  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}";
    cluster
        .create(&set("db", 2, "stuck", &format!("{policy}\n{CLAIMS}")))
        .await;
    let claims = cluster
        .until_all::<PersistentVolumeClaim>("app=db", |claims| {
            let owned = |claim: &PersistentVolumeClaim| !claim.owner_references().is_empty();
            claims.len() == 2 && claims.iter().all(owned)
        })
        .await;
    let claimed: Vec<String> = claims.iter().map(ResourceExt::name_any).collect();
    assert_eq!(claimed, ["data-db-0", "data-db-1"]);
    let owner = &claims[0].owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str()),
        ("StatefulSet", "db")
    );
    let pods = cluster
        .until_all::<Pod>("app=db", |pods| pods.len() == 2)
        .await;
    let spec = serde_json::to_value(&pods[1].spec).expect("spec");
    assert_eq!(
        spec["volumes"][0],
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}})
    );
    let event = "SuccessfulCreate: create Claim data-db-0 Pod db-0 in StatefulSet db success";
    cluster.until_event("db", event).await;

    let (_served, kubectl) = cluster.kubectl().await;
    kubectl
        .run("patch sts db --type=merge -p {\"spec\":{\"persistentVolumeClaimRetentionPolicy\":{\"whenDeleted\":\"Retain\"}}}")
        .await;
    cluster
        .until::<PersistentVolumeClaim>("default", "data-db-0", |claim| {
            claim.is_some_and(|claim| claim.owner_references().is_empty())
        })
        .await;
    kubectl.run("scale sts db --replicas=1").await;
    cluster
        .until_all::<Pod>("app=db", |pods| pods.len() == 1)
        .await;
    let kept = cluster
        .until_all::<PersistentVolumeClaim>("app=db", |claims| claims.len() == 2)
        .await;
    assert_eq!(kept.len(), 2, "the claim waits for its pod to come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_revisions_go_and_orphans_are_adopted_by_name() {
    let cluster = Cluster::start().await;
    let (_served, kubectl) = cluster.kubectl().await;
    cluster
        .create(
            "apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec: {containers: [{name: c, image: web:0}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {app: web}}
spec: {containers: [{name: c, image: web:0}]}",
        )
        .await;
    cluster
        .create(&set("web", 1, "web:1", "  revisionHistoryLimit: 1"))
        .await;
    for image in ["web:2", "web:3", "web:4"] {
        kubectl.run(&format!("set image sts/web c={image}")).await;
        kubectl.run("rollout status sts/web --timeout=240s").await;
    }
    let other = cluster
        .until::<Pod>("default", "other", |pod| pod.is_some())
        .await
        .expect("it is left alone");
    assert!(other.owner_references().is_empty());
    let pod = cluster
        .until::<Pod>("default", "web-0", |pod| {
            pod.is_some_and(|pod| images(std::slice::from_ref(pod)) == ["web:4"])
        })
        .await
        .expect("it was adopted and replaced");
    assert_eq!(pod.owner_references()[0].name, "web");
    let left = cluster
        .until_all::<ControllerRevision>("app=web", |all| all.len() == 2)
        .await;
    let mut numbers: Vec<i64> = left.iter().map(|r| r.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4]);
}
