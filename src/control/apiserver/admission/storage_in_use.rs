//! StorageObjectInUseProtection: new claims and volumes carry the finalizer that keeps them
//! while they are in use.

use cadet_api::json::list_at;
use cadet_api::meta;
use serde_json::{Value, json};

use super::{Operation, Request};

pub(super) fn protect(request: &Request<'_>, object: &mut Value) {
    let finalizer = if request.is(Operation::Create, "", "PersistentVolumeClaim") {
        "kubernetes.io/pvc-protection"
    } else if request.is(Operation::Create, "", "PersistentVolume") {
        "kubernetes.io/pv-protection"
    } else {
        return;
    };
    let mut finalizers = list_at(object, "/metadata/finalizers").to_vec();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(json!(finalizer));
        meta::set(object, "finalizers", finalizers);
    }
}
