//! Defaults of volumes, claims and storage classes.

use serde_json::{Map, Value, json};

use super::quantities;
use crate::json::{child, default};

pub(super) fn claim(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    default(spec, "volumeMode", "Filesystem");
    if let Some(Value::Object(resources)) = spec.get_mut("resources") {
        for part in ["requests", "limits"] {
            if let Some(Value::Object(m)) = resources.get_mut(part) {
                quantities(m);
            }
        }
    }
    let reference = spec.get("dataSourceRef").is_some();
    if !reference && let Some(source) = spec.get("dataSource").cloned() {
        spec.insert("dataSourceRef".into(), source);
    }
    if let Some(Value::Object(status)) = object.get_mut("status")
        && let Some(Value::Object(m)) = status.get_mut("capacity")
    {
        quantities(m);
    }
}

pub(super) fn volume(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    default(spec, "persistentVolumeReclaimPolicy", "Retain");
    default(spec, "volumeMode", "Filesystem");
    if let Some(Value::Object(m)) = spec.get_mut("capacity") {
        quantities(m);
    }
    if let Some(Value::Object(path)) = spec.get_mut("hostPath") {
        path.entry("type").or_insert(json!(""));
    }
    if let Some(Value::Object(claim)) = spec.get_mut("claimRef") {
        default(claim, "kind", "PersistentVolumeClaim");
        default(claim, "apiVersion", "v1");
    }
}

pub(super) fn class(object: &mut Map<String, Value>) {
    default(object, "reclaimPolicy", "Delete");
    default(object, "volumeBindingMode", "Immediate");
}

pub(super) fn driver(object: &mut Map<String, Value>) {
    let spec = child(object, "spec");
    for (key, value) in [
        ("attachRequired", true),
        ("podInfoOnMount", false),
        ("storageCapacity", false),
        ("requiresRepublish", false),
        ("seLinuxMount", false),
    ] {
        spec.entry(key).or_insert(json!(value));
    }
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    spec.entry("volumeLifecycleModes")
        .or_insert(json!(["Persistent"]));
}
