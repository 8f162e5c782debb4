//! Subresources that lead elsewhere: log, exec, attach and port-forward to a node's agent,
//! proxy to a pod, a Service or a node.
//!
//! The API server decides who may and finds out where to; the protocols inside an upgraded
//! connection are the agent's business, and pass through here as bytes.

mod admit;
mod backend;
mod containers;
mod dial;
mod kubelet;
pub mod log;
mod proxy;
mod query;
mod stream;
mod trust;
mod tunnel;

use axum::body::Body;
use axum::response::Response;
use cadet_api::status::Status;
use http::request::Parts;
use http::{Method, Uri};
use hyper::upgrade::OnUpgrade;

use crate::call::ObjectCall;
use crate::respond;

pub use backend::service_endpoint;
pub use dial::{DialError, Peer};
pub use kubelet::send as ask_agent;

/// What a request has besides its object and parameters.
pub struct Arrived {
    pub method: Method,
    pub uri: Uri,
    /// There if the connection can become something else than HTTP.
    pub upgrade: Option<OnUpgrade>,
    pub body: Body,
}

impl Arrived {
    pub fn new(parts: &mut Parts, body: Body) -> Arrived {
        Arrived {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            upgrade: parts.extensions.remove(),
            body,
        }
    }
}

/// Whether a subresource leads elsewhere, and how long its answer takes is not ours to say.
pub fn leads_elsewhere(subresource: &str) -> bool {
    matches!(
        subresource,
        "attach" | "exec" | "log" | "portforward" | "proxy"
    )
}

/// Whether [`run`] answers for a subresource: those that need more than an object.
pub fn takes(subresource: &str) -> bool {
    leads_elsewhere(subresource) && subresource != "log"
}

/// Answers a request for one of the subresources that [`takes`] names.
pub async fn run(
    call: &ObjectCall,
    subresource: &str,
    arrived: Arrived,
) -> Result<Response, Status> {
    admit::check_create(call, subresource, &arrived)?;
    let warnings = admit::consult(call, subresource).await?;
    let response = match subresource {
        "exec" => stream::exec(call, arrived).await,
        "attach" => stream::attach(call, arrived).await,
        "portforward" => stream::port_forward(call, arrived).await,
        "proxy" => proxy::run(call, arrived).await,
        _ => Err(Status::no_such_path()),
    }?;
    Ok(respond::warn(response, &warnings))
}
