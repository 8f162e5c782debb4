//! Which autoscaler selects which pods: two that scale the same ones would pull at them in
//! turn, so neither may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cadet_api::selector::LabelSelector;

use crate::shared::{Key, PodInfo};

/// What each autoscaler selected when it was last looked at.
#[derive(Debug, Default)]
pub struct Selectors(Mutex<BTreeMap<Key, LabelSelector>>);

impl Selectors {
    /// Notes what an autoscaler selects among the pods of its namespace. `text` is the
    /// selector as its target writes it.
    ///
    /// # Errors
    /// Upstream's words, if another one selects some of these pods too.
    pub fn note(
        &self,
        key: &Key,
        text: &str,
        selector: LabelSelector,
        pods: &[Arc<PodInfo>],
    ) -> Result<(), String> {
        let selected = pods.iter().filter(|pod| selector.matches(&pod.labels));
        let selected: Vec<&Arc<PodInfo>> = selected.collect();
        let mut all = self.lock();
        all.insert(key.clone(), selector);
        let near = all
            .iter()
            .filter(|(other, _)| other.namespace == key.namespace);
        let rivals: Vec<String> = near
            .filter(|(_, theirs)| selected.iter().any(|pod| theirs.matches(&pod.labels)))
            .map(|(other, _)| other.to_string())
            .collect();
        if rivals.len() < 2 {
            return Ok(());
        }
        Err(format!(
            "pods by selector {text} are controlled by multiple HPAs: [{}]",
            rivals.join(" ")
        ))
    }

    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, LabelSelector>> {
        // Changed in single steps, so a poisoned lock is still sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record as _;
    use serde_json::json;

    #[test]
    fn two_that_select_one_pod_are_both_told() {
        let pod = json!({"metadata": {"namespace": "d", "name": "web-1",
            "labels": {"app": "web", "tier": "front"}}});
        let pods = [Arc::new(PodInfo::of(serde_json::from_value(pod).unwrap()))];
        let all = Selectors::default();
        let note = |namespace: &str, name: &str, text: &str, pods: &[Arc<PodInfo>]| {
            let selector = LabelSelector::parse(text).unwrap();
            all.note(&Key::new(namespace, name), text, selector, pods)
        };
        assert_eq!(note("d", "a", "app=web", &pods), Ok(()));
        assert_eq!(note("e", "x", "app=web", &[]), Ok(()), "elsewhere");
        assert_eq!(note("d", "c", "app=db", &pods), Ok(()), "other pods");
        let words = |text: &str| {
            Err(format!(
                "pods by selector {text} are controlled by multiple HPAs: [d/a d/b]"
            ))
        };
        assert_eq!(note("d", "b", "tier=front", &pods), words("tier=front"));
        assert_eq!(note("d", "a", "app=web", &pods), words("app=web"));
        assert_eq!(
            note("d", "a", "app=web", &[]),
            Ok(()),
            "no pods, no quarrel"
        );
        all.forget(&Key::new("d", "b"));
        assert_eq!(note("d", "a", "app=web", &pods), Ok(()));
    }
}
