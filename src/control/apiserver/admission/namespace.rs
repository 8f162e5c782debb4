//! NamespaceLifecycle: nothing new without a living namespace, and some namespaces for ever.

use cadet_api::json;
use cadet_api::resource::Resource;
use cadet_api::status::{Cause, Status};
use serde_json::Value;

use super::{Request, find};

/// Namespaces that every cluster has and that cannot be deleted.
pub const ETERNAL_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) fn takes(request: &Request<'_>, new: &Value) -> Result<(), Status> {
    let resource = request.stored();
    if !resource.namespaced {
        return Ok(());
    }
    let namespaces = find("namespaces")?;
    let namespace = json::str_at(new, "/metadata/namespace");
    let Some(found) = request.app.world.get(namespaces, "", namespace) else {
        return Err(Status::not_found(namespaces, namespace));
    };
    if !found.is_deleting() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut status = request.forbidden(new, &why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    Err(status)
}

pub(super) fn may_delete(resource: &Resource, name: &str) -> Result<(), Status> {
    if resource.is("", "Namespace") && ETERNAL_NAMESPACES.contains(&name) {
        return Err(Status::forbidden(
            resource,
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}
