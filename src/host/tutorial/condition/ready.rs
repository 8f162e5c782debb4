//! Each kind's own sense of ready.
//!
//! The rules of Deployment, StatefulSet and DaemonSet are those `kubectl rollout status` waits
//! by; a Service is ready when an EndpointSlice of it has an endpoint that serves.

use cadet_api::json::{bool_at, int_at, list_at, map_at, str_at};
use cadet_api::selector::LabelSelector;
use serde_json::{Value, json};

use super::facts::Facts;
use super::{KindName, labels, pod};

/// Whether an object is ready, and in words where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Goes on after the object's name: `has 2 of 4 pods ready`.
    pub now: String,
}

fn readiness(ready: bool, now: impl Into<String>) -> Readiness {
    Readiness {
        ready,
        now: now.into(),
    }
}

/// Kinds of which `ready` says more than that they are there.
pub fn has_sense(kind: &KindName) -> bool {
    let Some(row) = kind.known() else {
        // Custom kinds often have a condition `Ready`.
        return true;
    };
    matches!(
        row.id(),
        ("", "Pod" | "Service" | "Node" | "Namespace")
            | (
                "",
                "PersistentVolumeClaim" | "PersistentVolume" | "ReplicationController"
            )
            | (
                "apps",
                "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"
            )
            | ("batch", "Job")
            | ("networking.k8s.io", "Ingress")
            | ("autoscaling", "HorizontalPodAutoscaler")
            | ("policy", "PodDisruptionBudget")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
            | ("apiregistration.k8s.io", "APIService")
            | ("certificates.k8s.io", "CertificateSigningRequest")
    )
}

/// Judges one object of `kind`.
pub fn judge(kind: &KindName, object: &Value, facts: &Facts) -> Readiness {
    let namespace = match str_at(object, "/metadata/namespace") {
        "" => None,
        namespace => Some(namespace.to_owned()),
    };
    let events = events(facts, &namespace);
    if !str_at(object, "/metadata/deletionTimestamp").is_empty() {
        return readiness(false, "is being deleted");
    }
    let id = kind.known().map(|row| row.id());
    match id {
        Some(("", "Pod")) => readiness(pod::is_ready(object), pod::state(object, events)),
        Some(("", "Service")) => service(object, &namespace, facts),
        Some(("apps", "Deployment")) => with_pods(deployment(object), object, &namespace, facts),
        Some(("apps", "StatefulSet")) => with_pods(stateful_set(object), object, &namespace, facts),
        Some(("apps", "DaemonSet")) => with_pods(daemon_set(object), object, &namespace, facts),
        Some(("apps", "ReplicaSet") | ("", "ReplicationController")) => {
            with_pods(replica_set(object), object, &namespace, facts)
        }
        Some(("batch", "Job")) => with_pods(job(object), object, &namespace, facts),
        Some(("", "PersistentVolumeClaim" | "PersistentVolume")) => phase(object, "Bound"),
        Some(("", "Namespace")) => phase(object, "Active"),
        Some(("networking.k8s.io", "Ingress")) => {
            let addresses = list_at(object, "/status/loadBalancer/ingress");
            match addresses.is_empty() {
                true => readiness(false, "has no address yet"),
                false => readiness(true, "has an address"),
            }
        }
        Some(("autoscaling", _)) => by_condition(object, "ScalingActive"),
        Some(("policy", _)) => budget(object),
        Some(("apiextensions.k8s.io", _)) => by_condition(object, "Established"),
        Some(("apiregistration.k8s.io", _)) => by_condition(object, "Available"),
        Some(("certificates.k8s.io", _)) => match str_at(object, "/status/certificate") {
            "" => readiness(false, "has no certificate yet"),
            _ => readiness(true, "has its certificate"),
        },
        _ => ["Ready", "Available"]
            .into_iter()
            .find(|name| pod::condition(object, name).is_some())
            .map_or_else(
                || readiness(true, "is there"),
                |name| by_condition(object, name),
            ),
    }
}

/// The events that were watched in a namespace.
pub fn events<'a>(facts: &'a Facts, namespace: &Option<String>) -> &'a [Value] {
    let events = KindName::built_in("event");
    let here = facts.list(&events, namespace);
    here.or_else(|| facts.list(&events, &None))
        .unwrap_or_default()
}

fn phase(object: &Value, wanted: &str) -> Readiness {
    match str_at(object, "/status/phase") {
        "" => readiness(false, "has no phase yet"),
        phase => readiness(phase == wanted, format!("is {phase}")),
    }
}

fn by_condition(object: &Value, name: &str) -> Readiness {
    match pod::condition(object, name) {
        Some(c) if str_at(c, "/status") == "True" => readiness(true, format!("is {name}")),
        Some(c) => match (str_at(c, "/message"), str_at(c, "/reason")) {
            ("", "") => readiness(false, format!("is not {name}")),
            ("", why) | (why, _) => readiness(false, format!("is not {name}: {why}")),
        },
        None => readiness(false, format!("has not said yet whether it is {name}")),
    }
}

/// Whether the controller has seen the newest change of the object.
fn observed(object: &Value) -> bool {
    let generation = int_at(object, "/metadata/generation").unwrap_or(0);
    int_at(object, "/status/observedGeneration").unwrap_or(0) >= generation
}

const UNSEEN: &str = "was changed, and its controller has not seen it yet";

fn number(object: &Value, path: &str) -> i64 {
    int_at(object, path).unwrap_or(0)
}

fn pods(count: i64) -> String {
    match count {
        1 => "1 pod".to_owned(),
        count => format!("{count} pods"),
    }
}

fn deployment(object: &Value) -> Readiness {
    let wanted = int_at(object, "/spec/replicas").unwrap_or(1);
    let updated = number(object, "/status/updatedReplicas");
    let total = number(object, "/status/replicas");
    let available = number(object, "/status/availableReplicas");
    if !observed(object) {
        return readiness(false, UNSEEN);
    }
    if bool_at(object, "/spec/paused") && updated < wanted {
        return readiness(false, "is paused");
    }
    if updated < wanted && total > 0 {
        return readiness(
            false,
            format!("has {updated} of {wanted} pods of the new kind"),
        );
    }
    if total > updated {
        let old = total - updated;
        return readiness(false, format!("still has {} of the old kind", pods(old)));
    }
    readiness(
        available >= wanted && updated >= wanted,
        format!("has {available} of {wanted} pods ready"),
    )
}

fn stateful_set(object: &Value) -> Readiness {
    let wanted = int_at(object, "/spec/replicas").unwrap_or(1);
    let ready = number(object, "/status/readyReplicas");
    let total = number(object, "/status/replicas");
    if !observed(object) {
        return readiness(false, UNSEEN);
    }
    let revision = str_at(object, "/status/updateRevision");
    let rolled = revision == str_at(object, "/status/currentRevision");
    let rolls = str_at(object, "/spec/updateStrategy/type") != "OnDelete"
        && number(object, "/spec/updateStrategy/rollingUpdate/partition") == 0;
    if ready >= wanted && rolls && !rolled {
        let updated = number(object, "/status/updatedReplicas");
        return readiness(
            updated >= wanted,
            format!("has {updated} of {wanted} pods of the new kind"),
        );
    }
    let exact = total == wanted;
    readiness(
        ready >= wanted && exact,
        format!("has {ready} of {wanted} pods ready"),
    )
}

fn daemon_set(object: &Value) -> Readiness {
    let wanted = number(object, "/status/desiredNumberScheduled");
    let updated = number(object, "/status/updatedNumberScheduled");
    let available = number(object, "/status/numberAvailable");
    if !observed(object) {
        return readiness(false, UNSEEN);
    }
    if updated < wanted && str_at(object, "/spec/updateStrategy/type") != "OnDelete" {
        return readiness(
            false,
            format!("has {updated} of {wanted} pods of the new kind"),
        );
    }
    readiness(
        available >= wanted && wanted > 0,
        format!("has {available} of {wanted} pods ready"),
    )
}

fn replica_set(object: &Value) -> Readiness {
    let wanted = int_at(object, "/spec/replicas").unwrap_or(1);
    let ready = number(object, "/status/readyReplicas");
    let exact = number(object, "/status/replicas") == wanted;
    if !observed(object) {
        return readiness(false, UNSEEN);
    }
    readiness(
        ready >= wanted && exact,
        format!("has {ready} of {wanted} pods ready"),
    )
}

fn job(object: &Value) -> Readiness {
    let is = |name: &str| pod::condition(object, name).filter(|c| str_at(c, "/status") == "True");
    if is("Complete").is_some() {
        return readiness(true, "is complete");
    }
    if let Some(failed) = is("Failed") {
        let why = str_at(failed, "/message");
        return readiness(false, format!("has failed: {why}"));
    }
    if bool_at(object, "/spec/suspend") {
        return readiness(false, "is suspended");
    }
    let done = number(object, "/status/succeeded");
    let wanted = int_at(object, "/spec/completions").unwrap_or(1);
    let active = number(object, "/status/active");
    readiness(
        false,
        format!("has {done} of {wanted} runs done, {} at work", pods(active)),
    )
}

fn budget(object: &Value) -> Readiness {
    let healthy = number(object, "/status/currentHealthy");
    let wanted = number(object, "/status/desiredHealthy");
    readiness(
        observed(object) && healthy >= wanted,
        format!("sees {healthy} healthy pods, {wanted} are wanted"),
    )
}

/// Adds what the first pod that is not ready says, because "2 of 4" does not tell what to do.
fn with_pods(
    mut own: Readiness,
    object: &Value,
    namespace: &Option<String>,
    facts: &Facts,
) -> Readiness {
    if own.ready {
        return own;
    }
    // A ReplicationController's selector is a plain map. (Objects of a list do not say their
    // kind.)
    let selector = match object.pointer("/spec/selector") {
        Some(map)
            if map
                .get("matchLabels")
                .or(map.get("matchExpressions"))
                .is_none() =>
        {
            json!({"matchLabels": map})
        }
        Some(selector) => selector.clone(),
        None => Value::Null,
    };
    let Ok(selector) = LabelSelector::from_object(&selector) else {
        return own;
    };
    let all = facts
        .list(&KindName::built_in("pod"), namespace)
        .unwrap_or_default();
    let events = events(facts, namespace);
    // Of a Job those that ended well are as they should be.
    let unready = |pod: &&Value| {
        !pod::is_ready(pod)
            && str_at(pod, "/status/phase") != "Succeeded"
            && str_at(pod, "/metadata/deletionTimestamp").is_empty()
    };
    let first = all
        .iter()
        .filter(|pod| !selector.is_empty() && selector.matches(&labels::of(pod)))
        .find(unready);
    if let Some(pod) = first {
        let name = str_at(pod, "/metadata/name");
        own.now = format!("{}; pod/{name} {}", own.now, pod::state(pod, events));
    } else if let Some(failure) = pod::condition(object, "ReplicaFailure") {
        own.now = format!("{}; {}", own.now, str_at(failure, "/message"));
    }
    own
}

/// Whether an endpoint serves; absent `ready` counts as ready (KEP-1672).
fn serves(endpoint: &&Value) -> bool {
    endpoint
        .pointer("/conditions/ready")
        .and_then(Value::as_bool)
        != Some(false)
}

fn service(object: &Value, namespace: &Option<String>, facts: &Facts) -> Readiness {
    if str_at(object, "/spec/type") == "ExternalName" {
        return readiness(true, "is a name for something outside");
    }
    let name = str_at(object, "/metadata/name");
    let slices = facts.list(&KindName::built_in("endpointslice"), namespace);
    let Some(slices) = slices else {
        return readiness(false, "has endpoints the cluster has not told yet");
    };
    let own = slices.iter().filter(|slice| {
        let labels = labels::of(slice);
        labels
            .get("kubernetes.io/service-name")
            .is_some_and(|of| of == name)
    });
    let endpoints: Vec<&Value> = own.flat_map(|slice| list_at(slice, "/endpoints")).collect();
    let serving = endpoints.iter().filter(|e| serves(e)).count();
    if serving > 0 {
        return readiness(true, format!("has {}", count(serving, "endpoint")));
    }
    let pods = facts
        .list(&KindName::built_in("pod"), namespace)
        .unwrap_or_default();
    let selector = map_at(object, "/spec/selector").filter(|map| !map.is_empty());
    let Some(selector) = selector else {
        return readiness(
            false,
            "has no endpoint: it has no selector, and nobody wrote any",
        );
    };
    let Ok(parsed) = LabelSelector::from_object(&json!({"matchLabels": selector})) else {
        return readiness(false, "has no endpoint: its selector cannot be read");
    };
    let matching: Vec<&Value> = pods
        .iter()
        .filter(|p| parsed.matches(&labels::of(p)))
        .collect();
    let Some(first) = matching
        .iter()
        .find(|p| !pod::is_ready(p))
        .or(matching.first())
    else {
        let why = labels::nothing_matches("pod", "pods", &parsed, &parsed.to_string(), pods);
        return readiness(false, format!("has no endpoint: {why}"));
    };
    let state = pod::state(first, events(facts, namespace));
    let pod = str_at(first, "/metadata/name");
    readiness(
        false,
        format!("has no endpoint that serves; pod/{pod} {state}"),
    )
}

/// `1 endpoint`, `2 endpoints`.
fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
