//! extensions/v1beta1, apps/v1beta1 and apps/v1beta2: what those versions let the client
//! leave out, and the defaults of their time.

use serde_json::{Map, Value, json};

use super::v1beta3::Rename;
use crate::json::{child, default, is_empty};

/// How the versions of that time wrote "keep everything".
const ALL: i64 = i32::MAX as i64;

pub(super) fn to_stored(group: &str, version: &str, kind: &str, object: &mut Value) -> Vec<Rename> {
    let mut done = Vec::new();
    let Some(root) = object.as_object_mut() else {
        return done;
    };
    let spec = child(root, "spec");
    let era = (group, version);
    // Since apps/v1beta2 a selector must be written.
    if era != ("apps", "v1beta2") {
        selector_from_template(spec, &mut done);
    }
    match kind {
        "Deployment" => deployment(era, spec, &mut done),
        "DaemonSet" => {
            if group == "extensions" {
                strategy(spec, "OnDelete");
            }
            gone(spec, "templateGeneration", &mut done);
        }
        "StatefulSet" if version == "v1beta1" => strategy(spec, "OnDelete"),
        _ => {}
    }
    done
}

/// A missing selector used to mean "the labels of the template".
fn selector_from_template(spec: &mut Map<String, Value>, done: &mut Vec<Rename>) {
    if !is_empty(spec.get("selector").unwrap_or(&Value::Null)) {
        return;
    }
    let labels = spec
        .get("template")
        .and_then(|t| t.pointer("/metadata/labels"))
        .filter(|labels| !is_empty(labels))
        .cloned();
    if let Some(labels) = labels {
        spec.insert("selector".into(), json!({"matchLabels": labels}));
        done.push((
            "a selector left out".into(),
            "spec.selector, which must be written".into(),
        ));
    }
}

fn deployment(era: (&str, &str), spec: &mut Map<String, Value>, done: &mut Vec<Rename>) {
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
    gone(spec, "rollbackTo", done);
}

fn strategy(spec: &mut Map<String, Value>, kind: &str) {
    default(child(spec, "updateStrategy"), "type", kind);
}

/// A field that has no place in today's form.
fn gone(spec: &mut Map<String, Value>, field: &str, done: &mut Vec<Rename>) {
    if spec.remove(field).is_some() {
        done.push((format!("spec.{field}"), "nothing".into()));
    }
}
