//! What an object remembers of itself, for the time that the server does not: its creation,
//! its conditions, the starts of its containers; in whole seconds. Pure.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use super::actor::Actor;
use super::line::Told;
use super::words::because;
use crate::moment::Moment;

/// Something that happened before the server's memory begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    pub at: Moment,
    pub actor: Actor,
    pub told: Told,
}

/// All that the object remembers, oldest first.
pub fn memories(object: &Value, birth: Told) -> Vec<Memory> {
    let mut all = Vec::new();
    let mut remember = |time: &str, actor: Actor, told: Told| {
        if let Some(at) = Moment::parse(time) {
            all.push(Memory { at, actor, told });
        }
    };
    let born = str_at(object, "/metadata/creationTimestamp");
    remember(born, Actor::by_record(object, true), birth);
    let is_pod = str_at(object, "/kind") == "Pod";
    for condition in list_at(object, "/status/conditions") {
        let told = match is_pod {
            true => of_pod(condition, object),
            false => of_other(condition),
        };
        if let Some((actor, told)) = told {
            remember(str_at(condition, "/lastTransitionTime"), actor, told);
        }
    }
    for status in list_at(object, "/status/containerStatuses") {
        let text = format!("container {} started", str_at(status, "/name"));
        let since = str_at(status, "/state/running/startedAt");
        let actor = Actor::new("agent", "docker");
        remember(since, actor, Told::new("started", text));
    }
    // The order in which things of one second are said stays.
    all.sort_by_key(|memory| memory.at);
    all
}

fn of_pod(condition: &Value, pod: &Value) -> Option<(Actor, Told)> {
    let agent = Actor::new("agent", "");
    let told = match (str_at(condition, "/type"), str_at(condition, "/status")) {
        ("PodScheduled", "True") => {
            let text = format!("→ node {}", str_at(pod, "/spec/nodeName"));
            return Some((Actor::new("scheduler", ""), Told::new("scheduled", text)));
        }
        ("PodScheduled", _) => {
            let text = format!("no node yet: {}", because(condition));
            return Some((
                Actor::new("scheduler", ""),
                Told::new("unschedulable", text),
            ));
        }
        ("PodReadyToStartContainers", "True") => match str_at(pod, "/status/podIP") {
            "" => return None,
            ip => Told::new("network", format!("sandbox made, ip {ip}")),
        },
        ("Ready", "True") => Told::new("ready", "ready"),
        ("Ready", "False") => Told::new("unready", format!("not ready: {}", because(condition))),
        _ => return None,
    };
    Some((agent, told))
}

fn of_other(condition: &Value) -> Option<(Actor, Told)> {
    let word = match str_at(condition, "/status") {
        "True" => String::new(),
        "False" => "not ".to_owned(),
        _ => return None,
    };
    let text = format!(
        "{word}{}: {}",
        str_at(condition, "/type"),
        because(condition)
    );
    Some((Actor::new("controller", ""), Told::new("condition", text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_tells_its_life_by_its_own_times() {
        let pod = json!({"kind": "Pod",
            "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{"manager": "kubectl-run", "time": "2026-01-01T00:00:00Z"}]},
            "spec": {"nodeName": "n1"},
            "status": {"podIP": "10.244.0.7",
                "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:03Z"},
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
                "containerStatuses": [{"name": "a", "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}}]}});
        let told: Vec<String> = memories(&pod, Told::new("created", "created pod x"))
            .into_iter()
            .map(|memory| format!("{} {}", memory.actor.who, memory.told.text))
            .collect();
        assert_eq!(
            told,
            [
                "you created pod x",
                "scheduler → node n1",
                "agent sandbox made, ip 10.244.0.7",
                "agent container a started",
                "agent ready"
            ]
        );
    }

    #[test]
    fn others_tell_their_conditions() {
        let object = json!({"kind": "Deployment", "metadata": {"name": "x"}, "status": {"conditions": [
            {"type": "Available", "status": "True", "message": "enough", "lastTransitionTime": "2026-01-01T00:00:03Z"}]}});
        // Without a time of birth that is not told.
        let all = memories(&object, Told::new("created", "created"));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].told.text, "Available: enough");
    }
}
