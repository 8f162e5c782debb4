//! Which mirror of a static pod to make, and which to remove. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::static_pods::mirrored;

/// Namespace and name.
pub type Name = (String, String);

/// What the API must be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Show this static pod.
    Make(Arc<Pod>),
    /// Remove this mirror: it shows what does not run, or somebody asked for its end.
    Remove(Arc<Pod>),
}

/// Static pods and the mirrors the API has, by name.
#[derive(Debug, Default)]
pub struct Mirrors {
    statics: HashMap<Name, Arc<Pod>>,
    mirrors: HashMap<Name, Arc<Pod>>,
}

#[must_use]
pub fn name_of(pod: &Pod) -> Name {
    let meta = &pod.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&meta.namespace), text(&meta.name))
}

impl Mirrors {
    /// Takes the folder's pods and returns the UIDs of those that are no longer among them.
    pub fn replace(&mut self, pods: &[Arc<Pod>]) -> Vec<String> {
        let new = pods.iter().map(|pod| (name_of(pod), pod.clone())).collect();
        let old = std::mem::replace(&mut self.statics, new);
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone();
        old.iter()
            .filter(|(name, pod)| self.statics.get(*name).and_then(uid) != uid(pod))
            .filter_map(|(_, pod)| uid(pod))
            .collect()
    }

    /// Forgets what the API showed: it begins anew.
    pub fn relist(&mut self) {
        self.mirrors.clear();
    }

    /// The API shows this mirror.
    pub fn shown(&mut self, mirror: Arc<Pod>) {
        self.mirrors.insert(name_of(&mirror), mirror);
    }

    /// The API does not show it any more.
    pub fn hidden(&mut self, mirror: &Pod) {
        self.mirrors.remove(&name_of(mirror));
    }

    /// UID of the static pod that a mirror shows.
    #[must_use]
    pub fn uid_behind(&self, mirror: &Pod) -> Option<String> {
        let pod = self.statics.get(&name_of(mirror))?;
        pod.metadata.uid.clone()
    }

    /// What is missing or too much.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let missing = self
            .statics
            .iter()
            .filter(|(name, _)| !self.mirrors.contains_key(*name))
            .map(|(_, pod)| Step::Make(pod.clone()));
        let wrong = self.mirrors.iter().filter_map(|(name, mirror)| {
            let shows = mirrored(mirror);
            let runs = self
                .statics
                .get(name)
                .and_then(|pod| pod.metadata.uid.as_deref());
            let asked = mirror.metadata.deletion_timestamp.is_some();
            (asked || shows != runs).then(|| Step::Remove(mirror.clone()))
        });
        missing.chain(wrong).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::static_pods::{HASH, SOURCE, mirror_of};

    fn web(uid: &str) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": "web-n1", "namespace": "shop", "uid": uid,
            "annotations": {HASH: uid, SOURCE: "file"}}, "spec": {"containers": []}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_mirror_is_made_kept_replaced_and_removed() {
        let mut mirrors = Mirrors::default();
        assert!(mirrors.replace(&[web("1")]).is_empty());
        assert_eq!(mirrors.steps(), [Step::Make(web("1"))]);
        let mirror = Arc::new(mirror_of(&web("1")));
        mirrors.shown(mirror.clone());
        assert!(mirrors.steps().is_empty());
        assert_eq!(mirrors.uid_behind(&mirror).as_deref(), Some("1"));
        assert_eq!(mirrors.replace(&[web("2")]), ["1"]);
        assert_eq!(mirrors.steps(), [Step::Remove(mirror.clone())]);
        mirrors.hidden(&mirror);
        assert_eq!(mirrors.steps(), [Step::Make(web("2"))]);
        assert_eq!(mirrors.replace(&[]), ["2"]);
        assert!(mirrors.steps().is_empty());
    }
}
