//! Which pods are alike: those behind one Service or of one owner. Pods without spread
//! constraints of their own are spread among their like.

use std::collections::HashMap;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::ask::{Ask, OwnerKind, Spread};
use crate::labels::Selector;
use crate::mirror::{Mirror, full_name};
use crate::node::{HOSTNAME, ZONE};
use crate::wire;

/// Upstream's system defaults: topology and how uneven it may be without loss of score.
const DEFAULTS: [(&str, i32); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// Services and owners by what they select.
#[derive(Debug, Default)]
pub struct Groups {
    services: Mirror<Option<Selector>>,
    /// Names of the services of a namespace that select something.
    by_namespace: HashMap<String, Vec<String>>,
    replication_controllers: Mirror<Selector>,
    replica_sets: Mirror<Selector>,
    stateful_sets: Mirror<Selector>,
}

impl Groups {
    pub fn is_complete(&self) -> bool {
        self.services.is_complete()
            && self.replication_controllers.is_complete()
            && self.replica_sets.is_complete()
            && self.stateful_sets.is_complete()
    }

    pub fn apply_service(&mut self, event: Event<wire::Service>) {
        let touched = self.services.apply(event, |service| {
            let map = service.spec.selector.unwrap_or_default();
            (!map.is_empty()).then(|| Selector::of_map(&map))
        });
        for name in touched {
            let selects = matches!(self.services.get(&name), Some(Some(_)));
            let namespace = name.split('/').next().unwrap_or_default();
            let names = self.by_namespace.entry(namespace.to_owned()).or_default();
            names.retain(|n| *n != name);
            if selects {
                names.push(name);
            } else if names.is_empty() {
                let namespace = namespace.to_owned();
                self.by_namespace.remove(&namespace);
            }
        }
    }

    pub fn apply_replication_controller(&mut self, event: Event<wire::ReplicationController>) {
        self.replication_controllers.apply(event, |rc| {
            Selector::of_map(&rc.spec.selector.unwrap_or_default())
        });
    }

    pub fn apply_replica_set(&mut self, event: Event<wire::ReplicaSet>) {
        self.replica_sets
            .apply(event, |set| Selector::of(set.spec.selector.as_ref()));
    }

    pub fn apply_stateful_set(&mut self, event: Event<wire::StatefulSet>) {
        self.stateful_sets
            .apply(event, |set| Selector::of(set.spec.selector.as_ref()));
    }

    /// What selects the pod's like, if anything does.
    pub fn likes_of(&self, ask: &Ask) -> Option<Selector> {
        let names = self.by_namespace.get(&ask.namespace).into_iter().flatten();
        let services = names
            .filter_map(|name| self.services.get(name)?.as_ref())
            .filter(|selector| selector.matches(&ask.labels));
        let owner = ask.owner.as_ref().and_then(|(kind, name)| {
            let owners = match kind {
                OwnerKind::ReplicationController => &self.replication_controllers,
                OwnerKind::ReplicaSet => &self.replica_sets,
                OwnerKind::StatefulSet => &self.stateful_sets,
            };
            owners.get(&full_name(&ask.namespace, name))
        });
        services
            .chain(owner)
            .fold(None, |sum: Option<Selector>, selector| {
                Some(sum.map_or_else(|| selector.clone(), |sum| sum.and(selector)))
            })
            .filter(|sum| !sum.is_everything())
    }

    /// The wishes for evenness of a pod that has none of its own.
    pub fn default_spread(&self, ask: &Ask) -> Vec<Spread> {
        let Some(pods) = self.likes_of(ask) else {
            return vec![];
        };
        let spread = |(topology, most): (&str, i32)| Spread {
            topology: topology.to_owned(),
            most,
            least_domains: 1,
            pods: pods.clone(),
            required: false,
            honors_affinity: true,
            honors_taints: false,
        };
        DEFAULTS.map(spread).into()
    }
}

/// What preemption asks of a disruption budget.
pub fn budget(given: wire::Budget) -> crate::cache::Budget {
    crate::cache::Budget {
        pods: Selector::of(given.spec.selector.as_ref()),
        allowed: given.status.disruptions_allowed,
        granted: given
            .status
            .disrupted_pods
            .unwrap_or_default()
            .into_keys()
            .collect(),
    }
}

/// Labels of a namespace, its own name's label included, which the server sets.
pub fn namespace_labels(namespace: wire::Namespace) -> crate::labels::Labels {
    let name = namespace.name_any();
    let mut labels = namespace.metadata.labels.unwrap_or_default();
    labels
        .entry("kubernetes.io/metadata.name".to_owned())
        .or_insert(name);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn listed<K: serde::de::DeserializeOwned>(items: Vec<Value>) -> Vec<Event<K>> {
        let items = items
            .into_iter()
            .map(|item| Event::InitApply(serde_json::from_value(item).unwrap()));
        [Event::Init]
            .into_iter()
            .chain(items)
            .chain([Event::InitDone])
            .collect()
    }

    #[test]
    fn pods_are_alike_by_service_and_owner() {
        let mut groups = Groups::default();
        let named = |name: &str| json!({"name": name, "namespace": "d"});
        for e in listed(vec![
            json!({"metadata": named("web"), "spec": {"selector": {"app": "web"}}}),
            json!({"metadata": named("none"), "spec": {}}),
        ]) {
            groups.apply_service(e);
        }
        for e in listed(vec![json!({"metadata": named("web-7"), "spec":
            {"selector": {"matchLabels": {"hash": "7"}}}})])
        {
            groups.apply_replica_set(e);
        }
        let ask = |labels: Value| {
            let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7",
                "uid": "u", "controller": true}]);
            Ask::of(
                &serde_json::from_value(json!({"metadata": {"namespace": "d", "labels": labels,
                    "ownerReferences": owner}, "spec": {}}))
                .unwrap(),
            )
        };
        let web = ask(json!({"app": "web", "hash": "7"}));
        let likes = groups.likes_of(&web).unwrap();
        assert!(likes.matches(&web.labels));
        assert!(!likes.matches(&ask(json!({"app": "web", "hash": "8"})).labels));
        assert_eq!(groups.default_spread(&web).len(), 2);
        let stranger = Ask {
            namespace: "e".into(),
            ..web
        };
        assert!(groups.likes_of(&stranger).is_none());
    }
}
