//! Priority: the name of a PriorityClass becomes the number the scheduler sorts by, and
//! at most one class is the default.

use std::sync::Arc;

use cadet_api::json::{bool_at, int_at, str_at};
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use serde_json::{Value, json};

use super::{Request, find_in};
use crate::object::Object;

const GROUP: &str = "scheduling.k8s.io";
/// Every cluster's own classes: its own pods ask for them.
const SYSTEM_CLASSES: &[&str] = &["system-cluster-critical", "system-node-critical"];

pub(super) fn may_delete(resource: &Resource, name: &str) -> Result<(), Status> {
    if resource.is(GROUP, "PriorityClass") && SYSTEM_CLASSES.contains(&name) {
        let why = "this is a system priority class and cannot be deleted";
        return Err(Status::forbidden(resource, name, why));
    }
    Ok(())
}

/// Writes the priority and preemption policy of a pod's class; on updates keeps those the
/// pod has.
pub(super) fn resolve(
    request: &Request<'_>,
    pod: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if !request.named.is("", "Pod") || !request.subresource.is_empty() {
        return Ok(());
    }
    if let Some(old) = old {
        keep(pod, old);
        return Ok(());
    }
    let name = str_at(pod, "/spec/priorityClassName").to_owned();
    let class = match name.as_str() {
        "" => default_class(request)?,
        name => {
            let classes = find_in(GROUP, "priorityclasses")?;
            let found = request.app.world.get(classes, "", name);
            let why = format!("no PriorityClass with name {name} was found");
            Some(found.ok_or_else(|| request.forbidden(pod, &why))?)
        }
    };
    let class = class.as_ref().map(|class| class.known());
    let (mut priority, mut policy) = (0, "PreemptLowerPriority".to_owned());
    if let Some(class) = class {
        priority = int_at(class, "/value").unwrap_or(0);
        policy = str_at(class, "/preemptionPolicy").to_owned();
    }
    let set = int_at(pod, "/spec/priority");
    if let Some(set) = set.filter(|set| *set != priority) {
        let why = format!(
            "the integer value of priority ({set}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(request.forbidden(pod, &why));
    }
    let set = str_at(pod, "/spec/preemptionPolicy");
    if !set.is_empty() && set != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({set}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(request.forbidden(pod, &why));
    }
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    if let Some(class) = class {
        spec.insert(
            "priorityClassName".into(),
            json!(str_at(class, "/metadata/name")),
        );
    }
    spec.insert("priority".into(), json!(priority));
    if !policy.is_empty() {
        spec.insert("preemptionPolicy".into(), json!(policy));
    }
    Ok(())
}

/// A client that sends a pod back without these does not take them away.
fn keep(pod: &mut Value, old: &Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for key in ["priority", "preemptionPolicy"] {
        if let Some(value) = old.get("spec").and_then(|spec| spec.get(key)) {
            spec.entry(key).or_insert_with(|| value.clone());
        }
    }
}

/// Among several default classes the one of lowest value, as upstream.
fn default_class(request: &Request<'_>) -> Result<Option<Arc<Object>>, Status> {
    let classes = request.list(find_in(GROUP, "priorityclasses")?);
    let defaults = classes
        .into_iter()
        .filter(|class| bool_at(class.known(), "/globalDefault"));
    Ok(defaults.min_by_key(|class| int_at(class.known(), "/value").unwrap_or(0)))
}

/// Only one class can be the default.
pub(super) fn check(request: &Request<'_>, class: &Value) -> Result<(), Status> {
    if !request.named.is(GROUP, "PriorityClass") || !bool_at(class, "/globalDefault") {
        return Ok(());
    }
    let name = str_at(class, "/metadata/name");
    match default_class(request)? {
        Some(other) if other.name() != name => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name()
            );
            Err(request.forbidden(class, &why))
        }
        _ => Ok(()),
    }
}
