//! The status of a DaemonSet from its nodes.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::jiff::Timestamp;

use super::place::{Place, Wishes};

/// Counts; the oldest pod of a node speaks for it.
pub fn status(
    set: &DaemonSet,
    wishes: &Wishes<'_>,
    places: &[Place<'_>],
    collisions: i32,
    now: Timestamp,
) -> DaemonSetStatus {
    let before = set.status.as_ref();
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        conditions: before.and_then(|status| status.conditions.clone()),
        collision_count: before
            .and_then(|status| status.collision_count)
            .or(Some(0).filter(|_| collisions > 0))
            .map(|_| collisions),
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for place in places {
        let first = place.pods.first();
        if !place.welcome.run {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(first) = first else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(first.is_ready());
        available += i32::from(wishes.is_available(first, now));
        updated += i32::from(wishes.is_new(first));
    }
    let some = |number: i32| Some(number).filter(|number| *number != 0);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status.updated_number_scheduled = some(updated);
    status
}

/// Seconds until the next ready pod will have been ready for long enough.
pub fn next_available(wishes: &Wishes<'_>, places: &[Place<'_>], now: Timestamp) -> Option<i64> {
    let pods = places.iter().flat_map(|place| &place.pods);
    let missing = pods.filter_map(|pod| {
        let available = pod.is_available(wishes.min_ready_seconds, now);
        available.err().flatten()
    });
    missing.min()
}

#[cfg(test)]
mod tests {
    use super::super::place::places;
    use super::super::testing::{at, node, pods, set};
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn nodes_are_counted_by_their_oldest_pod() {
        let set = set(json!({"minReadySeconds": 10}));
        let pods = pods(&json!([
            {"name": "a", "node": "n1"}, {"name": "b", "node": "n1", "born": 5, "ready": false},
            {"name": "c", "node": "n2", "hash": "old", "ready": false}, {"name": "d", "node": "n4"},
        ]));
        let mut nodes: Vec<_> = super::super::testing::nodes(&["n1", "n2", "n3"]);
        let taints = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        nodes.push(Arc::new(node("n4", taints)));
        let wishes = Wishes::of(&set, "new");
        let places = places(&wishes, &nodes, &pods);
        assert_eq!(next_available(&wishes, &places, at(6)), Some(4));
        let status = status(&set, &wishes, &places, 0, at(100));
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            json!({"observedGeneration": 4, "desiredNumberScheduled": 3, "currentNumberScheduled": 2,
                "numberMisscheduled": 1, "numberReady": 1, "numberAvailable": 1, "numberUnavailable": 2,
                "updatedNumberScheduled": 1})
        );
    }
}
