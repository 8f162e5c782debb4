//! DELETE of a collection: every selected object, one by one.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;

use crate::call::ObjectCall;
use crate::encode::{self, Page};
use crate::handlers::delete::{DeleteOptions, delete_admitted, survivors};
use crate::query::ListOptions;
use crate::respond;
use crate::selection::Selection;
use crate::world::Listing;

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = DeleteOptions::of(&call.parameters, &call.headers, bytes)?;
    let selected = ListOptions::of(&call.parameters, call.resource(), false)?;
    let selection = Selection::new(&selected, call.reference.namespace.as_deref());
    let listing = call
        .app
        .world
        .list(call.resource(), call.reference.namespace.as_deref());
    let mut outcomes = vec![];
    let mut warnings: Vec<String> = options.warning(call.resource()).into_iter().collect();
    for object in listing
        .objects
        .iter()
        .filter(|object| selection.holds(object))
    {
        match delete_admitted(call, (object.namespace(), object.name()), &options).await {
            Ok((outcome, told)) => {
                outcomes.push(outcome);
                warnings.extend(told);
            }
            // Gone in the meantime, which is what was asked for.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let listing = Listing {
        revision: call.app.world.revision(),
        objects: survivors(outcomes),
    };
    let response = encode::list(call, listing, &Page::default())?;
    Ok(respond::warn(response, &warnings))
}
