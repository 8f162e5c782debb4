//! Rules for the kinds of the apps group and their ancestor, the ReplicationController.

use serde_json::{Value, json};

use super::selector::{immutable, label_selector, not_negative, selects_all};
use super::{labels, pod, under};
use crate::field::Error;
use crate::json::{bool_at, int_at, list_at, map_at, str_at};
use crate::selector::LabelSelector;

/// A pod template at `/spec/template`: a pod's rules, and that it restarts for ever.
pub(super) fn template(e: &mut Vec<Error>, object: &Value, always: bool) {
    template_at(e, object, "/spec/template", "spec.template", always);
}

pub(super) fn template_at(
    e: &mut Vec<Error>,
    object: &Value,
    pointer: &str,
    path: &str,
    always: bool,
) {
    let Some(template) = object.pointer(pointer) else {
        e.push(Error::required(path, ""));
        return;
    };
    labels(
        e,
        &format!("{path}.metadata.labels"),
        template,
        "/metadata/labels",
    );
    e.extend(under(path, pod::spec(template)));
    let policy = str_at(template, "/spec/restartPolicy");
    if always && !matches!(policy, "Always" | "") {
        e.push(Error::not_supported(
            &format!("{path}.spec.restartPolicy"),
            policy,
            &["Always"],
        ));
    }
    if always && template.pointer("/spec/activeDeadlineSeconds").is_some() {
        e.push(Error::forbidden(
            &format!("{path}.spec.activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

/// `spec.selector` must be there, select something, and hold for the template's labels.
fn selector(e: &mut Vec<Error>, object: &Value, kind: &str) {
    let found = object.pointer("/spec/selector");
    if found.is_none() {
        e.push(Error::required("spec.selector", ""));
    } else {
        label_selector(e, "spec.selector", object, "/spec/selector");
        if selects_all(found) {
            let why = format!("empty selector is invalid for {kind}");
            e.push(Error::invalid(
                "spec.selector",
                found.cloned().unwrap_or_default(),
                why,
            ));
        }
    }
    let Some(chosen) = found.and_then(|s| LabelSelector::from_object(s).ok()) else {
        return;
    };
    let labels = crate::meta::string_map(object.pointer("/spec/template/metadata/labels"));
    if !chosen.matches(&labels) && object.pointer("/spec/template").is_some() {
        e.push(Error::invalid(
            "spec.template.metadata.labels",
            json!(labels),
            "`selector` does not match template `labels`",
        ));
    }
}

pub(super) fn deployment(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(e, o, &["spec.replicas"]);
    selector(e, o, "deployment");
    template(e, o, true);
    match str_at(o, "/spec/strategy/type") {
        "Recreate" if o.pointer("/spec/strategy/rollingUpdate").is_some() => {
            e.push(Error::forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            rolling(e, o, "spec.strategy.rollingUpdate", true);
        }
        other => e.push(Error::not_supported(
            "spec.strategy.type",
            other,
            &["Recreate", "RollingUpdate"],
        )),
    }
    not_negative(
        e,
        o,
        &[
            "spec.minReadySeconds",
            "spec.revisionHistoryLimit",
            "spec.progressDeadlineSeconds",
        ],
    );
    let deadline = int_at(o, "/spec/progressDeadlineSeconds");
    let ready = int_at(o, "/spec/minReadySeconds").unwrap_or(0);
    if let Some(deadline) = deadline
        && deadline <= ready
    {
        e.push(Error::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    errors
}

/// `maxUnavailable` and `maxSurge`: numbers or percentages that are not both zero.
fn rolling(e: &mut Vec<Error>, o: &Value, path: &str, surge: bool) {
    let pointer = format!("/{}", path.replace('.', "/"));
    let mut amounts = vec![];
    for key in ["maxUnavailable", "maxSurge"] {
        let value = o.pointer(&format!("{pointer}/{key}"));
        let at = format!("{path}.{key}");
        amounts.push(int_or_percent(e, &at, value));
    }
    if let Some(Some(n)) = amounts.first()
        && *n > 100
        && o.pointer(&format!("{pointer}/maxUnavailable"))
            .is_some_and(Value::is_string)
    {
        let value = o.pointer(&format!("{pointer}/maxUnavailable"));
        e.push(Error::invalid(
            &format!("{path}.maxUnavailable"),
            value.cloned().unwrap_or_default(),
            "must not be greater than 100%",
        ));
    }
    if amounts.iter().all(|n| n.unwrap_or(0) == 0) {
        let value = o.pointer(&format!("{pointer}/maxUnavailable")).cloned();
        e.push(if surge {
            Error::invalid(
                &format!("{path}.maxUnavailable"),
                value.unwrap_or_default(),
                "may not be 0 when `maxSurge` is 0",
            )
        } else {
            Error::required(
                &format!("{path}.maxUnavailable"),
                "cannot be 0 when maxSurge is 0",
            )
        });
    }
}

/// The number of an int-or-percentage that is in order.
pub(super) fn int_or_percent(e: &mut Vec<Error>, at: &str, value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(text) => {
            let number = text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok());
            if number.is_none() {
                e.push(Error::invalid(
                    at,
                    text.as_str(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                ));
            }
            number.map(i64::from)
        }
        value => {
            let n = value.as_i64()?;
            if n < 0 {
                e.push(Error::invalid(at, n, "must be greater than or equal to 0"));
            }
            Some(n)
        }
    }
}

pub(super) fn replica_set(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(e, o, &["spec.replicas", "spec.minReadySeconds"]);
    selector(e, o, "deployment");
    template(e, o, true);
    errors
}

pub(super) fn daemon_set(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    selector(e, o, "daemonset");
    template(e, o, true);
    match str_at(o, "/spec/updateStrategy/type") {
        "OnDelete" => {}
        "RollingUpdate" => rolling(e, o, "spec.updateStrategy.rollingUpdate", false),
        other => e.push(Error::not_supported(
            "spec.updateStrategy.type",
            other,
            &["OnDelete", "RollingUpdate"],
        )),
    }
    not_negative(e, o, &["spec.minReadySeconds", "spec.revisionHistoryLimit"]);
    errors
}

pub(super) fn stateful_set(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    match str_at(o, "/spec/podManagementPolicy") {
        "OrderedReady" | "Parallel" => {}
        other => e.push(Error::invalid(
            "spec.podManagementPolicy",
            other,
            "must be 'OrderedReady' or 'Parallel'",
        )),
    }
    match str_at(o, "/spec/updateStrategy/type") {
        "OnDelete" if o.pointer("/spec/updateStrategy/rollingUpdate").is_some() => {
            e.push(Error::invalid(
                "spec.updateStrategy.rollingUpdate",
                o.pointer("/spec/updateStrategy/rollingUpdate")
                    .cloned()
                    .unwrap_or_default(),
                "only allowed for updateStrategy 'RollingUpdate'",
            ));
        }
        "OnDelete" => {}
        "RollingUpdate" => not_negative(e, o, &["spec.updateStrategy.rollingUpdate.partition"]),
        other => e.push(Error::invalid(
            "spec.updateStrategy",
            other,
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
    not_negative(
        e,
        o,
        &[
            "spec.replicas",
            "spec.minReadySeconds",
            "spec.revisionHistoryLimit",
            "spec.ordinals.start",
        ],
    );
    for key in ["whenDeleted", "whenScaled"] {
        let at = format!("/spec/persistentVolumeClaimRetentionPolicy/{key}");
        let value = str_at(o, &at);
        if !matches!(value, "Retain" | "Delete") {
            e.push(Error::not_supported(
                &format!("spec.persistentVolumeClaimRetentionPolicy.{key}"),
                value,
                &["Retain", "Delete"],
            ));
        }
    }
    selector(e, o, "statefulset");
    template(e, o, true);
    errors
}

pub(super) fn replication_controller(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(e, o, &["spec.minReadySeconds", "spec.replicas"]);
    let chosen = crate::meta::string_map(o.pointer("/spec/selector"));
    if chosen.is_empty() {
        e.push(Error::required("spec.selector", ""));
    }
    labels(e, "spec.selector", o, "/spec/selector");
    let found = crate::meta::string_map(o.pointer("/spec/template/metadata/labels"));
    if o.pointer("/spec/template").is_some() && chosen.iter().any(|(k, v)| found.get(k) != Some(v))
    {
        e.push(Error::invalid(
            "spec.template.metadata.labels",
            json!(found),
            "`selector` does not match template `labels`",
        ));
    }
    template(e, o, true);
    errors
}

pub(super) fn pod_template(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    template_at(&mut errors, o, "/template", "template", false);
    errors
}

pub(super) fn revision(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    if o.get("data").is_none() {
        errors.push(Error::required("data", "data is mandatory"));
    }
    not_negative(&mut errors, o, &["revision"]);
    errors
}

pub(super) fn revision_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    immutable(&mut errors, "data", new, old);
    errors
}

pub(super) fn selector_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    immutable(&mut errors, "spec.selector", new, old);
    errors
}

/// What may change of a StatefulSet, in upstream's order.
const STATEFUL_MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) fn stateful_set_update(new: &Value, old: &Value) -> Vec<Error> {
    let fixed = |o: &Value| {
        let mut spec = map_at(o, "/spec").cloned().unwrap_or_default();
        spec.retain(|key, _| !STATEFUL_MUTABLE.contains(&key.as_str()));
        spec
    };
    if fixed(new) == fixed(old) {
        return Vec::new();
    }
    let names: Vec<String> = STATEFUL_MUTABLE.iter().map(|n| format!("'{n}'")).collect();
    let (last, first) = match names.split_last() {
        Some(split) => split,
        None => return Vec::new(),
    };
    vec![Error::forbidden(
        "spec",
        format!(
            "updates to statefulset spec for fields other than {} and {last} are forbidden",
            first.join(", ")
        ),
    )]
}

/// Whether a selector belongs to the client: a Job's own is refused.
pub(super) fn job_selector(e: &mut Vec<Error>, o: &Value) {
    let manual = bool_at(o, "/spec/manualSelector");
    if manual {
        selector(e, o, "job");
        return;
    }
    let uid = str_at(o, "/metadata/uid");
    let chosen = map_at(o, "/spec/selector/matchLabels");
    let ours = chosen.is_some_and(|labels| {
        ["controller-uid", "batch.kubernetes.io/controller-uid"]
            .iter()
            .any(|key| labels.get(*key).and_then(Value::as_str) == Some(uid))
    });
    if !ours || !list_at(o, "/spec/selector/matchExpressions").is_empty() {
        let value = o.pointer("/spec/selector").cloned().unwrap_or_default();
        e.push(Error::invalid(
            "spec.selector",
            value,
            "`selector` not auto-generated",
        ));
        return;
    }
    selector(e, o, "job");
}
