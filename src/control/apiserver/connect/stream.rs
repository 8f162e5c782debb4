//! exec, attach and port-forward: the request for the agent, and a tunnel to it.

use axum::body::Body;
use axum::response::Response;
use cadet_api::json;
use cadet_api::status::Status;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use super::containers::container_of;
use super::query::Query;
use super::{Arrived, kubelet, tunnel};
use crate::call::ObjectCall;

/// Our name of each stream, and the agent's.
const STREAMS: &[(&str, &str)] = &[
    ("stdin", "input"),
    ("stdout", "output"),
    ("stderr", "error"),
    ("tty", "tty"),
];

pub async fn exec(call: &ObjectCall, arrived: Arrived) -> Result<Response, Status> {
    let pod = pod_of(call)?;
    let container = container_of(&pod, call.parameters.get("container"))?;
    let mut query = streams(call);
    for word in call.parameters.all("command") {
        query.push("command", word);
    }
    let path = path("exec", call, Some(&container), query);
    connect(call, &pod, &path, arrived).await
}

pub async fn attach(call: &ObjectCall, arrived: Arrived) -> Result<Response, Status> {
    let pod = pod_of(call)?;
    let container = container_of(&pod, call.parameters.get("container"))?;
    let path = path("attach", call, Some(&container), streams(call));
    connect(call, &pod, &path, arrived).await
}

pub async fn port_forward(call: &ObjectCall, arrived: Arrived) -> Result<Response, Status> {
    let pod = pod_of(call)?;
    let mut query = Query::default();
    for ports in call.parameters.all("ports") {
        query.push("port", ports);
    }
    let path = path("portForward", call, None, query);
    connect(call, &pod, &path, arrived).await
}

pub(super) fn pod_of(call: &ObjectCall) -> Result<Value, Status> {
    let pod = call
        .app
        .world
        .get(call.stored(), call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    Ok(pod.value())
}

fn streams(call: &ObjectCall) -> Query {
    let mut query = Query::default();
    for (ours, agents) in STREAMS {
        if call.parameters.flag(ours) {
            query.push(agents, "1");
        }
    }
    query
}

fn path(what: &str, call: &ObjectCall, container: Option<&str>, query: Query) -> String {
    let mut path = format!("/{what}/{}/{}", call.namespace(), call.name());
    if let Some(container) = container {
        path.push('/');
        path.push_str(container);
    }
    path.push_str(&query.text());
    path
}

async fn connect(
    call: &ObjectCall,
    pod: &Value,
    path: &str,
    arrived: Arrived,
) -> Result<Response, Status> {
    let node = json::str_at(pod, "/spec/nodeName");
    if node.is_empty() {
        let name = call.name();
        return Err(Status::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let client = tunnel::client_half(arrived.upgrade, &call.headers)?;
    let mut request = Request::builder()
        .method(arrived.method)
        .uri(path)
        .body(Body::empty())
        .map_err(|error| Status::bad_request(error.to_string()))?;
    *request.headers_mut() = tunnel::handshake(&call.headers);
    let answer = kubelet::send(&call.app, node, request).await?;
    if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        let stopping = call.app.stopping.clone();
        return Ok(tunnel::join(client, answer, stopping));
    }
    // As it is: clients show the agent's sentence behind "unable to upgrade connection".
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for (name, value) in answer.headers() {
        if name.as_str().starts_with("x-accepted-stream") {
            response.headers_mut().append(name, value.clone());
        }
    }
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    *response.body_mut() = Body::new(answer.into_body());
    Ok(response)
}
