//! Defaults of ingresses, network policies and endpoint slices.

use serde_json::{Map, Value, json};

use crate::json::{child, default, list_mut};

pub(super) fn policy(object: &mut Value) {
    for rule in ["ingress", "egress"] {
        for rule in list_mut(object, &format!("/spec/{rule}"))
            .into_iter()
            .flatten()
        {
            for port in list_mut(rule, "/ports").into_iter().flatten() {
                if let Some(port) = port.as_object_mut() {
                    default(port, "protocol", "TCP");
                }
            }
        }
    }
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    if !spec.contains_key("podSelector") {
        spec.insert("podSelector".into(), json!({}));
    }
    if !spec.contains_key("policyTypes") {
        // Whoever says nothing speaks of what comes in, and of what goes out if it has rules.
        let mut types = vec!["Ingress"];
        let egress = spec.get("egress").and_then(Value::as_array);
        if egress.is_some_and(|rules| !rules.is_empty()) {
            types.push("Egress");
        }
        spec.insert("policyTypes".into(), json!(types));
    }
}

pub(super) fn slice(object: &mut Value) {
    for port in list_mut(object, "/ports").into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            default(port, "protocol", "TCP");
            port.entry("name").or_insert(json!(""));
        }
    }
}

pub(super) fn ingress_class(object: &mut Map<String, Value>) {
    if let Some(Value::Object(parameters)) = object
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("parameters"))
    {
        default(parameters, "scope", "Cluster");
    }
}
