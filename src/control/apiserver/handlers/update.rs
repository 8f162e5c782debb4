//! PUT: an object, its status or its finalizers as a whole.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;
use cadet_api::strategy::{self, Part};
use cadet_api::{convert, json};
use http::StatusCode;

use crate::call::ObjectCall;
use crate::ownership::Manager;
use crate::query::WriteOptions;
use crate::writing::{self, Changed, Outcome, Proposal};
use crate::{access, admission, body, encode, fields, ports, respond};

pub async fn run(call: &ObjectCall, part: Part, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters)?;
    let resource = call.resource();
    let decoded = body::decode(&call.headers, bytes)?;
    let mut sent = decoded.value;
    strategy::check_body(resource, &sent)?;
    let mut warnings = convert::to_stored(resource, &mut sent)?;
    let text = Some(decoded.json.as_ref());
    warnings.extend(fields::check(resource, &sent, text, options.validation)?);
    check_names(call, &sent)?;
    let stored = call.stored();
    let mut held = None;
    let mut node_ports = None;
    let manager = Manager::of(call, part_name(part))?;
    let changed = writing::change(
        &call.app,
        stored,
        call.namespace(),
        call.name(),
        options.dry_run,
        |old| {
            let mut new = sent.clone();
            let conditional = writing::check_version(stored, &new, old)?;
            let (world, rbac) = (&call.app.world, &call.app.rbac);
            access::check_rules(world, rbac, &call.user, stored, &new)?;
            let warnings = strategy::prepare_update(stored, part, &mut new, old)?;
            if becomes_addressed(&new) && held.is_none() {
                held = admission::give_address(&call.app, stored, &mut new)?;
            }
            // Ports held for an attempt that lost are let go first.
            drop(node_ports.take());
            node_ports = Some(ports::give(&call.app, stored, &mut new)?);
            manager.track(stored, Some(old), &mut new);
            Ok(Proposal {
                value: new,
                conditional,
                warnings,
            })
        },
    )
    .await?;
    warnings.extend(changed.warnings.iter().cloned());
    answer(call, &changed).map(|response| respond::warn(response, &warnings))
}

/// The name of a part as a subresource.
pub(super) fn part_name(part: Part) -> &'static str {
    match part {
        Part::Main => "",
        Part::Status => "status",
        Part::Finalize => "finalize",
    }
}

/// A Service that has come to want a cluster IP by changing its type.
pub(super) fn becomes_addressed(service: &serde_json::Value) -> bool {
    json::str_at(service, "/kind") == "Service"
        && json::str_at(service, "/spec/type") != "ExternalName"
        && json::str_at(service, "/spec/clusterIP").is_empty()
}

/// The object as it is now, to whoever changed it.
pub(super) fn answer(call: &ObjectCall, changed: &Changed) -> Result<Response, Status> {
    match &changed.outcome {
        Outcome::Stored(object) | Outcome::Removed(object) => {
            encode::object(call, StatusCode::OK, object)
        }
        Outcome::DryRun(value) => encode::value(call, StatusCode::OK, value.clone()),
    }
}

/// Name and namespace inside must be those of the path.
fn check_names(call: &ObjectCall, sent: &serde_json::Value) -> Result<(), Status> {
    let name = json::str_at(sent, "/metadata/name");
    if name.is_empty() {
        return Err(Status::bad_request("name must be provided"));
    }
    if name != call.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    let namespace = json::str_at(sent, "/metadata/namespace");
    if !namespace.is_empty() && namespace != call.namespace() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}
