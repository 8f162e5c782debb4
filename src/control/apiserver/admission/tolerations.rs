//! DefaultTolerationSeconds: a pod bears a node that is not ready or unreachable for five
//! minutes, unless it says otherwise.

use cadet_api::json::{child, str_at};
use serde_json::{Value, json};

use super::Request;

/// Seconds a pod stays on a node that is not ready or unreachable.
const NODE_DOWN_SECONDS: i64 = 300;

pub(super) fn add(request: &Request<'_>, pod: &mut Value) {
    if !request.named.is("", "Pod") || !request.subresource.is_empty() {
        return;
    }
    let Some(members) = pod.as_object_mut() else {
        return;
    };
    let spec = child(members, "spec");
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let covered = list.iter().any(|toleration| {
            let (of, effect) = (str_at(toleration, "/key"), str_at(toleration, "/effect"));
            (of == key || of.is_empty()) && matches!(effect, "" | "NoExecute")
        });
        if !covered {
            list.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": NODE_DOWN_SECONDS}),
            );
        }
    }
}
