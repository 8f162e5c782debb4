//! The claims of a StatefulSet's pods: named by ordinal, they outlive their pods unless the
//! set says otherwise (KEP-1847).
//!
//! Who owns a claim decides when it goes: with the set, with the pod, or never.
//! ```text
//!   whenDeleted  whenScaled   wanted pod   pod too many
//!   Retain       Retain       nobody       nobody
//!   Delete       Retain       the set      the set
//!   Retain       Delete       nobody       the pod
//!   Delete       Delete       the set      the pod
//! ```

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::wishes::Wishes;
use crate::shared::{PodInfo, controller_ref};

pub fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    let templates = set
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_claim_templates.as_ref());
    templates.map(Vec::as_slice).unwrap_or_default()
}

/// `data-web-0`
pub fn claim_name(set: &StatefulSet, template: &str, ordinal: i32) -> String {
    let set = set.metadata.name.as_deref().unwrap_or_default();
    format!("{template}-{set}-{ordinal}")
}

/// The claims of an ordinal, as they are made.
pub fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selector = set
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.match_labels.clone());
    let selector = selector.unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let meta = &template.metadata;
        let mut labels = meta.labels.clone().unwrap_or_default();
        labels.extend(selector.clone());
        let owners = owners(set, ordinal, None, &[]);
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(claim_name(
                    set,
                    meta.name.as_deref().unwrap_or_default(),
                    ordinal,
                )),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: meta.annotations.clone(),
                owner_references: Some(owners).filter(|owners| !owners.is_empty()),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    };
    templates(set).iter().map(claim).collect()
}

/// Who a claim that has the owners `now` should have: others' references stay, and the set
/// and its pod are what the table says. With somebody else in control the two keep out.
pub fn owners(
    set: &StatefulSet,
    ordinal: i32,
    pod: Option<&PodInfo>,
    now: &[OwnerReference],
) -> Vec<OwnerReference> {
    let name = Wishes::of(set).pod_name(ordinal);
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let ours =
        |owner: &OwnerReference| owner.uid == uid || (owner.kind == "Pod" && owner.name == name);
    let mut owners: Vec<_> = now.iter().filter(|owner| !ours(owner)).cloned().collect();
    if owners.iter().any(|owner| owner.controller == Some(true)) {
        return owners;
    }
    let surplus = !Wishes::of(set).has(ordinal);
    let policy = set.spec.as_ref();
    let policy = policy.and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    let when = |word: Option<&String>| word.is_some_and(|word| word == "Delete");
    let deleted = when(policy.and_then(|p| p.when_deleted.as_ref()));
    let scaled = when(policy.and_then(|p| p.when_scaled.as_ref()));
    if scaled && surplus {
        owners.extend(pod.map(|pod| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }));
    } else if deleted {
        owners.push(controller_ref(set));
    }
    owners
}

/// Whether a claim goes with an earlier pod of that name, so that a new pod must wait until
/// it is gone.
pub fn is_stale(claim: &PersistentVolumeClaim, pod_name: &str, pod: Option<&PodInfo>) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.kind == "Pod" && owner.name == pod_name);
    owners.any(|owner| pod.is_none_or(|pod| pod.uid != owner.uid))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pod, set};
    use super::*;
    use serde_json::{Value, json};

    fn kept(policy: Value) -> StatefulSet {
        let spec = json!({"replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"a": "b"}},
                "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Pending"}}],
            "persistentVolumeClaimRetentionPolicy": policy});
        set(spec, json!({}))
    }

    #[test]
    fn a_claim_is_named_by_ordinal_and_labelled_as_the_pods() {
        let claims = claims(&kept(json!(null)), 3);
        assert_eq!(
            serde_json::to_value(&claims).unwrap(),
            json!([{"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data-web-3", "namespace": "d", "labels": {"a": "b", "app": "web"}},
                "spec": {"accessModes": ["ReadWriteOnce"]}}])
        );
    }

    #[test]
    fn owners_follow_the_table() {
        let table = [
            ("Retain", "Retain", "", ""),
            ("Delete", "Retain", "web", "web"),
            ("Retain", "Delete", "", "web-1"),
            ("Delete", "Delete", "web", "web-1"),
        ];
        for (deleted, scaled, wanted, surplus) in table {
            let set = kept(json!({"whenDeleted": deleted, "whenScaled": scaled}));
            let owner = |ordinal: i32, now: &[OwnerReference]| {
                let pod = pod(&json!({"name": format!("web-{ordinal}")}));
                let owners = owners(&set, ordinal, Some(&pod), now);
                owners
                    .iter()
                    .map(|o| o.name.clone())
                    .collect::<Vec<_>>()
                    .join(",")
            };
            assert_eq!(owner(0, &[]), wanted, "{deleted} {scaled}");
            assert_eq!(
                owner(1, &[controller_ref(&set)]),
                surplus,
                "{deleted} {scaled}"
            );
            let other = OwnerReference {
                name: "other".into(),
                controller: Some(true),
                ..OwnerReference::default()
            };
            assert_eq!(owner(0, &[other]), "other");
        }
    }

    #[test]
    fn a_claim_of_an_earlier_pod_is_stale() {
        let set = kept(json!({"whenDeleted": "Retain", "whenScaled": "Delete"}));
        let old = pod(&json!({"name": "web-1"}));
        let mut claim = claims(&set, 1).remove(0);
        assert!(!is_stale(&claim, "web-1", None));
        claim.metadata.owner_references = Some(owners(&set, 1, Some(&old), &[]));
        assert!(is_stale(&claim, "web-1", None));
        assert!(!is_stale(&claim, "web-1", Some(&old)));
        assert!(!is_stale(&claim, "web-2", None));
    }
}
