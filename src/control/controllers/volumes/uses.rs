//! Which pods use which claim, kept as changes come in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::shared::{Key, PodInfo};

/// See the module's opening.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<Key, BTreeMap<String, User>>>);

/// A pod that uses a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// "" before it is placed.
    pub node: String,
    pub ended: bool,
}

/// Names of the claims a pod uses, its ephemeral ones included.
fn claims_of(pod: &PodInfo) -> impl Iterator<Item = Key> + '_ {
    let named = pod.outside.claims.iter().cloned();
    let own = pod
        .outside
        .ephemeral
        .iter()
        .map(|volume| format!("{}-{volume}", pod.name));
    named.chain(own).map(|name| Key::new(&pod.namespace, &name))
}

impl Uses {
    /// Takes in the change of a pod; names the claims it matters to.
    pub fn changed(&self, old: Option<&PodInfo>, new: Option<&PodInfo>) -> Vec<Key> {
        let mut out = Vec::new();
        let mut uses = self.lock();
        if let Some(pod) = old.filter(|old| new.is_none_or(|new| new.outside != old.outside)) {
            for key in claims_of(pod) {
                if let Some(users) = uses.get_mut(&key) {
                    users.remove(&pod.name);
                    if users.is_empty() {
                        uses.remove(&key);
                    }
                }
                out.push(key);
            }
        }
        if let Some(pod) = new {
            let user = User {
                node: pod.node.to_string(),
                ended: pod.has_ended(),
            };
            for key in claims_of(pod) {
                let users = uses.entry(key.clone()).or_default();
                if users.insert(pod.name.clone(), user.clone()).as_ref() != Some(&user) {
                    out.push(key);
                }
            }
        }
        out
    }

    /// The pods that use a claim, by name.
    pub fn of(&self, claim: &Key) -> Vec<(String, User)> {
        let uses = self.lock();
        let users = uses.get(claim).into_iter().flatten();
        users
            .map(|(name, user)| (name.clone(), user.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, BTreeMap<String, User>>> {
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
    fn pods_use_claims_until_they_are_gone() {
        let pod = |node: &str| {
            PodInfo::of(
                serde_json::from_value(json!({
                    "metadata": {"namespace": "d", "name": "p", "uid": "p"},
                    "spec": {"nodeName": node, "volumes": [
                        {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                        {"name": "tmp", "ephemeral": {}}]},
                }))
                .unwrap(),
            )
        };
        let (uses, data) = (Uses::default(), Key::new("d", "data"));
        let both = vec![data.clone(), Key::new("d", "p-tmp")];
        assert_eq!(uses.changed(None, Some(&pod(""))), both);
        assert!(uses.changed(Some(&pod("")), Some(&pod(""))).is_empty());
        assert_eq!(uses.changed(Some(&pod("")), Some(&pod("n"))), both);
        assert_eq!(uses.of(&data)[0].1.node, "n");
        assert_eq!(uses.changed(Some(&pod("n")), None), both);
        assert!(uses.of(&data).is_empty());
    }
}
