//! The provisioner `cadet.dev/local-path`: a volume is a folder on the node its pod runs on.
//! Pure.
//!
//! The node's agent makes the folder when a pod first mounts it (`hostPath` of type
//! `DirectoryOrCreate`), and removes it when asked by `DELETE /volumes/<folder>`.

use cadet_api::install::LOCAL_VOLUMES;
use serde_json::{Value, json};

use super::model::{Claim, Class, PROVISIONED_BY, Volume};
use crate::node_facts::{HOSTNAME, NodeFacts};

/// The provisioner's name in classes.
pub const PROVISIONER: &str = "cadet.dev/local-path";
/// The class every cluster has.
pub const CLASS: &str = "standard";

/// Why the provisioner can make no such volume; the text ends the event ProvisioningFailed.
pub fn objection(claim: &Claim) -> Option<&'static str> {
    let single = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod");
    if !claim.spec.access_modes.iter().all(single) {
        return Some(
            "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes",
        );
    }
    if !claim.spec.selector.is_null() {
        return Some("claim.Spec.Selector is not supported");
    }
    (claim.mode() == "Block").then_some("block volume provisioning is not supported")
}

/// Name of the volume of a claim, as every external provisioner makes it.
pub fn name_of(claim: &Claim) -> String {
    format!("pvc-{}", claim.metadata.uid)
}

/// The volume for a claim, on this node.
pub fn volume_of(claim: &Claim, class: &Class, node: &NodeFacts) -> Value {
    let meta = &claim.metadata;
    let name = name_of(claim);
    let folder = format!("{name}_{}_{}", meta.namespace, meta.name);
    let mut spec = json!({
        "capacity": {"storage": claim.spec.resources.requests.get("storage")},
        "accessModes": claim.spec.access_modes,
        "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
        "storageClassName": class.metadata.name,
        "volumeMode": claim.mode(),
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "hostPath": {"path": format!("{LOCAL_VOLUMES}/{folder}"), "type": "DirectoryOrCreate"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": HOSTNAME, "operator": "In", "values": [node.hostname]},
        ]}]}},
    });
    if !class.mount_options.is_empty() {
        spec["mountOptions"] = json!(class.mount_options);
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": spec,
    })
}

/// The default class as it is made at the start.
pub fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// Where a volume of ours lies: the node's label `kubernetes.io/hostname` and the folder's
/// name. `None` for one that was changed so that this cannot be told.
pub fn place_of(volume: &Volume) -> Option<(String, String)> {
    let terms = volume
        .spec
        .node_affinity
        .pointer("/required/nodeSelectorTerms");
    let expressions = terms?.get(0)?.get("matchExpressions")?.as_array()?;
    let host = expressions.iter().find(|e| e["key"] == HOSTNAME)?;
    let host = host.pointer("/values/0")?.as_str()?.to_owned();
    let path = &volume.spec.host_path.as_ref()?.path;
    let folder = path.strip_prefix(LOCAL_VOLUMES)?.strip_prefix('/')?;
    let plain = !folder.is_empty() && !folder.contains('/') && !folder.starts_with('.');
    plain.then(|| (host, folder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(spec: Value) -> Claim {
        let claim =
            json!({"metadata": {"namespace": "d", "name": "data", "uid": "1-2"}, "spec": spec});
        serde_json::from_value(claim).unwrap()
    }

    fn node() -> NodeFacts {
        use crate::shared::Record as _;
        let node = json!({"metadata": {"name": "n1", "labels": {HOSTNAME: "host-1"}}});
        NodeFacts::of(serde_json::from_value(node).unwrap())
    }

    #[test]
    fn a_volume_is_a_folder_on_its_node_and_is_found_again() {
        let claim = claim(json!({"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}));
        assert_eq!(objection(&claim), None);
        let class: Class = serde_json::from_value(class()).unwrap();
        assert!(class.waits());
        let volume = volume_of(&claim, &class, &node());
        assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
        let volume: Volume = serde_json::from_value(volume).unwrap();
        assert!(volume.is_for(&claim));
        assert_eq!(
            place_of(&volume),
            Some(("host-1".to_owned(), "pvc-1-2_d_data".to_owned()))
        );
    }

    #[test]
    fn no_other_folder_is_ever_named() {
        for path in [
            "/etc",
            LOCAL_VOLUMES,
            "/var/lib/cadet/volumes/../x",
            "/var/lib/cadet/volumes/a/b",
        ] {
            let volume: Volume = serde_json::from_value(json!({"spec": {
                "hostPath": {"path": path},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": HOSTNAME, "operator": "In", "values": ["h"]}]}]}}}}))
            .unwrap();
            assert_eq!(place_of(&volume), None, "{path}");
        }
    }

    #[test]
    fn what_a_folder_cannot_be_is_refused() {
        assert!(objection(&claim(json!({"accessModes": ["ReadWriteMany"]}))).is_some());
        assert!(objection(&claim(json!({"volumeMode": "Block"}))).is_some());
        assert!(objection(&claim(json!({"selector": {"matchLabels": {"a": "b"}}}))).is_some());
    }
}
