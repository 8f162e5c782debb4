//! Deployments: rolled out, undone, paused, scaled and stuck, most of it with the real kubectl.

use crate::cluster::Cluster;
use crate::cluster::program::has;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

fn deployment(name: &str, replicas: i32, image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
{more}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: {image}}}]}}"
    )
}

fn condition(deployment: &Deployment, kind: &str) -> (String, String, String) {
    let conditions = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.filter(|c| c.type_ == kind);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    conditions
        .next()
        .map(|c| (c.status.clone(), text(&c.reason), text(&c.message)))
        .unwrap_or_default()
}

fn status(deployment: &Deployment) -> Value {
    let mut status = serde_json::to_value(&deployment.status).expect("status");
    status
        .as_object_mut()
        .expect("an object")
        .remove("conditions");
    status
}

fn is_done(deployment: Option<&Deployment>) -> bool {
    deployment.is_some_and(|d| {
        condition(d, "Progressing").1 == "NewReplicaSetAvailable"
            && d.status.as_ref().and_then(|s| s.observed_generation) == d.metadata.generation
    })
}

fn sizes(sets: &[ReplicaSet]) -> Vec<i32> {
    let mut sizes: Vec<i32> = sets
        .iter()
        .map(|set| {
            set.spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(-1)
        })
        .collect();
    sizes.sort_unstable();
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_rollouts_with_kubectl() {
    let cluster = Cluster::start().await;
    let (_served, kubectl) = cluster.kubectl().await;
    kubectl
        .run("create deployment web --image=web:1 --replicas=3")
        .await;
    has(
        &kubectl.run("rollout status deployment/web").await,
        &["deployment \"web\" successfully rolled out"],
    );
    let first = cluster
        .until("default", "web", is_done)
        .await
        .expect("deployment");
    assert_eq!(
        status(&first),
        json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3,
            "availableReplicas": 3, "terminatingReplicas": 0})
    );
    assert_eq!(
        first.annotations()["deployment.kubernetes.io/revision"],
        "1"
    );
    let sets = cluster
        .until_all::<ReplicaSet>("app=web", |sets| sets.len() == 1)
        .await;
    let (set, name) = (&sets[0], sets[0].name_any());
    let hash = set.labels()["pod-template-hash"].clone();
    assert_eq!(name, format!("web-{hash}"));
    assert_eq!(
        set.annotations()["deployment.kubernetes.io/desired-replicas"],
        "3"
    );
    assert_eq!(
        set.annotations()["deployment.kubernetes.io/max-replicas"],
        "4"
    );
    let (status, reason, message) = condition(&first, "Progressing");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "NewReplicaSetAvailable")
    );
    assert_eq!(
        message,
        format!("ReplicaSet \"{name}\" has successfully progressed.")
    );
    let (status, reason, message) = condition(&first, "Available");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "MinimumReplicasAvailable")
    );
    assert_eq!(message, "Deployment has minimum availability.");
    cluster
        .until_event(
            "web",
            &format!("ScalingReplicaSet: Scaled up replica set {name} from 0 to 3"),
        )
        .await;
    has(
        &kubectl.run("get deployment web").await,
        &["3/3     3            3"],
    );

    kubectl.run("set image deployment/web web=web:2").await;
    kubectl
        .run("annotate deployment/web kubernetes.io/change-cause=second")
        .await;
    kubectl
        .run("rollout status deployment/web --timeout=240s")
        .await;
    has(
        &kubectl.run("rollout history deployment/web").await,
        &[
            "REVISION  CHANGE-CAUSE",
            "1         <none>",
            "2         second",
        ],
    );
    has(
        &kubectl
            .run("rollout history deployment/web --revision=1")
            .await,
        &["Image:\tweb:1"],
    );
    cluster
        .until_all::<ReplicaSet>("app=web", |sets| sizes(sets) == [0, 3])
        .await;

    has(
        &kubectl.run("rollout undo deployment/web").await,
        &["deployment.apps/web rolled back"],
    );
    kubectl
        .run("rollout status deployment/web --timeout=240s")
        .await;
    let back = cluster
        .until_all::<ReplicaSet>("app=web", |sets| {
            sets.iter()
                .any(|set| set.name_any() == name && sizes(std::slice::from_ref(set)) == [3])
        })
        .await;
    let back = back
        .iter()
        .find(|set| set.name_any() == name)
        .expect("the first set");
    assert_eq!(back.annotations()["deployment.kubernetes.io/revision"], "3");
    assert_eq!(
        back.annotations()["deployment.kubernetes.io/revision-history"],
        "1"
    );
    has(
        &kubectl.run("rollout history deployment/web").await,
        &["2 ", "3 "],
    );

    kubectl.run("rollout pause deployment/web").await;
    kubectl.run("set image deployment/web web=web:4").await;
    let paused = |d: Option<&Deployment>| {
        d.is_some_and(|d| condition(d, "Progressing").1 == "DeploymentPaused")
    };
    cluster.until("default", "web", paused).await;
    kubectl.run("scale deployment/web --replicas=5").await;
    cluster
        .until_all::<ReplicaSet>("app=web", |sets| sizes(sets) == [0, 5])
        .await;
    let sets = cluster.until_all::<ReplicaSet>("app=web", |_| true).await;
    assert_eq!(sets.len(), 2, "nothing new while it is paused");
    kubectl.run("rollout resume deployment/web").await;
    kubectl
        .run("rollout status deployment/web --timeout=240s")
        .await;
    cluster
        .until_all::<ReplicaSet>("app=web", |sets| sizes(sets) == [0, 0, 5])
        .await;

    kubectl.run("rollout restart deployment/web").await;
    kubectl
        .run("rollout status deployment/web --timeout=240s")
        .await;
    cluster
        .until_all::<ReplicaSet>("app=web", |sets| sizes(sets) == [0, 0, 0, 5])
        .await;
    has(
        &kubectl.run("describe deployment web").await,
        &[
            "NewReplicaSet:   web-",
            "(5/5 replicas created)",
            "Scaled down replica set web-",
        ],
    );
}

#[tokio::test]
async fn a_rollout_keeps_enough_pods_and_not_too_many() {
    let cluster = Cluster::start().await;
    let limits = "  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    cluster.apply(&deployment("web", 4, "web:1", limits)).await;
    cluster.until("default", "web", is_done).await;
    cluster.apply(&deployment("web", 4, "web:2", limits)).await;
    // Seen at every change, not just at the end.
    cluster
        .until_all::<ReplicaSet>("app=web", |sets| {
            let all: i32 = sizes(sets).iter().sum();
            assert!((4..=5).contains(&all), "{:?}", sizes(sets));
            sizes(sets) == [0, 4]
        })
        .await;
    cluster.until("default", "web", is_done).await;
}

#[tokio::test]
async fn a_rollout_that_cannot_go_on_says_so_and_can_be_undone() {
    let cluster = Cluster::start().await;
    let limits = "  progressDeadlineSeconds: 2";
    cluster.apply(&deployment("web", 2, "web:1", limits)).await;
    cluster.until("default", "web", is_done).await;
    cluster.apply(&deployment("web", 2, "stuck", limits)).await;
    let stuck = |d: Option<&Deployment>| {
        d.is_some_and(|d| condition(d, "Progressing").1 == "ProgressDeadlineExceeded")
    };
    let found = cluster
        .until("default", "web", stuck)
        .await
        .expect("deployment");
    let (status, _, message) = condition(&found, "Progressing");
    assert_eq!(status, "False");
    assert!(message.ends_with("has timed out progressing."), "{message}");
    assert_eq!(
        condition(&found, "Available").0,
        "True",
        "the old ones still serve"
    );
    cluster.apply(&deployment("web", 2, "web:1", limits)).await;
    cluster.until("default", "web", is_done).await;
    cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 2 && pods.iter().all(Cluster::is_ready)
        })
        .await;
}

#[tokio::test]
async fn recreating_waits_until_the_last_old_pod_is_gone() {
    let cluster = Cluster::start().await;
    let recreate = "  strategy: {type: Recreate}";
    cluster
        .apply(&deployment("web", 2, "slow:1", recreate))
        .await;
    cluster.until("default", "web", is_done).await;
    cluster
        .apply(&deployment("web", 2, "web:2", recreate))
        .await;
    let going = cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 2
                && pods
                    .iter()
                    .all(|pod| pod.metadata.deletion_timestamp.is_some())
        })
        .await;
    let api = cluster.api::<Pod>();
    let now = kube::api::DeleteParams::default().grace_period(0);
    api.delete(&going[0].name_any(), &now).await.expect("gone");
    cluster
        .until_all::<Pod>("app=web", |pods| pods.len() == 1)
        .await;
    let sets = cluster.until_all::<ReplicaSet>("app=web", |_| true).await;
    assert_eq!(sets.len(), 1, "one old pod is still there");
    api.delete(&going[1].name_any(), &now).await.expect("gone");
    cluster
        .until_all::<ReplicaSet>("app=web", |sets| sizes(sets) == [0, 2])
        .await;
    cluster.until("default", "web", is_done).await;
}

#[tokio::test]
async fn old_sets_go_beyond_the_history_limit() {
    let cluster = Cluster::start().await;
    let limit = "  revisionHistoryLimit: 1";
    for round in 1..=4 {
        cluster
            .apply(&deployment("web", 1, &format!("web:{round}"), limit))
            .await;
        let revision = round.to_string();
        cluster
            .until("default", "web", |d: Option<&Deployment>| {
                is_done(d)
                    && d.is_some_and(|d| {
                        d.annotations().get("deployment.kubernetes.io/revision") == Some(&revision)
                    })
            })
            .await;
    }
    let sets = cluster
        .until_all::<ReplicaSet>("app=web", |sets| sets.len() == 2)
        .await;
    let mut revisions: Vec<String> = sets
        .iter()
        .map(|set| set.annotations()["deployment.kubernetes.io/revision"].clone())
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["3", "4"]);
}

#[tokio::test]
async fn a_collision_of_names_is_resolved() {
    let cluster = Cluster::start().await;
    cluster.apply(&deployment("web", 1, "web:1", "")).await;
    cluster.until("default", "web", is_done).await;
    let sets = cluster
        .until_all::<ReplicaSet>("app=web", |sets| sets.len() == 1)
        .await;
    // The same template again under the same name, while somebody else's set has it.
    let taken = sets[0].name_any();
    let deployments = cluster.api::<Deployment>();
    deployments
        .delete("web", &kube::api::DeleteParams::default())
        .await
        .expect("deleted");
    cluster
        .until::<Deployment>("default", "web", |d| d.is_none())
        .await;
    // Its set goes with it: the collector sees to that.
    cluster
        .until::<ReplicaSet>("default", &taken, |set| set.is_none())
        .await;
    cluster
        .apply(&format!(
            "apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: {taken}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: other}}}}
  template:
    metadata: {{labels: {{app: other}}}}
    spec: {{containers: [{{name: c, image: other}}]}}"
        ))
        .await;
    cluster.apply(&deployment("web", 1, "web:1", "")).await;
    let done = cluster
        .until("default", "web", is_done)
        .await
        .expect("deployment");
    assert_eq!(
        done.status.and_then(|status| status.collision_count),
        Some(1)
    );
}
