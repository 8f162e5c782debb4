//! Rules for Jobs, and for the part of them that a CronJob's template has too.

use serde_json::Value;

use super::selector::{immutable, label_selector, not_negative};
use super::template::{chooses_template, pod_template, template_labels};
use super::{all, job_policy};
use crate::field::{Error, pointer};
use crate::json::{bool_at, int_at, list_at, map_at, str_at};
use crate::names;

// Limits of an indexed Job, so that the lists of its indexes in the status stay short
// (KEP-2214, KEP-3850).
const MAX_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
/// For parallelism and failed indexes of a Job of many completions.
const MAX_WITH_MANY: i64 = 10_000;
const MANAGED_BY_MAX: usize = 63;

/// Labels by which a Job finds its pods; each has an old and a new name.
pub(super) const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
pub(super) const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

pub(super) fn job(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    generated_selector(e, o);
    spec(e, o, "spec");
    if o.pointer("/spec/selector").is_none() {
        e.push(Error::required("spec.selector", ""));
    } else {
        label_selector(e, "spec.selector", o, "/spec/selector");
    }
    chooses_template(e, o);
    hostnames(e, o);
    errors
}

/// What the server generates must stand as generated, unless selectors are manual.
fn generated_selector(e: &mut Vec<Error>, o: &Value) {
    if bool_at(o, "/spec/manualSelector") || o.pointer("/spec/selector").is_none() {
        return;
    }
    let (name, uid) = (str_at(o, "/metadata/name"), str_at(o, "/metadata/uid"));
    let own = map_at(o, "/spec/template/metadata/labels");
    let wanted = [
        (UID_LABELS[0], uid),
        (NAME_LABELS[0], name),
        (UID_LABELS[1], uid),
        (NAME_LABELS[1], name),
    ];
    for (label, value) in wanted {
        let at = format!("spec.template.metadata.labels[{label}]");
        let why = format!("must be '{value}'");
        match own.and_then(|own| own.get(label)) {
            None => e.push(Error::required(&at, &why)),
            Some(found) if found != value => {
                e.push(Error::invalid(&at, template_labels(o), why));
            }
            Some(_) => {}
        }
    }
    let known = |key: &str, value: &Value| wanted.iter().any(|(k, v)| *k == key && value == v);
    let chosen = map_at(o, "/spec/selector/matchLabels");
    let ours = chosen.into_iter().flatten().all(|(k, v)| known(k, v));
    let expressions = list_at(o, "/spec/selector/matchExpressions");
    if !ours || !expressions.is_empty() {
        let value = o.pointer("/spec/selector").cloned().unwrap_or_default();
        e.push(Error::invalid(
            "spec.selector",
            value,
            "`selector` not auto-generated",
        ));
    }
}

/// Pods of an indexed Job are called after it and their index.
fn hostnames(e: &mut Vec<Error>, o: &Value) {
    let completions = int_at(o, "/spec/completions").unwrap_or(0);
    if str_at(o, "/spec/completionMode") != "Indexed" || completions <= 0 {
        return;
    }
    let name = str_at(o, "/metadata/name");
    let longest = format!("{name}-{}", completions - 1);
    if !names::dns_label(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        e.push(Error::invalid("metadata.name", name, why));
    }
}

/// The rules a Job and a CronJob's template share; `path` is where the spec stands.
pub(super) fn spec(e: &mut Vec<Error>, o: &Value, path: &str) {
    let at = |key: &str| format!("{path}.{key}");
    let found = |key: &str| o.pointer(&pointer(&at(key)));
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(e, o, &[&at(key)]);
    }
    if found("maxFailedIndexes").is_some() && found("backoffLimitPerIndex").is_none() {
        let why = "when maxFailedIndexes is specified";
        e.push(Error::required(&at("backoffLimitPerIndex"), why));
    }
    if let Some(manager) = found("managedBy").and_then(Value::as_str) {
        managed_by(e, &at("managedBy"), manager);
    }
    match found("completionMode").and_then(Value::as_str) {
        Some("Indexed") => indexed(e, o, path),
        None | Some("NonIndexed") => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = found(key) {
                    let why = "requires indexed completion mode";
                    e.push(Error::invalid(&at(key), value.clone(), why));
                }
            }
        }
        Some(other) => e.push(Error::not_supported(
            &at("completionMode"),
            other,
            &["NonIndexed", "Indexed"],
        )),
    }
    job_policy::failure(e, o, path);
    job_policy::success(e, o, path);
    job_policy::replacement(e, o, path);
    pod_template(e, o, &at("template"));
    restart(e, o, path);
}

fn managed_by(e: &mut Vec<Error>, at: &str, manager: &str) {
    match manager.split_once('/') {
        None if manager.is_empty() => e.push(Error::required(at, "")),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            let value = manager.into();
            all(e, at, &value, names::dns_subdomain(domain));
        }
        _ => e.push(Error::invalid(
            at,
            manager,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        )),
    }
    if manager.len() > MANAGED_BY_MAX {
        e.push(Error::too_long(at, MANAGED_BY_MAX));
    }
}

fn indexed(e: &mut Vec<Error>, o: &Value, path: &str) {
    let at = |key: &str| format!("{path}.{key}");
    let number = |key: &str| int_at(o, &pointer(&at(key)));
    let completions = number("completions");
    let failed = number("maxFailedIndexes");
    let mut too_many = |key: &str, why: String| {
        let value = number(key).unwrap_or_default();
        e.push(Error::invalid(&at(key), value, why));
    };
    if number("parallelism").is_some_and(|n| n > MAX_PARALLELISM) {
        let why = format!(
            "must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed"
        );
        too_many("parallelism", why);
    }
    if failed.zip(completions).is_some_and(|(f, c)| f > c) {
        let why = "must be less than or equal to completions";
        too_many("maxFailedIndexes", why.into());
    }
    if failed.is_some_and(|n| n > MAX_FAILED_INDEXES) {
        let why = format!("must be less than or equal to {MAX_FAILED_INDEXES}");
        too_many("maxFailedIndexes", why);
    }
    let many = completions.is_some_and(|n| n > MANY_COMPLETIONS);
    let many = many && number("backoffLimitPerIndex").is_some();
    for key in ["parallelism", "maxFailedIndexes"] {
        if many && number(key).is_some_and(|n| n > MAX_WITH_MANY) {
            let why = format!(
                "must be less than or equal to {MAX_WITH_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            );
            too_many(key, why);
        }
    }
    if many && failed.is_none() {
        let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        e.push(Error::required(&at("maxFailedIndexes"), &why));
    }
    if completions.is_none() {
        let why = "when completion mode is Indexed";
        e.push(Error::required(&at("completions"), why));
    }
}

/// A Job ends, so its pods may not restart for ever.
fn restart(e: &mut Vec<Error>, o: &Value, path: &str) {
    let at = format!("{path}.template.spec.restartPolicy");
    let policy = str_at(o, &pointer(&at));
    let by_rules = o
        .pointer(&pointer(&format!("{path}.podFailurePolicy")))
        .is_some();
    match policy {
        "" | "Always" => e.push(Error::required(
            &at,
            "valid values: \"OnFailure\", \"Never\"",
        )),
        "OnFailure" if by_rules => e.push(Error::invalid(
            &at,
            policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        )),
        "OnFailure" | "Never" => {}
        other => e.push(Error::not_supported(&at, other, &["OnFailure", "Never"])),
    }
}

pub(super) fn job_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    completions_update(e, new, old);
    immutable(e, "spec.selector", new, old);
    template_update(e, new, old);
    for field in [
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
        "spec.managedBy",
        "spec.successPolicy",
    ] {
        immutable(e, field, new, old);
    }
    errors
}

/// Completions are fixed, but an indexed Job may grow and shrink together with its
/// parallelism (KEP-3715).
fn completions_update(e: &mut Vec<Error>, new: &Value, old: &Value) {
    if str_at(new, "/spec/completionMode") != "Indexed" {
        immutable(e, "spec.completions", new, old);
        return;
    }
    let wanted = int_at(new, "/spec/completions");
    if wanted != int_at(old, "/spec/completions")
        && let Some(n) = wanted
        && wanted != int_at(new, "/spec/parallelism")
    {
        e.push(Error::invalid(
            "spec.completions",
            n,
            "can only be modified in tandem with spec.parallelism",
        ));
    }
}

/// The template is fixed, but as long as a suspended Job has not begun, where its pods go
/// may change (KEP-2926).
fn template_update(e: &mut Vec<Error>, new: &Value, old: &Value) {
    let (now, before) = (new.pointer("/spec/template"), old.pointer("/spec/template"));
    if now == before {
        return;
    }
    let suspended = bool_at(old, "/spec/suspend") && old.pointer("/status/startTime").is_none();
    if suspended && without_placement(now) == without_placement(before) {
        return;
    }
    immutable(e, "spec.template", new, old);
}

fn without_placement(template: Option<&Value>) -> Value {
    let mut rest = template.cloned().unwrap_or_default();
    let metadata = rest.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.remove("labels");
        metadata.remove("annotations");
    }
    let spec = rest.get_mut("spec").and_then(Value::as_object_mut);
    if let Some(spec) = spec {
        for key in ["nodeSelector", "tolerations", "schedulingGates"] {
            spec.remove(key);
        }
        let affinity = spec.get_mut("affinity").and_then(Value::as_object_mut);
        if affinity.is_some_and(|a| {
            a.remove("nodeAffinity");
            a.is_empty()
        }) {
            spec.remove("affinity");
        }
    }
    if rest.get("metadata").is_some_and(crate::json::is_empty)
        && let Some(rest) = rest.as_object_mut()
    {
        rest.remove("metadata");
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use super::*;
    use serde_json::json;

    fn job_of(spec: Value) -> Value {
        let mut o = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
        crate::patch::merge_patch(&mut o["spec"], &spec);
        o
    }

    #[test]
    fn each_rule_of_a_job_speaks() {
        let on_failure = json!({"spec": {"restartPolicy": "OnFailure"}});
        for (spec, words) in [
            (json!({}), vec![]),
            (
                json!({"template": {"spec": {"restartPolicy": null}}}),
                vec![
                    "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
                ],
            ),
            (
                json!({"selector": {"matchLabels": {"app": "a"}}}),
                vec![
                    "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: `selector` not auto-generated",
                    "spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"a\",\"controller-uid\":\"u\",\"job-name\":\"a\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"template": {"metadata": {"labels": {"controller-uid": "old"}}}}),
                vec![
                    "spec.template.metadata.labels[controller-uid]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"a\",\"controller-uid\":\"old\",\"job-name\":\"a\"}: must be 'u'",
                ],
            ),
            (json!({"completionMode": "Indexed"}), vec![]),
            (
                json!({"completionMode": "Indexed", "parallelism": 2}),
                vec!["spec.completions: Required value: when completion mode is Indexed"],
            ),
            (
                json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 2}),
                vec![
                    "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
                    "spec.maxFailedIndexes: Invalid value: 2: requires indexed completion mode",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 200_000, "parallelism": 20_000, "backoffLimitPerIndex": 1}),
                vec![
                    "spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
                    "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
                ],
            ),
            (
                json!({"managedBy": "me"}),
                vec![
                    "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                ],
            ),
            (
                json!({"template": on_failure, "podFailurePolicy": {"rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {"onExitCodes": {"containerName": "d", "operator": "In", "values": [2, 0]}},
                    {"action": "FailIndex"}]}}),
                vec![
                    "spec.podFailurePolicy.rules[1].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                    "spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer names in the pod template",
                    "spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                    "spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [2,0]: must be ordered",
                    "spec.podFailurePolicy.rules[2].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                    "spec.podFailurePolicy.rules[2]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                    "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [
                    {"succeededIndexes": "0,2", "succeededCount": 3}, {}, {"succeededIndexes": "7"}]}}),
                vec![
                    "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
                    "spec.successPolicy.rules[1]: Required value: at least one of succeededCount or succeededIndexes must be specified",
                    "spec.successPolicy.rules[2].succeededIndexes: Invalid value: \"7\": error parsing succeededIndexes: too large index: \"7\"",
                ],
            ),
        ] {
            assert_eq!(refused(job_of(spec.clone())), words, "{spec}");
        }
    }

    fn changed(old: Value, new: Value) -> Vec<String> {
        job_update(&job_of(new), &job_of(old))
            .iter()
            .map(|e| e.field.clone())
            .collect()
    }

    #[test]
    fn a_job_is_fixed_but_for_its_size_and_where_a_suspended_one_goes() {
        let spread = json!({"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}});
        assert_eq!(
            changed(json!({}), json!({"parallelism": 3})),
            Vec::<String>::new()
        );
        assert_eq!(
            changed(json!({"completions": 1}), json!({"completions": 2})),
            ["spec.completions"]
        );
        assert_eq!(changed(json!({}), spread.clone()), ["spec.template"]);
        let mut resting = spread;
        resting["suspend"] = json!(true);
        assert_eq!(
            changed(json!({"suspend": true}), resting),
            Vec::<String>::new()
        );
        let indexed = |n: i64, m: i64| json!({"completionMode": "Indexed", "completions": n, "parallelism": m});
        assert_eq!(changed(indexed(2, 2), indexed(4, 4)), Vec::<String>::new());
        assert_eq!(changed(indexed(2, 2), indexed(4, 2)), ["spec.completions"]);
    }
}
