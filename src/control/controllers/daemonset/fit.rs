//! Which nodes a DaemonSet's pods belong on: selector, affinity and taints, with the
//! tolerations that every one of them has.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

use super::node::NodeInfo;

/// A daemon stays where others may not be: on nodes that are not ready, not reachable, short
/// of something or cordoned.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Who brings the network must come before it.
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node must be for a set.
#[derive(Debug)]
pub struct Fit {
    node_name: Option<String>,
    selector: BTreeMap<String, String>,
    terms: Option<Vec<NodeSelectorTerm>>,
    tolerations: Vec<Toleration>,
}

/// Whether a node should get a pod, and whether one there may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    pub run: bool,
    pub stay: bool,
}

impl Fit {
    pub fn of(set: &DaemonSet) -> Fit {
        let spec = set.spec.as_ref().and_then(|s| s.template.spec.clone());
        let spec = spec.unwrap_or_default();
        let tolerations = tolerations(&spec);
        let affinity = spec.affinity.and_then(|a| a.node_affinity);
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution);
        Fit {
            node_name: spec.node_name.filter(|name| !name.is_empty()),
            selector: spec.node_selector.unwrap_or_default(),
            terms: required.map(|required| required.node_selector_terms),
            tolerations,
        }
    }

    pub fn welcome(&self, node: &NodeInfo) -> Welcome {
        let named = self
            .node_name
            .as_ref()
            .is_none_or(|name| *name == node.name);
        let selected = self
            .selector
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value));
        let liked = self
            .terms
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| holds(term, node)));
        if !(named && selected && liked) {
            return Welcome {
                run: false,
                stay: false,
            };
        }
        let free = |effects: &[&str]| {
            let mut taints = node.taints.iter();
            taints.all(|taint| {
                let matters = effects.contains(&taint.effect.as_str());
                !matters || self.tolerations.iter().any(|t| tolerates(t, taint))
            })
        };
        Welcome {
            run: free(&["NoSchedule", "NoExecute"]),
            stay: free(&["NoExecute"]),
        }
    }
}

/// The tolerations of a set's pods: its own and everybody's.
pub fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let network = Some(NETWORK).filter(|_| spec.host_network == Some(true));
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let same = |t: &Toleration| {
            let value = t.value.as_deref().unwrap_or_default().is_empty();
            (&t.key, &t.operator, &t.effect)
                == (&toleration.key, &toleration.operator, &toleration.effect)
                && value
        };
        match all.iter_mut().find(|t| same(t)) {
            Some(own) => *own = toleration,
            None => all.push(toleration),
        }
    }
    all
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

/// A term holds if all its requirements do; an empty one never does.
fn holds(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let mut of_labels = labels.iter();
    let mut of_fields = fields.iter();
    !(labels.is_empty() && fields.is_empty())
        && of_labels.all(|r| meets(r, node.labels.get(&r.key).map(String::as_str)))
        && of_fields.all(|r| r.key == "metadata.name" && meets(r, Some(&node.name)))
}

fn meets(requirement: &NodeSelectorRequirement, have: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = have.is_some_and(|have| values.iter().any(|value| value == have));
    let compared = || {
        let have: i64 = have?.parse().ok()?;
        let want: i64 = values.first()?.parse().ok()?;
        Some(have.cmp(&want))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => have.is_some(),
        "DoesNotExist" => have.is_none(),
        "Gt" => compared().is_some_and(|order| order.is_gt()),
        "Lt" => compared().is_some_and(|order| order.is_lt()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, set};
    use super::*;
    use serde_json::{Value, json};

    fn welcome(spec: Value, what: Value) -> (bool, bool) {
        let set = set(json!({"template": {"spec": spec}}));
        let welcome = Fit::of(&set).welcome(&node("n1", what));
        (welcome.run, welcome.stay)
    }

    #[test]
    fn taints_keep_out_or_drive_out() {
        let tainted = |key: &str, effect: &str| json!({"taints": [{"key": key, "effect": effect}]});
        assert_eq!(welcome(json!({}), json!({})), (true, true));
        assert_eq!(
            welcome(json!({}), tainted("k", "NoSchedule")),
            (false, true)
        );
        assert_eq!(
            welcome(json!({}), tainted("k", "NoExecute")),
            (false, false)
        );
        assert_eq!(
            welcome(json!({}), tainted("k", "PreferNoSchedule")),
            (true, true)
        );
        for (key, effect) in TOLERATED {
            assert_eq!(
                welcome(json!({}), tainted(key, effect)),
                (true, true),
                "{key}"
            );
        }
        let (key, effect) = NETWORK;
        assert_eq!(welcome(json!({}), tainted(key, effect)), (false, true));
        let host = json!({"hostNetwork": true});
        assert_eq!(welcome(host, tainted(key, effect)), (true, true));
        let all = json!({"tolerations": [{"operator": "Exists"}]});
        assert_eq!(welcome(all, tainted("k", "NoExecute")), (true, true));
    }

    #[test]
    fn selectors_affinity_and_names_choose() {
        let ssd = json!({"labels": {"disk": "ssd", "n": "5"}});
        let nowhere = (false, false);
        assert_eq!(
            welcome(json!({"nodeSelector": {"disk": "ssd"}}), ssd.clone()),
            (true, true)
        );
        assert_eq!(
            welcome(json!({"nodeSelector": {"disk": "hdd"}}), ssd.clone()),
            nowhere
        );
        assert_eq!(welcome(json!({"nodeName": "n2"}), ssd.clone()), nowhere);
        let needs = |terms: Value| {
            let required = json!({"nodeSelectorTerms": terms});
            let spec = json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": required}}});
            welcome(spec, ssd.clone())
        };
        let label = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        assert_eq!(needs(json!([label("n", "Gt", json!(["4"]))])), (true, true));
        assert_eq!(needs(json!([label("n", "Lt", json!(["4"]))])), nowhere);
        assert_eq!(needs(json!([label("gpu", "Exists", json!([]))])), nowhere);
        assert_eq!(
            needs(json!([label("disk", "NotIn", json!(["hdd"]))])),
            (true, true)
        );
        assert_eq!(needs(json!([{}])), nowhere);
        let field =
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        assert_eq!(needs(json!([field])), (true, true));
    }

    #[test]
    fn everybodys_tolerations_are_added_once() {
        let own = json!({"containers": [], "tolerations": [{"key": "node.kubernetes.io/not-ready",
            "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]});
        let spec: PodSpec = serde_json::from_value(own).unwrap();
        let all = tolerations(&spec);
        assert_eq!(all.len(), 6);
        assert_eq!(all[0].toleration_seconds, None, "it stays for good");
    }
}
