//! Disruption budgets: what they allow, and that evictions obey.

use crate::cluster::Cluster;
use crate::cluster::program::has;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use serde_json::json;

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}";

fn figures(budget: Option<&PodDisruptionBudget>) -> (i32, i32, i32, i32) {
    let status = budget
        .and_then(|budget| budget.status.clone())
        .unwrap_or_default();
    let of = |figure: Option<i32>| figure.unwrap_or(-1);
    (
        of(status.expected_pods),
        of(status.desired_healthy),
        of(status.current_healthy),
        of(status.disruptions_allowed),
    )
}

/// Closes the node to new pods, or opens it.
async fn cordon(cluster: &Cluster, closed: bool) {
    let nodes = Api::<Node>::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": closed}}));
    for node in nodes.list(&ListParams::default()).await.expect("nodes") {
        nodes
            .patch(&node.name_any(), &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }
}

#[tokio::test]
async fn an_eviction_waits_for_the_one_before() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 3 && pods.iter().all(Cluster::is_ready)
        })
        .await;
    let budget = cluster
        .until("default", "web", |budget| figures(budget) == (3, 2, 3, 1))
        .await
        .expect("budget");
    let condition = budget
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    assert_eq!(
        (
            condition[0].type_.as_str(),
            condition[0].status.as_str(),
            condition[0].reason.as_str()
        ),
        ("DisruptionAllowed", "True", "SufficientPods")
    );
    let api = cluster.api::<Pod>();
    let evict = EvictParams::default();
    // A replacement finds no place for the time being.
    cordon(&cluster, true).await;
    api.evict(&pods[0].name_any(), &evict)
        .await
        .expect("the first may go");
    let refused = api
        .evict(&pods[1].name_any(), &evict)
        .await
        .expect_err("the second may not");
    let kube::Error::Api(refused) = refused else {
        panic!("{refused}");
    };
    assert_eq!(refused.code, 429);
    assert_eq!(
        refused.message,
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    // Once the replacement is ready, the next one may go.
    cordon(&cluster, false).await;
    cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 3 && pods.iter().all(Cluster::is_ready)
        })
        .await;
    cluster
        .until("default", "web", |budget| figures(budget) == (3, 2, 3, 1))
        .await;
    api.evict(&pods[1].name_any(), &evict)
        .await
        .expect("now it may");
}

#[tokio::test]
async fn pods_that_nobody_scales_are_counted_or_not() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster
            .apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bare"}},
                "spec": {"containers": [{"name": "c", "image": "web"}]}}).to_string())
            .await;
    }
    let budget = |name: &str, spec: serde_json::Value| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec})
            .to_string()
    };
    let selector = json!({"matchLabels": {"app": "bare"}});
    cluster
        .apply(&budget(
            "number",
            json!({"minAvailable": 1, "selector": selector}),
        ))
        .await;
    cluster
        .apply(&budget(
            "percent",
            json!({"minAvailable": "50%", "selector": selector}),
        ))
        .await;
    cluster
        .apply(&budget(
            "nobody",
            json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}),
        ))
        .await;
    cluster
        .until("default", "number", |budget| {
            figures(budget) == (2, 1, 2, 1)
        })
        .await;
    cluster
        .until("default", "percent", |budget| {
            figures(budget) == (0, 0, 2, 0)
        })
        .await;
    let told = "UnmanagedPods: Pods selected by this PodDisruptionBudget (selector: \
        &LabelSelector{MatchLabels:map[string]string{app: bare,},MatchExpressions:\
        []LabelSelectorRequirement{},}) were found to be unmanaged. ";
    cluster.until_event("percent", told).await;
    cluster
        .until("default", "nobody", |budget| {
            figures(budget) == (0, 1, 0, 0)
        })
        .await;
    cluster
        .until_event("nobody", "NoPods: No matching pods found")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_moves_pods_one_after_the_other() {
    let cluster = Cluster::with_nodes(2).await;
    cluster.apply(WEB).await;
    cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 3 && pods.iter().all(Cluster::is_ready)
        })
        .await;
    cluster
        .until("default", "web", |budget| figures(budget) == (3, 2, 3, 1))
        .await;
    let (_served, kubectl) = cluster.kubectl().await;
    has(
        &kubectl
            .run("drain node-1 --ignore-daemonsets --timeout=240s")
            .await,
        &["node/node-1 cordoned", "node/node-1 drained"],
    );
    cluster
        .until_all::<Pod>("app=web", |pods| {
            let on = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            pods.len() == 3
                && pods
                    .iter()
                    .all(|pod| Cluster::is_ready(pod) && on(pod).as_deref() == Some("node-2"))
        })
        .await;
}
