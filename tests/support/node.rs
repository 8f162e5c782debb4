//! A node that runs nothing: it says of each pod bound to it what the image's name asks for.
//!
//! | image | what becomes of the pod |
//! |---|---|
//! | `stuck…` | stays Pending |
//! | `unready…` | Running, not Ready |
//! | `exits-N` | ends at once: Succeeded if N is 0, else Failed |
//! | any other | Running and Ready |
//!
//! A pod on its way out ends at once, unless its image begins with `slow`: then only a
//! deletion without grace ends it. To let a running pod end or fail, a test patches its status.

use std::pin::pin;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{self, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// See the module's opening.
pub struct Node {
    name: String,
    addresses: u32,
}

impl Node {
    /// Makes the Node and its Lease.
    pub async fn register(client: &Client, name: &str) -> Node {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        let nodes: Api<v1::Node> = Api::all(client.clone());
        let node = serde_json::from_value(node).expect("node");
        nodes
            .create(&PostParams::default(), &node)
            .await
            .expect("node");
        let room =
            json!({"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "1Ti"});
        let status = json!({"status": {"capacity": room, "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": "10.0.2.15"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": Timestamp::now().to_string(),
                "lastTransitionTime": Timestamp::now().to_string()}]}});
        let params = PatchParams::default();
        nodes
            .patch_status(name, &params, &Patch::Strategic(status))
            .await
            .expect("status");
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
        let lease = json!({"metadata": {"name": name}, "spec": {"holderIdentity": name,
            "leaseDurationSeconds": 40, "renewTime": now_micro()}});
        let lease = serde_json::from_value(lease).expect("lease");
        leases
            .create(&PostParams::default(), &lease)
            .await
            .expect("lease");
        Node {
            name: name.to_owned(),
            addresses: 1,
        }
    }

    /// Serves its pods and renews its lease until the end.
    pub async fn run(mut self, client: Client, stop: CancellationToken) {
        let pods: Api<Pod> = Api::all(client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.name));
        let mut changes = pin!(watcher(pods, config).default_backoff());
        let mut renewal = tokio::time::interval(std::time::Duration::from_secs(10));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = renewal.tick() => self.renew(&client).await,
                event = changes.try_next() => match event {
                    Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                        self.serve(&client, &pod).await;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    // It starts over by itself.
                    Err(error) => tracing::warn!(%error, "the node's watch"),
                }
            }
        }
    }

    async fn renew(&self, client: &Client) {
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
        let patch = json!({"spec": {"renewTime": now_micro()}});
        let params = PatchParams::default();
        let renewed = leases
            .patch(&self.name, &params, &Patch::Merge(patch))
            .await;
        renewed.expect("its own lease");
    }

    async fn serve(&mut self, client: &Client, pod: &Pod) {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let image = pod.spec.iter().flat_map(|spec| &spec.containers).next();
        let image = image.and_then(|c| c.image.as_deref()).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            let grace = pod.metadata.deletion_grace_period_seconds;
            if !image.starts_with("slow") || grace == Some(0) {
                // Gone already, if that fails.
                let gone = pods
                    .delete(&name, &DeleteParams::default().grace_period(0))
                    .await;
                tracing::debug!(pod = %name, gone = gone.is_ok(), "ended");
            }
            return;
        }
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if phase != Some("Pending") || image.starts_with("stuck") {
            return;
        }
        self.addresses += 1;
        let status = status(pod, image, self.addresses);
        let params = PatchParams::default();
        let said = pods
            .patch_status(&name, &params, &Patch::Strategic(status))
            .await;
        // Deleted meanwhile, if that fails.
        tracing::debug!(pod = %name, said = said.is_ok(), "started");
    }
}

fn status(pod: &Pod, image: &str, address: u32) -> Value {
    let now = Timestamp::now().to_string();
    let exit = image
        .strip_prefix("exits-")
        .and_then(|code| code.parse::<i32>().ok());
    let phase = match exit {
        None => "Running",
        Some(0) => "Succeeded",
        Some(_) => "Failed",
    };
    let ready = exit.is_none() && !image.starts_with("unready");
    let word = if ready { "True" } else { "False" };
    let state = match exit {
        None => json!({"running": {"startedAt": now}}),
        Some(code) => json!({"terminated": {"exitCode": code, "startedAt": now, "finishedAt": now,
            "reason": if code == 0 { "Completed" } else { "Error" }}}),
    };
    let containers: Vec<Value> = (pod.spec.iter().flat_map(|spec| &spec.containers))
        .map(|c| {
            json!({"name": c.name, "image": c.image, "imageID": "", "restartCount": 0,
                "ready": ready, "started": exit.is_none(), "state": state})
        })
        .collect();
    let ip = format!("10.244.{}.{}", address / 250, address % 250 + 1);
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": now});
    json!({"status": {"phase": phase, "startTime": now, "podIP": ip, "podIPs": [{"ip": ip}],
        "hostIP": "10.0.2.15", "containerStatuses": containers,
        "conditions": [condition("Initialized", "True"), condition("ContainersReady", word),
            condition("Ready", word)]}})
}

fn now_micro() -> String {
    format!("{:.6}", Timestamp::now())
}
