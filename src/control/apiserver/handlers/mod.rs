//! One verb per file. Here only: which verb of which part goes where.

mod apply;
mod binding;
mod create;
mod delete;
mod deletecollection;
mod eviction;
mod finish;
mod get;
mod list;
mod patch;
mod review;
mod scale;
mod token;
mod update;
mod watch;

use axum::body::Body;
use axum::response::Response;
use cadet_api::convert;
use cadet_api::status::Status;
use cadet_api::strategy::Part;
use http::request::Parts;

use crate::body;
use crate::call::{Call, ObjectCall};
use crate::connect;
use crate::respond;
use crate::target::Target;

pub(crate) use create::{store_new, suffix};
pub(crate) use delete::{DeleteOptions, delete_one};

/// Answers a request that was let in.
pub async fn dispatch(call: Call, parts: Parts, body: Body) -> Result<Response, Status> {
    let parting = match &call.target {
        Target::Object(reference) => convert::parting_warning(reference.resource),
        Target::Unknown { .. } | Target::Path => None,
    };
    let response = answer(call, parts, body).await?;
    Ok(match parting {
        Some(warning) => respond::warn(response, &[warning.to_owned()]),
        None => response,
    })
}

async fn answer(call: Call, mut parts: Parts, body: Body) -> Result<Response, Status> {
    let reference = match call.target {
        Target::Object(reference) => reference,
        Target::Unknown { .. } | Target::Path => return Err(Status::no_such_path()),
    };
    let resource = reference.resource;
    let part = match reference.subresource.as_deref() {
        None => None,
        Some(name) => match resource.subresource(name) {
            Some(subresource) => Some(subresource),
            None => return Err(Status::no_such_path()),
        },
    };
    let verbs = part.map_or(resource.verbs, |part| part.verbs);
    let streams = part.filter(|part| connect::takes(part.name));
    // What a proxied server makes of a method is its own business.
    if !verbs.contains(&call.verb) && streams.is_none_or(|part| part.name != "proxy") {
        return Err(Status::method_not_allowed(resource, call.verb));
    }
    // Collections are not written as a whole, and an object there is not made.
    let misplaced = match call.verb {
        "update" | "patch" => reference.name.is_none(),
        "create" => reference.name.is_some(),
        _ => false,
    };
    if part.is_none() && misplaced {
        return Err(Status::method_not_allowed(resource, call.verb));
    }
    let (arrived, body) = match streams {
        Some(_) => (Some(connect::Arrived::new(&mut parts, body)), Body::empty()),
        None => (None, body),
    };
    let call_of = ObjectCall {
        app: call.app,
        user: call.user,
        reference,
        parameters: call.parameters,
        headers: parts.headers,
    };
    let call_of = &call_of;
    let name = part.map(|part| part.name);
    if resource.transient {
        return review::run(call_of, body::read(body).await?).await;
    }
    if let (Some(arrived), Some(part)) = (arrived, streams) {
        return connect::run(call_of, part.name, arrived).await;
    }
    match (call.verb, name) {
        ("get", None | Some("status" | "approval" | "ephemeralcontainers" | "resize")) => {
            get::run(call_of).await
        }
        ("get", Some("log")) => connect::log::run(call_of).await,
        ("list", None) => list::run(call_of).await,
        ("watch", None) => watch::run(call_of),
        ("create", None) => create::run(call_of, body::read(body).await?).await,
        ("create", Some("binding")) => binding::run(call_of, body::read(body).await?).await,
        ("create", Some("eviction")) => eviction::run(call_of, body::read(body).await?).await,
        ("create", Some("token")) => token::run(call_of, body::read(body).await?).await,
        ("get", Some("scale")) => scale::get(call_of),
        ("update", Some("scale")) => scale::update(call_of, body::read(body).await?).await,
        ("patch", Some("scale")) => scale::patch(call_of, body::read(body).await?).await,
        (
            "update",
            None | Some("status" | "finalize" | "approval" | "ephemeralcontainers" | "resize"),
        ) => update::run(call_of, which(name)?, body::read(body).await?).await,
        (
            "patch",
            None | Some("status" | "finalize" | "approval" | "ephemeralcontainers" | "resize"),
        ) => patch::run(call_of, which(name)?, body::read(body).await?).await,
        ("delete", None) => delete::run(call_of, body::read(body).await?).await,
        ("deletecollection", None) => deletecollection::run(call_of, body::read(body).await?).await,
        (_, Some(part)) => Err(Status::not_served(&format!(
            "{}/{part}",
            resource.qualified()
        ))),
        (verb, None) => Err(Status::method_not_allowed(resource, verb)),
    }
}

/// The part of an object that a subresource writes.
fn which(subresource: Option<&str>) -> Result<Part, Status> {
    match subresource {
        None => Ok(Part::Main),
        Some("status") => Ok(Part::Status),
        Some("finalize") => Ok(Part::Finalize),
        Some("approval") => Ok(Part::Approval),
        Some("ephemeralcontainers") => Ok(Part::EphemeralContainers),
        Some("resize") => Ok(Part::Resize),
        Some(_) => Err(Status::no_such_path()),
    }
}
