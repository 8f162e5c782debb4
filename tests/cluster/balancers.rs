//! Services of type LoadBalancer: their address, and what is told of it.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn address(service: Option<&Service>) -> Option<&str> {
    let status = service?.status.as_ref()?;
    let ingress = status.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.first()?.ip.as_deref()
}

#[tokio::test]
async fn a_balancer_comes_and_goes_with_the_type() {
    let cluster = Cluster::bare().await;
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    let range = Some("192.0.2.16/28".to_owned());
    let run = cadet_controllers::service_lb::run(cluster.client.clone(), range, 6443, stop);
    tokio::spawn(run);
    let web = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.create(&web.to_string()).await;
    let given = cluster
        .until::<Service>("default", "web", |service| address(service).is_some())
        .await;
    assert!(address(given.as_ref()).is_some_and(|ip| ip.starts_with("192.0.2.")));
    for told in [
        "EnsuringLoadBalancer: Ensuring load balancer",
        "EnsuredLoadBalancer: Ensured load balancer",
    ] {
        cluster.until_event("web", told).await;
    }
    let plain = Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
    let services = cluster.api::<Service>();
    let changed = services.patch("web", &PatchParams::default(), &plain).await;
    changed.expect("changed");
    cluster
        .until::<Service>("default", "web", |service| {
            service.is_some() && address(service).is_none()
        })
        .await;
    for told in [
        "DeletingLoadBalancer: Deleting load balancer",
        "DeletedLoadBalancer: Deleted load balancer",
    ] {
        cluster.until_event("web", told).await;
    }
}
