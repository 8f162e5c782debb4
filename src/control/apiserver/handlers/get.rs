//! GET of one object.

use axum::response::Response;
use cadet_api::status::Status;
use http::StatusCode;

use crate::call::ObjectCall;
use crate::encode;
use crate::query::parse_revision;
use crate::virtual_kinds;

pub async fn run(call: &ObjectCall) -> Result<Response, Status> {
    if let Some(text) = call.parameters.get("resourceVersion") {
        let (asked, newest) = (parse_revision(text)?, call.app.world.revision());
        if asked > newest {
            return Err(Status::resource_version_too_large(asked, newest));
        }
    }
    let (namespace, name) = (call.namespace(), call.name());
    let computed = virtual_kinds::objects(&call.app, call.resource(), namespace, Some(name));
    let found = match computed.await {
        Some(objects) => objects?.into_iter().find(|o| o.name() == name),
        None => {
            let world = &call.app.world;
            world.get(call.resource(), call.namespace(), call.name())
        }
    };
    let object = found.ok_or_else(|| call.not_found())?;
    let response = encode::object(call, StatusCode::OK, &object)?;
    Ok(encode::old_version_warning(call, response))
}
