//! Which nodes can take a pod, and upstream's words for those that cannot.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use kube::ResourceExt;

use crate::affinity;
use crate::node::{Room, is_cordon};
use crate::pod::Ask;
use crate::score;

/// Where a pod goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Name of the best node.
    Fits(String),
    /// The sentence for the event and the condition.
    FitsNowhere(String),
}

/// Picks the best of the nodes that can take the pod.
pub fn choose(ask: &Ask, rooms: &[Room]) -> Verdict {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, &Room)> = None;
    for room in rooms {
        let why = obstacles(ask, room);
        if !why.is_empty() {
            for reason in why {
                *counts.entry(reason).or_default() += 1;
            }
            continue;
        }
        let points = score::points(ask, room);
        // Equal points: the emptier node, then the first by name.
        let better = best.as_ref().is_none_or(|(most, b)| {
            (points, -room.pods) > (*most, -b.pods)
                || ((points, room.pods) == (*most, b.pods) && room.name < b.name)
        });
        if better {
            best = Some((points, room));
        }
    }
    match best {
        Some((_, room)) => Verdict::Fits(room.name.clone()),
        None if rooms.is_empty() => {
            Verdict::FitsNowhere("no nodes available to schedule pods".to_owned())
        }
        None => Verdict::FitsNowhere(sentence(rooms.len(), &counts)),
    }
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.`
fn sentence(nodes: usize, counts: &BTreeMap<String, usize>) -> String {
    let mut parts: Vec<String> = counts.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// Why this node cannot take the pod; empty if it can. The first kind of obstacle ends the
/// search, as upstream's plugins do; too little room is told resource by resource.
fn obstacles(ask: &Ask, room: &Room) -> Vec<String> {
    let taints = room.taints();
    if let Some(taint) = untolerated(&ask.tolerations, &taints) {
        return vec![if is_cordon(taint) {
            "node(s) were unschedulable".to_owned()
        } else {
            let value = taint.value.as_deref().unwrap_or_default();
            format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)
        }];
    }
    if !affinity::allows(&ask.spec, room.node.labels(), &room.name) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    let clash = ask
        .host_ports
        .iter()
        .any(|p| room.host_ports.iter().any(|q| p.clashes(q)));
    if clash {
        return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
    }
    let mut out = Vec::new();
    if room.pods >= room.offers("pods") {
        out.push("Too many pods".to_owned());
    }
    for (name, need) in &ask.requests {
        if *need > 0 && room.promised(name).saturating_add(*need) > room.offers(name) {
            out.push(format!("Insufficient {name}"));
        }
    }
    out
}

/// The first taint that keeps the pod out.
fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute")
        .find(|t| !tolerations.iter().any(|x| tolerates(x, t)))
}

/// Whether a toleration covers a taint.
pub fn tolerates(x: &Toleration, taint: &Taint) -> bool {
    let effect = x.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = x.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match x.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => {
            !key.is_empty()
                && x.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use serde_json::{Value, json};

    fn room(name: &str, spec: Value, cpu: &str) -> Room {
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"disk": "ssd"}},
            "spec": spec, "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "2"},
                "conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .unwrap();
        Room::of(&node)
    }

    fn ask(spec: Value) -> Ask {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        Ask::of(&pod)
    }

    fn cpu(amount: &str) -> Ask {
        ask(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]}))
    }

    fn words(v: Verdict) -> String {
        match v {
            Verdict::Fits(n) => panic!("fits {n}"),
            Verdict::FitsNowhere(w) => w,
        }
    }

    #[test]
    fn the_roomier_node_wins() {
        let rooms = [room("a", json!({}), "1"), room("b", json!({}), "4")];
        assert_eq!(choose(&cpu("500m"), &rooms), Verdict::Fits("b".into()));
        let mut rooms = [room("b", json!({}), "1"), room("a", json!({}), "1")];
        assert_eq!(choose(&cpu("1"), &rooms), Verdict::Fits("a".into()));
        rooms[1].requested.insert("cpu".into(), 1);
        assert_eq!(choose(&cpu("1"), &rooms), Verdict::Fits("b".into()));
    }

    #[test]
    fn the_sentences_learners_read() {
        assert_eq!(
            words(choose(&cpu("1"), &[])),
            "no nodes available to schedule pods"
        );
        assert_eq!(
            words(choose(&cpu("2"), &[room("a", json!({}), "1")])),
            "0/1 nodes are available: 1 Insufficient cpu."
        );
        let mut full = room("full", json!({}), "8");
        full.pods = 2;
        let rooms = [
            room("a", json!({}), "1"),
            room("b", json!({"unschedulable": true}), "8"),
            room(
                "c",
                json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
                "8",
            ),
            full,
            room("d", json!({}), "1"),
        ];
        assert_eq!(
            words(choose(&cpu("2"), &rooms)),
            "0/5 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {k: v}, \
             1 node(s) were unschedulable, 2 Insufficient cpu."
        );
        let a = ask(json!({"containers": [], "nodeSelector": {"disk": "hdd"}}));
        assert!(
            words(choose(&a, &rooms[..1])).contains("didn't match Pod's node affinity/selector")
        );
        let a = ask(
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
        );
        let mut taken = room("a", json!({}), "1");
        taken.host_ports = a.host_ports.clone();
        assert!(words(choose(&a, &[taken])).contains("didn't have free ports"));
        let unready = Room {
            node: Node::default(),
            ..room("a", json!({}), "1")
        };
        assert!(
            words(choose(&cpu("0"), &[unready]))
                .contains("untolerated taint {node.kubernetes.io/not-ready: }")
        );
    }

    #[test]
    fn tolerations_open_doors() {
        let taint = |v: Option<&str>| Taint {
            key: "k".into(),
            value: v.map(Into::into),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        let t = |v: Value| -> Toleration { serde_json::from_value(v).unwrap() };
        for (toleration, want) in [
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (
                json!({"key": "k", "operator": "Equal", "value": "w"}),
                false,
            ),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
            (json!({"key": "j", "operator": "Exists"}), false),
            (json!({"value": "v"}), false),
        ] {
            assert_eq!(
                tolerates(&t(toleration.clone()), &taint(Some("v"))),
                want,
                "{toleration}"
            );
        }
        let rooms = [room("a", json!({"unschedulable": true}), "1")];
        let mut a = cpu("1");
        a.tolerations = vec![t(json!({"operator": "Exists"}))];
        assert_eq!(choose(&a, &rooms), Verdict::Fits("a".into()));
    }

    #[test]
    fn a_pod_that_asks_for_nothing_fits_a_full_cpu() {
        let mut r = room("a", json!({}), "1");
        r.requested.insert("cpu".into(), 1000);
        assert_eq!(
            choose(&ask(json!({"containers": [{"name": "c"}]})), &[r]),
            Verdict::Fits("a".into())
        );
    }
}
