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

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use super::*;
    use serde_json::json;

    fn workload(kind: &str, spec: Value) -> Value {
        let mut o = json!({"apiVersion": "apps/v1", "kind": kind, "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
        crate::patch::merge_patch(&mut o["spec"], &spec);
        o
    }

    #[test]
    fn each_rule_of_the_apps_group_speaks() {
        for (kind, spec, words) in [
            ("Deployment", json!({}), vec![]),
            (
                "Deployment",
                json!({"selector": null}),
                vec![
                    "spec.selector: Required value",
                    "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                "Deployment",
                json!({"selector": {"matchLabels": null}}),
                vec!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
            ),
            (
                "Deployment",
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}),
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
                ],
            ),
            (
                "Deployment",
                json!({"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}, "progressDeadlineSeconds": 5, "minReadySeconds": 5}),
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                    "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
                ],
            ),
            (
                "Deployment",
                json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}),
                vec![
                    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
                ],
            ),
            (
                "ReplicaSet",
                json!({"template": {"spec": {"activeDeadlineSeconds": 5, "restartPolicy": "OnFailure"}}}),
                vec![
                    "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
                ],
            ),
            (
                "DaemonSet",
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
                ],
            ),
            (
                "DaemonSet",
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
                ],
            ),
            (
                "StatefulSet",
                json!({"podManagementPolicy": "Any", "updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
                vec![
                    "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
                    "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
                ],
            ),
        ] {
            assert_eq!(
                refused(workload(kind, spec.clone())),
                words,
                "{kind} {spec}"
            );
        }
    }

    #[test]
    fn a_claim_template_is_a_volume_that_containers_may_mount() {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        let mounting = json!([{"name": "c", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]);
        let spec = |claims: Value| {
            workload(
                "StatefulSet",
                json!({"volumeClaimTemplates": claims, "template": {"spec": {"containers": mounting}}}),
            )
        };
        assert_eq!(refused(spec(json!([claim]))), Vec::<String>::new());
        assert_eq!(
            refused(spec(Value::Null)),
            ["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\""]
        );
    }

    #[test]
    fn a_stateful_set_is_mostly_fixed() {
        let old = workload("StatefulSet", json!({"serviceName": "a"}));
        let mut new = workload(
            "StatefulSet",
            json!({"serviceName": "a", "replicas": 5, "minReadySeconds": 1}),
        );
        assert_eq!(stateful_set_update(&new, &old), vec![]);
        new["spec"]["serviceName"] = json!("b");
        assert!(stateful_set_update(&new, &old)[0].to_string().starts_with(
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        ));
    }
}
