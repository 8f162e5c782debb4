//! The pods of a DaemonSet, as JSON: its template, tolerations, and one node each.

use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};

use super::fit::tolerations;
use crate::shared::{controller_ref, pod_of};

/// Label of pods and revisions.
pub const HASH: &str = "controller-revision-hash";
/// Label of pods, and where a set counts its templates.
pub const GENERATION: &str = "pod-template-generation";
const COUNT: &str = "deprecated.daemonset.template.generation";

/// How often a set's template has changed, if it is told.
pub fn generation(set: &DaemonSet) -> Option<&str> {
    let annotations = set.metadata.annotations.as_ref()?;
    annotations.get(COUNT).map(String::as_str)
}

/// The pod of a set for any node; [`on_node`] says which.
///
/// # Errors
/// If the template cannot be written as JSON.
pub fn pod(set: &DaemonSet, hash: &str) -> serde_json::Result<Value> {
    let empty = Default::default();
    let template = set.spec.as_ref().map_or(&empty, |spec| &spec.template);
    let mut pod = pod_of(template, &controller_ref(set))?;
    let tolerations = tolerations(&template.spec.clone().unwrap_or_default());
    pod["spec"]["tolerations"] = serde_json::to_value(tolerations)?;
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        let labels = metadata.entry("labels").or_insert(json!({}));
        labels[HASH] = json!(hash);
        if let Some(generation) = generation(set) {
            labels[GENERATION] = json!(generation);
        }
    }
    Ok(pod)
}

/// Binds a pod to a node by its affinity, so that the scheduler still has its say.
pub fn on_node(mut pod: Value, node: &str) -> Value {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    // What it required before was asked of the node already.
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    pod
}

#[cfg(test)]
mod tests {
    use super::super::testing::set;
    use super::*;
    use crate::shared::{PodInfo, Record};

    #[test]
    fn a_pod_is_meant_for_one_node() {
        let preferred = json!([{"weight": 1, "preference": {"matchExpressions": []}}]);
        let spec = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}});
        let set = set(json!({"template": {"spec": spec}}));
        let pod = on_node(pod(&set, "abc").unwrap(), "n1");
        assert_eq!(pod["metadata"]["generateName"], "agent-");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"app": "agent", HASH: "abc", GENERATION: "2"})
        );
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 6);
        let affinity = &pod["spec"]["affinity"]["nodeAffinity"];
        assert_eq!(
            affinity["preferredDuringSchedulingIgnoredDuringExecution"],
            preferred
        );
        let mut stored = pod;
        stored["metadata"]["name"] = json!("agent-x");
        let seen = PodInfo::of(serde_json::from_value(stored).unwrap());
        assert_eq!(&*seen.meant_for, "n1");
    }
}
