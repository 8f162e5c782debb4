//! Old versions, converted at the edge: storage and loops know today's form only.

mod autoscaler;
mod event;
mod ingress;
mod v1beta3;
mod workloads;

use std::fmt;

use serde_json::{Value, json};

use crate::resource::Resource;
use crate::status::Status;

/// What became of a field on the way to today's form, for the client to read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rename {
    /// (old path, today's path)
    Called(String, String),
    /// Where more than a name has changed.
    Told(&'static str),
}

impl Rename {
    fn called(old: impl Into<String>, new: impl Into<String>) -> Rename {
        Rename::Called(old.into(), new.into())
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rename::Called(old, new) => write!(f, "{old} is called {new} today"),
            Rename::Told(words) => f.write_str(words),
        }
    }
}

/// Brings an object of another version into the stored one. Returns warnings that name
/// today's form for versions of the past; does nothing if `res` is the stored version.
///
/// # Errors
/// 400 if the kind has no conversion, which is a row in the table without code here.
pub fn to_stored(res: &'static Resource, object: &mut Value) -> Result<Vec<String>, Status> {
    if !res.is_converted() {
        return Ok(Vec::new());
    }
    let (group, version) = (res.gv.group, res.gv.version);
    let renames = match (group, version, res.kind) {
        ("", "v1beta3", "Pod") => v1beta3::pod_to_v1(object),
        ("", "v1beta3", "ReplicationController") => v1beta3::controller_to_v1(object),
        ("", "v1beta3", "Service") => v1beta3::service_to_v1(object),
        ("extensions" | "networking.k8s.io", "v1beta1", "Ingress") => ingress::to_v1(object),
        ("extensions" | "apps", _, kind) => workloads::to_stored(group, version, kind, object),
        ("autoscaling", "v1", _) => {
            autoscaler::v1_to_v2(object);
            Vec::new()
        }
        ("events.k8s.io", "v1", _) => {
            event::to_core(object);
            Vec::new()
        }
        ("policy", "v1beta1", _) => budget_to_v1(object),
        // The fields are those of today.
        ("autoscaling", "v2beta2", _)
        | ("batch", "v1beta1", "CronJob")
        | ("rbac.authorization.k8s.io", "v1beta1", _) => Vec::new(),
        // Versions of a custom kind differ in name only (conversion strategy None).
        _ if res.custom.is_some() => Vec::new(),
        _ => {
            return Err(Status::bad_request(format!(
                "{} {} cannot be converted to {}",
                res.gv.api_version(),
                res.kind,
                res.storage.api_version()
            )));
        }
    };
    object["apiVersion"] = json!(res.storage.api_version());
    let mut warnings: Vec<String> = past_warning(res).into_iter().collect();
    warnings.extend(renames.into_iter().map(|rename| rename.to_string()));
    Ok(warnings)
}

/// Brings a stored object into the version a client asked for.
pub fn from_stored(res: &'static Resource, object: &mut Value) {
    if !res.is_converted() {
        return;
    }
    match (res.gv.group, res.gv.version, res.kind) {
        ("", "v1beta3", "Pod") => v1beta3::pod_from_v1(object),
        ("", "v1beta3", "ReplicationController") => v1beta3::controller_from_v1(object),
        ("", "v1beta3", "Service") => v1beta3::service_from_v1(object),
        ("extensions" | "networking.k8s.io", "v1beta1", "Ingress") => ingress::from_v1(object),
        ("extensions" | "apps", _, kind) => workloads::from_stored(kind, object),
        ("autoscaling", "v1", _) => autoscaler::v2_to_v1(object),
        ("events.k8s.io", "v1", _) => event::from_core(object),
        _ => {}
    }
    object["apiVersion"] = json!(res.gv.api_version());
}

/// An empty selector chose no pod then and chooses every pod today.
fn budget_to_v1(object: &mut Value) -> Vec<Rename> {
    if let Some(Value::Object(spec)) = object.get_mut("spec")
        && spec.get("selector") == Some(&json!({}))
    {
        spec.remove("selector");
        return vec![Rename::Told(
            "an empty spec.selector chose no pod then and chooses every pod today; it was left out",
        )];
    }
    Vec::new()
}

/// What users of a version of the past are told: since when it is, and today's form.
pub fn past_warning(res: &Resource) -> Option<String> {
    if let Some(words) = res.custom.and_then(|custom| custom.deprecation.as_ref()) {
        return Some(match words.as_str() {
            "" => format!("{} {} is deprecated", res.gv.api_version(), res.kind),
            words => words.to_owned(),
        });
    }
    res.is_past().then(|| {
        format!(
            "{} {} is {}: write apiVersion: {}",
            res.gv.api_version(),
            res.kind,
            res.history,
            res.storage.api_version()
        )
    })
}

/// What upstream says of two kinds of today that it would rather see go.
pub fn parting_warning(res: &Resource) -> Option<&'static str> {
    match (res.gv.group, res.gv.version, res.kind) {
        ("", "v1", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "v1", "Endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use crate::strategy::prepare_create;

    fn stored(group: &str, version: &str, plural: &str, object: Value) -> (Value, Vec<String>) {
        let res = find(group, version, plural).unwrap();
        let mut object = object;
        let warnings = to_stored(res, &mut object).unwrap();
        (object, warnings)
    }

    #[test]
    fn a_deployment_of_2016_gets_its_selector_and_the_defaults_of_its_time() {
        let (mut d, warnings) = stored(
            "extensions",
            "v1beta1",
            "deployments",
            json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment",
                "metadata": {"name": "hello", "namespace": "default"},
                "spec": {"replicas": 3, "rollbackTo": {"revision": 1}, "template": {
                    "metadata": {"labels": {"app": "hello"}},
                    "spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
        );
        assert_eq!(d["apiVersion"], "apps/v1");
        assert_eq!(
            warnings[0],
            "extensions/v1beta1 Deployment is deprecated since Kubernetes 1.9 and gone since 1.16 (2019): write apiVersion: apps/v1"
        );
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        prepare_create(find("apps", "v1", "deployments").unwrap(), &mut d).unwrap();
        assert_eq!(d["spec"]["selector"]["matchLabels"]["app"], "hello");
        assert_eq!(d["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 1);
        assert_eq!(d["metadata"]["generation"], 1);
    }

    #[test]
    fn an_ingress_finds_its_backends_again() {
        let old = json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress",
            "spec": {"backend": {"serviceName": "a", "servicePort": 80},
                "rules": [{"host": "x", "http": {"paths": [
                    {"path": "/", "backend": {"serviceName": "b", "servicePort": "web"}}]}}]}});
        let (mut new, _) = stored("extensions", "v1beta1", "ingresses", old.clone());
        assert_eq!(
            new["spec"]["defaultBackend"],
            json!({"service": {"name": "a", "port": {"number": 80}}})
        );
        let path = &new["spec"]["rules"][0]["http"]["paths"][0];
        assert_eq!(path["pathType"], "ImplementationSpecific");
        assert_eq!(path["backend"]["service"]["port"]["name"], "web");
        from_stored(
            find("extensions", "v1beta1", "ingresses").unwrap(),
            &mut new,
        );
        let mut expected = old;
        expected["spec"]["rules"][0]["http"]["paths"][0]["pathType"] =
            json!("ImplementationSpecific");
        assert_eq!(new, expected);
    }

    #[test]
    fn an_autoscaler_keeps_what_version_one_cannot_say() {
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]}});
        let res = find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let mut v1 = v2.clone();
        from_stored(res, &mut v1);
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 60);
        let warnings = to_stored(res, &mut v1).unwrap();
        assert!(warnings.is_empty(), "v1 is no version of the past");
        let order = |o: &Value| {
            let mut all: Vec<String> = o["spec"]["metrics"]
                .as_array()
                .unwrap()
                .iter()
                .map(Value::to_string)
                .collect();
            all.sort();
            all
        };
        assert_eq!(order(&v1), order(&v2));
    }

    #[test]
    fn a_service_and_a_controller_of_2015() {
        let (s, warnings) = stored(
            "",
            "v1beta3",
            "services",
            json!({"apiVersion": "v1beta3", "kind": "Service", "spec": {
                "portalIP": "10.0.0.10", "createExternalLoadBalancer": true,
                "publicIPs": ["1.2.3.4"], "ports": [{"port": 80}]}}),
        );
        assert_eq!(
            s["spec"],
            json!({"clusterIP": "10.0.0.10", "type": "LoadBalancer",
                "externalIPs": ["1.2.3.4"], "ports": [{"port": 80}]})
        );
        assert_eq!(warnings.len(), 4);
        let (c, _) = stored(
            "",
            "v1beta3",
            "replicationcontrollers",
            json!({"spec": {"replicas": 1, "template": {"spec": {"host": "n", "containers": []}}}}),
        );
        assert_eq!(c["spec"]["template"]["spec"]["nodeName"], "n");
    }

    #[test]
    fn events_have_two_names_for_everything() {
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n",
            "regarding": {"kind": "Pod"}, "deprecatedCount": 2});
        let (mut core, warnings) = stored("events.k8s.io", "v1", "events", new.clone());
        assert_eq!((&core["message"], &core["count"]), (&json!("n"), &json!(2)));
        assert!(warnings.is_empty());
        from_stored(find("events.k8s.io", "v1", "events").unwrap(), &mut core);
        assert_eq!(core, new);
    }
}
