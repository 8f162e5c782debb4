//! Which of several fitting nodes is best: the one that stays emptiest.

use kube::ResourceExt;

use crate::affinity;
use crate::filter::tolerates;
use crate::node::Room;
use crate::pod::Ask;

/// What a pod without requests is taken to use, so that many of them still spread:
/// thousandths of a CPU, and bytes (upstream's figures).
const ASSUMED_CPU: i64 = 100;
const ASSUMED_MEMORY: i64 = 200 * 1024 * 1024;
/// A full score for one aspect.
const FULL: i64 = 100;
/// A wish or an unwelcome taint outweighs emptiness.
const WISH_WEIGHT: i64 = 2;
const TAINT_WEIGHT: i64 = 3;

/// Points of a node for a pod; more is better.
pub fn points(ask: &Ask, room: &Room) -> i64 {
    let free = |name: &str, assumed: i64| {
        let offers = room.offers(name);
        let need = ask
            .requests
            .get(name)
            .copied()
            .filter(|n| *n > 0)
            .unwrap_or(assumed);
        let used = room.promised(name).saturating_add(need);
        if offers <= 0 || used >= offers {
            return 0;
        }
        // i128: bytes times a hundred must not overflow on very large machines.
        i64::try_from(i128::from(offers - used) * i128::from(FULL) / i128::from(offers))
            .unwrap_or(0)
    };
    let emptiness = (free("cpu", ASSUMED_CPU) + free("memory", ASSUMED_MEMORY)) / 2;
    let wishes = affinity::wishes(&ask.spec, room.node.labels(), &room.name);
    let unwelcome = room
        .taints()
        .iter()
        .filter(|t| t.effect == "PreferNoSchedule")
        .filter(|t| !ask.tolerations.iter().any(|x| tolerates(x, t)))
        .count();
    let unwelcome = i64::try_from(unwelcome).unwrap_or(i64::MAX / FULL / TAINT_WEIGHT);
    emptiness + wishes * WISH_WEIGHT - unwelcome * FULL * TAINT_WEIGHT
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use serde_json::{Value, json};

    fn room(spec: Value) -> Room {
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "n", "labels": {"disk": "ssd"}}, "spec": spec,
            "status": {"allocatable": {"cpu": "1", "memory": "1000Mi"},
                "conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .unwrap();
        Room::of(&node)
    }

    #[test]
    fn emptier_is_better_and_wishes_and_taints_outweigh_it() {
        let ask = Ask::default();
        assert_eq!(points(&ask, &room(json!({}))), (90 + 80) / 2);
        let mut half = room(json!({}));
        half.requested.insert("cpu".into(), 500);
        assert!(points(&ask, &half) < points(&ask, &room(json!({}))));
        let tainted = room(json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}));
        assert!(points(&ask, &tainted) < 0);
        let pod: Pod = serde_json::from_value(
            json!({"spec": {"containers": [], "affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "preference":
                {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}}}),
        )
        .unwrap();
        assert_eq!(points(&Ask::of(&pod), &half), points(&ask, &half) + 100);
    }

    #[test]
    fn a_node_that_offers_nothing_scores_nothing() {
        assert_eq!(points(&Ask::default(), &Room::default()), 0);
    }
}
