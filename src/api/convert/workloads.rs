//! extensions/v1beta1, apps/v1beta1 and apps/v1beta2: what those versions let the client
//! leave out, the defaults of their time, and two fields that are annotations today.

use serde_json::{Map, Value, json};

use super::Rename;
use crate::defaults::workloads::TEMPLATE_COUNT;
use crate::json::{child, default, int_at, is_empty, map_at};

/// How the versions of that time wrote "keep everything".
const ALL: i64 = i32::MAX as i64;
/// Where apps/v1 keeps what older versions had in `spec.rollbackTo.revision`.
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

pub(super) fn to_stored(group: &str, version: &str, kind: &str, object: &mut Value) -> Vec<Rename> {
    let mut done = Vec::new();
    let Some(root) = object.as_object_mut() else {
        return done;
    };
    // Since apps/v1beta2 a selector must be written.
    let era = (group, version);
    if era != ("apps", "v1beta2") {
        from_template(root, &mut done);
    }
    let kept = kept_in_annotations(child(root, "spec"), &mut done);
    if !kept.is_empty() {
        child(child(root, "metadata"), "annotations").extend(kept);
    }
    let spec = child(root, "spec");
    match kind {
        "Deployment" => deployment(era, spec),
        "DaemonSet" if group == "extensions" => strategy(spec, "OnDelete"),
        "StatefulSet" if version == "v1beta1" => strategy(spec, "OnDelete"),
        _ => {}
    }
    done
}

pub(super) fn from_stored(kind: &str, object: &mut Value) {
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let mut taken = |key: &str| -> Option<i64> {
        let metadata = root.get_mut("metadata")?.as_object_mut()?;
        let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
        let number = annotations.get(key)?.as_str()?.parse().ok()?;
        annotations.remove(key);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
        Some(number)
    };
    let (rollback, count) = match kind {
        "Deployment" => (taken(ROLLBACK), None),
        "DaemonSet" => (None, taken(TEMPLATE_COUNT)),
        _ => return,
    };
    let spec = child(root, "spec");
    if let Some(revision) = rollback {
        spec.insert("rollbackTo".into(), json!({"revision": revision}));
    }
    if let Some(count) = count {
        spec.insert("templateGeneration".into(), json!(count));
    }
}

/// A missing selector used to mean "the labels of the template", and missing labels of the
/// object itself too.
fn from_template(root: &mut Map<String, Value>, done: &mut Vec<Rename>) {
    let labels = root
        .get("spec")
        .and_then(|spec| map_at(spec, "/template/metadata/labels"))
        .filter(|labels| !labels.is_empty())
        .cloned();
    let Some(labels) = labels else { return };
    let own = child(root, "metadata").entry("labels").or_insert(json!({}));
    if is_empty(own) {
        *own = Value::Object(labels.clone());
    }
    let selector = child(root, "spec").entry("selector").or_insert(json!({}));
    if is_empty(selector) {
        *selector = json!({"matchLabels": labels});
        done.push(Rename::Told(
            "spec.selector must be written today; the labels of the template were taken",
        ));
    }
}

/// Takes the two fields out of the spec; gives the annotations they are today.
fn kept_in_annotations(
    spec: &mut Map<String, Value>,
    done: &mut Vec<Rename>,
) -> Map<String, Value> {
    let mut kept = Map::new();
    if let Some(back) = spec.remove("rollbackTo") {
        let revision = int_at(&back, "/revision").unwrap_or(0);
        kept.insert(ROLLBACK.into(), json!(revision.to_string()));
        let today = format!("the annotation {ROLLBACK}");
        done.push(Rename::called("spec.rollbackTo", today));
    }
    if let Some(count) = spec.remove("templateGeneration") {
        kept.insert(TEMPLATE_COUNT.into(), json!(count.to_string()));
        let today = format!("the annotation {TEMPLATE_COUNT}");
        done.push(Rename::called("spec.templateGeneration", today));
    }
    kept
}

fn deployment(era: (&str, &str), spec: &mut Map<String, Value>) {
    let strategy = child(spec, "strategy");
    default(strategy, "type", "RollingUpdate");
    if era.0 == "extensions" && strategy.get("type") == Some(&json!("RollingUpdate")) {
        let rolling = child(strategy, "rollingUpdate");
        rolling.entry("maxUnavailable").or_insert(json!(1));
        rolling.entry("maxSurge").or_insert(json!(1));
    }
    if era.0 == "extensions" {
        spec.entry("revisionHistoryLimit").or_insert(json!(ALL));
        spec.entry("progressDeadlineSeconds").or_insert(json!(ALL));
    } else if era.1 == "v1beta1" {
        spec.entry("revisionHistoryLimit").or_insert(json!(2));
    }
}

fn strategy(spec: &mut Map<String, Value>, kind: &str) {
    default(child(spec, "updateStrategy"), "type", kind);
}
