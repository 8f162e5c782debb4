//! PersistentVolumeClaims of a pod: from the claim over its volume to a path on this node.
//! Served are volumes that lie on the node itself, of type `hostPath` and `local`.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::block;
use crate::env::ConfigSource;
use crate::host_path;
use crate::volumes::{MountError, VolumeError};

/// Mode of a folder made for a claim: whoever the pod runs as may write.
const FOLDER: u32 = 0o777;

/// Where a claim's data lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub path: PathBuf,
    /// Whether `fsGroup` applies to it; not to folders of the host.
    pub grouped: bool,
}

/// Name of the claim a volume of the pod stands for, if it does.
#[must_use]
pub(crate) fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    volume
        .ephemeral
        .as_ref()
        .map(|_| format!("{name}-{}", volume.name))
}

/// Finds the place of the claim `name`.
///
/// # Errors
/// In upstream's words: no such claim, not bound yet, a kind of volume not served here, files
/// where the pod wants a device.
pub(crate) async fn find(
    pod: &Pod,
    volume: &Volume,
    name: &str,
    source: &dyn ConfigSource,
) -> Result<Claimed, MountError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let unprocessed = |why: String| MountError::Claim {
        volume: volume.name.clone(),
        why: format!("error processing PVC {namespace}/{name}: {why}"),
    };
    let fetching = |why: String| unprocessed(format!("failed to fetch PVC from API server: {why}"));
    let claim = source
        .claim(pod, name)
        .await
        .map_err(|error| fetching(error.to_string()))?
        .ok_or_else(|| fetching(format!("persistentvolumeclaims \"{name}\" not found")))?;
    if claim.metadata.deletion_timestamp.is_some() && volume.ephemeral.is_none() {
        return Err(unprocessed("PVC is being deleted".into()));
    }
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    let bound = claim.spec.and_then(|spec| spec.volume_name);
    let bound = bound.filter(|name| !name.is_empty() && phase == Some("Bound"));
    let bound = bound.ok_or_else(|| unprocessed("PVC is not bound".into()))?;
    let fetching =
        |why: String| unprocessed(format!("failed to fetch PV {bound} from API server: {why}"));
    let found = source
        .persistent_volume(&bound)
        .await
        .map_err(|error| fetching(error.to_string()))?
        .ok_or_else(|| fetching(format!("persistentvolumes \"{bound}\" not found")))?;
    let spec = found.spec.unwrap_or_default();
    let holder = spec.claim_ref.as_ref().and_then(|claim| claim.uid.clone());
    if holder.is_some() && holder != claim.metadata.uid {
        let why = format!("PV {bound} is bound to another claim");
        return Err(unprocessed(why));
    }
    if block::is_device(pod, &volume.name, &spec)? {
        return Ok(Claimed {
            path: block::path_of(&bound, &spec)?,
            grouped: false,
        });
    }
    let set_up = |source| MountError::SetUp {
        volume: bound.clone(),
        source,
    };
    if let Some(host) = &spec.host_path {
        let path = host_path::ready(host, FOLDER).map_err(set_up)?;
        return Ok(Claimed {
            path,
            grouped: false,
        });
    }
    if let Some(local) = &spec.local {
        if !Path::new(&local.path).exists() {
            return Err(MountError::Mounter {
                volume: bound.clone(),
                path: local.path.clone(),
            });
        }
        return Ok(Claimed {
            path: PathBuf::from(&local.path),
            grouped: true,
        });
    }
    let kind = "a persistent volume that is not on the node";
    Err(set_up(VolumeError::NotServed(volume.name.clone(), kind)))
}
