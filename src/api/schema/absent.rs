//! Empty lists and maps of built-in kinds, which upstream's server does not show.
//!
//! Its objects are Go structs whose optional lists and maps are marked `omitempty`: what a
//! client sent as `taints: []` comes back as no field at all (encoding/json, "omitempty").
//! Structs stay, as Go writes them out when they are empty: `emptyDir: {}`.

use serde_json::Value;

use super::Shape;
use crate::json::is_empty;
use crate::resource::Resource;

/// Removes optional lists and maps without items from an object of a built-in kind. Custom
/// kinds are kept as they were sent, as upstream keeps them.
pub fn drop_empty(res: &Resource, object: &mut Value) {
    if res.custom.is_some() || !has_empty(object) {
        return;
    }
    if let Some(shape) = super::of(res) {
        walk(shape, object, kept(res));
    }
}

/// Optional fields that upstream writes even when they are empty, or whose emptiness is a mistake
/// of its own (policies that scale: an empty list is refused, an absent one defaulted).
fn kept(res: &Resource) -> &'static [&'static str] {
    match res.id() {
        ("discovery.k8s.io", "EndpointSlice") => &["endpoints", "ports"],
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &["rules"],
        ("autoscaling", "HorizontalPodAutoscaler") => &["currentMetrics", "policies"],
        _ => &[],
    }
}

/// Whether anything in it is an empty list or map: most objects have none, and are not walked.
fn has_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty() || members.values().any(has_empty),
        Value::Array(items) => items.is_empty() || items.iter().any(has_empty),
        _ => false,
    }
}

fn walk(shape: &Shape, value: &mut Value, kept: &[&str]) {
    match (shape, value) {
        (Shape::OrElse(inner), value) => walk(inner.get(), value, kept),
        (Shape::Struct(known), Value::Object(members)) => members.retain(|name, value| {
            if !has_empty(value) {
                return true;
            }
            let Some(field) = known.fields.get(name.as_str()) else {
                return true;
            };
            let shape = field.shape.get();
            walk(shape, value, kept);
            let is_collection = matches!(shape, Shape::List { .. } | Shape::Map { .. });
            let goes = is_collection && is_empty(value);
            !goes || field.required || kept.contains(&name.as_str())
        }),
        (Shape::Map { value: shape, .. }, Value::Object(members)) => {
            let shape = shape.get();
            members
                .values_mut()
                .for_each(|value| walk(shape, value, kept));
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            let shape = item.get();
            items.iter_mut().for_each(|value| walk(shape, value, kept));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource;

    fn dropped(group: &str, kind: &str, mut object: Value) -> Value {
        let res = resource::all()
            .iter()
            .find(|res| res.is(group, kind) && !res.is_past())
            .expect("a kind of the table");
        drop_empty(res, &mut object);
        object
    }

    #[test]
    fn optional_lists_and_maps_go_structs_stay() {
        let node =
            json!({"spec": {"taints": [], "podCIDRs": ["10.0.0.0/24"]}, "status": {"images": []}});
        let kept = json!({"spec": {"podCIDRs": ["10.0.0.0/24"]}, "status": {}});
        assert_eq!(dropped("", "Node", node), kept);

        let pod = json!({"spec": {
            "nodeSelector": {},
            "tolerations": [],
            "containers": [{"name": "a", "env": [], "resources": {"limits": {}}, "securityContext": {}}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        let kept = json!({"spec": {
            "containers": [{"name": "a", "resources": {}, "securityContext": {}}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        assert_eq!(dropped("", "Pod", pod), kept);
    }

    #[test]
    fn required_lists_and_those_go_always_writes_stay() {
        let pod = json!({"spec": {"containers": []}});
        assert_eq!(dropped("", "Pod", pod.clone()), pod);
        let slice = json!({"addressType": "IPv4", "endpoints": [], "ports": []});
        assert_eq!(
            dropped("discovery.k8s.io", "EndpointSlice", slice.clone()),
            slice
        );
        let scaler = json!({"spec": {"behavior": {"scaleDown": {"policies": []}}}});
        assert_eq!(
            dropped("autoscaling", "HorizontalPodAutoscaler", scaler.clone()),
            scaler
        );
    }

    #[test]
    fn what_nobody_looks_into_stays() {
        let revision = json!({"revision": 1, "data": {"spec": {"list": [], "map": {}}}});
        assert_eq!(
            dropped("apps", "ControllerRevision", revision.clone()),
            revision
        );
        let owned = json!({"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {}}}]}});
        assert_eq!(dropped("", "ConfigMap", owned.clone()), owned);
    }
}
