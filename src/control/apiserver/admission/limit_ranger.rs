//! LimitRanger: the limits of a namespace's LimitRanges are filled into containers that
//! set none, and pods and claims outside their bounds are refused.

use std::sync::Arc;

use cadet_api::json::{self, list_at, map_at, str_at};
use cadet_api::meta;
use cadet_api::pod_resources::{self, Resources};
use cadet_api::quantity::{Amount, Quantity};
use cadet_api::status::Status;
use serde_json::{Map, Value, json};

use super::{Operation, Request, find};
use crate::object::Object;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Largest ratio that upstream still compares in thousandths.
const MAX_MILLI: i64 = i64::MAX / 1000;

fn ranges(request: &Request<'_>) -> Result<Vec<Arc<Object>>, Status> {
    Ok(request.list(find("limitranges")?))
}

/// Gives containers the defaults of the namespace's LimitRanges.
pub(super) fn fill(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is(Operation::Create, "", "Pod") {
        return Ok(());
    }
    for range in ranges(request)? {
        let mut said = Vec::new();
        for (list, word) in [
            ("/spec/containers", "container"),
            ("/spec/initContainers", "init container"),
        ] {
            for container in json::list_mut(pod, list).into_iter().flatten() {
                fill_container(container, range.known(), word, &mut said);
            }
        }
        if !said.is_empty() {
            let text = format!("LimitRanger plugin set: {}", said.join("; "));
            let annotations = json::child(meta::of_mut(pod), "annotations");
            annotations.insert(ANNOTATION.into(), json!(text));
        }
    }
    Ok(())
}

fn fill_container(container: &mut Value, range: &Value, word: &str, said: &mut Vec<String>) {
    let name = str_at(container, "/name").to_owned();
    let Some(members) = container.as_object_mut() else {
        return;
    };
    let resources = json::child(members, "resources");
    for (part, source) in [("requests", "defaultRequest"), ("limits", "default")] {
        let mut set: Vec<&str> = Vec::new();
        for limit in list_at(range, "/spec/limits") {
            if str_at(limit, "/type") != "Container" {
                continue;
            }
            for (resource, amount) in map_at(limit, &format!("/{source}")).into_iter().flatten() {
                let target = json::child(resources, part);
                if !target.contains_key(resource) {
                    target.insert(resource.clone(), amount.clone());
                    set.push(resource);
                }
            }
        }
        if !set.is_empty() {
            set.sort_unstable();
            let part = part.trim_end_matches('s');
            said.push(format!("{} {part} for {word} {name}", set.join(", ")));
        }
    }
}

/// Refuses what is outside the bounds.
pub(super) fn check(request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let pod = request.is(Operation::Create, "", "Pod")
        || (request.operation == Operation::Update
            && request.subresource == "resize"
            && request.named.is("", "Pod"));
    let claim = request.is(Operation::Create, "", "PersistentVolumeClaim")
        || request.is(Operation::Update, "", "PersistentVolumeClaim");
    if !pod && !claim {
        return Ok(());
    }
    for range in ranges(request)? {
        let errors: Vec<String> = list_at(range.known(), "/spec/limits")
            .iter()
            .flat_map(|limit| match pod {
                true => pod_errors(limit, object),
                false => claim_errors(limit, object),
            })
            .collect();
        match errors.as_slice() {
            [] => {}
            [one] => return Err(request.forbidden(object, one)),
            many => {
                let all = format!("[{}]", many.join(", "));
                return Err(request.forbidden(object, &all));
            }
        }
    }
    Ok(())
}

/// What of one kind is bounded: `Container`, with its requests and limits.
struct Bounded<'a> {
    kind: &'a str,
    requests: Resources,
    limits: Resources,
}

fn pod_errors(limit: &Value, pod: &Value) -> Vec<String> {
    let containers = || {
        list_at(pod, "/spec/containers")
            .iter()
            .chain(list_at(pod, "/spec/initContainers"))
    };
    let part = |container: &Value, part: &str| {
        pod_resources::list(map_at(container, &format!("/resources/{part}")))
    };
    match str_at(limit, "/type") {
        kind @ "Container" => containers()
            .flat_map(|container| {
                let bounded = Bounded {
                    kind,
                    requests: part(container, "requests"),
                    limits: part(container, "limits"),
                };
                bounded.errors(limit)
            })
            .collect(),
        kind @ "Pod" => Bounded {
            kind,
            requests: sum(pod, "requests"),
            limits: sum(pod, "limits"),
        }
        .errors(limit),
        _ => vec![],
    }
}

/// Upstream's total of a pod: what not every container sets is not set, and a larger init
/// container counts alone.
fn sum(pod: &Value, part: &str) -> Resources {
    let of =
        |container: &Value| pod_resources::list(map_at(container, &format!("/resources/{part}")));
    let all: Vec<Resources> = list_at(pod, "/spec/containers").iter().map(of).collect();
    let mut total = Resources::new();
    for one in &all {
        pod_resources::add(&mut total, one);
    }
    total.retain(|name, _| all.iter().all(|one| one.contains_key(name)));
    for container in list_at(pod, "/spec/initContainers") {
        for (name, amount) in of(container) {
            let slot = total.entry(name).or_insert(amount);
            if slot.quantity < amount.quantity {
                *slot = amount;
            }
        }
    }
    total
}

fn claim_errors(limit: &Value, claim: &Value) -> Vec<String> {
    if str_at(limit, "/type") != "PersistentVolumeClaim" {
        return vec![];
    }
    let bounded = Bounded {
        kind: "PersistentVolumeClaim",
        requests: pod_resources::list(map_at(claim, "/spec/resources/requests")),
        limits: Resources::new(),
    };
    let of = |key: &str| bounds(limit, key);
    let min = of("min")
        .into_iter()
        .filter_map(|(n, q)| bounded.below(&n, q));
    let max = of("max")
        .into_iter()
        .filter_map(|(n, q)| bounded.over(&n, q));
    min.chain(max).collect()
}

fn bounds(limit: &Value, key: &str) -> Resources {
    pod_resources::list(limit.get(key).and_then(Value::as_object) as Option<&Map<_, _>>)
}

impl Bounded<'_> {
    fn errors(&self, limit: &Value) -> Vec<String> {
        let of = |key: &str| bounds(limit, key).into_iter();
        let min = of("min").filter_map(|(name, bound)| self.below(&name, bound));
        let max = of("max").filter_map(|(name, bound)| self.above(&name, bound));
        let ratio =
            of("maxLimitRequestRatio").filter_map(|(name, bound)| self.stretched(&name, bound));
        min.chain(max).chain(ratio).collect()
    }

    fn below(&self, name: &str, bound: Amount) -> Option<String> {
        let rule = format!("minimum {name} usage per {} is {bound}", self.kind);
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{rule}.  No request is specified"));
        };
        if request.quantity < bound.quantity {
            return Some(format!("{rule}, but request is {request}"));
        }
        let limit = self.limits.get(name)?;
        (limit.quantity < bound.quantity).then(|| format!("{rule}, but limit is {limit}"))
    }

    fn above(&self, name: &str, bound: Amount) -> Option<String> {
        let rule = format!("maximum {name} usage per {} is {bound}", self.kind);
        let Some(limit) = self.limits.get(name) else {
            return Some(format!("{rule}.  No limit is specified"));
        };
        if limit.quantity > bound.quantity {
            return Some(format!("{rule}, but limit is {limit}"));
        }
        let request = self.requests.get(name)?;
        (request.quantity > bound.quantity).then(|| format!("{rule}, but request is {request}"))
    }

    /// As `above`, where there are no limits, only requests.
    fn over(&self, name: &str, bound: Amount) -> Option<String> {
        let rule = format!("maximum {name} usage per {} is {bound}", self.kind);
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{rule}.  No request is specified"));
        };
        (request.quantity > bound.quantity).then(|| format!("{rule}, but request is {request}"))
    }

    fn stretched(&self, name: &str, bound: Amount) -> Option<String> {
        let rule = format!(
            "{name} max limit to request ratio per {} is {bound}",
            self.kind
        );
        let size = |of: &Resources| {
            of.get(name)
                .map(|amount| amount.quantity)
                .filter(|quantity| !quantity.is_zero())
        };
        let Some(request) = size(&self.requests) else {
            return Some(format!(
                "{rule}, but no request is specified or request is 0"
            ));
        };
        let Some(limit) = size(&self.limits) else {
            return Some(format!("{rule}, but no limit is specified or limit is 0"));
        };
        let ratio = number(limit) / number(request);
        let most = match bound.quantity.value() <= MAX_MILLI {
            true => bound.quantity.millis() as f64 / 1000.0,
            false => bound.quantity.value() as f64,
        };
        (ratio > most).then(|| format!("{rule}, but provided ratio is {ratio:.6}"))
    }
}

/// For ratios only: thousandths where they fit, else whole units.
fn number(quantity: Quantity) -> f64 {
    match quantity.value() <= MAX_MILLI {
        true => quantity.millis() as f64 / 1000.0,
        false => quantity.value() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(limit: Value, resources: Value) -> Vec<String> {
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        pod_errors(&limit, &pod)
    }

    #[test]
    fn bounds_are_told_in_upstreams_words() {
        let container = |key: &str, bound: Value| {
            let mut limit = json!({"type": "Container"});
            limit[key] = bound;
            limit
        };
        for (limit, resources, expected) in [
            (
                container("max", json!({"memory": "1Gi"})),
                json!({"limits": {"memory": "2Gi"}}),
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            ),
            (
                container("max", json!({"memory": "1Gi"})),
                json!({}),
                "maximum memory usage per Container is 1Gi.  No limit is specified",
            ),
            (
                container("max", json!({"cpu": "1"})),
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}}),
                "maximum cpu usage per Container is 1, but request is 1500m",
            ),
            (
                container("min", json!({"cpu": "200m"})),
                json!({"requests": {"cpu": "100m"}}),
                "minimum cpu usage per Container is 200m, but request is 100m",
            ),
            (
                container("min", json!({"cpu": "200m"})),
                json!({}),
                "minimum cpu usage per Container is 200m.  No request is specified",
            ),
            (
                container("maxLimitRequestRatio", json!({"memory": "2"})),
                json!({"limits": {"memory": "300Mi"}, "requests": {"memory": "100Mi"}}),
                "memory max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
        ] {
            assert_eq!(told(limit, resources), [expected]);
        }
        let fine = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}});
        let limit = json!({"type": "Container", "min": {"cpu": "500m"}, "max": {"cpu": "1"},
            "maxLimitRequestRatio": {"cpu": "2"}});
        assert!(told(limit, fine).is_empty());
    }

    #[test]
    fn a_pod_is_the_sum_of_its_containers_or_its_largest_start() {
        let c = |cpu: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu}}});
        let limit = json!({"type": "Pod", "max": {"cpu": "2"}});
        let pod = json!({"spec": {"containers": [c("1500m"), c("1")]}});
        assert_eq!(
            pod_errors(&limit, &pod),
            ["maximum cpu usage per Pod is 2, but limit is 2500m"]
        );
        let pod = json!({"spec": {"containers": [c("1")], "initContainers": [c("3")]}});
        assert_eq!(
            pod_errors(&limit, &pod),
            ["maximum cpu usage per Pod is 2, but limit is 3"]
        );
        let pod = json!({"spec": {"containers": [c("1"), {"name": "d"}]}});
        assert_eq!(
            pod_errors(&limit, &pod),
            ["maximum cpu usage per Pod is 2.  No limit is specified"]
        );
    }

    #[test]
    fn defaults_fill_gaps_and_say_so() {
        let range = json!({"spec": {"limits": [{"type": "Container",
            "default": {"cpu": "1", "memory": "512Mi"}, "defaultRequest": {"cpu": "500m"}}]}});
        let mut c = json!({"name": "c", "resources": {"limits": {"cpu": "2"}}});
        let mut said = vec![];
        fill_container(&mut c, &range, "container", &mut said);
        assert_eq!(
            c["resources"],
            json!({"limits": {"cpu": "2", "memory": "512Mi"}, "requests": {"cpu": "500m"}})
        );
        assert_eq!(
            said,
            [
                "cpu request for container c",
                "memory limit for container c"
            ]
        );
    }
}
