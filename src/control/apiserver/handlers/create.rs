//! POST: a new object.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;
use cadet_api::{convert, json, meta, strategy};
use http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::object::Object;
use crate::ownership::Manager;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Fault};
use crate::{access, admission, body, encode, fields, ports, respond};

/// How often a generated name is tried anew when it is taken, as upstream.
const NAME_ATTEMPTS: usize = 8;
/// What generated names are made of: no vowels and no look-alikes, as upstream.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Create)?;
    let resource = call.resource();
    let decoded = body::decode(resource.kind, &call.headers, bytes)?;
    let mut object = decoded.value;
    strategy::check_body(resource, &object)?;
    let mut warnings = convert::to_stored(resource, &mut object)?;
    let text = decoded.repeats.then_some(decoded.json.as_ref());
    warnings.extend(fields::check(resource, &object, text, options.validation)?);
    access::may_create(&call.user, resource, &object)?;
    place(call, &mut object)?;
    access::name_requester(&call.user, resource, &mut object)?;
    let manager = Manager::of(call, "");
    make(call, object, &manager, options.dry_run, warnings).await
}

/// The rest of a create, whatever the verb was that led here: the object is of the kind
/// stored, and its writer may make it.
pub(super) async fn make(
    call: &ObjectCall,
    object: Value,
    manager: &Manager,
    dry_run: bool,
    mut warnings: Vec<String>,
) -> Result<Response, Status> {
    let (world, rbac) = (&call.app.world, &call.app.rbac);
    access::check_rules(world, rbac, &call.user, call.stored(), &object)?;
    let request = Request::of(call, Operation::Create, dry_run);
    let birth = store_new(&request, object, manager).await?;
    warnings.extend(birth.warnings);
    let response = match birth.stored {
        Some(stored) => encode::object(call, StatusCode::CREATED, &stored)?,
        None => encode::value(call, StatusCode::CREATED, birth.value)?,
    };
    Ok(respond::warn(response, &warnings))
}

/// Puts the object into the namespace of the path.
fn place(call: &ObjectCall, object: &mut Value) -> Result<(), Status> {
    if !call.resource().namespaced {
        meta::set(object, "namespace", Value::Null);
        return Ok(());
    }
    let inside = json::str_at(object, "/metadata/namespace");
    if call.namespace().is_empty() {
        return Err(Status::method_not_allowed(call.resource(), "create"));
    }
    if !inside.is_empty() && inside != call.namespace() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta::set(object, "namespace", call.namespace());
    Ok(())
}

/// What became of a new object.
pub struct Birth {
    pub value: Value,
    /// `None` after a dry run.
    pub stored: Option<Arc<Object>>,
    pub warnings: Vec<String>,
}

/// Brings a new object of a current version into the world; its namespace is set.
pub async fn store_new(
    request: &Request<'_>,
    mut object: Value,
    manager: &Manager,
) -> Result<Birth, Status> {
    let (app, resource) = (request.app, request.stored());
    // What a copied object brings along was true of another one.
    if !manager.is_applying() {
        meta::set(&mut object, "managedFields", Value::Null);
    }
    request.check_namespace(&object)?;
    let mut warnings = vec![];
    // What the server adds is nobody's: the record of fields is that of the object before.
    let mut record = None;
    if request.may_mutate() || strategy::gives_fields(resource) {
        strategy::complete(resource, &mut object);
        record = (!manager.is_applying()).then(|| manager.record_of(resource, &mut object));
    }
    if request.may_mutate() {
        warnings = request.mutate(&mut object, None).await?;
    }
    let base = json::str_at(&object, "/metadata/generateName").to_owned();
    let tries = !base.is_empty() && json::str_at(&object, "/metadata/name").is_empty();
    // Who has a name has one attempt, unless another server may overtake it.
    let again = tries || app.world.is_shared();
    let (mut attempts, mut last) = (0, String::new());
    while attempts < NAME_ATTEMPTS {
        let mut object = match again {
            true => object.clone(),
            false => std::mem::take(&mut object),
        };
        let reserved = request.reserve().await?;
        let generated = tries && strategy::finish_name(&mut object, &suffix()?);
        let name = json::str_at(&object, "/metadata/name").to_owned();
        let namespace = json::str_at(&object, "/metadata/namespace").to_owned();
        let uid = uuid::Uuid::new_v4().to_string();
        meta::stamp_new(&mut object, &uid, OffsetDateTime::now_utc());
        let mut warnings = warnings.clone();
        warnings.extend(strategy::prepare_create(resource, &mut object)?);
        if let Some(there) = app.world.get(resource, &namespace, &name) {
            if generated {
                (attempts, last) = (attempts + 1, name);
                continue;
            }
            return Err(taken(&there, &base));
        }
        let held = admission::give_address(app, resource, &mut object)?;
        let ports = ports::give(app, resource, &mut object)?;
        admission::give_token(app, resource, &mut object)?;
        match &mut record {
            Some(record) => {
                let record = match again {
                    true => record.clone(),
                    false => record.take(),
                };
                meta::set(&mut object, "managedFields", record);
            }
            None if manager.is_applying() => {}
            None => manager.track(resource, None, &mut object),
        }
        let admitted = request.validate(&object, None).await?;
        warnings.extend(admitted.warnings.iter().cloned());
        if request.dry_run {
            return Ok(Birth {
                value: object,
                stored: None,
                warnings,
            });
        }
        let guards = admitted.guards(reserved.as_ref());
        match writing::create(app, resource, &object, &guards).await {
            Ok(stored) => {
                drop((held, ports, admitted, reserved));
                return Ok(Birth {
                    value: object,
                    stored: Some(stored),
                    warnings,
                });
            }
            Err(Fault::Exists) if generated => (attempts, last) = (attempts + 1, name),
            Err(Fault::Overtaken) => {}
            Err(Fault::Exists) => {
                let there = app.world.get(resource, &namespace, &name);
                return Err(there.map_or_else(
                    || Status::already_exists(resource, &name),
                    |there| taken(&there, &base),
                ));
            }
            Err(fault) => return Err(fault.into_status(resource, &name)),
        }
    }
    Err(Status::generate_name_conflict(resource, &last))
}

/// The refusal of a name that an object has already; `base` is what the client would have a
/// name generated from if it had not given one.
fn taken(there: &Object, base: &str) -> Status {
    let (resource, name) = (there.resource, there.name());
    let mut status = match base {
        "" => Status::already_exists(resource, name),
        _ => Status::generate_name_conflict(resource, name),
    };
    if there.is_deleting() {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Five random characters for a generated name.
pub fn suffix() -> Result<String, Status> {
    let mut random = [0_u8; 5];
    getrandom::fill(&mut random).map_err(Status::internal)?;
    let letter = |byte: &u8| NAME_LETTERS[*byte as usize % NAME_LETTERS.len()] as char;
    Ok(random.iter().map(letter).collect())
}
