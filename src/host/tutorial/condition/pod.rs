//! The state of a pod in plain words: what is going on and, where it is stuck, in what.

use cadet_api::json::{bool_at, int_at, list_at, str_at};
use serde_json::Value;

/// What a pod is doing, as `is Pending: pulling image "web:2"`; goes on after its name. `events`
/// are those of its namespace; without them a pull cannot be told from other beginnings.
pub fn state(pod: &Value, events: &[Value]) -> String {
    if !str_at(pod, "/metadata/deletionTimestamp").is_empty() {
        return "is being deleted".to_owned();
    }
    let phase = match str_at(pod, "/status/phase") {
        "" => "Pending",
        phase => phase,
    };
    match phase {
        "Succeeded" => "has done its work and ended".to_owned(),
        "Failed" => format!("has failed{}", after(&failure(pod))),
        "Running" if is_ready(pod) => "is Running and ready".to_owned(),
        _ => format!("is {phase}{}", after(&trouble(pod, events))),
    }
}

/// Whether the pod says that it can serve.
pub fn is_ready(pod: &Value) -> bool {
    let deleted = !str_at(pod, "/metadata/deletionTimestamp").is_empty();
    !deleted && condition(pod, "Ready").is_some_and(|c| str_at(c, "/status") == "True")
}

/// One line per container: `mongo: running`, `web: pulling image "web:2"`.
pub fn containers(pod: &Value, events: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    for (names, statuses, init) in [
        (
            "/spec/initContainers",
            "/status/initContainerStatuses",
            true,
        ),
        ("/spec/containers", "/status/containerStatuses", false),
    ] {
        let statuses = list_at(pod, statuses);
        for container in list_at(pod, names) {
            let name = str_at(container, "/name");
            let said = match statuses.iter().find(|s| str_at(s, "/name") == name) {
                Some(status) if int_at(status, "/state/terminated/exitCode") == Some(0) => {
                    "done".to_owned()
                }
                Some(status) if running(status) && bool_at(status, "/ready") => {
                    "running".to_owned()
                }
                Some(status) => container_trouble(pod, status, init, events)
                    .unwrap_or_else(|| "waiting".to_owned()),
                None => "waiting".to_owned(),
            };
            out.push(format!("{name}: {said}"));
        }
    }
    out
}

/// Restarts of all containers together.
pub fn restarts(pod: &Value) -> i64 {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.into_iter().flat_map(|list| list_at(pod, list));
    statuses.filter_map(|s| int_at(s, "/restartCount")).sum()
}

/// The condition of that type, if the object has one.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let mut conditions = list_at(object, "/status/conditions").iter();
    conditions.find(|c| str_at(c, "/type") == name)
}

fn after(what: &Option<String>) -> String {
    what.as_ref()
        .map(|what| format!(": {what}"))
        .unwrap_or_default()
}

fn running(status: &Value) -> bool {
    status.pointer("/state/running").is_some()
}

/// What keeps a pod from being ready.
fn trouble(pod: &Value, events: &[Value]) -> Option<String> {
    if let Some(scheduled) = condition(pod, "PodScheduled")
        && str_at(scheduled, "/status") == "False"
    {
        let message = sentence(str_at(scheduled, "/message"));
        return Some(match message.is_empty() {
            true => "no node has taken it yet".to_owned(),
            false => format!("no node takes it ({message})"),
        });
    }
    for (list, init) in [
        ("/status/initContainerStatuses", true),
        ("/status/containerStatuses", false),
    ] {
        for status in list_at(pod, list) {
            if let Some(trouble) = container_trouble(pod, status, init, events) {
                return Some(trouble);
            }
        }
    }
    let statuses = list_at(pod, "/status/containerStatuses");
    if statuses.is_empty() {
        return Some(match str_at(pod, "/spec/nodeName") {
            "" => "it waits for a node".to_owned(),
            node => format!("node {node} is making it"),
        });
    }
    let ready = statuses.iter().filter(|s| bool_at(s, "/ready")).count();
    if ready < statuses.len() {
        return Some(format!("{ready} of {} containers ready", statuses.len()));
    }
    let gate = condition(pod, "Ready").map(|c| sentence(str_at(c, "/message")));
    gate.filter(|message| !message.is_empty())
}

/// What keeps one container from running and being ready; None where nothing does.
fn container_trouble(pod: &Value, status: &Value, init: bool, events: &[Value]) -> Option<String> {
    let name = str_at(status, "/name");
    let image = str_at(status, "/image");
    if let Some(waiting) = status.pointer("/state/waiting") {
        let message = sentence(str_at(waiting, "/message"));
        return Some(match str_at(waiting, "/reason") {
            "ErrImagePull" | "ImagePullBackOff" => {
                format!(
                    "image \"{image}\" cannot be pulled{}",
                    in_brackets(&message)
                )
            }
            "InvalidImageName" => format!("\"{image}\" is no image name"),
            "ErrImageNeverPull" => {
                format!("image \"{image}\" is not on the node, and may not be pulled")
            }
            "CrashLoopBackOff" => {
                let restarts = int_at(status, "/restartCount").unwrap_or(0);
                let last = status.pointer("/lastState/terminated");
                let code = last.and_then(|t| int_at(t, "/exitCode"));
                let code = code.map_or(String::new(), |code| format!(" with exit code {code}"));
                format!("container {name} ends again and again{code} ({restarts} restarts)")
            }
            "PodInitializing" => return None,
            "ContainerCreating" | "" => match pulling(pod, image, events) {
                true => format!("pulling image \"{image}\""),
                false => format!("container {name} is being made{}", in_brackets(&message)),
            },
            reason => format!("container {name}: {reason}{}", in_brackets(&message)),
        });
    }
    if let Some(ended) = status.pointer("/state/terminated") {
        let code = int_at(ended, "/exitCode").unwrap_or(0);
        if code == 0 {
            // An init container that has done its work is as it should be.
            return None;
        }
        return Some(match str_at(ended, "/reason") {
            "OOMKilled" => {
                format!("container {name} was ended: it used more memory than its limit")
            }
            _ => format!("container {name} ended with exit code {code}"),
        });
    }
    if init && running(status) {
        // A helper that stays (KEP-753) has started once it says so.
        let started = bool_at(status, "/started") && bool_at(status, "/ready");
        return (!started).then(|| format!("init container {name} is at work"));
    }
    if running(status) && !bool_at(status, "/ready") {
        let probe = latest(pod, events)
            .filter(|e| str_at(e, "/reason") == "Unhealthy")
            .map(|e| sentence(str_at(e, "/message")));
        return Some(match probe {
            Some(message) => format!("container {name} runs and is not ready ({message})"),
            None => format!("container {name} runs and is not ready"),
        });
    }
    None
}

/// Whether the last word of the node on this image is that it is being pulled.
fn pulling(pod: &Value, image: &str, events: &[Value]) -> bool {
    let of_image = of_pod(pod, events).filter(|e| str_at(e, "/message").contains(image));
    let last = of_image.max_by_key(|e| when(e));
    last.is_some_and(|e| str_at(e, "/reason") == "Pulling")
}

fn latest<'a>(pod: &Value, events: &'a [Value]) -> Option<&'a Value> {
    of_pod(pod, events).max_by_key(|e| when(e))
}

fn of_pod<'a>(pod: &Value, events: &'a [Value]) -> impl Iterator<Item = &'a Value> {
    let uid = str_at(pod, "/metadata/uid").to_owned();
    let name = str_at(pod, "/metadata/name").to_owned();
    events.iter().filter(move |event| {
        let of = |path| str_at(event, path);
        of("/involvedObject/kind") == "Pod"
            && of("/involvedObject/name") == name
            && (uid.is_empty() || of("/involvedObject/uid") == uid)
    })
}

/// RFC 3339 in UTC: its order as text is its order in time.
fn when(event: &Value) -> String {
    let times = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/firstTimestamp",
    ];
    let known = times.into_iter().map(|path| str_at(event, path));
    known
        .filter(|t| !t.is_empty())
        .max()
        .unwrap_or("")
        .to_owned()
}

fn failure(pod: &Value) -> Option<String> {
    let message = sentence(str_at(pod, "/status/message"));
    if !message.is_empty() {
        return Some(message);
    }
    let mut statuses = list_at(pod, "/status/containerStatuses").iter();
    statuses.find_map(|status| {
        let code = int_at(status, "/state/terminated/exitCode").filter(|code| *code != 0)?;
        let name = str_at(status, "/name");
        Some(format!("container {name} ended with exit code {code}"))
    })
}

fn in_brackets(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(" ({message})"),
    }
}

/// A message of the cluster as part of one line: whole, unless it is very long.
fn sentence(message: &str) -> String {
    const MOST: usize = 240;
    let line: Vec<&str> = message.split_whitespace().collect();
    let line = line.join(" ");
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({
            "metadata": {"name": "web", "uid": "u1"},
            "spec": {"nodeName": "cadet", "containers": [{"name": "c", "image": "web:2"}]},
            "status": status
        })
    }

    fn waiting(reason: &str, message: &str) -> Value {
        pod(json!({"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": "web:2", "ready": false,
            "state": {"waiting": {"reason": reason, "message": message}}
        }]}))
    }

    fn event(reason: &str, at: &str) -> Value {
        json!({
            "involvedObject": {"kind": "Pod", "name": "web", "uid": "u1"},
            "reason": reason, "message": format!("{reason} image \"web:2\""), "lastTimestamp": at
        })
    }

    #[test]
    fn pending_pods_say_what_they_wait_for() {
        let no_room = pod(json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False",
            "message": "0/1 nodes are available: 1 Insufficient cpu."
        }]}));
        assert_eq!(
            state(&no_room, &[]),
            "is Pending: no node takes it (0/1 nodes are available: 1 Insufficient cpu)"
        );
        assert_eq!(
            state(&pod(json!({"phase": "Pending"})), &[]),
            "is Pending: node cadet is making it"
        );
        assert_eq!(
            state(&waiting("ContainerCreating", ""), &[]),
            "is Pending: container c is being made"
        );
        let events = [event("Pulling", "2026-01-01T00:00:01Z")];
        assert_eq!(
            state(&waiting("ContainerCreating", ""), &events),
            "is Pending: pulling image \"web:2\""
        );
        let pulled = [
            event("Pulled", "2026-01-01T00:00:02Z"),
            event("Pulling", "2026-01-01T00:00:01Z"),
        ];
        assert_eq!(
            state(&waiting("ContainerCreating", ""), &pulled),
            "is Pending: container c is being made"
        );
        assert_eq!(
            state(&waiting("ImagePullBackOff", "no such image"), &[]),
            "is Pending: image \"web:2\" cannot be pulled (no such image)"
        );
    }

    #[test]
    fn running_pods_say_why_they_are_not_ready() {
        let crash = pod(json!({"phase": "Running", "containerStatuses": [{
            "name": "c", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1}}
        }]}));
        assert_eq!(
            state(&crash, &[]),
            "is Running: container c ends again and again with exit code 1 (3 restarts)"
        );
        let unready = pod(json!({"phase": "Running", "containerStatuses": [{
            "name": "c", "ready": false, "state": {"running": {}}
        }]}));
        assert_eq!(
            state(&unready, &[]),
            "is Running: container c runs and is not ready"
        );
        let probe = [event("Unhealthy", "2026-01-01T00:00:02Z")];
        assert_eq!(
            state(&unready, &probe),
            "is Running: container c runs and is not ready (Unhealthy image \"web:2\")"
        );
    }

    #[test]
    fn ends_are_told() {
        let mut gone = pod(json!({"phase": "Running"}));
        gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(state(&gone, &[]), "is being deleted");
        let failed = pod(json!({"phase": "Failed", "containerStatuses": [{
            "name": "c", "state": {"terminated": {"exitCode": 2}}
        }]}));
        assert_eq!(
            state(&failed, &[]),
            "has failed: container c ended with exit code 2"
        );
        assert_eq!(
            state(&pod(json!({"phase": "Succeeded"})), &[]),
            "has done its work and ended"
        );
        let ready = pod(json!({"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(state(&ready, &[]), "is Running and ready");
        assert!(is_ready(&ready) && !is_ready(&gone));
    }

    #[test]
    fn containers_have_a_line_each_and_restarts_are_summed() {
        let pod = json!({
            "metadata": {"name": "web"},
            "spec": {"initContainers": [{"name": "i"}],
                     "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
            "status": {
                "initContainerStatuses": [{"name": "i", "ready": true, "restartCount": 1,
                    "state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [
                    {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}}},
                    {"name": "b", "ready": false, "image": "b:1",
                     "state": {"waiting": {"reason": "ErrImagePull"}}}]
            }
        });
        assert_eq!(
            containers(&pod, &[]),
            [
                "i: done",
                "a: running",
                "b: image \"b:1\" cannot be pulled",
                "c: waiting"
            ]
        );
        assert_eq!(restarts(&pod), 3);
    }
}
