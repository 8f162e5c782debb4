//! Which pods stand behind which Service, kept as changes come in, so that neither a pod's
//! change nor a Service's asks for all pods.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::model::{Labels, selects};
use crate::shared::{Key, PodInfo, Record as _};

#[derive(Default)]
pub struct Members {
    /// By namespace and name of the Service.
    services: Mutex<HashMap<String, HashMap<String, Member>>>,
}

struct Member {
    selector: Labels,
    /// Names.
    pods: BTreeSet<String>,
}

impl Members {
    /// The pods of a Service, by name; `scan` gives all of its namespace, and is asked only
    /// when the Service is new or selects others.
    pub fn of(
        &self,
        service: &Key,
        selector: &Labels,
        scan: impl FnOnce() -> Vec<Arc<PodInfo>>,
    ) -> Vec<String> {
        let mut services = self.lock();
        let named = services.entry(service.namespace.to_string()).or_default();
        if let Some(known) = named.get(&*service.name)
            && known.selector == *selector
        {
            return known.pods.iter().cloned().collect();
        }
        // Under the lock: a pod that changes meanwhile is told to us after it.
        let pods = scan().into_iter();
        let pods = pods.filter(|pod| selects(selector, &pod.labels));
        let member = Member {
            selector: selector.clone(),
            pods: pods.map(|pod| pod.name.clone()).collect(),
        };
        let names = member.pods.iter().cloned().collect();
        named.insert(service.name.to_string(), member);
        names
    }

    pub fn forget(&self, service: &Key) {
        if let Some(named) = self.lock().get_mut(&*service.namespace) {
            named.remove(&*service.name);
        }
    }

    /// Takes in the change of a pod; names the Services of its namespace that it matters to.
    pub fn changed(&self, old: Option<&PodInfo>, new: Option<&PodInfo>) -> Vec<String> {
        let Some(pod) = new.or(old) else {
            return vec![];
        };
        let mut services = self.lock();
        let Some(named) = services.get_mut(&*pod.namespace) else {
            return vec![];
        };
        let matters = !is_alike(old, new);
        let mut out = Vec::new();
        for (name, member) in named {
            let is = new.is_some_and(|new| selects(&member.selector, &new.labels));
            let changed = match is {
                true if !member.pods.contains(&pod.name) => member.pods.insert(pod.name.clone()),
                true => matters,
                false => member.pods.remove(&pod.name),
            };
            if changed {
                out.push(name.clone());
            }
        }
        out
    }

    /// The Services of its namespace that a pod stands behind.
    pub fn behind(&self, pod: &PodInfo) -> Vec<String> {
        let services = self.lock();
        let named = services.get(&*pod.namespace).into_iter().flatten();
        named
            .filter(|(_, member)| member.pods.contains(&pod.name))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Member>>> {
        // Changed in single steps, so a poisoned lock is still sound.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether endpoints see no difference.
fn is_alike(old: Option<&PodInfo>, new: Option<&PodInfo>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return false;
    };
    old.uid == new.uid
        && old.ips == new.ips
        && old.node == new.node
        && old.is_ready() == new.is_ready()
        && old.has_ended() == new.has_ended()
        && old.is_deleting() == new.is_deleting()
        && old.outside == new.outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, app: &str, ready: &str) -> PodInfo {
        PodInfo::of(
            serde_json::from_value(json!({
                "metadata": {"namespace": "d", "name": name, "uid": name, "labels": {"app": app}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn pods_come_change_and_leave() {
        let members = Members::default();
        let (web, selector) = (
            Key::new("d", "web"),
            Labels::from([("app".into(), "web".into())]),
        );
        let (a, b) = (pod("a", "web", "True"), pod("b", "other", "True"));
        let all = vec![Arc::new(a.clone()), Arc::new(b.clone())];
        assert!(
            members.changed(None, Some(&a)).is_empty(),
            "nobody has asked yet"
        );
        assert_eq!(members.of(&web, &selector, || all), ["a"]);
        assert_eq!(members.of(&web, &selector, Vec::new), ["a"], "known");
        assert!(members.changed(Some(&a), Some(&a)).is_empty());
        let sick = pod("a", "web", "False");
        assert_eq!(members.changed(Some(&a), Some(&sick)), ["web"]);
        let won = pod("b", "web", "True");
        assert_eq!(members.changed(Some(&b), Some(&won)), ["web"]);
        assert_eq!(members.behind(&won), ["web"]);
        assert_eq!(members.changed(Some(&won), None), ["web"]);
        assert!(members.changed(Some(&won), None).is_empty());
        assert_eq!(members.of(&web, &selector, Vec::new), ["a"]);
        members.forget(&web);
        assert!(members.changed(Some(&a), None).is_empty());
    }
}
