//! The pod row: one word for a state that several containers make up.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{AGE, Column, NAME, NONE, age, column, name, or, wide};
use crate::clock;
use crate::json::{bool_at, int_at, list_at, str_at};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "Containers that are ready, of all."),
    column("Status", "State of the pod in one word."),
    column(
        "Restarts",
        "How often containers were restarted, and when last.",
    ),
    AGE,
    wide("IP", "Address of the pod."),
    wide("Node", "Node the pod runs on."),
    wide(
        "Nominated Node",
        "Node where room is being made for the pod.",
    ),
    wide("Readiness Gates", "Extra conditions that hold, of all."),
];

pub(super) fn cells(pod: &Value, now: OffsetDateTime) -> Vec<Value> {
    let s = summary(pod);
    let restarts = match s.last_restart {
        Some(at) if s.restarts > 0 => {
            let ago = clock::human_duration((now - at).whole_seconds());
            format!("{} ({ago} ago)", s.restarts)
        }
        _ => s.restarts.to_string(),
    };
    vec![
        name(pod),
        json!(format!("{}/{}", s.ready, s.total)),
        json!(s.reason),
        json!(restarts),
        age(pod, now),
        json!(or(ip(pod), NONE)),
        json!(or(str_at(pod, "/spec/nodeName"), NONE)),
        json!(or(str_at(pod, "/status/nominatedNodeName"), NONE)),
        json!(gates(pod)),
    ]
}

/// The row condition that greys out a pod which has ended.
pub(super) fn condition(pod: &Value) -> Option<Value> {
    let (reason, message) = match str_at(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

fn ip(pod: &Value) -> &str {
    or(
        str_at(pod, "/status/podIPs/0/ip"),
        str_at(pod, "/status/podIP"),
    )
}

fn gates(pod: &Value) -> String {
    let gates = list_at(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let met = gates
        .iter()
        .filter(|g| has_condition(pod, str_at(g, "/conditionType")))
        .count();
    format!("{met}/{}", gates.len())
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    list_at(pod, "/status/conditions")
        .iter()
        .any(|c| str_at(c, "/type") == kind && str_at(c, "/status") == "True")
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<OffsetDateTime>,
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += int_at(container, "/restartCount").unwrap_or(0);
        let at = clock::parse(str_at(container, "/lastState/terminated/finishedAt"));
        self.last_restart = self.last_restart.max(at);
    }
}

fn summary(pod: &Value) -> Summary {
    let phase = str_at(pod, "/status/phase");
    let mut s = Summary {
        ready: 0,
        total: list_at(pod, "/spec/containers").len(),
        reason: or(str_at(pod, "/status/reason"), phase).to_owned(),
        restarts: 0,
        last_restart: None,
    };
    let gated = list_at(pod, "/status/conditions")
        .iter()
        .any(|c| str_at(c, "/type") == "PodScheduled" && str_at(c, "/reason") == "SchedulingGated");
    if gated {
        s.reason = "SchedulingGated".to_owned();
    }
    s.total += list_at(pod, "/spec/initContainers")
        .iter()
        .filter(|c| is_sidecar(c))
        .count();
    // Restarts of sidecars count for the running pod, those of other init containers not.
    let mut sidecars = Summary {
        reason: String::new(),
        ..s
    };
    let initializing = init_containers(pod, &mut s, &mut sidecars);
    if !initializing || has_condition(pod, "Initialized") {
        s.restarts = sidecars.restarts;
        s.last_restart = sidecars.last_restart;
        containers(pod, &mut s);
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        if str_at(pod, "/status/reason") == "NodeLost" {
            s.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            s.reason = "Terminating".to_owned();
        }
    }
    s
}

fn is_sidecar(container: &Value) -> bool {
    str_at(container, "/restartPolicy") == "Always"
}

/// Walks the init containers up to the one that holds the pod back; true if there is one.
fn init_containers(pod: &Value, s: &mut Summary, sidecars: &mut Summary) -> bool {
    let specs = list_at(pod, "/spec/initContainers");
    for (i, c) in list_at(pod, "/status/initContainerStatuses")
        .iter()
        .enumerate()
    {
        s.count_restarts(c);
        let sidecar = specs
            .iter()
            .any(|x| is_sidecar(x) && str_at(x, "/name") == str_at(c, "/name"));
        if sidecar {
            sidecars.count_restarts(c);
        }
        let waiting = str_at(c, "/state/waiting/reason");
        if let Some(end) = c.pointer("/state/terminated") {
            if int_at(end, "/exitCode") == Some(0) {
                continue;
            }
            s.reason = format!("Init:{}", ended(end));
        } else if sidecar && bool_at(c, "/started") {
            s.ready += usize::from(bool_at(c, "/ready"));
            continue;
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            s.reason = format!("Init:{waiting}");
        } else {
            s.reason = format!("Init:{i}/{}", specs.len());
        }
        return true;
    }
    false
}

fn containers(pod: &Value, s: &mut Summary) {
    let mut running = false;
    // From the last to the first, so that the first container's trouble is what shows.
    for c in list_at(pod, "/status/containerStatuses").iter().rev() {
        s.count_restarts(c);
        let waiting = str_at(c, "/state/waiting/reason");
        if !waiting.is_empty() {
            s.reason = waiting.to_owned();
        } else if let Some(end) = c.pointer("/state/terminated") {
            s.reason = ended(end);
        } else if bool_at(c, "/ready") && c.pointer("/state/running").is_some() {
            running = true;
            s.ready += 1;
        }
    }
    if s.reason == "Completed" && running {
        s.reason = if has_condition(pod, "Ready") {
            "Running"
        } else {
            "NotReady"
        }
        .to_owned();
    }
}

/// Why a container ended: its reason, or its signal or exit code.
fn ended(terminated: &Value) -> String {
    let reason = str_at(terminated, "/reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match int_at(terminated, "/signal").unwrap_or(0) {
        0 => format!("ExitCode:{}", int_at(terminated, "/exitCode").unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn shown(pod: Value) -> String {
        let c = cells(&pod, datetime!(2026-11-20 20:00:05 UTC));
        c[1..4]
            .iter()
            .map(|c| c.as_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn pod(phase: &str, statuses: Value) -> Value {
        let n = statuses.as_array().map_or(0, Vec::len);
        json!({"spec": {"containers": vec![json!({}); n.max(2)]},
            "status": {"phase": phase, "containerStatuses": statuses}})
    }

    #[test]
    fn the_words_learners_see() {
        let waiting = |r: &str| json!({"state": {"waiting": {"reason": r}}});
        let run = json!({"ready": true, "state": {"running": {}}});
        let end = |r: &str| json!({"state": {"terminated": {"reason": r, "exitCode": 1}}});
        assert_eq!(shown(pod("Pending", json!([]))), "0/2 Pending 0");
        assert_eq!(
            shown(pod(
                "Pending",
                json!([waiting("ContainerCreating"), waiting("ContainerCreating")])
            )),
            "0/2 ContainerCreating 0"
        );
        assert_eq!(shown(pod("Running", json!([run, run]))), "2/2 Running 0");
        assert_eq!(
            shown(pod(
                "Succeeded",
                json!([end("Completed"), end("Completed")])
            )),
            "0/2 Completed 0"
        );
        assert_eq!(
            shown(pod("Running", json!([end("Completed"), run]))),
            "1/2 NotReady 0"
        );
        assert_eq!(
            shown(pod(
                "Failed",
                json!([{"state": {"terminated": {"exitCode": 3}}}])
            )),
            "0/2 ExitCode:3 0"
        );
        let crash = json!({"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-11-20T20:00:00Z"}}});
        assert_eq!(
            shown(pod("Running", json!([crash, run]))),
            "1/2 CrashLoopBackOff 1 (5s ago)"
        );
        let mut gone = pod("Running", json!([run, run]));
        gone["metadata"] = json!({"deletionTimestamp": "2026-11-20T20:00:30Z"});
        assert_eq!(shown(gone), "2/2 Terminating 0");
        let mut evicted = pod("Failed", json!([]));
        evicted["status"]["reason"] = json!("Evicted");
        assert_eq!(shown(evicted), "0/2 Evicted 0");
    }

    #[test]
    fn init_containers_come_first() {
        let mut p = json!({"spec": {"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
                "containers": [{}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"running": {}}}, {"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}}]}});
        assert_eq!(shown(p.clone()), "0/2 Init:0/2 0");
        p["status"]["initContainerStatuses"][0] =
            json!({"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}});
        p["status"]["initContainerStatuses"][1] = json!({"name": "s", "restartCount": 1, "started": true, "ready": true, "state": {"running": {}}});
        p["status"]["phase"] = json!("Running");
        p["status"]["containerStatuses"] = json!([{"ready": true, "state": {"running": {}}}]);
        assert_eq!(shown(p.clone()), "2/2 Running 1");
        p["status"]["initContainerStatuses"][0] =
            json!({"name": "i", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}});
        assert_eq!(shown(p), "0/2 Init:Error 0");
    }

    #[test]
    fn the_wide_cells() {
        let p = json!({"spec": {"nodeName": "n", "readinessGates": [{"conditionType": "a"}]},
            "status": {"podIP": "10.244.0.2", "conditions": [{"type": "a", "status": "True"}]}});
        let c = cells(&p, datetime!(2026-11-20 20:00:05 UTC));
        assert_eq!(
            c[5..],
            [
                json!("10.244.0.2"),
                json!("n"),
                json!("<none>"),
                json!("1/1")
            ]
        );
    }
}
