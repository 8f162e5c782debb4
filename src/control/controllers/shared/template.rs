//! Pods as templates make them, selectors and owners: what all workload controllers share.

use cadet_api::selector::LabelSelector;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector as Selector, ObjectMeta, OwnerReference,
};
use serde_json::{Value, json};

/// The owner reference of what `object` controls.
pub fn controller_ref<K>(object: &K) -> OwnerReference
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let meta = object.metadata();
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The JSON of a pod as the template of `owner` asks for it, under a generated name.
///
/// # Errors
/// If the template cannot be written as JSON.
pub fn pod_of(template: &PodTemplateSpec, owner: &OwnerReference) -> serde_json::Result<Value> {
    let meta = template.metadata.clone().unwrap_or_default();
    let meta = ObjectMeta {
        generate_name: Some(format!("{}-", owner.name)),
        labels: meta.labels,
        annotations: meta.annotations,
        finalizers: meta.finalizers,
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": serde_json::to_value(meta)?,
        "spec": serde_json::to_value(&template.spec)?,
    }))
}

/// A selector ready to match; `None` if there is none or it makes no sense.
pub fn selector(of: Option<&Selector>) -> Option<LabelSelector> {
    let value = serde_json::to_value(of?).ok()?;
    LabelSelector::from_object(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;

    #[test]
    fn a_pod_has_its_templates_labels_and_an_owner() {
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "d", "uid": "u"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}, "name": "ignored"},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        }))
        .unwrap();
        let owner = controller_ref(&set);
        let spec = set.spec.unwrap();
        let pod = pod_of(spec.template.as_ref().unwrap(), &owner).unwrap();
        assert_eq!(pod["metadata"]["generateName"], "web-");
        assert_eq!(pod["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(pod["metadata"].get("name"), None);
        assert_eq!(
            pod["metadata"]["ownerReferences"],
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u",
                "controller": true, "blockOwnerDeletion": true}])
        );
        assert_eq!(pod["spec"]["containers"][0]["image"], "i");
        assert!(selector(None).is_none());
        let labels = [("a".to_owned(), "b".to_owned())].into();
        assert!(selector(Some(&spec.selector)).unwrap().matches(&labels));
    }
}
