//! Giving a pod its node: the one write that `pods/binding` makes.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::status::Status;
use crate::strategy::refuse;
use crate::{clock, field, json as place};

/// Writes the node of a `pods/binding` request into the pod.
///
/// # Errors
/// 409 if the pod is bound or being deleted; 422 for a target that is no node.
pub fn bind_pod(pod: &mut Value, binding: &Value) -> Result<(), Status> {
    let pods =
        crate::resource::find("", "v1", "pods").ok_or_else(|| Status::internal("no pods"))?;
    let name = place::str_at(pod, "/metadata/name").to_owned();
    let target = place::str_at(binding, "/target/name").to_owned();
    let kind = place::str_at(binding, "/target/kind");
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(field::Error::not_supported(
            "target.kind",
            kind,
            &["Node", "<empty>"],
        ));
    }
    if target.is_empty() {
        errors.push(field::Error::required("target.name", ""));
    }
    refuse(pods, pod, &errors)?;
    let bound = place::str_at(pod, "/spec/nodeName");
    let why = if pod.pointer("/metadata/deletionTimestamp").is_some() {
        format!("pod {name} is being deleted, cannot be assigned to a host")
    } else if !bound.is_empty() {
        format!("pod {name} is already assigned to node {bound:?}")
    } else if !place::list_at(pod, "/spec/schedulingGates").is_empty() {
        format!("pod {name} has non-empty .spec.schedulingGates")
    } else {
        String::new()
    };
    if !why.is_empty() {
        return Err(Status::binding_conflict(&name, &why));
    }
    let Some(m) = pod.as_object_mut() else {
        return Err(Status::internal("stored pod is no object"));
    };
    place::child(m, "spec").insert("nodeName".into(), json!(target));
    set_pod_condition(
        pod,
        "PodScheduled",
        "True",
        &clock::rfc3339(OffsetDateTime::now_utc()),
    );
    Ok(())
}

/// Sets a condition that is plainly true or false, with its transition time.
fn set_pod_condition(pod: &mut Value, kind: &str, status: &str, at: &str) {
    let Some(m) = pod.as_object_mut() else { return };
    let list = place::child(m, "status")
        .entry("conditions")
        .or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else {
        return;
    };
    let condition = json!({"type": kind, "status": status, "lastProbeTime": null,
        "lastTransitionTime": at});
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(c) if c["status"] == status => {}
        Some(c) => *c = condition,
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use crate::strategy::prepare_create;

    #[test]
    fn binding_happens_once() {
        let pods = find("", "v1", "pods").unwrap();
        let mut p = json!({"metadata": {"name": "a", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
        prepare_create(pods, &mut p).unwrap();
        let b = json!({"target": {"kind": "Node", "name": "n1"}});
        bind_pod(&mut p, &b).unwrap();
        assert_eq!(p["spec"]["nodeName"], "n1");
        assert_eq!(p["status"]["conditions"][0]["type"], "PodScheduled");
        let e = bind_pod(&mut p, &b).unwrap_err();
        assert_eq!(e.code, 409);
        assert_eq!(
            e.message,
            "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
        );
        assert_eq!(
            bind_pod(&mut p, &json!({"target": {}})).unwrap_err().code,
            422
        );
    }
}
