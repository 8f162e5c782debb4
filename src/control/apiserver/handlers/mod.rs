//! One verb per file. Here only: which verb of which part goes where.

mod binding;
mod create;
mod delete;
mod deletecollection;
mod get;
mod list;
mod log;
mod patch;
mod update;
mod watch;

use axum::body::Body;
use axum::response::Response;
use cadet_api::resource::CATALOG;
use cadet_api::status::Status;
use cadet_api::strategy::Part;
use http::request::Parts;

use crate::body;
use crate::call::{Call, ObjectCall};
use crate::target::Target;

pub(crate) use create::store_new;

/// Parts of objects that Kubernetes has and this cluster does not serve yet. They are
/// answered at once and plainly, because clients wait for ever on a hanging upgrade.
const NOT_YET: &[&str] = &[
    "attach",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "portforward",
    "proxy",
    "resize",
    "scale",
    "token",
];

/// Answers a request that was let in.
pub async fn dispatch(call: Call, parts: Parts, body: Body) -> Result<Response, Status> {
    let reference = match call.target {
        Target::Object(reference) => reference,
        Target::Unknown { group, plural, .. } => return Err(unknown(&group, &plural)),
        Target::Path => return Err(Status::no_such_path()),
    };
    let resource = reference.resource;
    let part = match reference.subresource.as_deref() {
        None => None,
        Some(name) => match resource.subresource(name) {
            Some(subresource) => Some(subresource),
            None if NOT_YET.contains(&name) => {
                return Err(Status::not_served(&format!(
                    "{}/{name}",
                    resource.qualified()
                )));
            }
            None => return Err(Status::no_such_path()),
        },
    };
    let verbs = part.map_or(resource.verbs, |part| part.verbs);
    if !verbs.contains(&call.verb) {
        return Err(Status::method_not_allowed(resource, call.verb));
    }
    let call_of = ObjectCall {
        app: call.app,
        user: call.user,
        reference,
        parameters: call.parameters,
        headers: parts.headers,
    };
    let call_of = &call_of;
    let name = part.map(|part| part.name);
    match (call.verb, name) {
        ("get", None | Some("status")) => get::run(call_of),
        ("get", Some("log")) => log::run(call_of).await,
        ("list", None) => list::run(call_of).await,
        ("watch", None) => watch::run(call_of),
        ("create", None) => create::run(call_of, body::read(body).await?).await,
        ("create", Some("binding")) => binding::run(call_of, body::read(body).await?).await,
        ("update", _) => update::run(call_of, which(name)?, body::read(body).await?).await,
        ("patch", _) => patch::run(call_of, which(name)?, body::read(body).await?).await,
        ("delete", None) => delete::run(call_of, body::read(body).await?).await,
        ("deletecollection", None) => deletecollection::run(call_of, body::read(body).await?).await,
        (verb, _) => Err(Status::method_not_allowed(resource, verb)),
    }
}

/// The part of an object that a subresource writes.
fn which(subresource: Option<&str>) -> Result<Part, Status> {
    match subresource {
        None => Ok(Part::Main),
        Some("status") => Ok(Part::Status),
        Some("finalize") => Ok(Part::Finalize),
        Some(_) => Err(Status::no_such_path()),
    }
}

/// A kind we have no table row for: say whether that is a matter of time.
fn unknown(group: &str, plural: &str) -> Status {
    let known = CATALOG.iter().any(|(g, p)| *g == group && *p == plural);
    if !known {
        return Status::no_such_path();
    }
    let name = if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    };
    Status::failure(
        404,
        "NotFound",
        format!(
            "the server could not find the requested resource: \
             this cluster does not serve {name} yet"
        ),
    )
}
