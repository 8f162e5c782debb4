//! PATCH with an applied configuration: server-side apply (KEP-555).

use axum::response::Response;
use bytes::Bytes;
use cadet_api::resource::Resource;
use cadet_api::status::{Cause, Status};
use cadet_api::strategy::{self, Part};
use cadet_api::{apply, convert, json, meta};
use serde_json::Value;

use crate::access::Attributes;
use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::handlers::finish::Finish;
use crate::ownership::Manager;
use crate::query::{FieldValidation, Write, WriteOptions};
use crate::target::Target;
use crate::writing::{self, Proposal};
use crate::{access, body, fields, respond};

pub async fn run(call: &ObjectCall, part: Part, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Apply)?;
    let force = call.parameters.flag("force");
    let (resource, stored) = (call.resource(), call.stored());
    let decoded = body::decode_applied(bytes)?;
    let mut applied = decoded.value;
    strategy::check_body(resource, &applied)?;
    let mut today = applied.clone();
    let mut warnings = convert::to_stored(resource, &mut today)?;
    // Unknown fields are for the apply itself to refuse, whatever the client wishes.
    fields::check(resource, &today, None, FieldValidation::Ignore)?;
    let text = decoded.json.as_deref();
    warnings.extend(fields::twice(resource, text, options.validation)?);
    // Versions of the past have today's fields for their own.
    let named = if resource.is_past() { stored } else { resource };
    if resource.is_past() {
        applied = today;
    }
    json::drop_nulls(&mut applied);
    check_names(call, &mut applied)?;
    only_part(stored, part, &mut applied);
    let manager = Manager::of(call, super::update::part_name(part)).applying();

    let exists = call
        .app
        .world
        .get(stored, call.namespace(), call.name())
        .is_some();
    if !exists && part == Part::Main {
        return create(call, named, applied, &manager, (&options, force), warnings).await;
    }
    let mut finish = Finish::new(call, part, &manager);
    let request =
        Request::of(call, Operation::Update, options.dry_run).part(super::update::part_name(part));
    let changed = writing::change_admitted(
        &request,
        call.name(),
        |old| {
            let conditional = writing::check_version(stored, &applied, old)?;
            let new = merged(named, Some(old), &applied, &manager, force)?;
            Ok(Proposal {
                value: new,
                conditional,
                warnings: vec![],
            })
        },
        |new, old| finish.run(new, old),
    )
    .await?;
    warnings.extend(changed.warnings.iter().cloned());
    super::update::answer(call, &changed).map(|response| respond::warn(response, &warnings))
}

/// The object did not exist: what is applied is all there is.
async fn create(
    call: &ObjectCall,
    named: &'static Resource,
    applied: Value,
    manager: &Manager,
    (options, force): (&WriteOptions, bool),
    warnings: Vec<String>,
) -> Result<Response, Status> {
    let stored = call.stored();
    may_make(call)?;
    if !json::str_at(&applied, "/metadata/uid").is_empty() {
        return Err(Status::conflict_because(
            stored,
            call.name(),
            "uid mismatch: the provided object specified uid, and no existing object was found",
        ));
    }
    let object = merged(named, None, &applied, manager, force)?;
    access::may_create(&call.user, stored, &object)?;
    super::create::make(call, object, manager, options.dry_run, warnings).await
}

/// Who may change what is there may not for that reason make what is not.
pub(super) fn may_make(call: &ObjectCall) -> Result<(), Status> {
    let asked = Attributes {
        user: &call.user,
        verb: "create",
        target: &Target::Object(call.reference.clone()),
        path: "",
        field_selector: None,
    };
    access::authorize(&call.app.world, &call.app.rbac, &asked)
}

fn merged(
    named: &'static Resource,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, Status> {
    // Fields are owned under the names the client uses.
    let mut seen = live.cloned();
    if let Some(live) = &mut seen {
        convert::from_stored(named, live);
    }
    let writer = manager.writer();
    let mut merged =
        apply::apply(named, seen.as_ref(), applied, &writer, force).map_err(refusal)?;
    convert::to_stored(named, &mut merged)?;
    Ok(merged)
}

fn refusal(error: apply::Error) -> Status {
    match &error {
        apply::Error::ManagedFieldsSent => Status::bad_request(error.to_string()),
        // Upstream gives it no code, so that it counts as the server's fault.
        apply::Error::Untyped { .. } => Status::failure(500, "", error.to_string()),
        apply::Error::Conflicts(conflicts) => {
            let mut status = Status::failure(409, "Conflict", error.to_string());
            let causes = conflicts.iter().flat_map(|conflict| {
                conflict.paths.iter().map(|path| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {}", conflict.manager),
                    field: path.clone(),
                })
            });
            status.details.get_or_insert_default().causes = causes.collect();
            status
        }
    }
}

/// Name and namespace inside must be those of the path, or absent.
fn check_names(call: &ObjectCall, applied: &mut Value) -> Result<(), Status> {
    let name = json::str_at(applied, "/metadata/name");
    if !name.is_empty() && name != call.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    let namespace = json::str_at(applied, "/metadata/namespace");
    if !namespace.is_empty() && namespace != call.namespace() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta::set(applied, "name", call.name());
    if call.stored().namespaced {
        meta::set(applied, "namespace", call.namespace());
    }
    Ok(())
}

/// Leaves out what another door writes: the status of the object itself, and all but the
/// status of its status.
fn only_part(stored: &Resource, part: Part, applied: &mut Value) {
    let has_status = stored.subresource("status").is_some();
    let Some(members) = applied.as_object_mut() else {
        return;
    };
    match part {
        Part::Main if has_status => {
            members.remove("status");
        }
        Part::Status => members
            .retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status")),
        Part::Main | Part::Finalize | Part::EphemeralContainers | Part::Resize | Part::Approval => {
        }
    }
}
