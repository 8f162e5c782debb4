//! The pods of a StatefulSet, as JSON: a template with a name, a host name and storage of
//! its own.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::storage::{claim_name, templates};
use super::wishes::{POD_INDEX, POD_NAME, REVISION};
use crate::shared::{controller_ref, pod_of};

/// The pod of an ordinal by a revision's template.
///
/// # Errors
/// If the template cannot be written as JSON.
pub fn pod(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> serde_json::Result<Value> {
    let mut pod = pod_of(template, &controller_ref(set))?;
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let name = format!("{set_name}-{ordinal}");
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("generateName");
        let labels = metadata.entry("labels").or_insert(json!({}));
        labels[POD_NAME] = json!(name);
        labels[POD_INDEX] = json!(ordinal.to_string());
        labels[REVISION] = json!(revision);
        metadata.insert("name".to_owned(), json!(name));
    }
    let service = set
        .spec
        .as_ref()
        .and_then(|spec| spec.service_name.as_deref());
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.insert("hostname".to_owned(), json!(name));
        if let Some(service) = service.filter(|service| !service.is_empty()) {
            spec.insert("subdomain".to_owned(), json!(service));
        }
        let volumes = volumes(set, ordinal, spec.get("volumes"));
        if !volumes.is_empty() {
            spec.insert("volumes".to_owned(), Value::Array(volumes));
        }
    }
    Ok(pod)
}

/// Its claims, then the template's own volumes of other names.
fn volumes(set: &StatefulSet, ordinal: i32, own: Option<&Value>) -> Vec<Value> {
    let claimed: BTreeSet<&str> = templates(set)
        .iter()
        .filter_map(|claim| claim.metadata.name.as_deref())
        .collect();
    let mut volumes: Vec<Value> = claimed
        .iter()
        .map(|name| {
            let claim = claim_name(set, name, ordinal);
            json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    let own = own.and_then(Value::as_array).into_iter().flatten();
    let is_other = |volume: &&Value| {
        let name = volume["name"].as_str().unwrap_or_default();
        !claimed.contains(name)
    };
    volumes.extend(own.filter(is_other).cloned());
    volumes
}

#[cfg(test)]
mod tests {
    use super::super::testing::set;
    use super::*;

    #[test]
    fn a_pod_has_its_own_name_and_storage() {
        let mut set = set(
            json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}),
            json!({}),
        );
        let template = &mut set.spec.as_mut().unwrap().template;
        let volumes = json!([{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]);
        template.spec.as_mut().unwrap().volumes = serde_json::from_value(volumes).unwrap();
        let template = template.clone();
        let pod = pod(&set, &template, "web-abc", 2).unwrap();
        assert_eq!(pod["metadata"]["name"], "web-2");
        assert!(pod["metadata"].get("generateName").is_none());
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"app": "web", POD_NAME: "web-2", POD_INDEX: "2", REVISION: "web-abc"})
        );
        assert_eq!(pod["spec"]["hostname"], "web-2");
        assert_eq!(pod["spec"]["subdomain"], "web");
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}},
                {"name": "tmp", "emptyDir": {}}])
        );
    }
}
