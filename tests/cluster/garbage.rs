//! What is owned goes with its owner, before it, or not at all.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;

async fn owner(cluster: &Cluster, name: &str) -> String {
    let made = cluster
        .create(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}"
        ))
        .await;
    made.uid().expect("uid")
}

/// A Secret that these ConfigMaps own.
async fn owned(cluster: &Cluster, name: &str, owners: &[(&str, &str)], finalizer: Option<&str>) {
    let owners: Vec<_> = owners
        .iter()
        .map(|(name, uid)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid,
                "blockOwnerDeletion": true})
        })
        .collect();
    let finalizers: Vec<&str> = finalizer.into_iter().collect();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name,
        "ownerReferences": owners, "finalizers": finalizers}});
    cluster.create(&secret.to_string()).await;
}

#[tokio::test]
async fn in_the_background_dependents_follow() {
    let cluster = Cluster::bare().await;
    let uid = owner(&cluster, "owner").await;
    let other = owner(&cluster, "other").await;
    owned(&cluster, "only", &[("owner", &uid)], None).await;
    owned(
        &cluster,
        "shared",
        &[("owner", &uid), ("other", &other)],
        None,
    )
    .await;
    let maps = cluster.api::<ConfigMap>();
    maps.delete("owner", &DeleteParams::background())
        .await
        .expect("deleted");
    cluster
        .until::<Secret>("default", "only", |secret| secret.is_none())
        .await;
    let shared = cluster
        .until::<Secret>("default", "shared", |secret| {
            secret.is_some_and(|secret| secret.owner_references().len() == 1)
        })
        .await
        .expect("it has an owner left");
    assert_eq!(shared.owner_references()[0].name, "other");
}

#[tokio::test]
async fn in_the_foreground_the_owner_waits() {
    let cluster = Cluster::bare().await;
    let uid = owner(&cluster, "owner").await;
    owned(
        &cluster,
        "held",
        &[("owner", &uid)],
        Some("example.com/hold"),
    )
    .await;
    let maps = cluster.api::<ConfigMap>();
    maps.delete("owner", &DeleteParams::foreground())
        .await
        .expect("deleted");
    cluster
        .until::<Secret>("default", "held", |secret| {
            secret.is_some_and(|secret| secret.metadata.deletion_timestamp.is_some())
        })
        .await;
    let waiting = maps.get("owner").await.expect("it waits");
    assert_eq!(waiting.finalizers(), ["foregroundDeletion"]);
    let free = json!({"metadata": {"finalizers": null}});
    let secrets = cluster.api::<Secret>();
    secrets
        .patch("held", &PatchParams::default(), &Patch::Merge(free))
        .await
        .expect("freed");
    cluster
        .until::<ConfigMap>("default", "owner", |owner| owner.is_none())
        .await;
}

#[tokio::test]
async fn orphans_stay_and_forget() {
    let cluster = Cluster::bare().await;
    let uid = owner(&cluster, "owner").await;
    owned(&cluster, "orphan", &[("owner", &uid)], None).await;
    let maps = cluster.api::<ConfigMap>();
    maps.delete("owner", &DeleteParams::orphan())
        .await
        .expect("deleted");
    cluster
        .until::<ConfigMap>("default", "owner", |owner| owner.is_none())
        .await;
    let orphan = cluster
        .api::<Secret>()
        .get("orphan")
        .await
        .expect("it stays");
    assert!(orphan.owner_references().is_empty());
}

#[tokio::test]
async fn an_owner_is_known_by_uid() {
    let cluster = Cluster::bare().await;
    let uid = owner(&cluster, "owner").await;
    owned(&cluster, "true", &[("owner", &uid)], None).await;
    let past = "00000000-0000-4000-8000-000000000001";
    owned(&cluster, "false", &[("owner", past)], None).await;
    cluster
        .until::<Secret>("default", "false", |secret| secret.is_none())
        .await;
    assert!(cluster.api::<Secret>().get("true").await.is_ok());
}

#[tokio::test]
async fn custom_kinds_own_too() {
    let cluster = Cluster::bare().await;
    cluster
        .create(
            "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: cats.zoo.io}
spec:
  group: zoo.io
  scope: Namespaced
  names: {kind: Cat, plural: cats, singular: cat}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}",
        )
        .await;
    let kind = ApiResource {
        group: "zoo.io".into(),
        version: "v1".into(),
        api_version: "zoo.io/v1".into(),
        kind: "Cat".into(),
        plural: "cats".into(),
    };
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    cluster
        .until_cluster::<CustomResourceDefinition>("cats.zoo.io", |definition| {
            let status = definition.and_then(|d| d.status.as_ref());
            let conditions = status
                .and_then(|s| s.conditions.as_ref())
                .into_iter()
                .flatten();
            conditions
                .into_iter()
                .any(|c| c.type_ == "Established" && c.status == "True")
        })
        .await;
    let cats: Api<DynamicObject> = Api::default_namespaced_with(cluster.client.clone(), &kind);
    let cat = DynamicObject::new("tom", &kind);
    let cat = cats.create(&Default::default(), &cat).await.expect("a cat");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mouse",
        "ownerReferences": [{"apiVersion": "zoo.io/v1", "kind": "Cat", "name": "tom",
            "uid": cat.uid().expect("uid")}]}});
    cluster.create(&map.to_string()).await;
    cats.delete("tom", &DeleteParams::background())
        .await
        .expect("deleted");
    cluster
        .until::<ConfigMap>("default", "mouse", |map| map.is_none())
        .await;
}
