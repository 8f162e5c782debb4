//! Kubernetes v1beta3 (spring 2015): names that changed on the way to v1.

use serde_json::{Map, Value, json};

use super::Rename;
use crate::json::child;

const CONTAINER_LISTS: [&str; 2] = ["containers", "initContainers"];

pub(super) fn pod_to_v1(pod: &mut Value) -> Vec<Rename> {
    let mut done = Vec::new();
    if let Some(Value::Object(spec)) = pod.get_mut("spec") {
        rename(spec, "spec", "host", "nodeName", &mut done);
        restart_policy(spec, &mut done);
        for list in CONTAINER_LISTS {
            for (i, c) in spec
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .enumerate()
            {
                if let Some(c) = c.as_object_mut() {
                    security(c, &format!("spec.{list}[{i}]"), &mut done);
                }
            }
        }
    }
    if let Some(Value::Object(status)) = pod.get_mut("status") {
        rename(status, "status", "Condition", "conditions", &mut done);
        states(status, "termination", "terminated");
    }
    done
}

pub(super) fn pod_from_v1(pod: &mut Value) {
    let mut unused = Vec::new();
    if let Some(Value::Object(spec)) = pod.get_mut("spec") {
        rename(spec, "spec", "nodeName", "host", &mut unused);
        for c in spec
            .get_mut("containers")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(c) = c.as_object_mut() else { continue };
            for key in ["privileged", "capabilities"] {
                let value = c.get("securityContext").and_then(|s| s.get(key)).cloned();
                if let Some(value) = value {
                    c.insert(key.into(), value);
                }
            }
        }
    }
    if let Some(Value::Object(status)) = pod.get_mut("status") {
        rename(status, "status", "conditions", "Condition", &mut unused);
        states(status, "terminated", "termination");
    }
}

/// A controller is its template's pod, and a selector that means the template's labels
/// when it is left out, then as now.
pub(super) fn controller_to_v1(controller: &mut Value) -> Vec<Rename> {
    let mut done = Vec::new();
    if let Some(Value::Object(spec)) = controller.get_mut("spec") {
        rename(spec, "spec", "replicaSelector", "selector", &mut done);
        if let Some(template) = spec.get_mut("template") {
            done.extend(pod_to_v1(template));
        }
    }
    done
}

pub(super) fn controller_from_v1(controller: &mut Value) {
    if let Some(template) = controller.pointer_mut("/spec/template") {
        pod_from_v1(template);
    }
}

pub(super) fn service_to_v1(service: &mut Value) -> Vec<Rename> {
    let mut done = Vec::new();
    let Some(Value::Object(spec)) = service.get_mut("spec") else {
        return done;
    };
    rename(spec, "spec", "portalIP", "clusterIP", &mut done);
    for key in ["publicIPs", "deprecatedPublicIPs"] {
        rename(spec, "spec", key, "externalIPs", &mut done);
    }
    if let Some(external) = spec.remove("createExternalLoadBalancer") {
        if external == json!(true) {
            spec.entry("type").or_insert(json!("LoadBalancer"));
        }
        done.push(Rename::called(
            "spec.createExternalLoadBalancer",
            "spec.type: LoadBalancer",
        ));
    }
    single_port(spec, &mut done);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            rename(port, "spec.ports", "containerPort", "targetPort", &mut done);
        }
    }
    done
}

/// Before multi-port services (early 2015) the spec itself was the one port. A patch may
/// bring that form to a service that has its port in the list by now.
fn single_port(spec: &mut Map<String, Value>, done: &mut Vec<Rename>) {
    if !spec.contains_key("port") {
        return;
    }
    let mut port = Map::new();
    for (old, new) in [
        ("port", "port"),
        ("containerPort", "targetPort"),
        ("protocol", "protocol"),
    ] {
        if let Some(value) = spec.remove(old) {
            port.insert(new.into(), value);
        }
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    match ports.map(Vec::as_mut_slice) {
        Some([Value::Object(there)]) => there.extend(port),
        _ => drop(spec.insert("ports".into(), json!([port]))),
    }
    done.push(Rename::called("spec.port", "spec.ports[0].port"));
}

pub(super) fn service_from_v1(service: &mut Value) {
    let mut unused = Vec::new();
    if let Some(Value::Object(spec)) = service.get_mut("spec") {
        rename(spec, "spec", "clusterIP", "portalIP", &mut unused);
        rename(spec, "spec", "externalIPs", "publicIPs", &mut unused);
        if spec.get("type") == Some(&json!("LoadBalancer")) {
            spec.insert("createExternalLoadBalancer".into(), json!(true));
        }
    }
}

/// Renames a member; where both names stand, today's wins.
fn rename(m: &mut Map<String, Value>, at: &str, old: &str, new: &str, done: &mut Vec<Rename>) {
    if let Some(value) = m.remove(old) {
        m.entry(new).or_insert(value);
        done.push(Rename::Called(format!("{at}.{old}"), format!("{at}.{new}")));
    }
}

/// Early v1beta3 wrote `restartPolicy: {always: {}}`.
fn restart_policy(spec: &mut Map<String, Value>, done: &mut Vec<Rename>) {
    let Some(Value::Object(old)) = spec.get("restartPolicy") else {
        return;
    };
    let policy = match old.keys().next().map(|k| k.to_lowercase()).as_deref() {
        Some("onfailure") => "OnFailure",
        Some("never") => "Never",
        _ => "Always",
    };
    spec.insert("restartPolicy".into(), json!(policy));
    done.push(Rename::called(
        "spec.restartPolicy as an object",
        format!("restartPolicy: {policy}"),
    ));
}

fn security(c: &mut Map<String, Value>, at: &str, done: &mut Vec<Rename>) {
    for key in ["privileged", "capabilities"] {
        if let Some(value) = c.remove(key) {
            child(c, "securityContext").entry(key).or_insert(value);
            done.push(Rename::Called(
                format!("{at}.{key}"),
                format!("{at}.securityContext.{key}"),
            ));
        }
    }
}

fn states(status: &mut Map<String, Value>, from: &str, to: &str) {
    for list in ["containerStatuses", "initContainerStatuses"] {
        for c in status
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            for key in ["state", "lastState"] {
                if let Some(Value::Object(state)) = c.get_mut(key)
                    && let Some(value) = state.remove(from)
                {
                    state.entry(to).or_insert(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{from_stored, to_stored};
    use crate::resource::find;
    use serde_json::json;

    #[test]
    fn an_old_pod_reads_like_a_new_one_and_says_what_changed() {
        let old = find("", "v1beta3", "pods").unwrap();
        let mut p = json!({"kind": "Pod", "apiVersion": "v1beta3", "metadata": {"name": "telescope-pod"},
            "spec": {"host": "n1", "restartPolicy": {"onFailure": {}},
                "containers": [{"name": "mongo", "image": "mongo", "privileged": true,
                    "capabilities": {"add": ["NET_ADMIN"]}}]}});
        let warnings = to_stored(old, &mut p).unwrap();
        assert_eq!(p["apiVersion"], "v1");
        assert_eq!(p["spec"]["nodeName"], "n1");
        assert_eq!(p["spec"]["restartPolicy"], "OnFailure");
        assert_eq!(
            p["spec"]["containers"][0]["securityContext"],
            json!({"privileged": true, "capabilities": {"add": ["NET_ADMIN"]}})
        );
        assert!(
            p["spec"].get("host").is_none()
                && p["spec"]["containers"][0].get("privileged").is_none()
        );
        assert_eq!(
            warnings[0],
            "v1beta3 Pod is deprecated since Kubernetes 1.0 (2015): write apiVersion: v1"
        );
        assert!(warnings.contains(&"spec.host is called spec.nodeName today".to_owned()));
        assert_eq!(warnings.len(), 5);
    }

    #[test]
    fn todays_name_wins_and_reading_goes_back() {
        let old = find("", "v1beta3", "pods").unwrap();
        let mut p = json!({"spec": {"host": "old", "nodeName": "new", "containers": []},
            "status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}], "conditions": []}});
        to_stored(old, &mut p).unwrap();
        assert_eq!(p["spec"]["nodeName"], "new");
        from_stored(old, &mut p);
        assert_eq!(
            (&p["apiVersion"], &p["spec"]["host"]),
            (&json!("v1beta3"), &json!("new"))
        );
        assert_eq!(
            p["status"]["containerStatuses"][0]["state"]["termination"]["exitCode"],
            1
        );
        assert!(p["status"].get("Condition").is_some());
        let mut back = p.clone();
        to_stored(old, &mut back).unwrap();
        assert_eq!(
            back["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
            1
        );
    }

    #[test]
    fn current_versions_pass_untouched() {
        let pods = find("", "v1", "pods").unwrap();
        let mut p = json!({"spec": {"host": "x"}});
        assert!(to_stored(pods, &mut p).unwrap().is_empty());
        assert_eq!(p, json!({"spec": {"host": "x"}}));
    }
}
