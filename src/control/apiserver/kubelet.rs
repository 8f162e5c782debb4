//! Asking a node's agent, over mutual TLS: how logs reach the client.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use cadet_api::json;
use cadet_api::status::Status;
use http::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::admission::find;
use crate::app::App;

/// Port of the kubelet when the Node does not say.
const DEFAULT_PORT: u16 = 10250;
/// Longest for connection and handshake together.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest until the agent begins to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Sends a GET to the agent of a node. The answer's body streams; dropping it closes the
/// connection.
pub async fn get(app: &App, node: &str, path_and_query: &str) -> Result<Response, Status> {
    let (host, port) = address_of(app, node)?;
    let tls =
        app.config.kubelet_tls.clone().ok_or_else(|| {
            Status::unavailable("this API server has no credentials for node agents")
        })?;
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        Status::internal(format!(
            "error dialing node {node} at {host}:{port}: {what}: {why}"
        ))
    };
    let name = ServerName::try_from(host.clone()).map_err(|error| failed("name", &error))?;
    let connect = async {
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|e| failed("connect", &e))?;
        let connector = TlsConnector::from(Arc::clone(&tls));
        connector
            .connect(name, stream)
            .await
            .map_err(|e| failed("TLS", &e))
    };
    let stream = tokio::time::timeout(CONNECT, connect)
        .await
        .map_err(|_| failed("connect", &"no answer within 5s"))??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed("HTTP", &error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a node agent ended badly");
        }
    });
    let uri: Uri = path_and_query
        .parse()
        .map_err(|error| failed("path", &error))?;
    let request = Request::get(uri)
        .header(http::header::HOST, format!("{host}:{port}"))
        .body(Body::empty())
        .map_err(|error| failed("request", &error))?;
    let answer = tokio::time::timeout(ANSWER, sender.send_request(request))
        .await
        .map_err(|_| failed("request", &"no answer within 30s"))?
        .map_err(|error| failed("request", &error))?;
    Ok(answer.map(Body::new))
}

/// Address and port of a node's agent, as its Node object says.
fn address_of(app: &App, node: &str) -> Result<(String, u16), Status> {
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
