//! PUT: an object, its status or its finalizers as a whole.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::strategy::{self, Part};
use cadet_api::{convert, json, meta};
use http::StatusCode;
use serde_json::Value;

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::handlers::finish::Finish;
use crate::ownership::Manager;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Changed, Outcome, Proposal};
use crate::{access, body, encode, fields, respond};

pub async fn run(call: &ObjectCall, part: Part, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Update)?;
    let resource = call.resource();
    let decoded = body::decode(resource.kind, &call.headers, bytes)?;
    let mut sent = decoded.value;
    strategy::check_body(resource, &sent)?;
    let mut warnings = convert::to_stored(resource, &mut sent)?;
    let text = decoded.repeats.then_some(decoded.json.as_ref());
    warnings.extend(fields::check(resource, &sent, text, options.validation)?);
    settle_names(call, &mut sent)?;
    let stored = call.stored();
    let manager = Manager::of(call, part_name(part));
    let world = &call.app.world;
    if part == Part::Main
        && strategy::made_by_update(stored)
        && world.get(stored, call.namespace(), call.name()).is_none()
    {
        return create(call, sent, &manager, options.dry_run, warnings).await;
    }
    let mut finish = Finish::new(call, part, &manager);
    let request = Request::of(call, Operation::Update, options.dry_run).part(part_name(part));
    let changed = writing::change_admitted(
        &request,
        call.name(),
        |old| {
            let new = sent.clone();
            check_uid(stored, &new, old)?;
            let version = json::str_at(&new, "/metadata/resourceVersion");
            if matches!(version, "" | "0") && strategy::wants_version(stored) {
                return Err(Status::version_required(resource, call.name()));
            }
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

/// The object did not exist, and is of a kind that a PUT makes.
async fn create(
    call: &ObjectCall,
    sent: Value,
    manager: &Manager,
    dry_run: bool,
    warnings: Vec<String>,
) -> Result<Response, Status> {
    super::apply::may_make(call)?;
    check_uid(call.stored(), &sent, &Value::Null)?;
    access::may_create(&call.user, call.stored(), &sent)?;
    super::create::make(call, sent, manager, dry_run, warnings).await
}

/// Who names a uid means that very object and no later one of its name.
fn check_uid(stored: &Resource, new: &Value, old: &Value) -> Result<(), Status> {
    let (meant, found) = (
        json::str_at(new, "/metadata/uid"),
        json::str_at(old, "/metadata/uid"),
    );
    if meant.is_empty() || meant == found {
        return Ok(());
    }
    let (namespace, name) = (
        json::str_at(new, "/metadata/namespace"),
        json::str_at(new, "/metadata/name"),
    );
    Err(uid_conflict(stored, namespace, name, meant, found))
}

/// The refusal of a write meant for another object of that name, in the words of upstream's
/// storage layer, which names its own key.
pub(super) fn uid_conflict(
    stored: &Resource,
    namespace: &str,
    name: &str,
    meant: &str,
    found: &str,
) -> Status {
    let folder = match (stored.gv.group, stored.plural) {
        ("", "services") => "services/specs",
        ("", "endpoints") => "services/endpoints",
        ("", "nodes") => "minions",
        ("", "replicationcontrollers") => "controllers",
        ("networking.k8s.io", "ingresses") => "ingress",
        (_, plural) => plural,
    };
    let group = match stored.gv.group {
        group @ ("apiextensions.k8s.io" | "apiregistration.k8s.io") => format!("/{group}"),
        group if stored.custom.is_some() => format!("/{group}"),
        _ => String::new(),
    };
    let space = match stored.namespaced {
        true => format!("/{namespace}"),
        false => String::new(),
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry{group}/{folder}{space}/{name}, \
         ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {meant}, UID in object meta: {found}"
    );
    Status::conflict_because(stored, name, &why)
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
fn settle_names(call: &ObjectCall, sent: &mut Value) -> Result<(), Status> {
    let namespace = json::str_at(sent, "/metadata/namespace");
    if namespace != call.namespace() {
        if !call.resource().namespaced {
            meta::set(sent, "namespace", Value::Null);
        } else if namespace.is_empty() {
            meta::set(sent, "namespace", call.namespace());
        } else {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    check_name(call, sent)
}

/// An object that is written is called what the path calls it.
pub(super) fn check_name(call: &ObjectCall, object: &Value) -> Result<(), Status> {
    let (name, wanted) = (json::str_at(object, "/metadata/name"), call.name());
    if name == wanted {
        return Ok(());
    }
    Err(Status::bad_request(match name {
        "" => format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        ),
        name => {
            format!("the name of the object ({name}) does not match the name on the URL ({wanted})")
        }
    }))
}
