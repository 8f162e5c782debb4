//! POST of a Binding: the scheduler's word on where a pod runs.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;
use cadet_api::{json, meta, strategy};
use http::StatusCode;

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Proposal};
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
    let uid = json::str_at(&binding, "/metadata/uid");
    let pods = call.stored();
    writing::change(
        &call.app,
        pods,
        call.namespace(),
        &name,
        options.dry_run,
        |old| {
            let found = json::str_at(old, "/metadata/uid");
            if !uid.is_empty() && uid != found {
                let namespace = call.namespace();
                return Err(super::update::uid_conflict(
                    pods, namespace, &name, uid, found,
                ));
            }
            let mut pod = old.clone();
            strategy::bind_pod(&mut pod, &binding)?;
            if let Some(annotations) = json::map_at(&binding, "/metadata/annotations") {
                let metadata = meta::of_mut(&mut pod);
                json::child(metadata, "annotations").extend(annotations.clone());
            }
            Ok(Proposal {
                value: pod,
                conditional: false,
                warnings: vec![],
            })
        },
    )
    .await?;
    let mut done = Status::failure(201, "", "");
    done.status = "Success".to_owned();
    let response = respond::json(StatusCode::CREATED, done.to_json());
    Ok(respond::warn(response, &warnings))
}
