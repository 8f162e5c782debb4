//! Namespaces: what each has from the start, and what they say on their way out.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

fn made(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string()
}

fn is_whole(map: Option<&ConfigMap>) -> bool {
    let authority = map.and_then(|map| map.data.as_ref()?.get("ca.crt"));
    authority.is_some_and(|text| text.starts_with("-----BEGIN CERTIFICATE-----"))
}

#[tokio::test]
async fn every_namespace_has_an_account_and_knows_the_authority() {
    let cluster = Cluster::bare().await;
    cluster.create(&made("fresh")).await;
    let authority = "kube-root-ca.crt";
    cluster
        .until::<ConfigMap>("fresh", authority, is_whole)
        .await;
    cluster
        .until::<ServiceAccount>("fresh", "default", |account| account.is_some())
        .await;
    // Changed or deleted, they come back.
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "fresh");
    let other = Patch::Merge(json!({"data": {"ca.crt": "mine"}}));
    let changed = maps.patch(authority, &PatchParams::default(), &other).await;
    changed.expect("changed");
    cluster
        .until::<ConfigMap>("fresh", authority, is_whole)
        .await;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "fresh");
    let before = accounts.get("default").await.expect("the account");
    let params = DeleteParams::default();
    accounts.delete("default", &params).await.expect("deleted");
    cluster
        .until::<ServiceAccount>("fresh", "default", |account| {
            account.is_some_and(|account| account.metadata.uid != before.metadata.uid)
        })
        .await;
}

/// Reason and message of a condition of a namespace, if it is True.
fn complaint<'a>(namespace: Option<&'a Namespace>, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = namespace?.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    let reason = found.reason.as_deref()?;
    (found.status == "True").then_some((reason, found.message.as_deref().unwrap_or_default()))
}

#[tokio::test]
async fn a_namespace_says_what_keeps_it() {
    let cluster = Cluster::bare().await;
    cluster.create(&made("stuck")).await;
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held",
        "namespace": "stuck", "finalizers": ["example.com/hold"]}});
    cluster.create(&held.to_string()).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let params = DeleteParams::default();
    namespaces.delete("stuck", &params).await.expect("deleted");
    let stuck = cluster
        .until_cluster::<Namespace>("stuck", |namespace| {
            let left = complaint(namespace, "NamespaceContentRemaining");
            left == Some((
                "SomeResourcesRemain",
                "Some resources are remaining: configmaps. has 1 resource instances",
            ))
        })
        .await;
    assert_eq!(
        complaint(stuck.as_ref(), "NamespaceFinalizersRemaining"),
        Some((
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 \
             resource instances"
        ))
    );
    assert_eq!(
        complaint(stuck.as_ref(), "NamespaceDeletionContentFailure"),
        None
    );
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "stuck");
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let freed = maps.patch("held", &PatchParams::default(), &free).await;
    freed.expect("freed");
    cluster
        .until_cluster::<Namespace>("stuck", |namespace| namespace.is_none())
        .await;
}
