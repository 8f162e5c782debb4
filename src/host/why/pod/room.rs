//! What a pod asks for, what nodes have and what of it is free.

use cadet_api::json::{int_at, map_at, str_at};
use cadet_api::pod_resources::{self, Resources};
use cadet_api::quantity::Amount;
use serde_json::Value;

use super::Case;
use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::{Facts, name};
use crate::kind::Kind;
use crate::owner;

/// An amount for people: `3`, `1.4`, `512 MiB`.
fn words(resource: &str, amount: Amount) -> String {
    let value = amount.quantity;
    match resource {
        "cpu" => decimal(value.millis(), 1000),
        "memory" | "ephemeral-storage" | "storage" => bytes(value.value()),
        _ => amount.to_string(),
    }
}

fn decimal(number: i64, unit: i64) -> String {
    let text = format!(
        "{}{}.{:03}",
        if number < 0 { "-" } else { "" },
        (number / unit).abs(),
        (number % unit).abs() * 1000 / unit
    );
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn bytes(number: i64) -> String {
    const STEPS: [(i64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, suffix) in STEPS {
        if number.abs() >= unit {
            let tenths = number.saturating_mul(10) / unit;
            return format!("{} {suffix}", decimal(tenths, 10));
        }
    }
    format!("{number} bytes")
}

/// "CPU", "memory", or the resource's own name.
fn title(resource: &str) -> &str {
    match resource {
        "cpu" => "CPU",
        "ephemeral-storage" => "disk",
        other => other,
    }
}

/// What a node offers, and what of it no pod has asked for.
struct Room {
    node: String,
    has: Amount,
    free: Amount,
}

/// The room for one resource on every node.
fn of(facts: &Facts, resource: &str) -> Vec<Room> {
    let mut rooms: Vec<Room> = facts
        .all(Kind::Node)
        .filter_map(|node| {
            let has = pod_resources::list(map_at(node, "/status/allocatable"))
                .get(resource)
                .copied()?;
            let used = used(facts, name(node), resource);
            Some(Room {
                node: name(node).to_owned(),
                has,
                free: has - used,
            })
        })
        .collect();
    rooms.sort_by(|a, b| b.free.cmp(&a.free).then(a.node.cmp(&b.node)));
    rooms
}

/// What the pods of a node have asked for; ended ones ask for nothing.
fn used(facts: &Facts, node: &str, resource: &str) -> Amount {
    let mut sum = Resources::new();
    for pod in facts.all(Kind::Pod) {
        let here = str_at(pod, "/spec/nodeName") == node;
        if here && !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed") {
            pod_resources::add(&mut sum, &pod_resources::requests(pod));
        }
    }
    sum.get(resource).copied().unwrap_or_default()
}

/// How many pods a node holds and may hold.
pub fn pods(facts: &Facts, node: &Value) -> (usize, i64) {
    let holds = facts.all(Kind::Pod).filter(|pod| {
        str_at(pod, "/spec/nodeName") == name(node)
            && !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed")
    });
    let most = str_at(node, "/status/allocatable/pods").parse().ok();
    let most = most.or_else(|| int_at(node, "/status/allocatable/pods"));
    (holds.count(), most.unwrap_or(0))
}

/// Why no node has room for a pod.
pub fn lacking(case: &Case<'_>, resource: &str) -> Answer {
    let subject = case.subject();
    let asks = pod_resources::requests(case.pod)
        .get(resource)
        .copied()
        .unwrap_or_default();
    let rooms = of(case.facts, resource);
    let title = title(resource);
    let fits_empty = rooms.iter().any(|room| room.has.quantity >= asks.quantity);
    let headline = match (rooms.is_empty(), fits_empty) {
        (true, _) if !matches!(resource, "cpu" | "memory" | "ephemeral-storage") => {
            format!("{subject} is Pending because no node has any {title}.")
        }
        (false, false) => {
            format!(
                "{subject} is Pending because no node is large enough: it wants more {title} than any has."
            )
        }
        _ => format!(
            "{subject} is Pending because no node has room for it: there is too little {title} left."
        ),
    };
    let mut answer = Answer::new(Cause::NoRoom, headline);
    let asked = words(resource, asks);
    match rooms.as_slice() {
        [] => answer = answer.with("evidence", format!("asks for {asked} {title}")),
        [first, rest @ ..] => {
            let told = |room: &Room| {
                format!(
                    "node {} has {}, of which {} are free",
                    room.node,
                    words(resource, room.has),
                    words(resource, room.free)
                )
            };
            answer = answer.with(
                "evidence",
                format!("asks for {asked} {title}; {}", told(first)),
            );
            for room in rest.iter().take(3) {
                answer = answer.with("evidence", told(room));
            }
        }
    }
    let less = less_than_free(resource, rooms.first());
    let (kind, root) = owner::root(case.facts, case.pod);
    answer = match (kind, less) {
        (
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::ReplicationController,
            Some(less),
        ) => answer.then(case.kubectl(&format!(
            "set resources {} {root} --requests={resource}={less}",
            kind.name()
        ))),
        _ => answer.then(owner::edit(case.facts, case.pod)),
    };
    if let Some(replace) = owner::replace(case.facts, case.pod) {
        answer = answer.then(replace);
    }
    answer.then("kubectl describe nodes")
}

/// Half of what is free, as a round request.
fn less_than_free(resource: &str, best: Option<&Room>) -> Option<String> {
    let free = best?.free.quantity;
    match resource {
        "cpu" => {
            let half = free.millis() / 2;
            let round = if half >= 500 { 500 } else { half / 50 * 50 };
            (round > 0).then(|| format!("{round}m"))
        }
        "memory" => {
            let half = (free.value() >> 20) / 2;
            let round = if half >= 256 { 256 } else { half / 16 * 16 };
            (round > 0).then(|| format!("{round}Mi"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        let told = |resource, text: &str| words(resource, text.parse().expect("a quantity"));
        assert_eq!(told("cpu", "1400m"), "1.4");
        assert_eq!(told("cpu", "3"), "3");
        assert_eq!(told("cpu", "5m"), "0.005");
        assert_eq!(told("memory", "512Mi"), "512 MiB");
        assert_eq!(told("memory", "1536Mi"), "1.5 GiB");
        assert_eq!(told("example.com/gpu", "2"), "2");
    }
}
