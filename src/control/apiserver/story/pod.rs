//! What a change of a pod tells. Pure.

use cadet_api::json::{at, int_at, list_at, str_at};
use serde_json::Value;

use super::line::Told;
use super::words::{because, condition};

/// Where containers are told of.
const CONTAINERS: [&str; 3] = [
    "/status/initContainerStatuses",
    "/status/containerStatuses",
    "/status/ephemeralContainerStatuses",
];
/// Reasons for which every container waits in the beginning.
const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What happened between two states of a pod, in the order in which it must have happened.
pub fn changes(old: &Value, new: &Value) -> Vec<Told> {
    let mut told = Vec::new();
    spec(old, new, &mut told);
    scheduling(old, new, &mut told);
    let phase = news(old, new, "/status/phase");
    let ip = news(old, new, "/status/podIP");
    if let (Some(ip), true) = (ip, phase != Some("Running")) {
        told.push(Told::new("network", format!("sandbox made, ip {ip}")));
    }
    for list in CONTAINERS {
        for status in list_at(new, list) {
            let name = str_at(status, "/name");
            let mut before = list_at(old, list).iter();
            let before = before.find(|status| str_at(status, "/name") == name);
            container(before.unwrap_or(&Value::Null), status, &mut told);
        }
    }
    match phase {
        Some("Running") => told.push(Told::new("running", running(new))),
        Some("Failed") => told.push(Told::new("failed", failed(new))),
        Some("Succeeded") => told.push(Told::new("succeeded", "Succeeded")),
        _ => {}
    }
    readiness(old, new, &mut told);
    told
}

/// The text at a place, if there is one and it was another before.
fn news<'a>(old: &Value, new: &'a Value, path: &str) -> Option<&'a str> {
    let now = str_at(new, path);
    (!now.is_empty() && now != str_at(old, path)).then_some(now)
}

fn spec(old: &Value, new: &Value, told: &mut Vec<Told>) {
    let lists = ["/spec/containers", "/spec/initContainers"];
    if lists.iter().any(|list| at(old, list) != at(new, list)) {
        told.push(Told::new("changed", "changed its containers"));
    }
    let known = list_at(old, "/spec/ephemeralContainers").len();
    for debugger in list_at(new, "/spec/ephemeralContainers").iter().skip(known) {
        let text = format!("added debugger {}", str_at(debugger, "/name"));
        told.push(Told::new("changed", text));
    }
}

fn scheduling(old: &Value, new: &Value, told: &mut Vec<Told>) {
    let Some(now) = condition(new, "PodScheduled").filter(|c| str_at(c, "/status") == "False")
    else {
        return;
    };
    let before = condition(old, "PodScheduled").map(because);
    if before != Some(because(now)) {
        let text = format!("no node yet: {}", because(now));
        told.push(Told::new("unschedulable", text));
    }
}

fn container(old: &Value, new: &Value, told: &mut Vec<Told>) {
    let name = str_at(new, "/name");
    if let Some(end) = ended(old, new) {
        let code = int_at(end, "/exitCode").unwrap_or(0);
        let why = match str_at(end, "/reason") {
            // Said by the code.
            "" | "Completed" | "Error" => String::new(),
            reason => format!(" ({reason})"),
        };
        let text = format!("container {name} ended, exit code {code}{why}");
        told.push(Told::new("ended", text));
    }
    let waits = str_at(new, "/state/waiting/reason");
    let waited = str_at(old, "/state/waiting/reason");
    if !waits.is_empty() && waits != waited && !ORDINARY.contains(&waits) {
        let why = match str_at(new, "/state/waiting/message") {
            "" => String::new(),
            message => format!(": {message}"),
        };
        let text = format!("container {name} waits, {waits}{why}");
        told.push(Told::new("waiting", text));
    }
    let restarts = |status: &Value| int_at(status, "/restartCount").unwrap_or(0);
    if restarts(new) > restarts(old) {
        let text = format!("container {name} runs again, restart {}", restarts(new));
        told.push(Told::new("restarted", text));
    }
}

/// The end of a container that the older state does not know.
fn ended<'a>(old: &Value, new: &'a Value) -> Option<&'a Value> {
    let ends = ["/state/terminated", "/lastState/terminated"];
    let when = |end: &Value| {
        (
            str_at(end, "/containerID").to_owned(),
            str_at(end, "/finishedAt").to_owned(),
        )
    };
    let known: Vec<_> = ends.iter().filter_map(|end| at(old, end)).collect();
    let mut found = ends.iter().filter_map(|end| at(new, end));
    found.find(|end| end.is_object() && !known.iter().any(|known| when(known) == when(end)))
}

fn running(pod: &Value) -> String {
    match str_at(pod, "/status/podIP") {
        "" => "Running".to_owned(),
        ip => format!("Running, ip {ip}"),
    }
}

fn failed(pod: &Value) -> String {
    let reason = str_at(pod, "/status/reason");
    let message = str_at(pod, "/status/message");
    let words: Vec<&str> = [reason, message]
        .into_iter()
        .filter(|w| !w.is_empty())
        .collect();
    match words.as_slice() {
        [] => "Failed".to_owned(),
        words => format!("Failed, {}", words.join(": ")),
    }
}

fn readiness(old: &Value, new: &Value, told: &mut Vec<Told>) {
    let status = |pod| condition(pod, "Ready").map_or("", |c| str_at(c, "/status"));
    match (status(old), status(new)) {
        (before, "True") if before != "True" => told.push(Told::new("ready", "ready")),
        ("True", "False") => {
            let why = condition(new, "Ready").map_or("", because);
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(": {why}")
            };
            told.push(Told::new("unready", format!("not ready any more{why}")));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: Value, new: Value) -> Vec<String> {
        let told = changes(&json!({"status": old}), &json!({"status": new}));
        told.into_iter()
            .map(|told| format!("{}: {}", told.act, told.text))
            .collect()
    }

    #[test]
    fn a_pods_way_up_is_told_once() {
        let ready = |word: &str| json!([{"type": "Ready", "status": word}]);
        let waiting = json!({"phase": "Pending", "conditions": ready("False"), "containerStatuses":
            [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        assert_eq!(told(json!({"phase": "Pending"}), waiting.clone()), [""; 0]);
        let mut wired = waiting.clone();
        wired["podIP"] = json!("10.244.0.7");
        assert_eq!(
            told(waiting.clone(), wired.clone()),
            ["network: sandbox made, ip 10.244.0.7"]
        );
        let up = json!({"phase": "Running", "podIP": "10.244.0.7", "conditions": ready("True"),
            "containerStatuses": [{"name": "a", "state": {"running": {}}, "restartCount": 0}]});
        let both = ["running: Running, ip 10.244.0.7", "ready: ready"];
        assert_eq!(told(wired, up.clone()), both);
        assert_eq!(told(waiting, up.clone()), both);
        assert_eq!(told(up.clone(), up), [""; 0]);
    }

    #[test]
    fn a_crash_and_what_follows_are_told_in_order() {
        let status = |state: Value, last: Value, count: i64| {
            json!({"phase": "Running", "containerStatuses":
            [{"name": "a", "restartCount": count, "state": state, "lastState": last}]})
        };
        let end = |at: &str, code: i64| {
            json!({"terminated": {"exitCode": code, "reason": "Error",
            "containerID": at, "finishedAt": at}})
        };
        let runs = status(json!({"running": {}}), json!({}), 0);
        let crashed = status(end("t1", 3), json!({}), 0);
        let back = status(json!({"running": {}}), end("t1", 3), 1);
        let looping = status(
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
            end("t2", 3),
            1,
        );
        let ended = "ended: container a ended, exit code 3";
        assert_eq!(told(runs, crashed.clone()), [ended]);
        assert_eq!(
            told(crashed, back.clone()),
            ["restarted: container a runs again, restart 1"]
        );
        assert_eq!(
            told(back, looping),
            [
                ended,
                "waiting: container a waits, CrashLoopBackOff: back-off 10s"
            ]
        );
        let killed = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory",
            "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
        assert_eq!(
            told(json!({"phase": "Running"}), killed),
            [
                "ended: container a ended, exit code 137 (OOMKilled)",
                "failed: Failed, Evicted: low on memory"
            ]
        );
    }

    #[test]
    fn each_new_reason_against_all_nodes_is_told() {
        let no = |why: &str| {
            json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": why}]})
        };
        let first = told(
            json!({}),
            no("0/1 nodes are available: 1 Insufficient cpu."),
        );
        assert_eq!(
            first,
            ["unschedulable: no node yet: 0/1 nodes are available: 1 Insufficient cpu."]
        );
        assert_eq!(told(no("a"), no("a")), [""; 0]);
        assert_eq!(told(no("a"), no("b")), ["unschedulable: no node yet: b"]);
        let yes = json!({"conditions": [{"type": "PodScheduled", "status": "True"}]});
        assert_eq!(told(no("a"), yes), [""; 0]);
    }

    #[test]
    fn losing_readiness_says_why() {
        let ready = |word: &str, why: &str| {
            json!({"conditions":
            [{"type": "Ready", "status": word, "reason": why}]})
        };
        assert_eq!(
            told(ready("True", ""), ready("False", "ContainersNotReady")),
            ["unready: not ready any more: ContainersNotReady"]
        );
    }
}
