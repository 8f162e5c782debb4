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

/// Whether a pod on `node` in `namespace` uses the claim `name`, by itself or as one of
/// its ephemeral volumes.
pub(super) fn claimed_on(world: &World, node: &str, namespace: &str, name: &str) -> bool {
    let Ok(pods) = find("pods") else {
        return false;
    };
    let listing = world.list(pods, Some(namespace));
    let mut here = listing
        .objects
        .iter()
        .filter(|pod| pod.node() == Some(node));
    here.any(|pod| claims(&pod.value(), name))
}

fn claims(pod: &Value, name: &str) -> bool {
    let own = str_at(pod, "/metadata/name");
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    volumes.into_iter().flatten().any(|volume| {
        str_at(volume, "/persistentVolumeClaim/claimName") == name
            || (volume.get("ephemeral").is_some()
                && name == format!("{own}-{}", str_at(volume, "/name")))
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

    #[test]
    fn claims_are_named_or_made_from_the_pods_name() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {"volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "b", "ephemeral": {}},
            {"name": "c", "emptyDir": {}}]}});
        assert!(claims(&pod, "data") && claims(&pod, "web-b"));
        assert!(!claims(&pod, "a") && !claims(&pod, "web-c"));
    }
}
