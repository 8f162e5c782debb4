//! Fields filled in for the client, as upstream fills them in.

mod access;
mod network;
pub mod pod;
pub mod service;
mod storage;
pub mod workloads;

use serde_json::{Map, Value, json};

use crate::json::{child, default};
use crate::quantity;
use crate::resource::Resource;

/// Applies the defaults of the object's kind.
pub fn apply(res: &Resource, object: &mut Value) {
    match res.id() {
        ("", "Pod") => return pod::apply(object),
        ("", "Service") => return service::apply(object),
        ("", "Namespace") => return namespace(object),
        ("", "Node") => return node(object),
        ("", "Secret") => return secret(object),
        ("", "Endpoints") => return endpoints(object),
        ("", "LimitRange" | "ResourceQuota") => return workloads::amounts(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            return crate::crd::defaults(object);
        }
        ("networking.k8s.io", "NetworkPolicy") => return network::policy(object),
        ("discovery.k8s.io", "EndpointSlice") => return network::slice(object),
        _ => {}
    }
    let Some(root) = object.as_object_mut() else {
        return;
    };
    match res.id() {
        ("", "PodTemplate") => workloads::pod_template(root),
        ("", "ReplicationController") => workloads::replication_controller(root),
        ("apps", "Deployment") => workloads::deployment(root),
        ("apps", "ReplicaSet") => workloads::replica_set(root),
        ("apps", "DaemonSet") => workloads::daemon_set(root),
        ("apps", "StatefulSet") => workloads::stateful_set(root),
        ("batch", "Job") => workloads::job(root),
        ("batch", "CronJob") => workloads::cron_job(root),
        ("autoscaling", "HorizontalPodAutoscaler") => workloads::autoscaler(root),
        ("", "PersistentVolumeClaim") => storage::claim(root),
        ("", "PersistentVolume") => storage::volume(root),
        ("storage.k8s.io", "StorageClass") => storage::class(root),
        ("storage.k8s.io", "CSIDriver") => storage::driver(root),
        ("networking.k8s.io", "IngressClass") => network::ingress_class(root),
        ("scheduling.k8s.io", "PriorityClass") => {
            default(root, "preemptionPolicy", "PreemptLowerPriority");
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            access::binding(root);
        }
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => access::webhooks(root, res.kind),
        _ => {}
    }
}

fn namespace(object: &mut Value) {
    let name = object
        .pointer("/metadata/name")
        .cloned()
        .unwrap_or(Value::Null);
    if name.as_str().is_none_or(str::is_empty) {
        return;
    }
    let meta = crate::meta::of_mut(object);
    child(meta, "labels").insert("kubernetes.io/metadata.name".into(), name);
}

fn node(object: &mut Value) {
    for part in ["capacity", "allocatable"] {
        if let Some(m) = object
            .pointer_mut(&format!("/status/{part}"))
            .and_then(Value::as_object_mut)
        {
            quantities(m);
        }
    }
}

fn secret(object: &mut Value) {
    let Some(m) = object.as_object_mut() else {
        return;
    };
    default(m, "type", "Opaque");
    // stringData is write-only: it is folded into data and wins over it.
    if let Some(Value::Object(plain)) = m.remove("stringData") {
        let data = child(m, "data");
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            data.insert(key, json!(base64_encode(text.as_bytes())));
        }
    }
}

fn endpoints(object: &mut Value) {
    for subset in crate::json::list_mut(object, "/subsets")
        .into_iter()
        .flatten()
    {
        for port in crate::json::list_mut(subset, "/ports")
            .into_iter()
            .flatten()
        {
            if let Some(p) = port.as_object_mut() {
                default(p, "protocol", "TCP");
            }
        }
    }
}

/// Brings every quantity of a resource list into text, canonical where it can be read;
/// what cannot be read is left for validation to name.
fn quantities(list: &mut Map<String, Value>) {
    for value in list.values_mut() {
        let text = match value {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => continue,
        };
        *value = json!(quantity::canonical(&text).unwrap_or(text));
    }
}

/// Standard base64 with padding, the form Kubernetes gives binary data in JSON.
pub fn base64_encode(bytes: &[u8]) -> String {
    const ABC: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let b = [
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
        ];
        let n = u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(ABC[(n >> (18 - 6 * i)) as usize & 63] as char);
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;

    #[test]
    fn string_data_becomes_data() {
        let mut s = json!({"metadata": {"name": "s"}, "data": {"a": "eA==", "b": "eQ=="},
            "stringData": {"a": "hello", "c": ""}});
        apply(find("", "v1", "secrets").unwrap(), &mut s);
        assert_eq!(s["data"], json!({"a": "aGVsbG8=", "b": "eQ==", "c": ""}));
        assert_eq!(s["type"], "Opaque");
        assert!(s.get("stringData").is_none());
    }

    #[test]
    fn base64_has_the_right_padding() {
        for (raw, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("\u{ff}", "w78="),
        ] {
            assert_eq!(base64_encode(raw.as_bytes()), want);
        }
    }

    #[test]
    fn node_amounts_become_canonical_text() {
        let mut n = json!({"status": {"capacity": {"cpu": 2, "memory": "2048Mi", "pods": "110"}}});
        apply(find("", "v1", "nodes").unwrap(), &mut n);
        assert_eq!(
            n["status"]["capacity"],
            json!({"cpu": "2", "memory": "2Gi", "pods": "110"})
        );
    }
}
