//! StorageObjectInUseProtection: volumes and claims are not gone before nobody uses them.
//! The mark set here is removed by the loops in the controllers' crate.

use cadet_api::{json, meta};
use serde_json::{Value, json};

use super::{Operation, Request};

pub(super) fn protect(request: &Request<'_>, object: &mut Value) {
    let mark = if request.is(Operation::Create, "", "PersistentVolumeClaim") {
        "kubernetes.io/pvc-protection"
    } else if request.is(Operation::Create, "", "PersistentVolume") {
        "kubernetes.io/pv-protection"
    } else {
        return;
    };
    let marks = json::list_at(object, "/metadata/finalizers");
    if marks.iter().any(|one| one == mark) {
        return;
    }
    let mut marks = marks.to_vec();
    marks.push(json!(mark));
    meta::set(object, "finalizers", marks);
}
