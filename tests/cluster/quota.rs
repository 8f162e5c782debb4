//! What a ResourceQuota says is used follows what there is, also when things go.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::DeleteParams;

/// The used amounts, as written.
fn used(quota: Option<&ResourceQuota>, name: &str) -> Option<String> {
    let status = quota?.status.as_ref()?;
    status
        .used
        .as_ref()?
        .get(name)
        .map(|amount| amount.0.clone())
}

#[tokio::test]
async fn what_goes_is_given_back() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {pods: '2', requests.cpu: '1', count/configmaps: '5'}}",
        )
        .await;
    let pod = |name: &str, image: &str| {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{containers: [{{name: c, image: {image}, resources: {{requests: {{cpu: 400m}}}}}}]}}"
        )
    };
    let until = async |name: &str, wanted: &str| {
        let fits = |quota: Option<&ResourceQuota>| used(quota, name).as_deref() == Some(wanted);
        cluster
            .until::<ResourceQuota>("default", "small", fits)
            .await
    };
    until("pods", "0").await;
    cluster.create(&pod("a", "web")).await;
    cluster.create(&pod("b", "web")).await;
    until("requests.cpu", "800m").await;
    until("pods", "2").await;
    let refused: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "c"},
        "spec": {"containers": [{"name": "c", "image": "web",
            "resources": {"requests": {"cpu": "100m"}}}]}}))
    .expect("a pod");
    let pods = cluster.api::<Pod>();
    let error = pods
        .create(&Default::default(), &refused)
        .await
        .expect_err("full");
    assert!(
        error.to_string().contains("exceeded quota: small"),
        "{error}"
    );
    pods.delete("a", &DeleteParams::default())
        .await
        .expect("deleted");
    until("pods", "1").await;
    until("requests.cpu", "400m").await;
    // One that ends by itself gives back as well, though it is still there.
    cluster.create(&pod("d", "exits-0")).await;
    cluster
        .until::<Pod>("default", "d", |pod| {
            let status = pod.and_then(|pod| pod.status.as_ref());
            status.is_some_and(|status| status.phase.as_deref() == Some("Succeeded"))
        })
        .await;
    until("pods", "1").await;
    cluster.create(&pod("e", "exits-0")).await;

    cluster
        .create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}")
        .await;
    until("count/configmaps", "2").await;
    let maps = cluster.api::<ConfigMap>();
    maps.delete("m", &DeleteParams::default())
        .await
        .expect("deleted");
    until("count/configmaps", "1").await;
}
