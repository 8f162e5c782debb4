//! Defaults of a Pod, container by container, and its quality-of-service class.

use serde_json::{Map, Value, json};

use super::quantities;
use crate::json::{child, default, list_at, map_at};

/// rw-r--r--, the mode files of configMap and secret volumes get.
const FILE_MODE: i64 = 0o644;
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in what the client left open.
pub fn apply(object: &mut Value) {
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    default(spec, "enableServiceLinks", true);
    if !spec.contains_key("serviceAccountName")
        && let Some(old) = spec.get("serviceAccount").cloned()
    {
        spec.insert("serviceAccountName".into(), old);
    }
    for list in CONTAINER_LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for c in containers.into_iter().flatten() {
            if let Some(c) = c.as_object_mut() {
                requests_from_limits(c);
            }
        }
    }
    template(root);
    host_ports(child(root, "spec"));
}

/// On the node's own network a container's port is the node's port. A template does not
/// say so yet: it is settled when a pod is made of it.
fn host_ports(spec: &mut Map<String, Value>) {
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool);
    if host_network != Some(true) {
        return;
    }
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for c in containers.into_iter().flatten() {
            for port in crate::json::list_mut(c, "/ports").into_iter().flatten() {
                if let Some(p) = port.as_object_mut()
                    && let Some(n) = p.get("containerPort").cloned()
                {
                    p.entry("hostPort").or_insert(n);
                }
            }
        }
    }
}

/// What a pod template in a workload gets: less than a pod, the rest is decided when the
/// pod is made of it.
pub fn template(root: &mut Map<String, Value>) {
    let spec = child(root, "spec");
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    child(spec, "securityContext");
    // The account has two names; the old one follows the new one.
    if let Some(name) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".into(), name);
    }
    for list in CONTAINER_LISTS {
        for c in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(c) = c.as_object_mut() {
                container(c);
            }
        }
    }
    for v in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(v) = v.as_object_mut() {
            volume(v);
        }
    }
    if let Some(Value::Object(m)) = spec.get_mut("overhead") {
        quantities(m);
    }
}

fn container(c: &mut Map<String, Value>) {
    let image = c
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    default(c, "imagePullPolicy", pull_policy(&image));
    default(c, "terminationMessagePath", "/dev/termination-log");
    default(c, "terminationMessagePolicy", "File");
    let resources = child(c, "resources");
    for part in ["limits", "requests"] {
        if let Some(Value::Object(m)) = resources.get_mut(part) {
            quantities(m);
        }
    }
    for port in c
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(p) = port.as_object_mut() {
            default(p, "protocol", "TCP");
        }
    }
    for env in c
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        field_ref(env.pointer_mut("/valueFrom/fieldRef"));
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(Value::Object(p)) = c.get_mut(name) {
            probe(p);
        }
    }
    if let Some(Value::Object(lifecycle)) = c.get_mut("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(Value::Object(h)) = lifecycle.get_mut(hook) {
                http_get(h);
            }
        }
    }
}

/// Who limits without asking asks for the limit.
fn requests_from_limits(c: &mut Map<String, Value>) {
    let resources = child(c, "resources");
    if let Some(Value::Object(limits)) = resources.get("limits").cloned() {
        let requests = child(resources, "requests");
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

/// Always for images that may change under their name: tag `latest`, or no tag and no digest.
pub fn pull_policy(image: &str) -> &'static str {
    let (image, pinned) = match image.split_once('@') {
        Some((image, _)) => (image, true),
        None => (image, false),
    };
    // A colon before the last slash is a registry's port, not a tag.
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None if pinned => "IfNotPresent",
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn probe(p: &mut Map<String, Value>) {
    for (key, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if p.get(key).and_then(Value::as_i64).unwrap_or(0) == 0 {
            p.insert(key.into(), json!(value));
        }
    }
    http_get(p);
    if let Some(Value::Object(g)) = p.get_mut("grpc") {
        g.entry("service").or_insert_with(|| json!(""));
    }
}

fn http_get(handler: &mut Map<String, Value>) {
    if let Some(Value::Object(h)) = handler.get_mut("httpGet") {
        default(h, "path", "/");
        default(h, "scheme", "HTTP");
    }
}

fn field_ref(r: Option<&mut Value>) {
    if let Some(Value::Object(r)) = r {
        default(r, "apiVersion", "v1");
    }
}

fn volume(v: &mut Map<String, Value>) {
    // Only a name: an empty directory.
    if !v.keys().any(|k| k != "name") {
        v.insert("emptyDir".into(), json!({}));
    }
    for (kind, source) in v.iter_mut() {
        let Some(s) = source.as_object_mut() else {
            continue;
        };
        match kind.as_str() {
            "secret" | "configMap" => default(s, "defaultMode", FILE_MODE),
            "hostPath" => drop(s.entry("type").or_insert_with(|| json!(""))),
            "iscsi" => default(s, "iscsiInterface", "default"),
            "ephemeral" => {
                if let Some(Value::Object(claim)) = s.get_mut("volumeClaimTemplate") {
                    super::storage::claim(claim);
                }
            }
            "image" => {
                let reference = s.get("reference").and_then(Value::as_str);
                let policy = pull_policy(reference.unwrap_or_default());
                default(s, "pullPolicy", policy);
            }
            "downwardAPI" => {
                default(s, "defaultMode", FILE_MODE);
                downward(s.get_mut("items"));
            }
            "projected" => {
                default(s, "defaultMode", FILE_MODE);
                for source in s
                    .get_mut("sources")
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    downward(source.pointer_mut("/downwardAPI/items"));
                    if let Some(Value::Object(t)) = source.pointer_mut("/serviceAccountToken") {
                        default(t, "expirationSeconds", 3600);
                    }
                }
            }
            "emptyDir" => {
                if let Some(n) = s.remove("sizeLimit") {
                    let mut one = Map::from_iter([("sizeLimit".to_owned(), n)]);
                    quantities(&mut one);
                    s.extend(one);
                }
            }
            _ => {}
        }
    }
}

fn downward(items: Option<&mut Value>) {
    for item in items.and_then(Value::as_array_mut).into_iter().flatten() {
        field_ref(item.get_mut("fieldRef"));
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`: decides who is killed first when memory ends.
/// What the pod as a whole asks for counts; if it asks for nothing, its containers do.
pub fn qos_class(pod: &Value) -> &'static str {
    match class_of(pod.pointer("/spec").into_iter()) {
        "BestEffort" => {
            let containers = list_at(pod, "/spec/containers").iter();
            class_of(containers.chain(list_at(pod, "/spec/initContainers")))
        }
        class => class,
    }
}

fn class_of<'a>(all: impl Iterator<Item = &'a Value>) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for c in all {
        for name in ["cpu", "memory"] {
            let amount = |part: &str| {
                map_at(c, &format!("/resources/{part}"))
                    .and_then(|m| m.get(name))
                    .and_then(Value::as_str)
                    .and_then(|s| s.parse::<crate::quantity::Quantity>().ok())
                    .filter(|q| !q.is_zero())
            };
            let (limit, request) = (amount("limits"), amount("requests"));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telescope_pod_is_completed_as_upstream_does() {
        let mut p = json!({"metadata": {"name": "telescope-pod"}, "spec": {"containers": [
            {"name": "mongo", "image": "mongo", "ports": [{"containerPort": 27017}]}]}});
        apply(&mut p);
        let spec = &p["spec"];
        assert_eq!(
            spec["containers"][0],
            json!({"name": "mongo", "image": "mongo", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 27017, "protocol": "TCP"}], "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"})
        );
        for (key, want) in [
            ("restartPolicy", json!("Always")),
            ("dnsPolicy", json!("ClusterFirst")),
            ("schedulerName", json!("default-scheduler")),
            ("terminationGracePeriodSeconds", json!(30)),
            ("enableServiceLinks", json!(true)),
            ("securityContext", json!({})),
        ] {
            assert_eq!(spec[key], want, "{key}");
        }
        let once = p.clone();
        apply(&mut p);
        assert_eq!(p, once, "defaults must be stable");
    }

    #[test]
    fn pull_policy_reads_the_tag_not_the_port() {
        for (image, want) in [
            ("mongo", "Always"),
            ("mongo:latest", "Always"),
            ("mongo:4.0", "IfNotPresent"),
            ("localhost:5000/mongo", "Always"),
            ("localhost:5000/mongo:4", "IfNotPresent"),
            ("mongo@sha256:00", "IfNotPresent"),
            ("mongo:4@sha256:00", "IfNotPresent"),
            ("mongo:latest@sha256:00", "Always"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }

    #[test]
    fn limits_imply_requests_and_decide_the_class() {
        let pod = |resources: Value| {
            let mut p = json!({"spec": {"containers": [{"name": "c", "image": "x", "resources": resources}]}});
            apply(&mut p);
            p
        };
        let p = pod(json!({"limits": {"cpu": 1, "memory": "1024Mi"}}));
        assert_eq!(
            p["spec"]["containers"][0]["resources"]["requests"],
            json!({"cpu": "1", "memory": "1Gi"})
        );
        assert_eq!(qos_class(&p), "Guaranteed");
        assert_eq!(
            qos_class(&pod(json!({"requests": {"cpu": "0.1"}}))),
            "Burstable"
        );
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        let mut whole = pod(json!({"requests": {"cpu": "0.1"}}));
        whole["spec"]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(qos_class(&whole), "Guaranteed", "the pod's own word counts");
    }

    #[test]
    fn volumes_probes_and_host_ports() {
        let mut p = json!({"spec": {"hostNetwork": true, "volumes": [{"name": "a"},
            {"name": "b", "configMap": {"name": "x"}}, {"name": "c", "emptyDir": {"sizeLimit": 1024}}],
            "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 3}}]}});
        apply(&mut p);
        assert_eq!(
            p["spec"]["volumes"][0],
            json!({"name": "a", "emptyDir": {}})
        );
        assert_eq!(p["spec"]["volumes"][1]["configMap"]["defaultMode"], 420);
        assert_eq!(p["spec"]["volumes"][2]["emptyDir"]["sizeLimit"], "1024");
        let mut more = json!({"spec": {"volumes": [
            {"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": 1024}}}}}},
            {"name": "b", "image": {"reference": "site:v2"}}, {"name": "c", "iscsi": {}}]}});
        apply(&mut more);
        let volumes = &more["spec"]["volumes"];
        let claim = &volumes[0]["ephemeral"]["volumeClaimTemplate"]["spec"];
        assert_eq!(
            *claim,
            json!({"volumeMode": "Filesystem", "resources": {"requests": {"storage": "1024"}}})
        );
        assert_eq!(volumes[1]["image"]["pullPolicy"], "IfNotPresent");
        assert_eq!(volumes[2]["iscsi"]["iscsiInterface"], "default");
        let mut plain = json!({"spec": {"hostNetwork": true, "containers": [
            {"name": "c", "image": "x", "ports": [{"containerPort": 80}]}]}});
        template(plain.as_object_mut().unwrap());
        let port = &plain["spec"]["containers"][0]["ports"][0];
        assert_eq!(*port, json!({"containerPort": 80, "protocol": "TCP"}));
        let c = &p["spec"]["containers"][0];
        assert_eq!(c["ports"][0]["hostPort"], 80);
        assert_eq!(
            c["livenessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 3,
                "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3})
        );
    }
}
