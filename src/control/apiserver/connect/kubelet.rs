//! Asking a node's agent, over mutual TLS.

use std::time::Duration;

use axum::body::Body;
use cadet_api::json;
use cadet_api::status::Status;
use http::{Request, Response};
use hyper::body::Incoming;

use super::dial::Peer;
use crate::admission::find;
use crate::app::App;

/// Port of the kubelet when the Node does not say.
const DEFAULT_PORT: u16 = 10250;
/// Longest until the agent begins to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Sends a request to the agent of a node.
pub async fn send(
    app: &App,
    node: &str,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, Status> {
    let peer = peer(app, node)?;
    let host = format!("{}:{}", peer.host, peer.port);
    let failed = |what: &dyn std::fmt::Display| {
        Status::internal(format!("error dialing node {node} at {host}: {what}"))
    };
    let value = host.parse().map_err(|error| failed(&error))?;
    request.headers_mut().insert(http::header::HOST, value);
    match tokio::time::timeout(ANSWER, peer.send(request)).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&"no answer within 30s")),
    }
}

/// The agent of a node.
pub fn peer(app: &App, node: &str) -> Result<Peer, Status> {
    let (host, port) = address_of(app, node)?;
    let tls =
        app.config.kubelet_tls.clone().ok_or_else(|| {
            Status::unavailable("this API server has no credentials for node agents")
        })?;
    Ok(Peer {
        host,
        port,
        tls: Some(tls),
    })
}

/// Address and port of a node's agent, as its Node object says.
pub fn address_of(app: &App, node: &str) -> Result<(String, u16), Status> {
    let nodes = find("nodes")?;
    let object = app
        .world
        .get(nodes, "", node)
        .ok_or_else(|| Status::not_found(nodes, node))?
        .value();
    let address = |kind: &str| {
        json::list_at(&object, "/status/addresses")
            .iter()
            .find(|address| json::str_at(address, "/type") == kind)
            .map(|address| json::str_at(address, "/address").to_owned())
    };
    let host = address("InternalIP")
        .or_else(|| address("Hostname"))
        .ok_or_else(|| {
            Status::internal(format!(
                "node {node} has no address: its agent has not reported yet"
            ))
        })?;
    let port = json::int_at(&object, "/status/daemonEndpoints/kubeletEndpoint/Port")
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_PORT);
    Ok((host, port))
}
