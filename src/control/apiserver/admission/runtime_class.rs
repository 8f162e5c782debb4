//! RuntimeClass: what a pod's runtime costs beyond its containers, and where it exists.

use std::sync::Arc;

use cadet_api::json::{child, list_at, map_at, str_at};
use cadet_api::pod_resources;
use cadet_api::status::Status;
use serde_json::Value;

use super::{Operation, Request, find_in};
use crate::object::Object;

const DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const ALONE: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

fn class_of(request: &Request<'_>, pod: &Value) -> Result<Option<Arc<Object>>, Status> {
    let name = str_at(pod, "/spec/runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let classes = find_in("node.k8s.io", "runtimeclasses")?;
    match request.app.world.get(classes, "", name) {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(request.forbidden(pod, &why))
        }
    }
}

/// Adds the class's overhead, node selector and tolerations to a new pod.
pub(super) fn apply(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is(Operation::Create, "", "Pod") {
        return Ok(());
    }
    let Some(class) = class_of(request, pod)? else {
        return Ok(());
    };
    let class = class.known();
    if let Some(fixed) = class.pointer("/overhead/podFixed") {
        if pod.pointer("/spec/overhead").is_some() && !same_overhead(class, pod) {
            return Err(request.forbidden(pod, DIFFERS));
        }
        if let Some(members) = pod.as_object_mut() {
            child(members, "spec").insert("overhead".into(), fixed.clone());
        }
    }
    for (key, value) in map_at(class, "/scheduling/nodeSelector")
        .into_iter()
        .flatten()
    {
        let selector = map_at(pod, "/spec/nodeSelector");
        if let Some(other) = selector
            .and_then(|map| map.get(key))
            .filter(|o| *o != value)
        {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.as_str().unwrap_or_default(),
                other.as_str().unwrap_or_default()
            );
            return Err(request.forbidden(pod, &why));
        }
        if let Some(members) = pod.as_object_mut() {
            let spec = child(members, "spec");
            child(spec, "nodeSelector").insert(key.clone(), value.clone());
        }
    }
    let more = list_at(class, "/scheduling/tolerations");
    if !more.is_empty() {
        let mut all = list_at(pod, "/spec/tolerations").to_vec();
        for toleration in more {
            if !all.contains(toleration) {
                all.push(toleration.clone());
            }
        }
        if let Some(members) = pod.as_object_mut() {
            child(members, "spec").insert("tolerations".into(), all.into());
        }
    }
    Ok(())
}

/// The overhead of a pod is that of its class, no more and no less.
pub(super) fn check(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    if !request.is(Operation::Create, "", "Pod") {
        return Ok(());
    }
    let class = class_of(request, pod)?;
    let class = class.as_ref().map(|class| class.known());
    match class.filter(|class| class.get("overhead").is_some()) {
        Some(class) if !same_overhead(class, pod) => Err(request.forbidden(pod, DIFFERS)),
        None if pod.pointer("/spec/overhead").is_some() => Err(request.forbidden(pod, ALONE)),
        _ => Ok(()),
    }
}

/// Compared as amounts: `1` is `1000m`.
fn same_overhead(class: &Value, pod: &Value) -> bool {
    let amounts = |object: &Value, pointer: &str| -> Vec<_> {
        pod_resources::list(map_at(object, pointer))
            .into_iter()
            .map(|(name, amount)| (name, amount.quantity))
            .collect()
    };
    amounts(class, "/overhead/podFixed") == amounts(pod, "/spec/overhead")
}
