//! Defaults of role bindings, certificate requests and webhooks.

use serde_json::{Map, Value, json};

use crate::json::{child, default, list_mut};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn binding(object: &mut Map<String, Value>) {
    default(child(object, "roleRef"), "apiGroup", RBAC);
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        if let Some(subject) = subject.as_object_mut()
            && matches!(
                subject.get("kind").and_then(Value::as_str),
                Some("User" | "Group")
            )
        {
            default(subject, "apiGroup", RBAC);
        }
    }
}

pub(super) fn webhooks(object: &mut Map<String, Value>, kind: &str) {
    let hooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten() {
        for rule in list_mut(hook, "/rules").into_iter().flatten() {
            if let Some(rule) = rule.as_object_mut() {
                default(rule, "scope", "*");
            }
        }
        if let Some(Value::Object(service)) = hook.pointer_mut("/clientConfig/service") {
            service.entry("port").or_insert(json!(443));
        }
        let Some(hook) = hook.as_object_mut() else {
            continue;
        };
        default(hook, "failurePolicy", "Fail");
        default(hook, "matchPolicy", "Equivalent");
        hook.entry("timeoutSeconds").or_insert(json!(10));
        for selector in ["namespaceSelector", "objectSelector"] {
            child(hook, selector);
        }
        if kind == "MutatingWebhookConfiguration" {
            default(hook, "reinvocationPolicy", "Never");
        }
    }
}
