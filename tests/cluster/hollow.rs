//! Hollow nodes: the real agent over an engine that is a table.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cadet_apiserver::User;
use cadet_kubelet::hollow::Hollow;
use cadet_kubelet::runtime::fake::FakeRuntime;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::Cluster;

/// Hollow nodes with their engines; they end when dropped.
struct Nodes {
    engines: Vec<Arc<FakeRuntime>>,
    _stop: DropGuard,
}

async fn nodes(cluster: &Cluster, count: u32) -> Nodes {
    let stop = CancellationToken::new();
    let mut engines = vec![];
    for index in 0..count {
        let name = format!("hollow-{index}");
        let user = User::new(
            format!("system:node:{name}"),
            &["system:nodes", "system:authenticated"],
        );
        let client = Client::new(cluster.app.service(user), "default");
        let engine = Arc::new(FakeRuntime::hollow());
        let node = Hollow {
            name,
            index,
            version: "v1.36.0".to_owned(),
            cpus: 4,
            memory: 8 << 30,
        };
        let run = node.run(client, engine.clone(), stop.clone());
        tokio::spawn(async move { run.await.expect("a node") });
        engines.push(engine);
    }
    for index in 0..count {
        cluster
            .until_cluster(&format!("hollow-{index}"), |node: Option<&Node>| {
                let taints = node.and_then(|n| n.spec.as_ref()?.taints.as_ref());
                node.is_some_and(is_ready) && taints.is_none_or(Vec::is_empty)
            })
            .await;
    }
    Nodes {
        engines,
        _stop: stop.drop_guard(),
    }
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.iter();
    let conditions = status.flat_map(|s| s.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn deployment(replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: c, image: 'nginx:1.29', resources: {{requests: {{cpu: 100m}}}}}}]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_run_on_many_nodes() {
    let cluster = Cluster::bare().await;
    let _nodes = nodes(&cluster, 10).await;
    cluster.apply(&deployment(50)).await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 50 && pods.iter().all(Cluster::is_ready)
        })
        .await;
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    let mut addresses = HashSet::new();
    for pod in &pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        *by_node.entry(node.unwrap_or_default()).or_default() += 1;
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        assert!(addresses.insert(ip.expect("an address")));
    }
    // Pods of one owner are spread over all nodes.
    assert_eq!(by_node.len(), 10, "{by_node:?}");
    assert!(by_node.values().all(|n| (3..=7).contains(n)), "{by_node:?}");
    cluster
        .until::<Lease>("kube-node-lease", "hollow-7", |lease| lease.is_some())
        .await;
    cluster.apply(&deployment(0)).await;
    cluster
        .until_all::<Pod>("app=web", |pods| pods.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_is_started_again_and_a_deleted_pod_replaced() {
    let cluster = Cluster::bare().await;
    let nodes = nodes(&cluster, 2).await;
    cluster.apply(&deployment(1)).await;
    let ready = |pods: &[Pod]| pods.len() == 1 && pods.iter().all(Cluster::is_ready);
    let pods = cluster.until_all::<Pod>("app=web", ready).await;
    let name = pods[0].name_any();
    let ended = nodes
        .engines
        .iter()
        .filter(|engine| engine.exit_in("default", &name, "c", 1));
    assert_eq!(ended.count(), 1);
    cluster
        .until("default", &name, |pod: Option<&Pod>| {
            let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
            statuses.is_some_and(|all| all[0].restart_count == 1 && all[0].ready)
        })
        .await;
    let params = DeleteParams::default();
    let deleted = cluster.api::<Pod>().delete(&name, &params).await;
    deleted.expect("deleted");
    cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.iter().all(|pod| pod.name_any() != name) && ready(pods)
        })
        .await;
}
