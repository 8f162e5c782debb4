//! Giving a pod its node: the one write that `pods/binding` makes.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::splice;
use crate::status::Status;
use crate::strategy::refuse;
use crate::{clock, field, json as place};

/// The condition that says so.
const CONDITION: &str = "PodScheduled";

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
    // A node that was only meant for it says nothing any more (KEP-5278).
    place::child(m, "status").remove("nominatedNodeName");
    set_pod_condition(
        pod,
        CONDITION,
        "True",
        &clock::rfc3339(OffsetDateTime::now_utc()),
    );
    Ok(())
}

/// As [`bind_pod`], in the text of a stored pod that has no node yet and is not being deleted.
/// `None` if there is more to it than adding the node and the condition.
pub fn bind_text(pod: &[u8], node: &str, now: OffsetDateTime) -> Option<Vec<u8>> {
    let [spec, status] = splice::members(pod, ["spec", "status"])?;
    let (spec, status) = (spec?, status?);
    let placed = splice::members(&pod[spec.clone()], ["nodeName", "schedulingGates"])?;
    let said = splice::members(&pod[status.clone()], ["conditions", "nominatedNodeName"])?;
    if placed.iter().chain(&said).any(Option::is_some) {
        return None;
    }
    let node = serde_json::to_string(node).ok()?;
    let at = clock::rfc3339(now);
    let condition = format!(
        r#"{{"type":"{CONDITION}","status":"True","lastProbeTime":null,"lastTransitionTime":"{at}"}}"#
    );
    let more = [
        (spec, format!(r#""nodeName":{node}"#)),
        (status, format!(r#""conditions":[{condition}]"#)),
    ];
    splice::with_members(pod, more)
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
        p["status"]["nominatedNodeName"] = json!("n1");
        let b = json!({"target": {"kind": "Node", "name": "n1"}});
        bind_pod(&mut p, &b).unwrap();
        assert_eq!(p["spec"]["nodeName"], "n1");
        assert_eq!(p["status"]["conditions"][0]["type"], "PodScheduled");
        assert_eq!(p["status"].get("nominatedNodeName"), None);
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

    #[test]
    fn the_text_of_a_pod_is_bound_as_the_pod_is() {
        let pods = find("", "v1", "pods").unwrap();
        let mut p = json!({"metadata": {"name": "a", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "nginx", "args": ["}", "\"spec\":{"]}]}});
        prepare_create(pods, &mut p).unwrap();
        let text = p.to_string();
        bind_pod(&mut p, &json!({"target": {"name": "n\"1"}})).unwrap();
        let since = p["status"]["conditions"][0]["lastTransitionTime"]
            .as_str()
            .unwrap();
        let now = clock::parse(since).unwrap();
        let bound = bind_text(text.as_bytes(), "n\"1", now).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bound).unwrap(), p);
        assert_eq!(bind_text(&bound, "n2", now), None, "it has a node");
        for more in [
            json!({"spec": {}}),
            json!({"spec": {"nodeName": ""}, "status": {}}),
            json!({"spec": {"schedulingGates": [{"name": "a/b"}]}, "status": {}}),
            json!({"spec": {}, "status": {"conditions": []}}),
            json!({"spec": {}, "status": {"nominatedNodeName": "n2"}}),
            json!({"spec": [], "status": {}}),
        ] {
            assert_eq!(
                bind_text(more.to_string().as_bytes(), "n", now),
                None,
                "{more}"
            );
        }
    }
}
