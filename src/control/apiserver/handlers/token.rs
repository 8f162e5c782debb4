//! POST of a TokenRequest: a token for a service account, for a while.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::field::Error;
use cadet_api::json::{int_at, list_at, str_at};
use cadet_api::status::{Details, Status};
use cadet_api::{clock, fieldcheck, schema, strategy};
use http::StatusCode;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::access::{
    self,
    token::{self, Bound, ISSUER},
};
use crate::admission::{Operation, Request, find};
use crate::call::ObjectCall;
use crate::query::{Write, WriteOptions};
use crate::{body, respond};

/// Seconds a token lives unless the client says.
const DEFAULT_LIFE: i64 = 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Create)?;
    let mut request = body::decode("TokenRequest", &call.headers, bytes)?.value;
    if let Some(shape) = schema::builtin("api.authentication.v1.TokenRequest") {
        fieldcheck::check_shape(call.stored(), shape, &request)?;
    }
    let world = &call.app.world;
    let place = (call.stored(), call.namespace(), call.name());
    access::may_request_token(world, &call.user, place, &request)?;
    let account = world
        .get(call.stored(), call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    strategy::set_type_of(&mut request, "authentication.k8s.io/v1", "TokenRequest");
    let asked = Request::of(call, Operation::Create, options.dry_run).part("token");
    let warnings = asked.consult(Some(&mut request), None).await?;
    let keys = call
        .app
        .config
        .token_keys
        .clone()
        .ok_or_else(|| Status::unavailable("this API server has no key to sign tokens with"))?;
    let seconds = int_at(&request, "/spec/expirationSeconds").unwrap_or(DEFAULT_LIFE);
    let why = if seconds < SHORTEST {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > LONGEST {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    };
    if let Some(why) = why {
        let error = Error::invalid("spec.expirationSeconds", seconds, why);
        return Err(Status::invalid_of(
            "TokenRequest.authentication.k8s.io",
            Details {
                group: "authentication.k8s.io".to_owned(),
                kind: "TokenRequest".to_owned(),
                ..Details::default()
            },
            &[error],
        ));
    }
    let mut audiences: Vec<String> = list_at(&request, "/spec/audiences")
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let bound = bound(call, &request)?;
    let now = OffsetDateTime::now_utc();
    let claims = token::claims(
        call.namespace(),
        (call.name(), account.uid()),
        bound.as_ref(),
        &audiences,
        now,
        seconds,
    );
    let token = match options.dry_run {
        true => String::new(),
        false => keys.sign(&claims)?,
    };
    request["metadata"] = json!({"name": call.name(), "namespace": call.namespace(),
        "creationTimestamp": clock::rfc3339(now)});
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] = json!({"token": token,
        "expirationTimestamp": clock::rfc3339(now + Duration::seconds(seconds))});
    let response = respond::json(StatusCode::CREATED, request.to_string());
    Ok(respond::warn(response, &warnings))
}

/// The object the token is to die with.
fn bound(call: &ObjectCall, request: &Value) -> Result<Option<Bound>, Status> {
    let Some(reference) = request
        .pointer("/spec/boundObjectRef")
        .filter(|r| r.is_object())
    else {
        return Ok(None);
    };
    let (version, kind) = (str_at(reference, "/apiVersion"), str_at(reference, "/kind"));
    let core = !version.contains('/');
    let (kind, plural, namespace) = match kind {
        "Pod" if core => ("pod", "pods", call.namespace()),
        "Secret" if core => ("secret", "secrets", call.namespace()),
        "Node" if core => ("node", "nodes", ""),
        other => {
            // The core group's name is empty, and what follows it stays.
            let slash = if core { "/" } else { "" };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {slash}{version}, Kind={other}"
            )));
        }
    };
    let name = str_at(reference, "/name");
    let resource = find(plural)?;
    let object = call
        .app
        .world
        .get(resource, namespace, name)
        .ok_or_else(|| Status::not_found(resource, name))?;
    let account = call.name();
    if kind == "pod" && object.field("spec.serviceAccountName") != Some(account) {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let uid = str_at(reference, "/uid");
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::kind_conflict(resource, name, &why));
    }
    Ok(Some(Bound {
        kind,
        name: name.to_owned(),
        uid: object.uid().to_owned(),
    }))
}
