//! PUT: an object, its status or its finalizers as a whole.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;
use cadet_api::strategy::{self, Part};
use cadet_api::{convert, json, meta};
use http::StatusCode;

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::handlers::finish::Finish;
use crate::ownership::Manager;
use crate::query::WriteOptions;
use crate::writing::{self, Changed, Outcome, Proposal};
use crate::{body, encode, fields, respond};

pub async fn run(call: &ObjectCall, part: Part, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters)?;
    let resource = call.resource();
    let decoded = body::decode(resource.kind, &call.headers, bytes)?;
    let mut sent = decoded.value;
    strategy::check_body(resource, &sent)?;
    let mut warnings = convert::to_stored(resource, &mut sent)?;
    let text = Some(decoded.json.as_ref());
    warnings.extend(fields::check(resource, &sent, text, options.validation)?);
    settle_names(call, &mut sent)?;
    let stored = call.stored();
    let manager = Manager::of(call, part_name(part))?;
    let mut finish = Finish::new(call, part, &manager);
    let request = Request::of(call, Operation::Update, options.dry_run).part(part_name(part));
    let changed = writing::change_admitted(
        &request,
        call.name(),
        |old| {
            let new = sent.clone();
            let conditional = writing::check_version(stored, &new, old)?;
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
    answer(call, &changed).map(|response| respond::warn(response, &warnings))
}

/// The name of a part as a subresource.
pub(super) fn part_name(part: Part) -> &'static str {
    match part {
        Part::Main => "",
        Part::Status => "status",
        Part::Finalize => "finalize",
        Part::EphemeralContainers => "ephemeralcontainers",
        Part::Resize => "resize",
        Part::Approval => "approval",
    }
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

/// The name inside must be that of the path. So must the namespace, which many a client
/// leaves out: it is filled in, and taken away where the kind has none.
fn settle_names(call: &ObjectCall, sent: &mut serde_json::Value) -> Result<(), Status> {
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
    if namespace == call.namespace() {
        return Ok(());
    }
    if !call.resource().namespaced {
        meta::set(sent, "namespace", serde_json::Value::Null);
    } else if namespace.is_empty() {
        meta::set(sent, "namespace", call.namespace());
    } else {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}
