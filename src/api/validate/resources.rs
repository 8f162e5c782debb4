//! Rules for what a container, or its pod, requests of a node and is limited to.

use serde_json::{Map, Value};

use super::{one_of, texts};
use crate::field::{Error, index, key};
use crate::json::{list_at, map_at, str_at};
use crate::names;
use crate::pod_resources;
use crate::quantity::{Amount, Quantity};

/// What every node has; a name without a domain is one of these.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What a quota may count besides.
const COUNTED: [&str; 6] = [
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Names of the system's own domain or of none.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    let quota_name = format!("requests.{name}");
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&quota_name).is_empty()
}

/// More may be promised of these than there is.
fn overcommits(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

pub(super) fn of_container(e: &mut Vec<Error>, path: &str, c: &Value, claims: &[Value]) {
    let Some(found) = c
        .get("resources")
        .filter(|r| r.as_object().is_some_and(|r| !r.is_empty()))
    else {
        return;
    };
    let path = format!("{path}.resources");
    requirements(e, &path, found, container_name);
    for (i, claim) in list_at(found, "/claims").iter().enumerate() {
        let name = str_at(claim, "/name");
        let at = index(&format!("{path}.claims"), i);
        if name.is_empty() {
            e.push(Error::required(&at, ""));
        } else if !claims.iter().any(|known| str_at(known, "/name") == name) {
            e.push(Error::not_found(&at, name));
        }
    }
}

/// Amounts of the pod itself (KEP-2837).
pub(super) fn of_pod(e: &mut Vec<Error>, object: &Value) {
    if let Some(overhead) = map_at(object, "/spec/overhead") {
        for (name, value) in overhead {
            amount(e, "spec.overhead.limits", name, value, container_name);
        }
    }
    let Some(own) = object.pointer("/spec/resources") else {
        return;
    };
    let path = "spec.resources";
    if str_at(object, "/spec/os/name") == "windows" {
        e.push(Error::forbidden(path, "may not be set for a windows pod"));
        return;
    }
    if own.get("claims").is_some() {
        let why = "claims may not be set for Resources at pod-level";
        e.push(Error::forbidden("spec.resources.claims", why));
    }
    requirements(e, path, own, pod_name);
    let mut alone = object.clone();
    if let Some(spec) = alone.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("resources");
        spec.remove("overhead");
    }
    for (name, sum) in pod_resources::requests(&alone) {
        let Some(text) = map_at(own, "/requests").and_then(|m| m.get(&name)) else {
            continue;
        };
        if Amount::of(text).is_some_and(|amount| amount.quantity < sum.quantity) {
            let why =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            e.push(Error::invalid(
                &key("spec.resources.requests", &name),
                text.clone(),
                why,
            ));
        }
    }
    for (i, c) in list_at(object, "/spec/containers").iter().enumerate() {
        for (name, limit) in map_at(c, "/resources/limits").into_iter().flatten() {
            let most = map_at(own, "/limits").and_then(|m| m.get(name));
            let (Some(limit), Some(bound)) = (Amount::of(limit), most.and_then(Amount::of)) else {
                continue;
            };
            if limit.quantity > bound.quantity {
                let at = format!("spec.resources.containers[{i}][{name}].limits");
                let why = format!("must be less than or equal to pod limits of {bound}");
                e.push(Error::invalid(&at, limit.to_string(), why));
            }
        }
    }
}

type NameRule = fn(&mut Vec<Error>, &str, &str);

fn requirements(e: &mut Vec<Error>, path: &str, found: &Value, named: NameRule) {
    let part = |name: &str| found.get(name).and_then(Value::as_object);
    let (limits, requests) = (part("limits"), part("requests"));
    let (limits_path, requests_path) = (format!("{path}.limits"), format!("{path}.requests"));
    for (name, value) in limits.into_iter().flatten() {
        amount(e, &limits_path, name, value, named);
    }
    for (name, value) in requests.into_iter().flatten() {
        amount(e, &requests_path, name, value, named);
        let limit = limits.and_then(|m| m.get(name));
        match limit {
            Some(limit) => within(e, &requests_path, name, value, limit),
            None if !overcommits(name) => {
                let why = "Limit must be set for non overcommitable resources";
                e.push(Error::required(&limits_path, why));
            }
            None => {}
        }
    }
    let has = |part: Option<&Map<String, Value>>, test: fn(&str) -> bool| {
        part.into_iter().flatten().any(|(name, _)| test(name))
    };
    let huge = has(limits, is_huge) || has(requests, is_huge);
    let plain = |name: &str| matches!(name, "cpu" | "memory");
    if huge && !has(limits, plain) && !has(requests, plain) {
        e.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn within(e: &mut Vec<Error>, path: &str, name: &str, request: &Value, limit: &Value) {
    let (Some(r), Some(l)) = (Amount::of(request), Amount::of(limit)) else {
        return;
    };
    let shown = limit.as_str().map_or_else(|| l.to_string(), str::to_owned);
    if r.quantity != l.quantity && !overcommits(name) {
        let why = format!("must be equal to {name} limit of {shown}");
        e.push(Error::invalid(path, request.clone(), why));
    } else if r.quantity > l.quantity {
        let why = format!("must be less than or equal to {name} limit of {shown}");
        e.push(Error::invalid(path, request.clone(), why));
    }
}

fn amount(e: &mut Vec<Error>, path: &str, name: &str, value: &Value, named: NameRule) {
    // The common case says nothing and writes no path.
    let quantity = value.as_str().unwrap_or_default().parse::<Quantity>();
    let plain = quantity.as_ref().is_ok_and(|q| !q.is_negative());
    if STANDARD.contains(&name) && plain {
        return;
    }
    let at = key(path, name);
    named(e, &at, name);
    match quantity {
        Err(why) => e.push(Error::invalid(&at, value.clone(), why.to_string())),
        Ok(q) if q.is_negative() => {
            let why = "must be greater than or equal to 0";
            e.push(Error::invalid(&at, value.clone(), why));
        }
        Ok(q) if is_extended(name) && !q.is_whole() => {
            e.push(Error::invalid(&at, value.clone(), "must be an integer"));
        }
        Ok(q) if is_huge(name) => {
            let size = name.strip_prefix("hugepages-").unwrap_or_default();
            let page = size.parse::<Quantity>().map(Quantity::value).unwrap_or(0);
            if page > 0 && (q.value() == 0 || q.value() % page != 0) {
                let text = value.as_str().unwrap_or_default();
                let why = format!("{text} is not positive integer multiple of {size}");
                e.push(Error::invalid(&at, value.clone(), why));
            }
        }
        Ok(_) => {}
    }
}

fn any_name(e: &mut Vec<Error>, at: &str, name: &str) {
    texts(e, at, name, names::qualified_name(name));
    let known = STANDARD.contains(&name) || COUNTED.contains(&name) || is_huge(name);
    if !name.contains('/') && !known {
        let why = "must be a standard resource type or fully qualified";
        e.push(Error::invalid(at, name, why));
    }
}

fn container_name(e: &mut Vec<Error>, at: &str, name: &str) {
    any_name(e, at, name);
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !is_huge(name) {
            let why = "must be a standard resource for containers";
            e.push(Error::invalid(at, name, why));
        }
    } else if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        e.push(Error::invalid(at, name, why));
    }
}

fn pod_name(e: &mut Vec<Error>, at: &str, name: &str) {
    any_name(e, at, name);
    if !matches!(name, "cpu" | "memory") && !is_huge(name) {
        e.push(Error::not_supported(
            at,
            name,
            &["cpu", "memory", "hugepages-"],
        ));
    }
}

/// Whether a container restarts when it is resized (KEP-1287).
pub(super) fn resize_policy(e: &mut Vec<Error>, path: &str, c: &Value, pod_restarts: &str) {
    let list = list_at(c, "/resizePolicy");
    let at = format!("{path}.resizePolicy");
    for (i, policy) in list.iter().enumerate() {
        let (resource, restart) = (
            str_at(policy, "/resourceName"),
            str_at(policy, "/restartPolicy"),
        );
        let earlier = list.iter().take(i);
        if earlier
            .into_iter()
            .any(|p| str_at(p, "/resourceName") == resource)
        {
            e.push(Error::duplicate(&index(&at, i), resource));
        }
        one_of(e, &at, resource, &["cpu", "memory"]);
        one_of(e, &at, restart, &["NotRequired", "RestartContainer"]);
        if pod_restarts == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            e.push(Error::invalid(&at, restart, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(resources: Value) -> String {
        let mut e = Vec::new();
        of_container(&mut e, "c", &json!({"resources": resources}), &[]);
        e.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn amounts_fit_their_kind() {
        assert_eq!(
            words(
                json!({"limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "example.com/gpu": "1"},
                "requests": {"cpu": "500m", "hugepages-2Mi": "4Mi", "example.com/gpu": "1"}})
            ),
            ""
        );
        for (resources, want) in [
            (
                json!({"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}),
                "c.resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of 2Mi",
            ),
            (
                json!({"limits": {"hugepages-2Mi": "2Mi"}}),
                "c.resources: Forbidden: HugePages require cpu or memory",
            ),
            (
                json!({"limits": {"example.com/gpu": "500m"}}),
                "c.resources.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer",
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}}),
                "c.resources.limits: Required value: Limit must be set for non overcommitable resources",
            ),
            (
                json!({"limits": {"example.com/gpu": "2"}, "requests": {"example.com/gpu": "1"}}),
                "c.resources.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2",
            ),
            (
                json!({"limits": {"speed": "1"}}),
                "c.resources.limits[speed]: Invalid value: \"speed\": must be a standard resource type or fully qualified",
            ),
            (
                json!({"limits": {"requests.example.com/x": "1"}}),
                "doesn't follow extended resource name standard",
            ),
            (
                json!({"requests": {"memory": "-1"}}),
                "c.resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"claims": [{"name": "x"}]}),
                "c.resources.claims[0]: Not found: \"x\"",
            ),
        ] {
            let found = words(resources);
            assert!(found.contains(want), "{want}\n--\n{found}");
        }
    }

    #[test]
    fn a_pods_own_amounts_cover_its_containers() {
        let mut e = Vec::new();
        of_pod(
            &mut e,
            &json!({"spec": {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}, "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]}}),
        );
        let found: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
            ]
        );
    }
}
