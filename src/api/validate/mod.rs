//! Which objects are refused, with upstream's words for each wrong field.

mod access;
mod apps;
mod autoscaler;
mod certificate;
mod container;
mod container_env;
mod container_mounts;
mod container_probes;
mod cron_job;
mod job;
mod job_policy;
mod job_status;
mod kinds;
mod limits;
mod metadata;
mod network;
mod pod;
mod pod_parts;
mod pod_scheduling;
mod pod_status;
mod pod_update;
mod pod_volumes;
mod resources;
mod rollout;
mod scaling;
mod security;
mod selector;
mod service;
mod storage;
mod template;
mod warnings;
mod webhooks;
mod workload_status;

use serde_json::{Value, json};

use crate::crd;
use crate::field::Error;
use crate::json::map_at;
use crate::resource::Resource;
use crate::strategy::Part;

pub use metadata::identity;
pub(crate) use pod_parts::{with_ephemeral, with_resources};
pub use scaling::scale;
pub use warnings::warnings;
pub use webhooks::CONDITION_VARIABLES;

/// What is wrong with a new object, after defaults.
pub fn create(res: &Resource, object: &Value) -> Vec<Error> {
    let mut errors = metadata::create(res, object);
    if let Some(custom) = res.custom {
        errors.extend(custom_content(custom, object, None));
        return errors;
    }
    errors.extend(content(res, object, None));
    errors
}

/// What is wrong with a changed object, after defaults and after the parts its door may
/// not touch were put back.
pub fn update(res: &Resource, part: Part, new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = metadata::update(res, new, old);
    if let Some(custom) = res.custom {
        errors.extend(custom_content(custom, new, Some(old)));
        return errors;
    }
    match part {
        Part::Main => {}
        Part::Status if res.is("certificates.k8s.io", "CertificateSigningRequest") => {
            errors.extend(certificate::update(new, old, part));
        }
        Part::Status => errors.extend(workload_status::update(res, new, old)),
        Part::EphemeralContainers => errors.extend(pod_parts::ephemeral_update(new, old)),
        Part::Resize => errors.extend(pod_parts::resize(new, old)),
        Part::Approval => errors.extend(certificate::update(new, old, part)),
        Part::Finalize => {}
    }
    if part != Part::Main {
        return errors;
    }
    errors.extend(match res.id() {
        ("", "Pod") => pod_update::update(new, old),
        ("", "Service") => service::update(new, old),
        ("", "Secret") | ("", "ConfigMap") => kinds::data_update(new, old),
        ("", "Node") => kinds::node_update(new, old),
        ("", "PersistentVolumeClaim") => storage::claim_update(new, old),
        ("", "PersistentVolume") => storage::volume_update(new, old),
        ("", "ResourceQuota") => limits::quota_update(new, old),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => apps::selector_update(new, old),
        ("apps", "StatefulSet") => apps::stateful_set_update(new, old),
        ("apps", "ControllerRevision") => apps::revision_update(new, old),
        ("batch", "Job") => job::job_update(new, old),
        ("apiextensions.k8s.io", _) => crd::update_rules(new, old),
        ("networking.k8s.io", "IngressClass") => network::ingress_class_update(new, old),
        ("discovery.k8s.io", "EndpointSlice") => network::slice_update(new, old),
        ("storage.k8s.io", "StorageClass") => storage::class_update(new, old),
        ("storage.k8s.io", "CSIDriver") => storage::driver_update(new, old),
        ("storage.k8s.io", "CSINode") => storage::node_update(new, old),
        ("storage.k8s.io", "VolumeAttachment") => storage::attachment_update(new, old),
        ("scheduling.k8s.io", "PriorityClass") => limits::priority_update(new, old),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            access::binding_update(new, old)
        }
        _ => Vec::new(),
    });
    // A pod that was valid is still valid in the fields that may not change; the few that
    // may are checked with the rest.
    errors.extend(content(res, new, Some(old)));
    errors
}

/// A custom object against its schema; its rules are asked once it fits.
fn custom_content(custom: &crd::Custom, new: &Value, old: Option<&Value>) -> Vec<Error> {
    let errors = crd::validate(&custom.schema, new);
    if errors.is_empty() {
        return crd::check_rules(custom, new, old);
    }
    errors
}

/// The rules that hold at birth and ever after; `old` is what the object was before.
fn content(res: &Resource, object: &Value, old: Option<&Value>) -> Vec<Error> {
    match res.id() {
        ("", "Pod") => match old {
            None => pod::create(object),
            // What was let in by older rules may still be labelled.
            Some(old) if old.get("spec") == object.get("spec") => Vec::new(),
            Some(_) => pod::pod(object),
        },
        ("", "Service") => service::spec(object),
        ("", "ConfigMap") => kinds::config_map(object),
        ("", "Secret") => kinds::secret(object),
        ("", "Node") => kinds::node(object),
        ("", "Event") => kinds::event(object),
        ("coordination.k8s.io", "Lease") => kinds::lease(object),
        ("", "Endpoints") => kinds::endpoints(object),
        ("", "PodTemplate") => apps::template_kind(object),
        ("", "ReplicationController") => apps::replication_controller(object),
        ("", "PersistentVolumeClaim") => storage::claim(object),
        ("", "PersistentVolume") => storage::volume(object),
        ("", "LimitRange") => limits::limit_range(object),
        ("", "ResourceQuota") => limits::quota(object),
        ("apps", "Deployment") => apps::deployment(object),
        ("apps", "ReplicaSet") => apps::replica_set(object),
        ("apps", "DaemonSet") => apps::daemon_set(object),
        ("apps", "StatefulSet") => apps::stateful_set(object),
        ("apps", "ControllerRevision") => apps::revision(object),
        ("batch", "Job") => job::job(object),
        ("batch", "CronJob") => cron_job::cron_job(object, old),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::autoscaler(object, old),
        ("policy", "PodDisruptionBudget") => scaling::budget(object),
        ("networking.k8s.io", "Ingress") => network::ingress(object),
        ("networking.k8s.io", "IngressClass") => network::ingress_class(object),
        ("networking.k8s.io", "NetworkPolicy") => network::policy(object),
        ("discovery.k8s.io", "EndpointSlice") => network::slice(object),
        ("storage.k8s.io", "StorageClass") => storage::class(object),
        ("storage.k8s.io", "CSIDriver") => storage::driver(object),
        ("storage.k8s.io", "CSINode") => storage::node(object),
        ("storage.k8s.io", "VolumeAttachment") => storage::attachment(object),
        ("scheduling.k8s.io", "PriorityClass") => limits::priority(object),
        ("node.k8s.io", "RuntimeClass") => limits::runtime_class(object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            access::role(object, res.namespaced)
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            access::binding(object, res.namespaced)
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => certificate::request(object),
        ("admissionregistration.k8s.io", kind) => webhooks::configuration(object, kind),
        ("apiextensions.k8s.io", _) => crd::validate_definition(object),
        _ => Vec::new(),
    }
}

/// Errors about a part that is validated by itself, as fields of the whole.
fn under(path: &str, errors: Vec<Error>) -> Vec<Error> {
    errors
        .into_iter()
        .map(|mut error| {
            error.field = crate::field::member(path, &error.field);
            error
        })
        .collect()
}

/// Adds an Invalid error about the text in a field of `path` for every sentence in `why`.
fn text(errors: &mut Vec<Error>, path: &str, field: &str, value: &str, why: Vec<String>) {
    if !why.is_empty() {
        texts(errors, &crate::field::member(path, field), value, why);
    }
}

/// As [`text`], about a number.
fn number(errors: &mut Vec<Error>, path: &str, field: &str, value: i64, why: Vec<String>) {
    if !why.is_empty() {
        all(
            errors,
            &crate::field::member(path, field),
            &json!(value),
            why,
        );
    }
}

/// An address of either family.
fn is_ip(errors: &mut Vec<Error>, at: &str, value: &Value) {
    let text = value.as_str().unwrap_or_default();
    if text.parse::<std::net::IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(Error::invalid(at, text, why));
    }
}

/// `value` must be one of `known`; absent and empty are "required".
fn one_of(errors: &mut Vec<Error>, path: &str, value: &str, known: &[&str]) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !known.contains(&value) {
        errors.push(Error::not_supported(path, value, known));
    }
}

/// Adds an Invalid error about a text for every sentence in `why`.
pub(crate) fn texts(errors: &mut Vec<Error>, path: &str, value: &str, why: Vec<String>) {
    // Nearly always there is none.
    if !why.is_empty() {
        all(errors, path, &json!(value), why);
    }
}

/// Adds an Invalid error for every sentence in `why`.
fn all(errors: &mut Vec<Error>, path: &str, value: &Value, why: Vec<String>) {
    errors.extend(
        why.into_iter()
            .map(|w| Error::invalid(path, value.clone(), w)),
    );
}

/// `metadata.labels`-like maps: keys and values must be labels.
fn labels(errors: &mut Vec<Error>, path: &str, object: &Value, pointer: &str) {
    for (key, value) in map_at(object, pointer).into_iter().flatten() {
        texts(errors, path, key, crate::names::qualified_name(key));
        let why = crate::names::label_value(value.as_str().unwrap_or_default());
        all(errors, path, value, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::str_at;
    use crate::resource::find_kind;
    use crate::strategy;

    /// The messages a new object of this kind gets; defaults come first.
    pub(super) fn refused(object: Value) -> Vec<String> {
        let mut object = object;
        let api = str_at(&object, "/apiVersion").to_owned();
        let res = find_kind(&api, str_at(&object, "/kind")).expect("kind");
        object["metadata"] = json!({"name": "a", "uid": "u",
            "namespace": if res.namespaced { json!("default") } else { Value::Null }});
        match strategy::prepare_create(res, &mut object) {
            Ok(_) => vec![],
            Err(status) => status
                .details
                .unwrap_or_default()
                .causes
                .iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect(),
        }
    }

    fn template() -> Value {
        json!({"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]}})
    }

    #[test]
    fn good_objects_of_every_kind_pass() {
        let select = json!({"matchLabels": {"app": "a"}});
        let mut once = template();
        once["spec"]["restartPolicy"] = json!("Never");
        for object in [
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": select, "template": template()}}),
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"selector": select, "template": template()}}),
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"selector": select, "template": template()}}),
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"selector": select, "serviceName": "s", "template": template()}}),
            json!({"apiVersion": "v1", "kind": "ReplicationController", "spec": {"template": template()}}),
            json!({"apiVersion": "v1", "kind": "PodTemplate", "template": template()}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": once}}),
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": once}}}}),
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}}),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": "50%", "selector": select}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"rules": [{"host": "*.x.io", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]}}),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "a.io/b"}),
            json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [{"type": "Container", "max": {"cpu": 1}}]}}),
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": 3, "requests.cpu": "1"}}}),
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 10}),
            json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runc"}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [{"kind": "User", "name": "u"}]}),
            json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "spec": {"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K", "signerName": "a.io/b", "usages": ["client auth"]}}),
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "webhooks": [{"name": "a.b.io",
                "clientConfig": {"url": "https://x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}]}),
        ] {
            assert_eq!(refused(object.clone()), Vec::<String>::new(), "{object}");
        }
    }

    #[test]
    fn wrong_fields_are_named_in_upstreams_words() {
        let select = json!({"matchLabels": {"app": "b"}});
        for (object, words) in [
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template()}}),
                vec!["spec.selector: Required value"],
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": select, "template": template()}}),
                vec![
                    "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {"matchLabels": {"app": "a"}}, "replicas": -1,
                    "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}}),
                vec![
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "spec.template.spec.containers[0].image: Required value",
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                ],
            ),
            (
                json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template()}}),
                vec![
                    "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
                ],
            ),
            (
                json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"maxUnavailable": 1, "minAvailable": 1}}),
                vec![
                    "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
                ],
            ),
            (
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {}}),
                vec![
                    "spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified",
                ],
            ),
            (
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {}}),
                vec![
                    "spec.accessModes: Required value: at least 1 access mode is required",
                    "spec.resources[storage]: Required value",
                ],
            ),
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [{"resources": ["pods"]}]}),
                vec![
                    "rules[0].verbs: Required value: verbs must contain at least one value",
                    "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                ],
            ),
        ] {
            let found = refused(object.clone());
            for word in words {
                assert!(
                    found.iter().any(|f| f.ends_with(word)),
                    "{word}\nin {found:#?}"
                );
            }
        }
    }
}
