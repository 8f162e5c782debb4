//! Slices and Endpoints: who stands in them, how few change, and what goes with a Service.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::DeleteParams;

const WEB: &str = "apiVersion: v1
kind: Service
metadata: {name: web, labels: {tier: front}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}";

fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web}}}}
spec: {{containers: [{{name: c, image: {image}, ports: [{{name: http, containerPort: 8080}}]}}]}}"
    )
}

/// (pod, ready, serving, terminating) of every endpoint.
fn seen(slices: &[EndpointSlice]) -> BTreeSet<(String, bool, bool, bool)> {
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    endpoints
        .map(|endpoint| {
            let target = endpoint
                .target_ref
                .as_ref()
                .and_then(|target| target.name.clone());
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            (
                target.unwrap_or_default(),
                conditions.ready.unwrap_or_default(),
                conditions.serving.unwrap_or_default(),
                conditions.terminating.unwrap_or_default(),
            )
        })
        .collect()
}

/// How many endpoints stand in a slice.
fn size(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn of(pod: &str, ready: bool, serving: bool, terminating: bool) -> (String, bool, bool, bool) {
    (pod.to_owned(), ready, serving, terminating)
}

#[tokio::test]
async fn pods_come_turn_and_leave() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    let label = "kubernetes.io/service-name=web";
    let empty = cluster
        .until_all::<EndpointSlice>(label, |all| all.len() == 1)
        .await;
    assert_eq!(size(&empty[0]), 0, "a placeholder");
    assert_eq!(empty[0].labels()["tier"], "front");
    let keeper = &empty[0].labels()["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(keeper, "endpointslice-controller.k8s.io");
    assert_eq!(empty[0].owner_references()[0].kind, "Service");

    for (name, image) in [("a", "web"), ("b", "unready"), ("c", "slow")] {
        cluster.apply(&pod(name, image)).await;
    }
    let all = BTreeSet::from([
        of("a", true, true, false),
        of("b", false, false, false),
        of("c", true, true, false),
    ]);
    let slices = cluster
        .until_all::<EndpointSlice>(label, |slices| seen(slices) == all)
        .await;
    assert_eq!(slices.len(), 1, "the placeholder was filled");
    let ports = slices[0].ports.clone().unwrap_or_default();
    assert_eq!(
        (ports[0].name.as_deref(), ports[0].port),
        (Some("http"), Some(8080))
    );
    let endpoint = &slices[0].endpoints.as_ref().expect("endpoints")[0];
    assert_eq!(endpoint.node_name.as_deref(), Some("node-1"));
    let endpoints = cluster
        .until::<Endpoints>("default", "web", |endpoints| {
            let subset = endpoints.and_then(|e| e.subsets.as_ref()?.first());
            subset.is_some_and(|s| s.addresses.as_ref().is_some_and(|a| a.len() == 2))
        })
        .await
        .expect("endpoints");
    let subset = &endpoints.subsets.as_ref().expect("subsets")[0];
    assert_eq!(subset.not_ready_addresses.as_ref().map(Vec::len), Some(1));

    // One that leaves slowly still serves, but is not ready.
    let pods = cluster.api::<Pod>();
    for name in ["a", "c"] {
        pods.delete(name, &DeleteParams::default())
            .await
            .expect("deleted");
    }
    let left = BTreeSet::from([of("b", false, false, false), of("c", false, true, true)]);
    cluster
        .until_all::<EndpointSlice>(label, |slices| seen(slices) == left)
        .await;
    cluster
        .until::<Endpoints>("default", "web", |endpoints| {
            let subset = endpoints.and_then(|e| e.subsets.as_ref()?.first());
            subset.is_some_and(|s| s.addresses.is_none() && s.not_ready_addresses.is_some())
        })
        .await;

    // All go with the Service.
    let services = cluster.api::<Service>();
    services
        .delete("web", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster
        .until_all::<EndpointSlice>(label, |slices| slices.is_empty())
        .await;
    cluster
        .until::<Endpoints>("default", "web", |endpoints| endpoints.is_none())
        .await;
}

#[tokio::test]
async fn many_endpoints_fill_slices_of_a_hundred() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    for number in 0..130 {
        cluster.apply(&pod(&format!("p{number}"), "web")).await;
    }
    let label = "kubernetes.io/service-name=web";
    let full = |slices: &[EndpointSlice]| slices.iter().map(size).sum::<usize>() == 130;
    let slices = cluster.until_all::<EndpointSlice>(label, full).await;
    assert_eq!(slices.len(), 2);
    assert!(slices.iter().all(|slice| size(slice) <= 100));
}

#[tokio::test]
async fn endpoints_made_by_hand_are_mirrored() {
    let cluster = Cluster::bare().await;
    cluster
        .apply(
            "apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets: [{addresses: [{ip: 192.0.2.1}, {ip: 192.0.2.2}], ports: [{port: 5432}]}]",
        )
        .await;
    let label = "endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io";
    let slices = cluster
        .until_all::<EndpointSlice>(label, |all| all.len() == 1 && size(&all[0]) == 2)
        .await;
    assert_eq!(slices[0].owner_references()[0].kind, "Endpoints");
    assert_eq!(slices[0].labels()["kubernetes.io/service-name"], "db");
    let endpoints = cluster.api::<Endpoints>();
    endpoints
        .delete("db", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster
        .until_all::<EndpointSlice>(label, |all| all.is_empty())
        .await;
}
