//! What a change of anything but a pod tells: wishes (scaled, another image), conditions,
//! phases, addresses. Pure.

use std::collections::BTreeMap;

use cadet_api::json::{at, int_at, list_at, str_at};
use serde_json::Value;

use super::line::Told;
use super::words::{because, condition, kind_words};

/// Reasons of a Deployment's progress that only say that it goes on.
const UNDER_WAY: [&str; 4] = [
    "NewReplicaSetCreated",
    "FoundNewReplicaSet",
    "ReplicaSetUpdated",
    "DeploymentResumed",
];
/// Conditions that only announce another one.
const SILENT: [&str; 2] = ["SuccessCriteriaMet", "FailureTarget"];

/// What happened between two states of an object. `is_top` is that no other object owns it.
pub fn changes(old: &Value, new: &Value, is_top: bool) -> Vec<Told> {
    let kind = str_at(new, "/kind");
    let title = format!("{} {}", kind_words(kind), str_at(new, "/metadata/name"));
    let mut told = wishes(old, new, &title);
    for now in list_at(new, "/status/conditions") {
        let before = condition(old, str_at(now, "/type"));
        told.extend(of_condition(before, now, new));
    }
    let phase = str_at(new, "/status/phase");
    if !phase.is_empty() && phase != str_at(old, "/status/phase") {
        told.push(Told::new("phase", format!("{title} is {phase}")));
    }
    for path in ["/status/loadBalancer/ingress/0/ip", "/spec/clusterIP"] {
        let address = str_at(new, path);
        if !address.is_empty() && address != str_at(old, path) {
            told.push(Told::new(
                "address",
                format!("{title} has address {address}"),
            ));
        }
    }
    if let (true, Some((ready, wanted))) = (is_top && kind != "Deployment", readiness(new))
        && readiness(old) != Some((ready, wanted))
        && ready == wanted
        && wanted > 0
    {
        told.push(Told::new("ready", format!("{ready} of {wanted} ready")));
    }
    told
}

/// What somebody wants to be otherwise.
fn wishes(old: &Value, new: &Value, title: &str) -> Vec<Told> {
    let mut told = Vec::new();
    if let (Some(before), Some(now)) = (int_at(old, REPLICAS), int_at(new, REPLICAS))
        && before != now
    {
        let text = format!("scaled {title} from {before} to {now}");
        told.push(Told::new("scaled", text));
    }
    let images = |object: &Value| -> Vec<String> {
        let containers = list_at(object, "/spec/template/spec/containers").iter();
        containers
            .map(|container| str_at(container, "/image").to_owned())
            .collect()
    };
    let (before, now) = (images(old), images(new));
    let template = "/spec/template";
    if before.len() == now.len() && before != now {
        let pairs = before
            .iter()
            .zip(&now)
            .filter(|(before, now)| before != now);
        for (before, now) in pairs {
            let text = format!("{title}: image {before} → {now}");
            told.push(Told::new("changed", text));
        }
    } else if at(old, template) != at(new, template) {
        let text = format!("changed the pod template of {title}");
        told.push(Told::new("changed", text));
    }
    if told.is_empty() && wanted(old) != wanted(new) {
        told.push(Told::new("changed", format!("changed {title}")));
    }
    told
}

const REPLICAS: &str = "/spec/replicas";

/// All of an object that its users decide; who gives addresses is told apart.
fn wanted(object: &Value) -> BTreeMap<String, Value> {
    let kept = ["apiVersion", "kind", "metadata", "status"];
    let members = object.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !kept.contains(&name.as_str()))
        .map(|(name, value)| {
            let mut value = value.clone();
            if let Some(members) = value.as_object_mut() {
                for assigned in ["clusterIP", "clusterIPs", "volumeName"] {
                    members.remove(assigned);
                }
            }
            (name.clone(), value)
        })
        .collect()
}

fn of_condition(before: Option<&Value>, now: &Value, object: &Value) -> Option<Told> {
    let (kind, status) = (str_at(now, "/type"), str_at(now, "/status"));
    let reason = str_at(now, "/reason");
    let was = |path| before.map_or("", |before| str_at(before, path));
    let same = was("/status") == status && was("/reason") == reason;
    if same || SILENT.contains(&kind) || UNDER_WAY.contains(&reason) {
        return None;
    }
    let is_deployment = str_at(object, "/kind") == "Deployment";
    Some(match (is_deployment, kind, status) {
        (true, "Progressing", "True") if reason == "NewReplicaSetAvailable" => {
            Told::new("rolled-out", "rollout complete")
        }
        (true, "Progressing", "False") => {
            Told::new("stuck", format!("rollout is stuck: {}", because(now)))
        }
        (true, "Available", "True") => {
            let (ready, wanted) = readiness(object).unwrap_or_default();
            Told::new("available", format!("available, {ready} of {wanted} ready"))
        }
        (true, "Available", "False") if before.is_some() => {
            Told::new("unavailable", format!("not available: {}", because(now)))
        }
        // The beginning of every one.
        (true, "Available", "False") => return None,
        _ => {
            let why = match because(now) {
                "" => String::new(),
                why => format!(": {why}"),
            };
            let word = match status {
                "True" => kind.to_owned(),
                "False" => format!("not {kind}"),
                other => format!("{kind} is {other}"),
            };
            Told::new("condition", format!("{word}{why}"))
        }
    })
}

/// How many are ready, of how many.
fn readiness(object: &Value) -> Option<(i64, i64)> {
    let (ready, wanted) = match str_at(object, "/kind") {
        "DaemonSet" => ("/status/numberReady", "/status/desiredNumberScheduled"),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            ("/status/readyReplicas", REPLICAS)
        }
        _ => return None,
    };
    let number = |path| int_at(object, path).unwrap_or(0);
    Some((number(ready), number(wanted)))
}

/// How a new object asks for others: `, 3 wanted`.
pub fn wanting(object: &Value) -> String {
    match int_at(object, REPLICAS) {
        Some(number) => format!(", {number} wanted"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: Value, new: Value) -> Vec<String> {
        let told = changes(&old, &new, true);
        told.into_iter()
            .map(|told| format!("{}: {}", told.act, told.text))
            .collect()
    }

    fn deployment(replicas: i64, image: &str, status: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"image": image}]}}},
            "status": status})
    }

    #[test]
    fn wishes_are_told_by_what_they_change() {
        let old = deployment(1, "a:1", json!({}));
        assert_eq!(
            told(old.clone(), deployment(3, "a:1", json!({}))),
            ["scaled: scaled deployment web from 1 to 3"]
        );
        assert_eq!(
            told(old.clone(), deployment(1, "a:2", json!({}))),
            ["changed: deployment web: image a:1 → a:2"]
        );
        let mut other = old.clone();
        other["spec"]["template"]["metadata"] = json!({"labels": {"a": "b"}});
        assert_eq!(
            told(old.clone(), other),
            ["changed: changed the pod template of deployment web"]
        );
        let mut paused = old.clone();
        paused["spec"]["paused"] = json!(true);
        assert_eq!(
            told(old.clone(), paused),
            ["changed: changed deployment web"]
        );
        let mut labelled = old.clone();
        labelled["metadata"]["annotations"] = json!({"a": "b"});
        assert_eq!(told(old, labelled), [""; 0]);
    }

    #[test]
    fn a_rollout_is_told_by_its_ends() {
        let with = |conditions: Value| {
            deployment(
                3,
                "a",
                json!({"readyReplicas": 3, "conditions": conditions}),
            )
        };
        let one = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
        let begun = with(json!([
            one("Available", "False", "MinimumReplicasUnavailable", "no"),
            one("Progressing", "True", "ReplicaSetUpdated", "going on")
        ]));
        assert_eq!(told(deployment(3, "a", json!({})), begun.clone()), [""; 0]);
        let done = with(json!([
            one("Available", "True", "MinimumReplicasAvailable", "yes"),
            one("Progressing", "True", "NewReplicaSetAvailable", "done")
        ]));
        assert_eq!(
            told(begun.clone(), done.clone()),
            [
                "available: available, 3 of 3 ready",
                "rolled-out: rollout complete"
            ]
        );
        let stuck = with(json!([
            one(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "too few"
            ),
            one(
                "Progressing",
                "False",
                "ProgressDeadlineExceeded",
                "took too long"
            )
        ]));
        assert_eq!(
            told(done, stuck),
            [
                "unavailable: not available: too few",
                "stuck: rollout is stuck: took too long"
            ]
        );
    }

    #[test]
    fn other_kinds_tell_their_conditions_phases_and_addresses() {
        let job = |conditions: Value| json!({"kind": "Job", "metadata": {"name": "j"}, "status": {"conditions": conditions}});
        let failed = json!([{"type": "FailureTarget", "status": "True"},
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]);
        assert_eq!(
            told(job(json!([])), job(failed)),
            ["condition: Failed: too often"]
        );
        let claim = |phase: &str| {
            json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
            "spec": {"volumeName": phase}, "status": {"phase": phase}})
        };
        assert_eq!(
            told(claim("Pending"), claim("Bound")),
            ["phase: persistent volume claim c is Bound"]
        );
        let service = |ingress: Value| {
            json!({"kind": "Service", "metadata": {"name": "s"},
            "spec": {"clusterIP": "10.96.0.9"}, "status": {"loadBalancer": {"ingress": ingress}}})
        };
        assert_eq!(
            told(service(json!([])), service(json!([{"ip": "10.0.0.9"}]))),
            ["address: service s has address 10.0.0.9"]
        );
        let set = |ready: i64| {
            json!({"kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {"replicas": 2}, "status": {"readyReplicas": ready}})
        };
        assert_eq!(told(set(0), set(1)), [""; 0]);
        assert_eq!(told(set(1), set(2)), ["ready: 2 of 2 ready"]);
        let map = |value: &str| json!({"kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": value}});
        assert_eq!(told(map("1"), map("2")), ["changed: changed config map m"]);
        assert_eq!(wanting(&set(0)), ", 2 wanted");
        assert_eq!(wanting(&map("")), "");
    }
}
