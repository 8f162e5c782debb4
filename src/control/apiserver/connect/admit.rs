//! What webhooks are asked before a connection is opened: the options of it, as upstream's
//! PodExecOptions and its siblings have them.

use cadet_api::status::Status;
use serde_json::{Value, json};

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::webhooks;

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
