//! Defaults of the kinds that make pods, and of those that scale and guard them.

use serde_json::{Map, Value, json};

use super::{pod, quantities};
use crate::json::{child, default, list_mut, str_at};

/// Seconds a rollout may stand still before it counts as failed.
const PROGRESS_DEADLINE: i64 = 600;

/// The label by which a Job knows its pods.
const JOB_UID: &str = "batch.kubernetes.io/controller-uid";
/// Where apps/v1 keeps what older versions had in `spec.templateGeneration`.
pub(crate) const TEMPLATE_COUNT: &str = "deprecated.daemonset.template.generation";

/// The template of a workload, and its labels where the kind copies them.
fn template(spec: &mut Map<String, Value>) {
    let template = child(spec, "template");
    pod::template(template);
}

pub(super) fn pod_template(object: &mut Map<String, Value>) {
    template(object);
}

pub(super) fn replication_controller(object: &mut Map<String, Value>) {
    let labels = template_labels(object);
    if let Some(labels) = labels {
        let spec = child(object, "spec");
        if crate::json::is_empty(spec.get("selector").unwrap_or(&Value::Null)) {
            spec.insert("selector".into(), labels.clone());
        }
        own_labels(object, labels);
    }
    let spec = child(object, "spec");
    replicas(spec);
    if spec.contains_key("template") {
        template(spec);
    }
}

pub(super) fn deployment(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    replicas(spec);
    template(spec);
    let strategy = child(spec, "strategy");
    default(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&json!("RollingUpdate")) {
        let rolling = child(strategy, "rollingUpdate");
        rolling.entry("maxUnavailable").or_insert(json!("25%"));
        rolling.entry("maxSurge").or_insert(json!("25%"));
    }
    spec.entry("revisionHistoryLimit").or_insert(json!(10));
    spec.entry("progressDeadlineSeconds")
        .or_insert(json!(PROGRESS_DEADLINE));
}

pub(super) fn replica_set(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    replicas(spec);
    template(spec);
}

pub(super) fn daemon_set(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    template(spec);
    let strategy = child(spec, "updateStrategy");
    default(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&json!("RollingUpdate")) {
        let rolling = child(strategy, "rollingUpdate");
        rolling.entry("maxUnavailable").or_insert(json!(1));
        rolling.entry("maxSurge").or_insert(json!(0));
    }
    spec.entry("revisionHistoryLimit").or_insert(json!(10));
}

pub(super) fn stateful_set(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    default(spec, "podManagementPolicy", "OrderedReady");
    replicas(spec);
    template(spec);
    let strategy = child(spec, "updateStrategy");
    if is_unset(strategy.get("type")) {
        default(strategy, "type", "RollingUpdate");
        child(strategy, "rollingUpdate");
    }
    // A type without figures stays without them.
    if strategy.get("type") == Some(&json!("RollingUpdate"))
        && let Some(Value::Object(rolling)) = strategy.get_mut("rollingUpdate")
    {
        rolling.entry("partition").or_insert(json!(0));
    }
    spec.entry("revisionHistoryLimit").or_insert(json!(10));
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    default(retention, "whenDeleted", "Retain");
    default(retention, "whenScaled", "Retain");
    let claims = spec
        .get_mut("volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten() {
        if let Some(claim) = claim.as_object_mut() {
            claim.insert("apiVersion".into(), json!("v1"));
            claim.insert("kind".into(), json!("PersistentVolumeClaim"));
            super::storage::claim(claim);
            default(child(claim, "status"), "phase", "Pending");
        }
    }
}

pub(super) fn job(object: &mut Map<String, Value>) {
    if let Some(labels) = template_labels(object) {
        own_labels(object, labels);
    }
    job_spec(child(object, "spec"));
}

/// The part of a Job that a CronJob's template has too.
fn job_spec(spec: &mut Map<String, Value>) {
    // One pod that must succeed, unless either number says otherwise.
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), json!(1));
    }
    spec.entry("parallelism").or_insert(json!(1));
    let per_index = spec.contains_key("backoffLimitPerIndex");
    let limit = if per_index { i32::MAX } else { 6 };
    spec.entry("backoffLimit").or_insert(json!(limit));
    default(spec, "completionMode", "NonIndexed");
    spec.entry("suspend").or_insert(json!(false));
    failure_rules(spec);
    let failure_rules = spec.contains_key("podFailurePolicy");
    let replacement = if failure_rules {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    default(spec, "podReplacementPolicy", replacement);
    spec.entry("manualSelector").or_insert(json!(false));
    template(spec);
}

/// A pattern of a failure rule that names a condition means that it holds.
fn failure_rules(spec: &mut Map<String, Value>) {
    let rules = spec
        .get_mut("podFailurePolicy")
        .and_then(|policy| policy.get_mut("rules"))
        .and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        for pattern in list_mut(rule, "/onPodConditions").into_iter().flatten() {
            if let Some(pattern) = pattern.as_object_mut() {
                default(pattern, "status", "True");
            }
        }
    }
}

pub(super) fn cron_job(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    default(spec, "concurrencyPolicy", "Allow");
    spec.entry("suspend").or_insert(json!(false));
    spec.entry("successfulJobsHistoryLimit").or_insert(json!(3));
    spec.entry("failedJobsHistoryLimit").or_insert(json!(1));
    let template = child(child(spec, "jobTemplate"), "spec");
    // Upstream defaults the template like a pod's only; the Job is defaulted when made.
    self::template(template);
}

pub(super) fn autoscaler(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    spec.entry("minReplicas").or_insert(json!(1));
    let none = spec
        .get("metrics")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    if none {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        spec.insert("metrics".into(), cpu);
    }
    if let Some(Value::Object(behavior)) = spec.get_mut("behavior") {
        scaling_rules(behavior);
    }
    for metric in list_of(spec, "metrics") {
        for source in [
            "resource",
            "containerResource",
            "pods",
            "object",
            "external",
        ] {
            if let Some(Value::Object(target)) = metric.pointer_mut(&format!("/{source}/target")) {
                quantities_named(target, &["value", "averageValue"]);
            }
        }
    }
}

/// KEP-853: up fast, down within what five minutes allow.
fn scaling_rules(behavior: &mut Map<String, Value>) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = child(behavior, "scaleUp");
    up.entry("stabilizationWindowSeconds").or_insert(json!(0));
    default(up, "selectPolicy", "Max");
    up.entry("policies").or_insert(json!([pods, percent]));
    let down = child(behavior, "scaleDown");
    default(down, "selectPolicy", "Max");
    down.entry("policies").or_insert(json!([percent]));
}

fn is_unset(value: Option<&Value>) -> bool {
    value.is_none_or(crate::json::is_empty)
}

fn replicas(spec: &mut Map<String, Value>) {
    spec.entry("replicas").or_insert(json!(1));
}

fn template_labels(object: &Map<String, Value>) -> Option<Value> {
    object
        .get("spec")?
        .pointer("/template/metadata/labels")
        .filter(|labels| labels.as_object().is_some_and(|m| !m.is_empty()))
        .cloned()
}

/// An object without labels of its own takes those of its pods.
fn own_labels(object: &mut Map<String, Value>, labels: Value) {
    let metadata = child(object, "metadata");
    let none = metadata
        .get("labels")
        .and_then(Value::as_object)
        .is_none_or(Map::is_empty);
    if none {
        metadata.insert("labels".into(), labels);
    }
}

fn list_of<'a>(spec: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = spec.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn quantities_named(m: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(value) = m.remove(*name) {
            let mut one = Map::from_iter([((*name).to_owned(), value)]);
            quantities(&mut one);
            m.extend(one);
        }
    }
}

/// The selector and labels a Job gets for its own pods, unless its selector is manual.
/// What the client wrote in their place stays, for validation to refuse.
pub fn job_selector(object: &mut Value) {
    if crate::json::bool_at(object, "/spec/manualSelector") {
        return;
    }
    let uid = str_at(object, "/metadata/uid").to_owned();
    let name = str_at(object, "/metadata/name").to_owned();
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (key, value) in [
        ("controller-uid", &uid),
        ("job-name", &name),
        (JOB_UID, &uid),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        labels.entry(key).or_insert(json!(value));
    }
    let chosen = child(child(spec, "selector"), "matchLabels");
    chosen.entry(JOB_UID).or_insert(json!(uid));
}

/// Counts the templates of a DaemonSet in its annotation, as extensions/v1beta1 did in
/// its spec: from one on, one more for each change, whatever the client says.
pub fn count_templates(new: &mut Value, old: Option<&Value>) {
    let count = |o: &Value| -> Option<i64> {
        let text = o.pointer("/metadata/annotations")?.get(TEMPLATE_COUNT)?;
        text.as_str()?.parse().ok()
    };
    let count = match old {
        None => count(new).unwrap_or(1).max(1),
        Some(old) => {
            let changed = new.pointer("/spec/template") != old.pointer("/spec/template");
            count(old).unwrap_or(1).max(1) + i64::from(changed)
        }
    };
    let annotations = child(crate::meta::of_mut(new), "annotations");
    annotations.insert(TEMPLATE_COUNT.into(), json!(count.to_string()));
}

/// Brings the amounts of a LimitRange or ResourceQuota into canonical text.
pub(super) fn amounts(object: &mut Value) {
    for pointer in ["/spec/hard", "/status/hard", "/status/used"] {
        if let Some(Value::Object(m)) = object.pointer_mut(pointer) {
            quantities(m);
        }
    }
    for limit in list_mut(object, "/spec/limits").into_iter().flatten() {
        for key in [
            "max",
            "min",
            "default",
            "defaultRequest",
            "maxLimitRequestRatio",
        ] {
            if let Some(Value::Object(m)) = limit.get_mut(key) {
                quantities(m);
            }
        }
        limit_defaults(limit);
    }
}

/// In a LimitRange for containers each missing default follows from its neighbours.
fn limit_defaults(limit: &mut Value) {
    if str_at(limit, "/type") != "Container" {
        return;
    }
    let part = |limit: &Value, key: &str| {
        limit
            .get(key)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    for (target, source) in [
        ("default", "max"),
        ("defaultRequest", "default"),
        ("defaultRequest", "min"),
    ] {
        let from = part(limit, source);
        if let Some(limit) = limit.as_object_mut()
            && !from.is_empty()
        {
            let target = child(limit, target);
            for (name, amount) in from {
                target.entry(name).or_insert(amount);
            }
        }
    }
}
