//! Recycling: the folder that a claim leaves behind is emptied by a pod, and its volume is free
//! again. Upstream has not recommended it for years, but older books do it.
//!
//! ```text
//!   Released ─▶ pod recycler-for-<volume> ─┬─ Succeeded ─▶ Available
//!                                          └─ Failed ────▶ Failed
//! ```

use serde_json::{Value, json};
use tracing::info;

use super::model::{BOUND_BY_CONTROLLER, Volume};
use super::{Context, about_volume};
use crate::errors::Error;
use crate::shared::{Phase, PodInfo, create_pod, delete_pod, words};

/// Where the pods are, and how their names begin; both upstream's.
const NAMESPACE: &str = "default";
const PREFIX: &str = "recycler-for-";
/// Longest time a pod may take, its image included: seconds.
const LONGEST: u32 = 300;
/// Everything goes, what begins with a dot too, and it is seen that it is gone.
const SWEEP: &str = r#"cd /volume && rm -rf ./* ./.[!.]* ./..?* && test -z "$(ls -A)""#;
const FAILED: &str = "VolumeFailedRecycle";
/// Label of such a pod: uid of the claim that left the folder.
const LEFT_BY: &str = "cadet.dev/left-by";

/// The volume that a pod recycles, if it does that.
pub fn volume_of(pod: &PodInfo) -> Option<&str> {
    let name = pod.name.strip_prefix(PREFIX)?;
    (&*pod.namespace == NAMESPACE).then_some(name)
}

/// Uid of the claim a volume was bound to.
fn left_by(volume: &Volume) -> &str {
    let claim = volume.spec.claim_ref.as_ref();
    claim.map_or("", |claim| claim.uid.as_str())
}

/// The pod that empties a volume's folder.
fn sweeper(volume: &Volume) -> Value {
    let name = &volume.metadata.name;
    let path = volume.spec.host_path.as_ref().map(|folder| &folder.path);
    let mut spec = json!({
        "restartPolicy": "Never",
        "activeDeadlineSeconds": LONGEST,
        "containers": [{
            "name": "recycler",
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", SWEEP],
            "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
        }],
        "volumes": [{"name": "volume", "hostPath": {"path": path}}],
    });
    let required = volume.spec.node_affinity.get("required");
    if let Some(required) = required.filter(|required| !required.is_null()) {
        spec["affinity"] = json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required}});
    }
    let metadata = json!({"name": format!("{PREFIX}{name}"), "namespace": NAMESPACE,
        "labels": {LEFT_BY: left_by(volume)}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

impl Context {
    /// The next step for a volume whose claim is gone.
    pub(super) async fn recycle(&self, volume: &Volume) -> Result<(), Error> {
        let name = &volume.metadata.name;
        if volume.metadata.is_deleting() || volume.status.phase == "Failed" {
            return Ok(());
        }
        let Some(pod) = self.pods.get(NAMESPACE, &format!("{PREFIX}{name}")) else {
            return self.sweep(volume).await;
        };
        // What was done for an earlier claim does not count, and one that is stopped is followed
        // by another.
        let stale = pod.labels.get(LEFT_BY).map(String::as_str) != Some(left_by(volume));
        if pod.deletion.is_some() || !(stale || pod.has_ended()) {
            return Ok(());
        }
        let about = about_volume(volume);
        match pod.phase {
            _ if stale => {}
            Phase::Failed => {
                let message = "Recycle failed: pod failed, pod.Status.Message unknown.";
                self.set_phase(volume, "Failed", Some(message)).await?;
                self.events.warning(about, FAILED, message.to_owned());
            }
            _ => {
                let whole = volume.metadata.has(BOUND_BY_CONTROLLER);
                self.unbind(volume, whole).await?;
                info!(volume = %name, "recycled: its claim is gone");
                let message = "Volume recycled".to_owned();
                self.events.normal(about, "VolumeRecycled", message);
            }
        }
        let deleted = delete_pod(&self.client, &self.pods, &pod).await;
        deleted.map_err(|source| Error::Delete {
            what: format!("pod {}", pod.name),
            source,
        })
    }

    async fn sweep(&self, volume: &Volume) -> Result<(), Error> {
        let body = sweeper(volume).to_string();
        match create_pod(&self.client, &self.pods, NAMESPACE, body.as_bytes()).await {
            Ok(_) => Ok(()),
            // The cache will show it.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(source) => {
                let message = format!("Recycle failed: {}", words(&source));
                self.events.warning(about_volume(volume), FAILED, message);
                let what = format!("recycler of volume {}", volume.metadata.name);
                Err(Error::Write { what, source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record as _;

    #[test]
    fn a_pod_empties_the_folder_where_it_is() {
        let required = json!({"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n"]}]}]});
        let volume: Volume = serde_json::from_value(json!({"metadata": {"name": "v"},
            "spec": {"hostPath": {"path": "/data"}, "nodeAffinity": {"required": required},
                "claimRef": {"namespace": "d", "name": "data", "uid": "c"}}}))
        .unwrap();
        let made = sweeper(&volume);
        assert_eq!(made["metadata"]["labels"][LEFT_BY], "c");
        assert_eq!(made["spec"]["volumes"][0]["hostPath"]["path"], "/data");
        let affinity = &made["spec"]["affinity"]["nodeAffinity"];
        assert_eq!(
            affinity["requiredDuringSchedulingIgnoredDuringExecution"],
            required
        );
        let pod = PodInfo::of(serde_json::from_value(made).unwrap());
        assert_eq!(volume_of(&pod), Some("v"));
        let other = json!({"metadata": {"name": "recycler-for-v", "namespace": "d"}});
        let other = PodInfo::of(serde_json::from_value(other).unwrap());
        assert_eq!(volume_of(&other), None);
    }
}
