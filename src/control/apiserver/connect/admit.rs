//! What must hold before a connection is opened: the right to, and the consent of the
//! webhooks, who see its options as upstream's PodExecOptions and its siblings have them.

use cadet_api::status::Status;
use http::Method;
use serde_json::{Value, json};

use super::Arrived;
use crate::access::{self, Attributes};
use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::target::Target;
use crate::webhooks;

/// Who opens a stream by GET, as WebSockets must, needs the right to `create` it too:
/// the right to read is not one to run commands (KEP-4006, upstream since 1.35).
pub fn check_create(call: &ObjectCall, subresource: &str, arrived: &Arrived) -> Result<(), Status> {
    if arrived.method == Method::POST || subresource == "proxy" {
        return Ok(());
    }
    let target = Target::Object(call.reference.clone());
    let asked = Attributes {
        user: &call.user,
        verb: "create",
        target: &target,
        path: arrived.uri.path(),
        field_selector: None,
    };
    access::authorize(&call.app.world, &call.app.rbac, &asked)
}

/// The consent of the webhooks; their warnings. What they change of the options is not
/// followed: the request is already on its way.
pub async fn consult(call: &ObjectCall, subresource: &str) -> Result<Vec<String>, Status> {
    let request = Request::of(call, Operation::Connect, false).part(subresource);
    if !webhooks::may_ask(&request) {
        return Ok(vec![]);
    }
    let mut options = options(call, subresource);
    request.consult(Some(&mut options), None).await
}

fn options(call: &ObjectCall, subresource: &str) -> Value {
    let part = call.resource().subresource(subresource);
    let kind = part.map_or("", |part| part.kind);
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if subresource != "proxy" && call.parameters.flag(flag) {
            options[flag] = json!(true);
        }
    }
    match subresource {
        "exec" | "attach" => {
            if let Some(container) = call.parameters.get("container") {
                options["container"] = json!(container);
            }
            let words: Vec<&str> = call.parameters.all("command").collect();
            if !words.is_empty() {
                options["command"] = json!(words);
            }
        }
        "portforward" => {
            let ports = call.parameters.all("ports");
            let ports: Vec<i64> = ports.filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        _ => {
            if !call.reference.rest.is_empty() {
                options["path"] = json!(call.reference.rest);
            }
        }
    }
    options
}
