//! The addon `registry`: a place in the cluster to push images to. It is made of ordinary objects,
//! which the laptop makes and removes; what was pushed lies in a folder of the first machine and
//! stays there when the addon is switched off.
//!
//! Docker pushes to and pulls from `localhost` without TLS (dockerd(8), "Insecure registries"), so
//! the first machine's engine reaches it at the node's own port.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Failure};
use crate::error::Result;

/// Where the first machine's Docker finds it.
pub const ADDRESS: &str = "localhost:5000";
/// The distribution project's own.
const IMAGE: &str = "docker.io/library/registry:3";
/// What was pushed.
const FOLDER: &str = "/var/lib/cadet/registry";
const NAMESPACE: &str = "kube-system";
const NAME: &str = "cadet-registry";
const PORT: u16 = 5000;

/// Collection and object, in the order in which they are made. `node` is the first machine.
fn objects(node: &str) -> [(String, Value); 2] {
    let labels = json!({"app.kubernetes.io/name": NAME});
    let metadata = json!({"name": NAME, "labels": labels});
    let container = json!({
        "name": "registry",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "REGISTRY_STORAGE_DELETE_ENABLED", "value": "true"}],
        "ports": [{"name": "registry", "containerPort": PORT, "hostPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/v2/", "port": "registry"}},
        "volumeMounts": [{"name": "pushed", "mountPath": "/var/lib/registry"}],
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            // Two cannot have the port at once.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "containers": [container],
                    "volumes": [{"name": "pushed", "hostPath": {
                        "path": FOLDER, "type": "DirectoryOrCreate"}}],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "registry"}]},
    });
    let of = |group: &str, plural: &str| format!("{group}/namespaces/{NAMESPACE}/{plural}");
    [
        (of("/apis/apps/v1", "deployments"), deployment),
        (of("/api/v1", "services"), service),
    ]
}

/// Makes what is not there; what somebody changed stays as it is.
///
/// # Errors
/// CLUSTER_API, CLUSTER_API_TIMEOUT.
pub async fn make(cluster: &Cluster, node: &str) -> Result<()> {
    for (path, object) in objects(node) {
        match cluster.create(&path, &object).await {
            Ok(_) | Err(Failure::Status { code: 409, .. }) => {}
            Err(failure) => return Err(failure.told(&path)),
        }
    }
    Ok(())
}

/// Removes it; what was pushed stays.
///
/// # Errors
/// CLUSTER_API, CLUSTER_API_TIMEOUT.
pub async fn remove(cluster: &Cluster, node: &str) -> Result<()> {
    for (path, _) in objects(node) {
        let path = format!("{path}/{NAME}");
        match cluster.delete(&path).await {
            Ok(_) => {}
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => return Err(failure.told(&path)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_finds_the_pod_and_dockers_port_is_the_nodes() {
        let [(deployments, deployment), (services, service)] = objects("class");
        assert_eq!(
            deployments,
            "/apis/apps/v1/namespaces/kube-system/deployments"
        );
        assert_eq!(services, "/api/v1/namespaces/kube-system/services");
        let template = &deployment["spec"]["template"];
        assert_eq!(service["spec"]["selector"], template["metadata"]["labels"]);
        assert_eq!(
            template["spec"]["nodeSelector"],
            json!({"kubernetes.io/hostname": "class"})
        );
        let port = &template["spec"]["containers"][0]["ports"][0];
        assert_eq!(ADDRESS, format!("localhost:{}", port["hostPort"]));
        assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    }
}
