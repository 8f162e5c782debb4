//! What the subresources of a pod may change: `ephemeralcontainers` (KEP-277) and `resize`,
//! the resources of containers that run (KEP-1287).

use serde_json::{Value, json};

use super::pod;
use crate::defaults::pod::qos_class;
use crate::field::{Error, index};
use crate::json::{list_at, map_at, str_at};

/// Marks the image, in the API, of a pod that an agent runs from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";
const LISTS: [&str; 2] = ["initContainers", "containers"];

fn is_mirror(pod: &Value) -> bool {
    map_at(pod, "/metadata/annotations").is_some_and(|a| a.contains_key(MIRROR))
}

fn named<'a>(list: &'a [Value], name: &str) -> Option<&'a Value> {
    list.iter().find(|item| str_at(item, "/name") == name)
}

/// The old pod with the new one's ephemeral containers: all that its door lets through.
pub(crate) fn with_ephemeral(new: &Value, old: &Value) -> Value {
    let mut pod = old.clone();
    if let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) {
        match new.pointer("/spec/ephemeralContainers") {
            Some(list) => spec.insert("ephemeralContainers".into(), list.clone()),
            None => spec.remove("ephemeralContainers"),
        };
    }
    pod
}

/// Debugging containers are added, never taken away or changed.
pub(super) fn ephemeral_update(new: &Value, old: &Value) -> Vec<Error> {
    if is_mirror(old) {
        let why = "static pods do not support ephemeral containers";
        return vec![Error::forbidden("", why)];
    }
    let mut errors = pod::pod(new);
    let path = "spec.ephemeralContainers";
    let now = list_at(new, "/spec/ephemeralContainers");
    for before in list_at(old, "/spec/ephemeralContainers") {
        let name = str_at(before, "/name");
        let why = match named(now, name) {
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
            Some(kept) if kept != before => {
                let change = super::pod_update::difference("", before, kept);
                format!("existing ephemeral containers {name:?} may not be changed\n{change}")
            }
            Some(_) => continue,
        };
        errors.push(Error::forbidden(path, why));
    }
    errors
}

/// The old pod with the new one's resources and resize policies, if the containers are the
/// same ones; else the new pod as it is, for validation to say what is wrong.
pub(crate) fn with_resources(new: &Value, old: &Value) -> Value {
    if !order_errors(new, old).is_empty() {
        return new.clone();
    }
    let mut pod = old.clone();
    for list in LISTS {
        let pointer = format!("/spec/{list}");
        let kept = pod.pointer_mut(&pointer).and_then(Value::as_array_mut);
        for (container, sent) in kept.into_iter().flatten().zip(list_at(new, &pointer)) {
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            for key in ["resources", "resizePolicy"] {
                match sent.get(key) {
                    Some(value) => container.insert(key.into(), value.clone()),
                    None => container.remove(key),
                };
            }
        }
    }
    pod
}

/// Containers keep their number, names and order while they are resized.
fn order_errors(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for list in ["containers", "initContainers"] {
        let pointer = format!("/spec/{list}");
        let (now, before) = (list_at(new, &pointer), list_at(old, &pointer));
        if now.len() != before.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.push(Error::forbidden(&format!("spec.{list}"), why));
            continue;
        }
        for (i, (a, b)) in now.iter().zip(before).enumerate() {
            if str_at(a, "/name") != str_at(b, "/name") {
                let why = format!("{list} may not be renamed or reordered on resize");
                errors.push(Error::forbidden(&format!("spec.{list}[{i}].name"), why));
            }
        }
    }
    errors
}

/// Amounts of CPU and memory may change, and nothing else; none may go.
pub(super) fn resize(new: &Value, old: &Value) -> Vec<Error> {
    let never = if is_mirror(old) {
        "static pods cannot be resized"
    } else if str_at(old, "/spec/os/name") == "windows" {
        "windows pods cannot be resized"
    } else {
        ""
    };
    if !never.is_empty() {
        return vec![Error::forbidden("", never)];
    }
    let mut errors = pod::pod(new);
    if qos_class(new) != qos_class(old) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid("spec", str_at(new, "/status/qosClass"), why));
    }
    if !node_resizes(old) {
        let why = "Pod running on node without support for resize";
        errors.push(Error::forbidden("spec", why));
    }
    let order = order_errors(new, old);
    if !order.is_empty() {
        errors.extend(order);
        return errors;
    }
    for list in LISTS {
        let pointer = format!("/spec/{list}");
        let pairs = list_at(new, &pointer).iter().zip(list_at(old, &pointer));
        for (i, (now, before)) in pairs.enumerate() {
            let path = index(&format!("spec.{list}"), i);
            container_resize(&mut errors, &path, now, before, list == "initContainers");
        }
    }
    errors
}

fn container_resize(e: &mut Vec<Error>, path: &str, new: &Value, old: &Value, init: bool) {
    if init && str_at(old, "/restartPolicy") != "Always" {
        if new != old {
            let why = "resources for non-sidecar init containers are immutable";
            e.push(Error::forbidden("spec", why));
        }
        return;
    }
    for part in ["requests", "limits"] {
        let pointer = format!("/resources/{part}");
        let now = map_at(new, &pointer);
        let before = map_at(old, &pointer).into_iter().flatten();
        if before
            .into_iter()
            .any(|(name, _)| now.is_none_or(|m| !m.contains_key(name)))
        {
            let why = format!("resource {part} cannot be removed");
            e.push(Error::forbidden(&format!("{path}.resources.{part}"), why));
        }
    }
    if without_amounts(new) != without_amounts(old) {
        e.push(match init {
            true => Error::forbidden(
                path,
                "only cpu and memory resources for sidecar containers are mutable",
            ),
            false => Error::forbidden("spec", "only cpu and memory resources are mutable"),
        });
    }
}

/// The container without what a resize may change.
fn without_amounts(container: &Value) -> Value {
    let mut rest = container.clone();
    for part in ["requests", "limits"] {
        let Some(Value::Object(resources)) = rest.get_mut("resources") else {
            continue;
        };
        let Some(Value::Object(amounts)) = resources.get_mut(part) else {
            continue;
        };
        amounts.remove("cpu");
        amounts.remove("memory");
        if amounts.is_empty() {
            resources.remove(part);
        }
    }
    if rest.get("resources") == Some(&json!({}))
        && let Some(members) = rest.as_object_mut()
    {
        members.remove("resources");
    }
    rest
}

/// An agent that can resize reports the resources of what it runs; nothing runs, nobody knows.
fn node_resizes(pod: &Value) -> bool {
    list_at(pod, "/status/containerStatuses")
        .iter()
        .find(|status| status.pointer("/state/running").is_some())
        .is_none_or(|status| status.get("resources").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cpu: &str) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}]}});
        crate::defaults::pod::apply(&mut pod);
        pod
    }

    fn words(errors: &[Error]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn debugging_containers_come_and_stay() {
        let old = pod("1");
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] =
            json!([{"name": "d", "image": "busybox", "targetContainerName": "c"}]);
        crate::defaults::pod::apply(&mut new);
        assert_eq!(words(&ephemeral_update(&new, &old)), Vec::<String>::new());
        assert_eq!(
            words(&ephemeral_update(&old, &new)),
            [
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"
            ]
        );
        let mut other = new.clone();
        other["spec"]["ephemeralContainers"][0]["image"] = json!("alpine");
        let why = words(&ephemeral_update(&other, &new)).remove(0);
        assert!(
            why.contains(
                "existing ephemeral containers \"d\" may not be changed\n- image: \"busybox\""
            ),
            "{why}"
        );
        let mut wrong = new.clone();
        wrong["spec"]["ephemeralContainers"] = json!([{"name": "c", "image": "x", "targetContainerName": "z",
            "ports": [{"containerPort": 1}], "resources": {"limits": {"cpu": "1"}}}]);
        crate::defaults::pod::apply(&mut wrong);
        let why = words(&ephemeral_update(&wrong, &old)).join("\n");
        for want in [
            "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"z\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
        ] {
            assert!(why.contains(want), "{want}\n--\n{why}");
        }
        let mut everything = new.clone();
        everything["spec"]["containers"][0]["image"] = json!("y");
        assert_eq!(with_ephemeral(&everything, &old), new);
    }

    #[test]
    fn a_resize_changes_amounts_of_cpu_and_memory() {
        let (old, new) = (pod("1"), pod("2"));
        assert_eq!(with_resources(&new, &old), new);
        assert_eq!(words(&resize(&new, &old)), Vec::<String>::new());
        let mut policy = new.clone();
        policy["spec"]["containers"][0]["resizePolicy"] =
            json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        assert_eq!(
            words(&resize(&policy, &old)),
            ["spec: Forbidden: only cpu and memory resources are mutable"]
        );
        let mut none = new.clone();
        none["spec"]["containers"][0]["resources"] = json!({});
        let why = words(&resize(&none, &old)).join("\n");
        assert!(
            why.contains("spec: Invalid value: \"\": Pod QOS Class may not change"),
            "{why}"
        );
        assert!(why.contains("spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"), "{why}");
        let mut renamed = new.clone();
        renamed["spec"]["containers"][0]["name"] = json!("d");
        assert_eq!(
            words(&resize(&renamed, &old)),
            [
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"
            ]
        );
        let mut runs = old.clone();
        runs["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
        assert_eq!(
            words(&resize(&new, &runs)),
            ["spec: Forbidden: Pod running on node without support for resize"]
        );
    }
}
