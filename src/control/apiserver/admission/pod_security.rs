//! PodSecurity: the Pod Security Standards as the labels of a namespace ask for them.
//! Pods that violate them are refused or warned about, workloads warned about, and a
//! namespace that becomes stricter says which of its pods would not be let in again.

use std::collections::BTreeMap;

use cadet_api::json::{list_at, map_at, str_at};
use cadet_api::meta;
use cadet_api::pod_security::{self, Policy, Standard};
use cadet_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request, find};

/// Subresources of pods that cannot change what a pod may do.
const HARMLESS: &[&str] = &["binding", "eviction", "status"];
/// How many pods of a namespace are looked at when it becomes stricter.
const MAX_PODS: usize = 3000;

/// Returns warnings.
pub(super) fn check(
    request: &Request<'_>,
    new: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    match request.named.id() {
        ("", "Namespace") if request.subresource.is_empty() => namespace(request, new, old),
        ("", "Pod") => pod(request, new, old),
        (_, kind) if request.subresource.is_empty() => match template_path(kind) {
            Some(path) if request.named.custom.is_none() => workload(request, new, path),
            _ => Ok(vec![]),
        },
        _ => Ok(vec![]),
    }
}

/// Where kinds that make pods keep what they make them of.
fn template_path(kind: &str) -> Option<&'static str> {
    match kind {
        "PodTemplate" => Some("/template"),
        "ReplicationController"
        | "ReplicaSet"
        | "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "Job" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn policy_of(request: &Request<'_>) -> Result<Policy, Status> {
    let found = request
        .app
        .world
        .get(find("namespaces")?, "", request.namespace);
    let labels = found.map(|object| object.labels()).unwrap_or_default();
    Ok(Policy::of(&labels).0)
}

fn pod(request: &Request<'_>, new: &Value, old: Option<&Value>) -> Result<Vec<String>, Status> {
    if HARMLESS.contains(&request.subresource) {
        return Ok(vec![]);
    }
    let policy = policy_of(request)?;
    if policy.enforce.is_open() && policy.warn.is_open() {
        return Ok(vec![]);
    }
    if old.is_some_and(|old| !matters(new, old)) {
        return Ok(vec![]);
    }
    let found = pod_security::evaluate(policy.enforce, new);
    if !found.is_empty() {
        let why = format!(
            "violates PodSecurity \"{}\": {}",
            policy.enforce,
            pod_security::details(&found)
        );
        return Err(request.forbidden(new, &why));
    }
    Ok(warning(policy.warn, new))
}

fn workload(request: &Request<'_>, new: &Value, path: &str) -> Result<Vec<String>, Status> {
    let policy = policy_of(request)?;
    if policy.warn.is_open() {
        return Ok(vec![]);
    }
    let Some(template) = new.pointer(path) else {
        return Ok(vec![]);
    };
    Ok(warning(policy.warn, template))
}

fn warning(standard: Standard, pod: &Value) -> Vec<String> {
    let found = pod_security::evaluate(standard, pod);
    if found.is_empty() {
        return vec![];
    }
    let details = pod_security::details(&found);
    vec![format!(
        "would violate PodSecurity \"{standard}\": {details}"
    )]
}

/// Whether an update changes what the standards look at: of what may change in a pod that
/// is its images, its ephemeral containers and old seccomp annotations.
fn matters(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value| -> Vec<(String, String)> {
        ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| list_at(pod, &format!("/spec/{list}")))
            .map(|c| (str_at(c, "/name").into(), str_at(c, "/image").into()))
            .collect()
    };
    let notes = |pod: &Value| -> Vec<(String, Value)> {
        map_at(pod, "/metadata/annotations")
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.contains("seccomp.security.alpha.kubernetes.io/"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    images(new) != images(old) || notes(new) != notes(old)
}

fn namespace(
    request: &Request<'_>,
    new: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let read = |object: &Value| Policy::of(&meta::string_map(object.pointer("/metadata/labels")));
    let (policy, errors) = read(new);
    let before = old.map(read);
    let known = before.as_ref().is_some_and(|(_, before)| *before == errors);
    let name = str_at(new, "/metadata/name");
    if !errors.is_empty() && !known {
        return Err(Status::invalid(request.named, name, &errors));
    }
    let Some((before, _)) = before.filter(|_| request.operation == Operation::Update) else {
        return Ok(vec![]);
    };
    let (now, was) = (policy.enforce, before.enforce);
    if now == was || now.is_open() || (now.version == was.version && now.level <= was.level) {
        return Ok(vec![]);
    }
    existing(request, name, now)
}

/// Which pods of a namespace would not be let in any more.
fn existing(
    request: &Request<'_>,
    namespace: &str,
    standard: Standard,
) -> Result<Vec<String>, Status> {
    let pods = request.app.world.list(find("pods")?, Some(namespace));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.objects.iter().take(MAX_PODS) {
        let violations = pod_security::evaluate(standard, &pod.value());
        if !violations.is_empty() {
            let reasons = pod_security::reasons(&violations);
            found
                .entry(reasons)
                .or_default()
                .push(pod.name().to_owned());
        }
    }
    let mut warnings = Vec::new();
    if pods.objects.len() > MAX_PODS {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {} existing pods",
            pods.objects.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {} violate the new PodSecurity enforce level \"{standard}\"",
            json!(namespace)
        ));
    }
    let mut told: Vec<String> = found
        .into_iter()
        .filter_map(|(reasons, names)| {
            // The listing is in order of names.
            let first = names.first()?;
            Some(match names.len() - 1 {
                0 => format!("{first}: {reasons}"),
                1 => format!("{first} (and 1 other pod): {reasons}"),
                more => format!("{first} (and {more} other pods): {reasons}"),
            })
        })
        .collect();
    told.sort_unstable();
    warnings.extend(told);
    Ok(warnings)
}
