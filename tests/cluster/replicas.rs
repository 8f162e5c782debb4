//! Copies of a pod: kept, replaced, adopted and released.

use crate::cluster::Cluster;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

fn set(name: &str, replicas: i32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: c, image: {image}}}]}}"
    )
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(ResourceExt::name_any).collect()
}

fn all_ready(pods: &[Pod], count: usize) -> bool {
    pods.len() == count && pods.iter().all(Cluster::is_ready)
}

#[tokio::test]
async fn a_bare_pod_is_placed_and_runs() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            "apiVersion: v1
kind: Pod
metadata: {name: alone, labels: {app: alone}}
spec: {containers: [{name: c, image: web}]}",
        )
        .await;
    let pod = cluster
        .until::<Pod>("default", "alone", |pod| pod.is_some_and(Cluster::is_ready))
        .await
        .expect("it is there");
    assert_eq!(
        pod.spec.and_then(|spec| spec.node_name).as_deref(),
        Some("node-1")
    );
}

#[tokio::test]
async fn a_set_keeps_so_many_pods_and_says_so() {
    let cluster = Cluster::start().await;
    cluster.apply(&set("web", 3, "web")).await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| all_ready(pods, 3))
        .await;
    for pod in &pods {
        let owner = &pod.owner_references()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str()),
            ("ReplicaSet", "web")
        );
        assert_eq!(
            (owner.controller, owner.block_owner_deletion),
            (Some(true), Some(true))
        );
        assert!(pod.name_any().starts_with("web-"));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
        cluster
            .until_event(
                "web",
                &format!("SuccessfulCreate: Created pod: {}", pod.name_any()),
            )
            .await;
    }
    let settled = |set: Option<&ReplicaSet>| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        status.available_replicas == Some(3)
    };
    let set = cluster.until("default", "web", settled).await.expect("set");
    let status = serde_json::to_value(set.status).expect("status");
    assert_eq!(
        status,
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "terminatingReplicas": 0, "observedGeneration": 1})
    );

    // One is killed, one fails: both are replaced.
    let api = cluster.api::<Pod>();
    let victim = names(&pods)[0].clone();
    api.delete(&victim, &DeleteParams::default())
        .await
        .expect("deleted");
    let failing = names(&pods)[1].clone();
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    api.patch_status(&failing, &PatchParams::default(), &failed)
        .await
        .expect("failed");
    let now = cluster
        .until_all::<Pod>("app=web", |pods| {
            // The failed one may still look ready.
            let ready = |pod: &&Pod| Cluster::is_ready(pod) && pod.name_any() != failing;
            pods.iter().filter(ready).count() >= 3
                && !names(pods).contains(&victim)
                && pods.iter().any(|pod| {
                    pod.name_any() == failing
                        && pod
                            .status
                            .iter()
                            .any(|s| s.phase.as_deref() == Some("Failed"))
                })
        })
        .await;
    assert_eq!(now.len(), 4, "the failed one stays to be looked at");
}

#[tokio::test]
async fn scaling_down_spares_what_is_missed_most() {
    let cluster = Cluster::start().await;
    cluster.apply(&set("web", 3, "web")).await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| all_ready(pods, 3))
        .await;
    let dear = names(&pods)[1].clone();
    let cost =
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "100"}}});
    let api = cluster.api::<Pod>();
    api.patch(&dear, &PatchParams::default(), &Patch::Merge(cost))
        .await
        .expect("cost");
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let sets = cluster.api::<ReplicaSet>();
    sets.patch_scale("web", &PatchParams::default(), &scale)
        .await
        .expect("scale");
    let left = cluster
        .until_all::<Pod>("app=web", |pods| pods.len() == 1)
        .await;
    assert_eq!(names(&left), [dear]);
    cluster
        .until_event("web", "SuccessfulDelete: Deleted pod: web-")
        .await;
}

#[tokio::test]
async fn orphans_are_adopted_and_strays_released() {
    let cluster = Cluster::start().await;
    let orphan = "apiVersion: v1
kind: Pod
metadata: {name: orphan, labels: {app: web}}
spec: {containers: [{name: c, image: web}]}";
    cluster.apply(orphan).await;
    cluster
        .until::<Pod>("default", "orphan", |pod| {
            pod.is_some_and(Cluster::is_ready)
        })
        .await;
    cluster.apply(&set("web", 2, "web")).await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| all_ready(pods, 2))
        .await;
    assert!(names(&pods).contains(&"orphan".to_owned()));
    cluster
        .until::<Pod>("default", "orphan", |pod| {
            pod.is_some_and(|pod| {
                pod.owner_references()
                    .iter()
                    .any(|owner| owner.name == "web")
            })
        })
        .await;
    // Relabelled, as for looking into it: let go, and replaced.
    let stray = json!({"metadata": {"labels": {"app": "debug"}}});
    let api = cluster.api::<Pod>();
    api.patch("orphan", &PatchParams::default(), &Patch::Merge(stray))
        .await
        .expect("label");
    let freed = cluster
        .until::<Pod>("default", "orphan", |pod| {
            pod.is_some_and(|pod| pod.owner_references().is_empty())
        })
        .await;
    assert!(freed.is_some());
    cluster
        .until_all::<Pod>("app=web", |pods| all_ready(pods, 2))
        .await;
}

#[tokio::test]
async fn what_cannot_be_made_is_said() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            "apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {pods: '1'}}",
        )
        .await;
    cluster.apply(&set("web", 3, "web")).await;
    let refused = |set: Option<&ReplicaSet>| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "ReplicaFailure")
    };
    let set = cluster.until("default", "web", refused).await.expect("set");
    let conditions = set
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    assert_eq!(conditions[0].reason.as_deref(), Some("FailedCreate"));
    let message = conditions[0].message.clone().unwrap_or_default();
    assert!(
        message.contains("is forbidden: exceeded quota: small"),
        "{message}"
    );
    cluster
        .until_event("web", "FailedCreate: Error creating: pods \"web-")
        .await;
    // With room comes success, and the complaint goes.
    let room = Patch::Merge(json!({"spec": {"hard": {"pods": "5"}}}));
    let quotas = cluster.api::<k8s_openapi::api::core::v1::ResourceQuota>();
    quotas
        .patch("small", &PatchParams::default(), &room)
        .await
        .expect("room");
    cluster
        .until_all::<Pod>("app=web", |pods| all_ready(pods, 3))
        .await;
    cluster
        .until::<ReplicaSet>("default", "web", |set| !refused(set))
        .await;
}

#[tokio::test]
async fn a_controller_of_2015_keeps_its_pods() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "apiVersion: v1beta3
kind: ReplicationController
metadata: {name: frontend, labels: {name: frontend}}
spec:
  replicas: 2
  selector: {name: frontend}
  template:
    metadata: {labels: {name: frontend}}
    spec: {containers: [{name: php, image: php, ports: [{containerPort: 80, protocol: TCP}]}]}",
        )
        .await;
    let pods = cluster
        .until_all::<Pod>("name=frontend", |pods| all_ready(pods, 2))
        .await;
    let owner = &pods[0].owner_references()[0];
    assert_eq!(
        (owner.api_version.as_str(), owner.kind.as_str()),
        ("v1", "ReplicationController")
    );
    let settled = |rc: Option<&ReplicationController>| {
        let status = rc.and_then(|rc| rc.status.clone()).unwrap_or_default();
        status.available_replicas == Some(2)
    };
    let controller = cluster
        .until("default", "frontend", settled)
        .await
        .expect("controller");
    let status = serde_json::to_value(controller.status).expect("status");
    assert_eq!(
        status,
        json!({"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2,
            "availableReplicas": 2, "observedGeneration": 1})
    );
}

#[tokio::test]
async fn a_pod_is_available_after_it_was_ready_for_a_while() {
    let cluster = Cluster::start().await;
    let text = set("web", 1, "web").replace("  replicas: 1", "  replicas: 1\n  minReadySeconds: 1");
    let figures = |set: Option<&ReplicaSet>| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        (status.ready_replicas, status.available_replicas)
    };
    // Watched from before: it is so for a second only.
    tokio::join!(
        cluster.until("default", "web", |set| figures(set) == (Some(1), None)),
        cluster.apply(&text)
    );
    cluster
        .until("default", "web", |set| figures(set) == (Some(1), Some(1)))
        .await;
}

#[tokio::test]
async fn a_hundred_pods_are_made_and_each_but_once() {
    let cluster = Cluster::with_nodes(2).await;
    cluster.apply(&set("many", 100, "web")).await;
    cluster
        .until_all::<Pod>("app=many", |pods| all_ready(pods, 100))
        .await;
    let settled = |set: Option<&ReplicaSet>| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        status.available_replicas == Some(100)
    };
    cluster.until("default", "many", settled).await;
    let pods = cluster
        .api::<Pod>()
        .list(&Default::default())
        .await
        .expect("pods");
    assert_eq!(pods.items.len(), 100);
    assert!(
        cluster.events("many").await.len() < 40,
        "upstream's recorder is as reserved"
    );
}
