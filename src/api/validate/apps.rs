//! Rules for the kinds of the apps group and their ancestor, the ReplicationController.

use serde_json::Value;

use super::selector::{immutable, label_selector, not_negative, selects_all};
use super::template::{chooses_template, lasting, mismatch, pod_template, selector};
use super::{all, labels, rollout, storage, under};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, map_at, str_at};
use crate::meta::string_map;
use crate::names;

pub(super) fn deployment(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(e, o, &["spec.replicas"]);
    selector(e, o, "deployment");
    lasting(e, o, "ReplicaSet");
    rollout::deployment(e, o);
    not_negative(
        e,
        o,
        &[
            "spec.minReadySeconds",
            "spec.revisionHistoryLimit",
            "spec.progressDeadlineSeconds",
        ],
    );
    let ready = int_at(o, "/spec/minReadySeconds").unwrap_or(0);
    if let Some(deadline) = int_at(o, "/spec/progressDeadlineSeconds")
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

pub(super) fn replica_set(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(e, o, &["spec.replicas", "spec.minReadySeconds"]);
    // "deployment" is upstream's own word here.
    selector(e, o, "deployment");
    lasting(e, o, "ReplicaSet");
    errors
}

pub(super) fn daemon_set(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let found = o.pointer("/spec/selector");
    if found.is_some() {
        label_selector(e, "spec.selector", o, "/spec/selector");
    }
    chooses_template(e, o);
    if let Some(found) = found.filter(|s| selects_all(Some(s))) {
        e.push(Error::invalid(
            "spec.selector",
            found.clone(),
            "empty selector is invalid for daemonset",
        ));
    }
    lasting(e, o, "DaemonSet");
    not_negative(e, o, &["spec.minReadySeconds"]);
    rollout::daemon_set(e, o);
    not_negative(e, o, &["spec.revisionHistoryLimit"]);
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
    rollout::stateful_set(e, o);
    for key in ["whenDeleted", "whenScaled"] {
        let value = str_at(
            o,
            &format!("/spec/persistentVolumeClaimRetentionPolicy/{key}"),
        );
        if !matches!(value, "Retain" | "Delete") {
            e.push(Error::not_supported(
                &format!("spec.persistentVolumeClaimRetentionPolicy.{key}"),
                value,
                &["Retain", "Delete"],
            ));
        }
    }
    // A negative revisionHistoryLimit keeps everything; it is only warned about.
    not_negative(
        e,
        o,
        &[
            "spec.replicas",
            "spec.minReadySeconds",
            "spec.ordinals.start",
        ],
    );
    let service = str_at(o, "/spec/serviceName");
    if !service.is_empty() {
        let why = names::dns_label(service);
        all(e, "spec.serviceName", &service.into(), why);
    }
    selector(e, o, "statefulset");
    lasting(e, o, "StatefulSet");
    for (i, claim) in list_at(o, "/spec/volumeClaimTemplates").iter().enumerate() {
        let path = index("spec.volumeClaimTemplates", i);
        e.extend(under(&path, storage::claim(claim)));
    }
    errors
}

pub(super) fn replication_controller(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(e, o, &["spec.minReadySeconds"]);
    let chosen = string_map(o.pointer("/spec/selector"));
    if chosen.is_empty() {
        e.push(Error::required("spec.selector", ""));
    }
    labels(e, "spec.selector", o, "/spec/selector");
    not_negative(e, o, &["spec.replicas"]);
    let own = string_map(o.pointer("/spec/template/metadata/labels"));
    let strange = chosen.iter().any(|(k, v)| own.get(k) != Some(v));
    if o.pointer("/spec/template").is_some() && strange {
        e.push(mismatch(o));
    }
    lasting(e, o, "ReplicationController");
    errors
}

pub(super) fn template_kind(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    pod_template(&mut errors, o, "template");
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

/// What may change of a StatefulSet.
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
    vec![Error::forbidden(
        "spec",
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    )]
}
