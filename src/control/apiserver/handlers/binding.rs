//! POST of a Binding: the scheduler's word on where a pod runs. It comes for every pod there
//! is, so what it changes is added to the pod's text.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;
use cadet_api::{json, meta, strategy};
use http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Fault, Proposal};
use crate::{body, respond};

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Create)?;
    let mut binding = body::decode("Binding", &call.headers, bytes)?.value;
    let kind = json::str_at(&binding, "/kind");
    if !matches!(kind, "" | "Binding") {
        return Err(Status::bad_request(format!(
            "the body is a {kind}, not a Binding"
        )));
    }
    let inside = json::str_at(&binding, "/metadata/name");
    let name = match (call.name(), inside) {
        ("", "") => return Err(Status::bad_request("name must be provided")),
        ("", inside) => inside,
        (name, inside) if !inside.is_empty() && inside != name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({inside}) does not match the name on the URL ({name})"
            )));
        }
        (name, _) => name,
    };
    let name = name.to_owned();
    strategy::set_type_of(&mut binding, "v1", "Binding");
    let request = Request {
        name: &name,
        ..Request::of(call, Operation::Create, options.dry_run).part("binding")
    };
    let warnings = request.consult(Some(&mut binding), None).await?;
    if options.dry_run || !add_node(call, &name, &binding).await? {
        change(call, &name, &binding, options.dry_run).await?;
    }
    let mut done = Status::failure(201, "", "");
    done.status = "Success".to_owned();
    let response = respond::json(StatusCode::CREATED, done.to_json());
    Ok(respond::warn(response, &warnings))
}

/// What nearly all bindings are, a node for a pod that waits for one, done to the pod's text.
/// False if there is more to it, or something is wrong: then nothing has been done.
async fn add_node(call: &ObjectCall, name: &str, binding: &Value) -> Result<bool, Status> {
    let kind = json::str_at(binding, "/target/kind");
    let node = json::str_at(binding, "/target/name");
    let annotations = json::at(binding, "/metadata/annotations");
    if !matches!(kind, "" | "Node") || node.is_empty() || annotations.is_some() {
        return Ok(false);
    }
    let uid = json::str_at(binding, "/metadata/uid");
    loop {
        let Some(pod) = call.app.world.get(call.stored(), call.namespace(), name) else {
            return Ok(false);
        };
        let is_other = !uid.is_empty() && uid != pod.uid();
        if is_other || pod.is_deleting() || pod.node().is_some() {
            return Ok(false);
        }
        let Some(text) = strategy::bind_text(pod.stored(), node, OffsetDateTime::now_utc()) else {
            return Ok(false);
        };
        let parts = pod.parts_with("spec.nodeName", node);
        match writing::rewrite(&call.app, &pod, text.into(), parts).await {
            Ok(_) => return Ok(true),
            // Somebody was faster: what is true of the pod is to be seen again.
            Err(Fault::Conflict(newer)) => call.app.world.reach(newer).await,
            Err(fault) => return Err(fault.into_status(pod.resource, name)),
        }
    }
}

/// Any binding: the pod is read, changed and written as a whole.
async fn change(
    call: &ObjectCall,
    name: &str,
    binding: &Value,
    dry_run: bool,
) -> Result<(), Status> {
    let uid = json::str_at(binding, "/metadata/uid");
    let (pods, namespace) = (call.stored(), call.namespace());
    let propose = |old: &Value| {
        let found = json::str_at(old, "/metadata/uid");
        if !uid.is_empty() && uid != found {
            return Err(super::update::uid_conflict(
                pods, namespace, name, uid, found,
            ));
        }
        let mut pod = old.clone();
        strategy::bind_pod(&mut pod, binding)?;
        if let Some(annotations) = json::map_at(binding, "/metadata/annotations") {
            let metadata = meta::of_mut(&mut pod);
            json::child(metadata, "annotations").extend(annotations.clone());
        }
        Ok(Proposal {
            value: pod,
            conditional: false,
            warnings: vec![],
        })
    };
    writing::change(&call.app, pods, namespace, name, dry_run, propose).await?;
    Ok(())
}
