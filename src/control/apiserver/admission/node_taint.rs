//! TaintNodesByCondition: a new node takes no pods until it has reported that it is ready.
//! The node controller removes the taint.

use cadet_api::json::{child, str_at};
use serde_json::{Value, json};

use super::{Operation, Request};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) fn add(request: &Request<'_>, node: &mut Value) {
    if !request.is(Operation::Create, "", "Node") {
        return;
    }
    let Some(members) = node.as_object_mut() else {
        return;
    };
    let taints = child(members, "spec")
        .entry("taints")
        .or_insert_with(|| json!([]));
    let Some(taints) = taints.as_array_mut() else {
        return;
    };
    let is_ours = |taint: &Value| {
        str_at(taint, "/key") == NOT_READY && str_at(taint, "/effect") == "NoSchedule"
    };
    if !taints.iter().any(is_ours) {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}
