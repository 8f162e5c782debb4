//! What the pods of a node refer to: all that its agent may read of Secrets and
//! ConfigMaps, and the accounts it may ask tokens for.

use cadet_api::json::str_at;
use serde_json::Value;

use crate::admission::find;
use crate::world::World;

/// Whether a pod on `node` in `namespace` needs the object `name`; `plural` is `secrets`,
/// `configmaps` or `serviceaccounts`.
pub(super) fn needed_on(
    world: &World,
    node: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let Ok(pods) = find("pods") else {
        return false;
    };
    let listing = world.list(pods, Some(namespace));
    let mut here = listing
        .objects
        .iter()
        .filter(|pod| pod.node() == Some(node));
    here.any(|pod| {
        let pod = pod.value();
        match plural {
            "serviceaccounts" => account_of(&pod) == name,
            _ => pod
                .get("spec")
                .is_some_and(|spec| refers(spec, plural == "secrets", name)),
        }
    })
}

/// The account that a pod runs under.
pub(super) fn account_of(pod: &Value) -> &str {
    match str_at(pod, "/spec/serviceAccountName") {
        "" => "default",
        name => name,
    }
}

/// Whether any part of a pod's spec refers to the object: the fields that do are the same
/// wherever they stand (volumes, projected sources, environment, pull secrets).
fn refers(part: &Value, secrets: bool, name: &str) -> bool {
    match part {
        Value::Array(items) => items.iter().any(|item| refers(item, secrets, name)),
        Value::Object(members) => members.iter().any(|(key, value)| {
            let named = |field: &str| value.get(field).and_then(Value::as_str) == Some(name);
            let hit = match (key.as_str(), secrets) {
                ("secretKeyRef" | "secretRef" | "nodePublishSecretRef", true)
                | ("configMapKeyRef" | "configMapRef" | "configMap", false) => named("name"),
                // A projected source says `name`, a volume of its own `secretName`.
                ("secret", true) => named("name") || named("secretName"),
                ("secretName", true) => value == name,
                ("imagePullSecrets", true) => value
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| str_at(one, "/name") == name)),
                _ => false,
            };
            hit || refers(value, secrets, name)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_refer_is_seen_and_nothing_else() {
        let spec = json!({
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "v", "secret": {"secretName": "vol"}},
                {"name": "m", "configMap": {"name": "map"}},
                {"name": "p", "projected": {"sources": [
                    {"secret": {"name": "part"}}, {"configMap": {"name": "mappart"}}]}},
            ],
            "initContainers": [{"name": "plain", "envFrom": [
                {"secretRef": {"name": "all"}}, {"configMapRef": {"name": "mapall"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "mapone", "key": "k"}}}]}],
        });
        for name in ["pull", "vol", "part", "all", "one"] {
            assert!(refers(&spec, true, name), "{name}");
            assert!(!refers(&spec, false, name), "{name}");
        }
        for name in ["map", "mappart", "mapall", "mapone"] {
            assert!(refers(&spec, false, name), "{name}");
            assert!(!refers(&spec, true, name), "{name}");
        }
        for name in ["plain", "c", "v", "k", "A"] {
            assert!(!refers(&spec, true, name) && !refers(&spec, false, name));
        }
    }
}
