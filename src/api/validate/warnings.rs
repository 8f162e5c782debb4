//! What is allowed but unwise, for the `Warning` header: upstream's words, which kubectl
//! prints and learners search for.

use serde_json::Value;

use crate::field::{index, key, member};
use crate::json::{int_at, list_at, map_at, str_at};
use crate::names;
use crate::quantity::Quantity;
use crate::resource::Resource;

/// Labels of nodes that have another name today.
static OLD_NODE_LABELS: [(&str, &str); 5] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
];

/// Annotations of pods that do nothing any more.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const NO_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Kinds of volumes that went out of Kubernetes.
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("gitRepo", "deprecated in v1.11"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
];

/// Indexed Jobs that grow beyond both may lose track of their indexes (KEP-3850).
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_PODS: i64 = 10_000;

/// What somebody who writes this object should know; `old` is what it was before.
pub fn warnings(res: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    let template = match res.id() {
        ("", "Pod") => {
            recommended_name(&mut out, object, old, "the Pod's hostname");
            pod(&mut out, object, "");
            return out;
        }
        ("", "Service") => {
            service(&mut out, object);
            return out;
        }
        ("", "PersistentVolume" | "PersistentVolumeClaim") => {
            old_class(&mut out, object);
            return out;
        }
        ("networking.k8s.io", "Ingress") => {
            if old.is_none() {
                ingress(&mut out, object);
            }
            return out;
        }
        ("", "PodTemplate") => "template",
        ("", "ReplicationController") | ("apps", "Deployment" | "ReplicaSet") => {
            pod_names(&mut out, object, old);
            "spec.template"
        }
        ("apps", "DaemonSet" | "StatefulSet") => "spec.template",
        ("batch", "Job") => {
            pod_names(&mut out, object, old);
            indexes(&mut out, object);
            "spec.template"
        }
        ("batch", "CronJob") => {
            pod_names(&mut out, object, old);
            "spec.jobTemplate.spec.template"
        }
        _ => return out,
    };
    if let Some(found) = object.pointer(&crate::field::pointer(template)) {
        pod(&mut out, found, template);
    }
    if res.is("apps", "StatefulSet")
        && int_at(object, "/spec/revisionHistoryLimit").is_some_and(|n| n < 0)
    {
        out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
    }
    out
}

/// Pods are called after what makes them, and their hostnames after the pods.
fn pod_names(out: &mut Vec<String>, object: &Value, old: Option<&Value>) {
    recommended_name(out, object, old, "Pod names and hostnames");
}

/// A name that is used where only a DNS label does well.
fn recommended_name(out: &mut Vec<String>, object: &Value, old: Option<&Value>, used: &str) {
    let why = names::dns_label(str_at(object, "/metadata/name"));
    if old.is_none() && !why.is_empty() {
        out.push(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            why.join(" ")
        ));
    }
}

fn annotated(object: &Value, name: &str) -> bool {
    map_at(object, "/metadata/annotations").is_some_and(|found| found.contains_key(name))
}

/// Fields of a Service that its type has no use for.
fn service(out: &mut Vec<String>, object: &Value) {
    let (hints, mode) = (
        "service.kubernetes.io/topology-aware-hints",
        "service.kubernetes.io/topology-mode",
    );
    if annotated(object, hints) {
        out.push(format!(
            "annotation {hints} is deprecated, please use {mode} instead"
        ));
    }
    let kind = str_at(object, "/spec/type");
    let outside = !list_at(object, "/spec/externalIPs").is_empty();
    if kind == "ClusterIP" && str_at(object, "/spec/clusterIP") == "None" {
        let balanced = !str_at(object, "/spec/loadBalancerIP").is_empty();
        let sticky = str_at(object, "/spec/sessionAffinity") != "None";
        for (set, field) in [
            (balanced, "loadBalancerIP"),
            (outside, "externalIPs"),
            // Upstream's spelling.
            (sticky, "SessionAffinity"),
        ] {
            if set {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    let named = !str_at(object, "/spec/externalName").is_empty();
    if kind == "ExternalName" && outside {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if kind != "ExternalName" && named {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
}

/// The annotation that named a storage class before there was a field.
fn old_class(out: &mut Vec<String>, object: &Value) {
    let name = "volume.beta.kubernetes.io/storage-class";
    if annotated(object, name) {
        let at = key("metadata.annotations", name);
        out.push(format!(
            "{at}: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
}

/// The annotation that named an ingress class before there was a field.
fn ingress(out: &mut Vec<String>, object: &Value) {
    let name = "kubernetes.io/ingress.class";
    if annotated(object, name) && object.pointer("/spec/ingressClassName").is_none() {
        out.push(format!(
            "annotation {name:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

fn indexes(out: &mut Vec<String>, job: &Value) {
    let number = |key: &str| int_at(job, &format!("/spec/{key}")).unwrap_or(0);
    if number("completions") > MANY_COMPLETIONS && number("parallelism") > MANY_PODS {
        out.push("In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".into());
    }
}

/// A pod, or the template of one, that stands at `path`.
fn pod(out: &mut Vec<String>, pod: &Value, path: &str) {
    let at = |place: &str| member(path, place);
    placement(out, pod, path);
    let mut annotation = |name: &str, why: &str| {
        if annotated(pod, name) {
            out.push(format!("{}: {why}", key(&at("metadata.annotations"), name)));
        }
    };
    for (name, why) in OLD_ANNOTATIONS {
        annotation(name, why);
    }
    if pod
        .pointer("/spec/securityContext/seccompProfile")
        .is_none()
    {
        annotation(SECCOMP_POD, NO_SECCOMP);
    }
    for (_, c) in containers(pod, path) {
        let name = str_at(c, "/name");
        if c.pointer("/securityContext/seccompProfile").is_none() {
            annotation(&format!("{SECCOMP_CONTAINER}{name}"), NO_SECCOMP);
        }
        let armed = [pod.get("spec"), Some(c)].into_iter().flatten();
        let mut armed = armed.map(|o| o.pointer("/securityContext/appArmorProfile").is_some());
        if !path.is_empty() && !armed.any(|is| is) {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            annotation(&format!("{APP_ARMOR}{name}"), why);
        }
    }
    for (i, volume) in list_at(pod, "/spec/volumes").iter().enumerate() {
        for (kind, why) in OLD_VOLUMES {
            if volume.get(kind).is_some() {
                let at = index(&at("spec.volumes"), i);
                out.push(format!("{at}.{kind}: {why}"));
            }
        }
    }
    let secrets = at("spec.imagePullSecrets");
    twice(out, pod, &at("spec.hostAliases"), "hostAliases", "ip");
    twice(out, pod, &secrets, "imagePullSecrets", "name");
    for (i, secret) in list_at(pod, "/spec/imagePullSecrets").iter().enumerate() {
        if str_at(secret, "/name").is_empty() {
            let at = index(&secrets, i);
            out.push(format!("{at}.name: invalid empty name \"\""));
        }
    }
    fractions(out, pod, "/spec/overhead", &at("spec.overhead"));
    for (at, c) in containers(pod, path) {
        for part in ["limits", "requests"] {
            let pointer = format!("/resources/{part}");
            fractions(out, c, &pointer, &format!("{at}.resources.{part}"));
        }
        hidden(out, c, &at);
    }
    ports(out, pod, path);
    if int_at(pod, "/spec/terminationGracePeriodSeconds").is_some_and(|n| n < 0) {
        let at = at("spec.terminationGracePeriodSeconds");
        out.push(format!(
            "{at}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
}

/// All containers of a pod with their paths.
fn containers<'a>(pod: &'a Value, path: &str) -> impl Iterator<Item = (String, &'a Value)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().flat_map(move |list| {
        let at = member(path, &format!("spec.{list}"));
        let all = list_at(pod, &format!("/spec/{list}")).iter().enumerate();
        all.map(move |(i, c)| (index(&at, i), c))
    })
}

/// The word about a label of nodes that has another name today.
fn old(label: &str) -> Option<&'static (&'static str, &'static str)> {
    OLD_NODE_LABELS.iter().find(|(old, _)| *old == label)
}

/// Names of nodes' labels, and selectors that choose no pod.
fn placement(out: &mut Vec<String>, pod: &Value, path: &str) {
    let at = |place: &str| member(path, place);
    for label in map_at(pod, "/spec/nodeSelector").into_iter().flatten() {
        if let Some((label, why)) = old(label.0) {
            out.push(format!("{}: {why}", key(&at("spec.nodeSelector"), label)));
        }
    }
    // Most pods have none, and its places have long names.
    let affinity = crate::json::at(pod, "/spec/affinity");
    if affinity.is_some() {
        node_affinity(out, pod, path);
    }
    let rules = list_at(pod, "/spec/topologySpreadConstraints");
    for (i, rule) in rules.iter().enumerate() {
        let at = index(&at("spec.topologySpreadConstraints"), i);
        if let Some((label, why)) = old(str_at(rule, "/topologyKey")) {
            out.push(format!("{at}.topologyKey: {label} is {why}"));
        }
        no_pod(out, rule, &at);
    }
    if affinity.is_some() {
        pod_affinity(out, pod, path);
    }
}

fn node_affinity(out: &mut Vec<String>, pod: &Value, path: &str) {
    let at = |place: &str| member(path, place);
    let mut expressions = |term: &Value, at: String| {
        for (i, found) in list_at(term, "/matchExpressions").iter().enumerate() {
            if let Some((label, why)) = old(str_at(found, "/key")) {
                let at = index(&format!("{at}.matchExpressions"), i);
                out.push(format!("{at}.key: {label} is {why}"));
            }
        }
    };
    let node = "affinity.nodeAffinity";
    let required =
        format!("spec.{node}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let terms = list_at(pod, &crate::field::pointer(&required));
    for (i, term) in terms.iter().enumerate() {
        expressions(term, index(&at(&required), i));
    }
    let preferred = format!("spec.{node}.preferredDuringSchedulingIgnoredDuringExecution");
    let terms = list_at(pod, &crate::field::pointer(&preferred));
    for (i, term) in terms.iter().enumerate() {
        let at = format!("{}.preference", index(&at(&preferred), i));
        expressions(term.get("preference").unwrap_or(&Value::Null), at);
    }
}

fn pod_affinity(out: &mut Vec<String>, pod: &Value, path: &str) {
    let at = |place: &str| member(path, place);
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                "podAffinityTerm",
            ),
        ] {
            let place = format!("spec.affinity.{kind}.{list}");
            let terms = list_at(pod, &crate::field::pointer(&place));
            for (i, term) in terms.iter().enumerate() {
                let at = index(&at(&place), i);
                match inner {
                    "" => no_pod(out, term, &at),
                    _ => no_pod(out, &term[inner], &member(&at, inner)),
                }
            }
        }
    }
}

fn no_pod(out: &mut Vec<String>, rule: &Value, at: &str) {
    if rule.get("labelSelector").is_none() {
        out.push(format!(
            "{at}.labelSelector: a null labelSelector results in matching no pod"
        ));
    }
}

/// Items of a list that say the same again.
fn twice(out: &mut Vec<String>, pod: &Value, path: &str, list: &str, name: &str) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, item) in list_at(pod, &format!("/spec/{list}")).iter().enumerate() {
        let value = str_at(item, &format!("/{name}"));
        if seen.contains(&value) {
            let at = index(path, i);
            out.push(format!("{at}.{name}: duplicate {name} {value:?}"));
        }
        seen.push(value);
    }
}

/// Amounts of bytes that are not whole.
fn fractions(out: &mut Vec<String>, object: &Value, pointer: &str, path: &str) {
    let Some(amounts) = map_at(object, pointer) else {
        return;
    };
    for name in ["memory", "ephemeral-storage"] {
        let text = amounts.get(name).and_then(Value::as_str).unwrap_or("");
        if text.parse::<Quantity>().is_ok_and(|q| !q.is_whole()) {
            let at = key(path, name);
            out.push(format!(
                "{at}: fractional byte value {text:?} is invalid, must be an integer"
            ));
        }
    }
}

/// Variables that hide one of their name, unless they build on it.
fn hidden(out: &mut Vec<String>, c: &Value, path: &str) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, e) in list_at(c, "/env").iter().enumerate() {
        let (name, value) = (str_at(e, "/name"), str_at(e, "/value"));
        let before = format!("$({name})");
        let builds = value != before && value.contains(&before) && e.get("valueFrom").is_none();
        if seen.contains(&name) && !builds {
            out.push(format!(
                "{path}.env[{i}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
        seen.push(name);
    }
}

/// Ports of a pod's containers, which share one network.
fn ports(out: &mut Vec<String>, pod: &Value, path: &str) {
    let mut seen: Vec<(String, &Value)> = Vec::new();
    for (at, c) in containers(pod, path) {
        for (i, port) in list_at(c, "/ports").iter().enumerate() {
            let at = format!("{at}.ports[{i}]");
            let text = |p: &Value, key: &str| str_at(p, &format!("/{key}")).to_owned();
            let host = |p: &Value| int_at(p, "/hostPort").unwrap_or(0);
            for (other_at, other) in &seen {
                if port.get("containerPort") != other.get("containerPort")
                    || text(port, "protocol") != text(other, "protocol")
                {
                    continue;
                }
                let (ip, other_ip) = (text(port, "hostIP"), text(other, "hostIP"));
                let what = if ip == other_ip && host(port) == host(other) {
                    "duplicate"
                } else if host(port) == 0 || host(other) == 0 {
                    "overlapping"
                } else if host(port) == host(other) && (ip.is_empty() != other_ip.is_empty()) {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                out.push(format!("{at}: {what} port definition with {other_at}"));
            }
            seen.push((at, port));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use serde_json::json;

    #[test]
    fn old_habits_of_pods_and_templates_are_named() {
        let spec = json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
            "volumes": [{"name": "g", "gitRepo": {}}],
            "containers": [{"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}],
                "resources": {"limits": {"memory": "128m"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}]}]});
        let words = [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.volumes[0].gitRepo: deprecated in v1.11",
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"128m\" is invalid, must be an integer",
            "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ];
        let pods = find("", "v1", "pods").unwrap();
        let named = json!({"metadata": {"name": "web"}, "spec": spec});
        assert_eq!(warnings(pods, &named, None), words);
        let deployments = find("apps", "v1", "deployments").unwrap();
        let deployment =
            json!({"metadata": {"name": "web-1.0"}, "spec": {"template": {"spec": spec}}});
        let said = warnings(deployments, &deployment, None);
        assert_eq!(
            said[0],
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        );
        assert_eq!(said.len(), words.len() + 1);
        assert!(said[1].starts_with("spec.template.spec.nodeSelector"));
        assert_eq!(
            warnings(deployments, &deployment, Some(&deployment)).len(),
            words.len()
        );
    }

    #[test]
    fn each_kind_has_habits_of_its_own() {
        let class = json!({"kubernetes.io/ingress.class": "nginx"});
        let beta = json!({"volume.beta.kubernetes.io/storage-class": "fast"});
        let pvc = "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead";
        for (group, plural, object, words) in [
            (
                "",
                "pods",
                json!({"metadata": {"name": "a.b"}}),
                vec![
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                ],
            ),
            (
                "networking.k8s.io",
                "ingresses",
                json!({"metadata": {"annotations": class}}),
                vec![
                    "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
                ],
            ),
            (
                "networking.k8s.io",
                "ingresses",
                json!({"metadata": {"annotations": class}, "spec": {"ingressClassName": "a"}}),
                vec![],
            ),
            (
                "",
                "persistentvolumeclaims",
                json!({"metadata": {"annotations": beta}}),
                vec![pvc],
            ),
            (
                "",
                "services",
                json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP",
                    "externalIPs": ["1.2.3.4"], "externalName": "a.b"}}),
                vec![
                    "spec.externalIPs is ignored for headless services",
                    "spec.SessionAffinity is ignored for headless services",
                    "spec.externalName is ignored when spec.type is not \"ExternalName\"",
                ],
            ),
            (
                "",
                "services",
                json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "sessionAffinity": "None"}}),
                vec![],
            ),
        ] {
            let resource = find(group, "v1", plural).unwrap();
            assert_eq!(warnings(resource, &object, None), words, "{object}");
            if plural == "ingresses" {
                assert!(warnings(resource, &object, Some(&object)).is_empty());
            }
        }
    }
}
