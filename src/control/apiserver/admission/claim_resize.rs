//! PersistentVolumeClaimResize: a bound claim grows only where its storage class lets it.

use cadet_api::json::{bool_at, str_at};
use cadet_api::quantity::Amount;
use cadet_api::status::Status;
use serde_json::Value;

use super::{Operation, Request, find_in};

pub(super) fn check(request: &Request<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let Some(old) = old.filter(|_| request.is(Operation::Update, "", "PersistentVolumeClaim"))
    else {
        return Ok(());
    };
    let size = |claim: &Value| {
        claim
            .pointer("/spec/resources/requests/storage")
            .and_then(Amount::of)
            .unwrap_or_default()
            .quantity
    };
    if size(new) <= size(old) {
        return Ok(());
    }
    if str_at(old, "/status/phase") != "Bound" {
        return Err(request.forbidden(new, "Only bound persistent volume claims can be expanded"));
    }
    let classes = find_in("storage.k8s.io", "storageclasses")?;
    let class = request
        .app
        .world
        .get(classes, "", str_at(old, "/spec/storageClassName"));
    match class {
        Some(class) if bool_at(&class.value(), "/allowVolumeExpansion") => Ok(()),
        _ => {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
            Err(request.forbidden(new, why))
        }
    }
}
