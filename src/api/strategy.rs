//! What happens to an object between the client and the store: names, defaults, the parts
//! a request may not touch, validation. One dispatch per kind; no I/O.

use serde_json::{Value, json};

use crate::resource::Resource;
use crate::status::Status;
use crate::{crd, defaults, field, json as place, meta, schema, validate};

pub use crate::binding::{bind_pod, bind_text};

/// Which part of an object an update is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The object itself: its status stays as it is.
    Main,
    /// `/status`: its spec stays as it is.
    Status,
    /// `/finalize` of a namespace: only `spec.finalizers` may change.
    Finalize,
    /// `/ephemeralcontainers` of a pod: containers for debugging.
    EphemeralContainers,
    /// `/resize` of a pod: resources of its containers.
    Resize,
    /// `/approval` of a certificate signing request: its verdict.
    Approval,
}

/// Longest `generateName` kept, bytes, so that five random characters still fit a label.
const GENERATE_NAME_MAX: usize = 58;

/// Checks that a body is what its path says.
///
/// # Errors
/// 400 if `apiVersion` or `kind` is missing or belongs to something else.
pub fn check_body(res: &Resource, object: &Value) -> Result<(), Status> {
    let want = res.gv.api_version();
    let (version, kind) = (
        place::str_at(object, "/apiVersion"),
        place::str_at(object, "/kind"),
    );
    if !object.is_object() {
        return Err(Status::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string; Kind string }}",
            place::type_name(object)
        )));
    }
    // An absent version or kind is taken from the path, as upstream does.
    if (kind.is_empty() || kind == res.kind) && (version.is_empty() || version == want) {
        return Ok(());
    }
    let version = if version.is_empty() {
        want.as_str()
    } else {
        version
    };
    let kind = if kind.is_empty() { res.kind } else { kind };
    if version != want {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({want})"
        )));
    }
    Err(Status::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {}: converting ({kind}) to ({}): unknown conversion",
        res.gv.version, res.kind, res.kind
    )))
}

/// Writes `apiVersion` and `kind` in full, for bodies that left them out.
pub fn set_type(res: &Resource, object: &mut Value) {
    set_type_of(object, &res.gv.api_version(), res.kind);
}

/// As [`set_type`], for the body of a subresource that has a kind of its own.
pub fn set_type_of(object: &mut Value, api_version: &str, kind: &str) {
    if let Some(m) = object.as_object_mut() {
        m.insert("apiVersion".into(), json!(api_version));
        m.insert("kind".into(), json!(kind));
    }
}

/// Makes `metadata.name` from `generateName` and `suffix` (five random lower-case
/// characters) where the client left the name to us. True if it did.
pub fn finish_name(object: &mut Value, suffix: &str) -> bool {
    let base = place::str_at(object, "/metadata/generateName").to_owned();
    if base.is_empty() || !place::str_at(object, "/metadata/name").is_empty() {
        return false;
    }
    let mut end = base.len().min(GENERATE_NAME_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    meta::set(object, "name", format!("{}{suffix}", &base[..end]));
    true
}

/// Drops what upstream's server does not keep of a body: nulls, lists and maps without items.
fn tidy(res: &Resource, object: &mut Value) {
    place::drop_nulls(object);
    meta::drop_empty(object);
    schema::drop_empty(res, object);
}

/// Fills in the object's type and defaults before admission looks at it;
/// [`prepare_create`] does the same again for what admission adds.
pub fn complete(res: &Resource, object: &mut Value) {
    tidy(res, object);
    set_type(res, object);
    defaults::apply(res, object);
}

/// Whether the server gives new objects of this kind fields of its own beyond defaults: a
/// Job's selector, a Service's addresses and ports. No writer owns those, so that applying
/// the manifest again does not take them away.
pub fn gives_fields(res: &Resource) -> bool {
    matches!(res.id(), ("batch", "Job") | ("", "Service"))
}

/// Readies a new object for the store: defaults, server-owned fields, validation. Name,
/// namespace and [`meta::stamp_new`] come before. Returns warnings for the client.
///
/// # Errors
/// 422 with every wrong field, or 400 for data that cannot be decoded.
pub fn prepare_create(res: &Resource, object: &mut Value) -> Result<Vec<String>, Status> {
    tidy(res, object);
    set_type(res, object);
    meta::set(object, "generation", Value::Null);
    begin(res, object);
    fit_custom(res, object);
    defaults::apply(res, object);
    finish_create(res, object);
    let errors = validate::create(res, object);
    refuse(res, object, &errors)?;
    Ok(validate::warnings(res, object, None))
}

/// Readies a changed object for the store. Returns warnings for the client.
///
/// # Errors
/// 422 with every wrong or immutable field.
pub fn prepare_update(
    res: &Resource,
    part: Part,
    new: &mut Value,
    old: &Value,
) -> Result<Vec<String>, Status> {
    tidy(res, new);
    set_type(res, new);
    // The uid is compared before it is carried over: writing to another object of the
    // same name is an error, not a merge.
    let mut errors = validate::identity(new, old);
    meta::keep_system_fields(new, old);
    match part {
        Part::Main => {
            if has_status_part(res) {
                carry(new, old, "status");
            }
            if res.is("", "Namespace") {
                // Finalizers of a namespace change through /finalize alone.
                carry_at(new, old, "spec", "finalizers");
            }
            if res.is("", "Service") {
                defaults::service::keep_allocated(new, old);
            }
            if res.is("certificates.k8s.io", "CertificateSigningRequest") {
                carry(new, old, "spec");
            }
        }
        Part::Status if res.custom.is_some() => only_status(new, old),
        Part::Status => {
            carry(new, old, "spec");
            for key in ["ownerReferences", "finalizers"] {
                let value = old["metadata"].get(key).cloned().unwrap_or(Value::Null);
                meta::set(new, key, value);
            }
        }
        Part::EphemeralContainers | Part::Resize => {
            let mut kept = match part {
                Part::Resize => validate::with_resources(new, old),
                _ => validate::with_ephemeral(new, old),
            };
            let revision = place::str_at(new, "/metadata/resourceVersion");
            meta::set(&mut kept, "resourceVersion", revision);
            *new = kept;
            carry(new, old, "status");
        }
        Part::Approval => {
            let verdict = new.pointer("/status/conditions").cloned();
            carry(new, old, "spec");
            carry(new, old, "status");
            if let (Some(verdict), Some(m)) = (verdict, new.as_object_mut()) {
                place::child(m, "status").insert("conditions".into(), verdict);
            }
            stamp_conditions(new, old);
        }
        Part::Finalize => {
            let finalizers = new
                .pointer("/spec/finalizers")
                .cloned()
                .unwrap_or(json!([]));
            let revision = place::str_at(new, "/metadata/resourceVersion").to_owned();
            *new = old.clone();
            meta::set(new, "resourceVersion", revision);
            if let Some(m) = new.as_object_mut() {
                let spec = place::child(m, "spec");
                match finalizers.as_array() {
                    Some(list) if !list.is_empty() => spec.insert("finalizers".into(), finalizers),
                    _ => spec.remove("finalizers"),
                };
            }
        }
    }
    fit_custom(res, new);
    defaults::apply(res, new);
    if part == Part::Main && res.is("apps", "DaemonSet") {
        defaults::workloads::count_templates(new, Some(old));
    }
    let wishes = matches!(part, Part::Main | Part::EphemeralContainers | Part::Resize);
    // A PriorityClass is counted once, at its birth.
    let counts = counted(res) && !res.is("scheduling.k8s.io", "PriorityClass");
    if wishes && counts && !same_wish(res, new, old) {
        let generation = place::int_at(old, "/metadata/generation").unwrap_or(0) + 1;
        meta::set(new, "generation", generation);
    }
    if part == Part::Main && res.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        establish(new);
    }
    errors.extend(validate::update(res, part, new, old));
    refuse(res, new, &errors)?;
    Ok(match part {
        Part::Main => validate::warnings(res, new, Some(old)),
        _ => Vec::new(),
    })
}

/// Times in conditions of a signing request that its writer left to the server.
fn stamp_conditions(new: &mut Value, old: &Value) {
    let now = crate::clock::rfc3339(time::OffsetDateTime::now_utc());
    let before = place::list_at(old, "/status/conditions");
    let list = place::list_mut(new, "/status/conditions");
    for condition in list.into_iter().flatten() {
        let kind = place::str_at(condition, "/type").to_owned();
        let was = before.iter().find(|c| place::str_at(c, "/type") == kind);
        let same = was.is_some_and(|c| c.get("status") == condition.get("status"));
        let Some(members) = condition.as_object_mut() else {
            continue;
        };
        place::default(members, "lastUpdateTime", now.as_str());
        let since = match was.and_then(|c| c.get("lastTransitionTime")) {
            Some(time) if same => time.clone(),
            _ => json!(now),
        };
        members.entry("lastTransitionTime").or_insert(since);
    }
}

/// Drops what a custom kind does not know and fills in its defaults.
fn fit_custom(res: &Resource, object: &mut Value) {
    if let Some(custom) = res.custom {
        // Who wants to hear of what goes asks with fieldValidation, before this.
        crd::prune(&custom.schema, object, &mut Vec::new());
        crd::fill(&custom.schema, object);
    }
}

/// Whether nothing of the object is left to stop: a pod no node runs or that has ended,
/// any object of another kind. Then a deletion does not wait, whatever the client says.
pub fn goes_at_once(res: &Resource, object: &Value) -> bool {
    !res.is("", "Pod")
        || place::str_at(object, "/spec/nodeName").is_empty()
        || matches!(
            place::str_at(object, "/status/phase"),
            "Succeeded" | "Failed"
        )
}

/// Seconds a deletion waits when the client does not say: what the pod asks for.
pub fn default_grace_seconds(res: &Resource, object: &Value) -> i64 {
    if goes_at_once(res, object) {
        return 0;
    }
    match place::int_at(object, "/spec/terminationGracePeriodSeconds").unwrap_or(30) {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

/// Whether an update makes the object that it does not find.
pub fn made_by_update(res: &Resource) -> bool {
    matches!(
        res.id(),
        ("", "Endpoints" | "Event" | "LimitRange" | "Service")
            | ("coordination.k8s.io", "Lease")
            | ("node.k8s.io", "RuntimeClass")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// Whether an update has to say which version it is of; other kinds are also written over
/// whatever is there.
pub fn wants_version(res: &Resource) -> bool {
    if res.custom.is_some() {
        return true;
    }
    matches!(
        res.id(),
        ("coordination.k8s.io", "Lease")
            | ("policy", "PodDisruptionBudget")
            | ("node.k8s.io", "RuntimeClass")
            | (
                "storage.k8s.io",
                "CSIDriver" | "CSINode" | "VolumeAttachment"
            )
            | ("admissionregistration.k8s.io" | "apiextensions.k8s.io", _)
    )
}

/// Whether deleting an object leaves what it owns alone unless the client says otherwise:
/// the old way, which some kinds keep in the versions that had it. `asked` is the version
/// the client speaks.
pub fn orphans_by_default(asked: &Resource) -> bool {
    match (asked.gv.group, asked.gv.version) {
        ("", _) => asked.kind == "ReplicationController",
        ("batch", "v1") => asked.kind == "Job",
        ("batch", "v1beta1") => asked.kind == "CronJob",
        ("extensions", _) => asked.kind != "Ingress",
        ("apps", version) => version != "v1",
        _ => false,
    }
}

pub(crate) fn refuse(
    res: &Resource,
    object: &Value,
    errors: &[field::Error],
) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        res,
        place::str_at(object, "/metadata/name"),
        errors,
    ))
}

/// Whether the kind's status is written through `/status` only.
fn has_status_part(res: &Resource) -> bool {
    res.subresource("status").is_some()
}

/// Of a custom object nothing but the status is written through `/status`, not even labels.
fn only_status(new: &mut Value, old: &Value) {
    let sent = std::mem::replace(new, old.clone());
    for key in ["managedFields", "resourceVersion"] {
        let value = sent["metadata"].get(key).cloned().unwrap_or(Value::Null);
        meta::set(new, key, value);
    }
    carry(new, &sent, "status");
}

fn carry(new: &mut Value, old: &Value, key: &str) {
    if let Some(m) = new.as_object_mut() {
        match old.get(key) {
            Some(v) => m.insert(key.to_owned(), v.clone()),
            None => m.remove(key),
        };
    }
}

fn carry_at(new: &mut Value, old: &Value, part: &str, key: &str) {
    if let Some(m) = new.as_object_mut() {
        let inner = place::child(m, part);
        match old.get(part).and_then(|p| p.get(key)) {
            Some(v) => inner.insert(key.to_owned(), v.clone()),
            None => inner.remove(key),
        };
    }
}

/// Kinds whose `metadata.generation` counts changes of what is wanted of them.
fn counted(res: &Resource) -> bool {
    if res.custom.is_some() {
        return true;
    }
    match res.id() {
        ("", kind) => matches!(kind, "Pod" | "PodTemplate" | "ReplicationController"),
        ("apps", kind) => kind != "ControllerRevision",
        ("networking.k8s.io", kind) => matches!(kind, "Ingress" | "IngressClass" | "NetworkPolicy"),
        (
            "batch"
            | "policy"
            | "autoscaling"
            | "discovery.k8s.io"
            | "scheduling.k8s.io"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io",
            _,
        ) => true,
        _ => false,
    }
}

/// Whether two states of an object want the same: all but metadata and status agree. A
/// Deployment's annotations count, because it hands them on to its ReplicaSets, and the
/// labels of an EndpointSlice, which say whose it is.
fn same_wish(res: &Resource, new: &Value, old: &Value) -> bool {
    let counts = match res.id() {
        ("apps", "Deployment") => "/metadata/annotations",
        ("discovery.k8s.io", "EndpointSlice") => "/metadata/labels",
        _ => "",
    };
    let texts = |o: &Value| place::map_at(o, counts).cloned().unwrap_or_default();
    if !counts.is_empty() && texts(new) != texts(old) {
        return false;
    }
    let wish = |o: &Value| -> Vec<(String, Value)> {
        let mut members: Vec<_> = o
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| {
                !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind")
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members
    };
    if res.custom.is_some() {
        // Of a custom object everything is wanted, its status too where no door of its own
        // leads to it. Where one does, the status was put back before this.
        return wish(new) == wish(old) && new.get("status") == old.get("status");
    }
    match (new.get("spec"), old.get("spec")) {
        (Some(a), Some(b)) => a == b,
        _ => wish(new) == wish(old),
    }
}

/// Before defaults: what a client may not bring along at birth.
fn begin(res: &Resource, object: &mut Value) {
    if counted(res) {
        meta::set(object, "generation", 1);
    }
    let Some(m) = object.as_object_mut() else {
        return;
    };
    match res.id() {
        ("", "Pod") => {
            m.insert("status".into(), json!({"phase": "Pending"}));
        }
        ("", "PersistentVolumeClaim" | "PersistentVolume") => {
            m.insert("status".into(), json!({"phase": "Pending"}));
        }
        ("", "ReplicationController") | ("apps", "ReplicaSet") => {
            m.insert("status".into(), json!({"replicas": 0}));
        }
        ("apps", "StatefulSet") => {
            m.insert(
                "status".into(),
                json!({"replicas": 0, "availableReplicas": 0}),
            );
        }
        ("apps", "DaemonSet") => {
            let status = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0,
                "desiredNumberScheduled": 0, "numberReady": 0});
            m.insert("status".into(), status);
        }
        ("policy", "PodDisruptionBudget") => {
            let status = json!({"disruptionsAllowed": 0, "currentHealthy": 0,
                "desiredHealthy": 0, "expectedPods": 0});
            m.insert("status".into(), status);
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            let status = json!({"currentMetrics": null, "desiredReplicas": 0});
            m.insert("status".into(), status);
        }
        ("networking.k8s.io", "Ingress") => {
            m.insert("status".into(), json!({"loadBalancer": {}}));
        }
        ("", "Namespace") => {
            m.insert("status".into(), json!({"phase": "Active"}));
            let spec = place::child(m, "spec");
            let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = finalizers.as_array_mut()
                && !list.contains(&json!("kubernetes"))
            {
                list.push(json!("kubernetes"));
            }
        }
        ("", "Service") => {
            m.insert("status".into(), json!({"loadBalancer": {}}));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let metadata = place::child(m, "metadata");
            let list = metadata.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut()
                && !list.contains(&json!(crd::FINALIZER))
            {
                list.push(json!(crd::FINALIZER));
            }
            m.remove("status");
        }
        _ if res.custom.is_some() && has_status_part(res) => {
            m.remove("status");
        }
        _ if res.custom.is_some() => {}
        // A node's status stays: the agent registers with it in one request.
        ("", "Node") => {}
        _ if has_status_part(res) => {
            m.insert("status".into(), json!({}));
        }
        _ => {}
    }
}

/// A definition is served from the moment it is stored.
fn establish(object: &mut Value) {
    let now = place::str_at(object, "/metadata/creationTimestamp").to_owned();
    let status = crd::status(object, &now);
    if let Some(m) = object.as_object_mut() {
        m.insert("status".into(), status);
    }
}

/// After defaults: fields computed from the finished spec.
fn finish_create(res: &Resource, object: &mut Value) {
    if res.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        establish(object);
    }
    if res.is("batch", "Job") {
        defaults::workloads::job_selector(object);
    }
    if res.is("apps", "DaemonSet") {
        defaults::workloads::count_templates(object, None);
    }
    if res.is("", "Pod") {
        let class = defaults::pod::qos_class(object);
        let gated = !place::list_at(object, "/spec/schedulingGates").is_empty();
        if let Some(m) = object.as_object_mut() {
            let status = place::child(m, "status");
            status.insert("qosClass".into(), json!(class));
            if gated {
                // Said here, because the scheduler does not even look at such a pod.
                let words = "Scheduling is blocked due to non-empty scheduling gates";
                let condition = json!({"type": "PodScheduled", "status": "False",
                    "reason": "SchedulingGated", "message": words});
                status.insert("conditions".into(), json!([condition]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;

    fn pods() -> &'static Resource {
        find("", "v1", "pods").unwrap()
    }

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
    }

    #[test]
    fn a_body_must_be_what_its_path_says() {
        assert!(check_body(pods(), &pod()).is_ok());
        assert!(check_body(pods(), &json!({"metadata": {}})).is_ok());
        let e = check_body(pods(), &json!({"apiVersion": "v1", "kind": "Secret"})).unwrap_err();
        assert!(
            e.message
                .starts_with("Secret in version \"v1\" cannot be handled as a Pod")
        );
        assert_eq!(e.code, 400);
        let e = check_body(pods(), &json!({"apiVersion": "v2", "kind": "Pod"})).unwrap_err();
        assert!(
            e.message
                .contains("(v2) does not match the expected API version (v1)")
        );
        assert_eq!(check_body(pods(), &json!([1])).unwrap_err().code, 400);
    }

    #[test]
    fn generated_names_leave_room_for_the_suffix() {
        let mut o = json!({"metadata": {"generateName": "ä".repeat(40)}});
        assert!(finish_name(&mut o, "abcde"));
        assert_eq!(place::str_at(&o, "/metadata/name").len(), 58 + 5);
        let mut o = json!({"metadata": {"generateName": "a-", "name": "b"}});
        assert!(!finish_name(&mut o, "abcde"));
    }

    #[test]
    fn a_new_pod_is_pending_whatever_it_claims() {
        let mut p = pod();
        p["status"] = json!({"phase": "Running"});
        prepare_create(pods(), &mut p).unwrap();
        assert_eq!(
            p["status"],
            json!({"phase": "Pending", "qosClass": "BestEffort"})
        );
        assert_eq!(p["metadata"]["generation"], 1);
    }

    #[test]
    fn spec_and_status_are_written_by_different_doors() {
        let mut old = pod();
        prepare_create(pods(), &mut old).unwrap();
        let mut new = old.clone();
        new["status"]["phase"] = json!("Running");
        new["spec"]["containers"][0]["image"] = json!("nginx:1");
        let mut main = new.clone();
        prepare_update(pods(), Part::Main, &mut main, &old).unwrap();
        assert_eq!(main["status"]["phase"], "Pending");
        assert_eq!(main["metadata"]["generation"], 2);
        prepare_update(pods(), Part::Status, &mut new, &old).unwrap();
        assert_eq!(new["spec"], old["spec"]);
        assert_eq!(new["status"]["phase"], "Running");
        assert_eq!(new["metadata"]["generation"], 1);
    }

    #[test]
    fn namespaces_keep_their_finalizer_until_finalize() {
        let ns = find("", "v1", "namespaces").unwrap();
        let mut old = json!({"metadata": {"name": "x", "uid": "u"}});
        prepare_create(ns, &mut old).unwrap();
        assert_eq!(old["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(
            old["metadata"]["labels"]["kubernetes.io/metadata.name"],
            "x"
        );
        let mut new = old.clone();
        new["spec"] = json!({"finalizers": []});
        let mut main = new.clone();
        prepare_update(ns, Part::Main, &mut main, &old).unwrap();
        assert_eq!(main["spec"]["finalizers"], json!(["kubernetes"]));
        prepare_update(ns, Part::Finalize, &mut new, &old).unwrap();
        assert!(new["spec"].get("finalizers").is_none());
    }

    #[test]
    fn a_gated_pod_says_so_from_birth() {
        let mut p = pod();
        prepare_create(pods(), &mut p).unwrap();
        assert!(p["status"].get("conditions").is_none());
        let mut p = pod();
        p["spec"]["schedulingGates"] = json!([{"name": "a.io/b"}]);
        prepare_create(pods(), &mut p).unwrap();
        assert_eq!(p["status"]["conditions"][0]["reason"], "SchedulingGated");
    }

    #[test]
    fn grace_is_for_pods_that_run() {
        let mut p = pod();
        prepare_create(pods(), &mut p).unwrap();
        assert_eq!(default_grace_seconds(pods(), &p), 0);
        p["spec"]["nodeName"] = json!("n");
        assert_eq!(default_grace_seconds(pods(), &p), 30);
        p["status"]["phase"] = json!("Failed");
        assert_eq!(default_grace_seconds(pods(), &p), 0);
    }
}
