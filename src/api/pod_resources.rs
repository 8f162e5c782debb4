//! What a pod asks of a node and is limited to, all its containers together.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::{list_at, map_at, str_at};
use crate::quantity::Amount;

/// Amounts by resource name: `cpu`, `memory`, `example.com/gpu`.
pub type Resources = BTreeMap<String, Amount>;

/// Reads a resource list; what is no quantity is left out, validation has named it.
pub fn list(value: Option<&serde_json::Map<String, Value>>) -> Resources {
    value
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Amount::of(amount)?)))
        .collect()
}

/// Adds every amount of `more`.
pub fn add(sum: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        let slot = sum.entry(name.clone()).or_default();
        *slot = *slot + *amount;
    }
}

fn raise(sum: &mut Resources, least: &Resources) {
    for (name, amount) in least {
        let slot = sum.entry(name.clone()).or_insert(*amount);
        if slot.quantity < amount.quantity {
            *slot = *amount;
        }
    }
}

/// What the pod as a whole requests: the larger of what runs in the end and of any moment
/// of its start, plus its overhead (KEP-753 for init containers that go on running,
/// KEP-2837 for amounts of the pod itself).
pub fn requests(pod: &Value) -> Resources {
    total(pod, "requests")
}

/// As [`requests`], of the limits.
pub fn limits(pod: &Value) -> Resources {
    total(pod, "limits")
}

fn total(pod: &Value, part: &str) -> Resources {
    let of = |container: &Value| list(map_at(container, &format!("/resources/{part}")));
    let mut running = Resources::new();
    for container in list_at(pod, "/spec/containers") {
        add(&mut running, &of(container));
    }
    let (mut starting, mut beside) = (Resources::new(), Resources::new());
    for container in list_at(pod, "/spec/initContainers") {
        let mut now = of(container);
        if str_at(container, "/restartPolicy") == "Always" {
            add(&mut running, &now);
            add(&mut beside, &now);
            now = beside.clone();
        } else {
            add(&mut now, &beside);
        }
        raise(&mut starting, &now);
    }
    raise(&mut running, &starting);
    for (name, amount) in list(map_at(pod, &format!("/spec/resources/{part}"))) {
        running.insert(name, amount);
    }
    let overhead = list(map_at(pod, "/spec/overhead"));
    match part {
        "requests" => add(&mut running, &overhead),
        // A limit that is not set stays unset.
        _ => {
            for (name, amount) in overhead {
                if let Some(slot) = running.get_mut(&name) {
                    *slot = *slot + amount;
                }
            }
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_count_for_their_moment_and_sidecars_for_all_time() {
        let c = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = c("100m");
        sidecar["restartPolicy"] = json!("Always");
        let cpu = |spec: Value| requests(&json!({"spec": spec}))["cpu"].to_string();
        assert_eq!(cpu(json!({"containers": [c("1"), c("500m")]})), "1500m");
        assert_eq!(
            cpu(json!({"containers": [c("1")], "initContainers": [c("3"), c("2")]})),
            "3"
        );
        assert_eq!(
            cpu(json!({"containers": [c("1")], "initContainers": [sidecar, c("3")]})),
            "3100m"
        );
        assert_eq!(
            cpu(json!({"containers": [c("1")], "overhead": {"cpu": "250m"}})),
            "1250m"
        );
    }
}
