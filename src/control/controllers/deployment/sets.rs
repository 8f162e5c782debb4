//! The ReplicaSets of a Deployment: which is today's, how many pods all ask for. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::shared::Record;

/// Set on the pods and selectors of each ReplicaSet.
pub const HASH_LABEL: &str = "pod-template-hash";

pub type Set = Arc<ReplicaSet>;

/// The sets of a Deployment, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Sets {
    /// The one with today's template.
    pub new: Option<Set>,
    pub old: Vec<Set>,
}

impl Sets {
    pub fn of(deployment: &Deployment, mut all: Vec<Set>) -> Sets {
        all.sort_by(|a, b| created(a).cmp(&created(b)));
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        // If there are several, the oldest, which was there first.
        let new = all.iter().position(|set| {
            let other = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            matches!((template, other), (Some(a), Some(b)) if same_but_hash(a, b))
        });
        let new = new.map(|place| all.remove(place));
        Sets { new, old: all }
    }

    pub fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// Those that ask for pods.
    pub fn active(&self) -> Vec<Set> {
        self.all().filter(|set| wanted(set) > 0).cloned().collect()
    }

    pub fn active_old(&self) -> Vec<Set> {
        self.old
            .iter()
            .filter(|set| wanted(set) > 0)
            .cloned()
            .collect()
    }

    /// Pods all ask for.
    pub fn wanted(&self) -> i32 {
        self.all().map(|set| wanted(set)).sum()
    }

    /// A sum over the statuses of all.
    pub fn sum(&self, of: impl Fn(&ReplicaSetStatus) -> i32) -> i32 {
        self.all()
            .filter_map(|set| set.status.as_ref())
            .map(of)
            .sum()
    }
}

/// `spec.replicas` of a set.
pub fn wanted(set: &ReplicaSet) -> i32 {
    set.spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

/// `status.availableReplicas` of a set.
pub fn available(set: &ReplicaSet) -> i32 {
    let status = set.status.as_ref();
    status
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// By this sets are sorted: when they were made, then by name.
pub fn created(set: &ReplicaSet) -> (i64, &str) {
    let time = set.metadata.creation_timestamp.as_ref();
    (time.map_or(0, |time| time.0.as_second()), set.meta().name)
}

/// Whether two templates make the same pods, whatever hash one of them bears.
fn same_but_hash(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a.spec == b.spec && bare(a) == bare(b)
}

fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut meta = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    // Nothing and none of them are the same.
    meta.labels = meta.labels.filter(|labels| !labels.is_empty());
    meta.annotations = meta
        .annotations
        .filter(|annotations| !annotations.is_empty());
    meta.creation_timestamp = None;
    PodTemplateSpec {
        metadata: Some(meta),
        spec: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_set_with_todays_template_is_the_new_one() {
        let template = |image: &str, labels: serde_json::Value| json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}});
        let deployment: Deployment = serde_json::from_value(json!({"metadata": {}, "spec": {
            "selector": {}, "template": template("b", json!({"app": "x"}))}}))
        .unwrap();
        let set = |name: &str, time: &str, image: &str| -> Set {
            let labels = json!({"app": "x", "pod-template-hash": name});
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": {"name": name, "creationTimestamp": time},
                    "spec": {"replicas": 2, "selector": {}, "template": template(image, labels)}}),
                )
                .unwrap(),
            )
        };
        let sets = Sets::of(
            &deployment,
            vec![
                set("x3", "2026-01-03T00:00:00Z", "b"),
                set("x2", "2026-01-02T00:00:00Z", "b"),
                set("x1", "2026-01-01T00:00:00Z", "a"),
            ],
        );
        assert_eq!(sets.new.as_ref().unwrap().meta().name, "x2");
        let old: Vec<&str> = sets.old.iter().map(|set| set.meta().name).collect();
        assert_eq!(old, ["x1", "x3"]);
        assert_eq!(sets.wanted(), 6);
    }
}
