//! PATCH: a change in one of three notations, applied to whatever the object is by then.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::strategy::{self, Part};
use cadet_api::{convert, fieldcheck, json, meta, patch};
use serde_json::Value;

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::handlers::finish::Finish;
use crate::ownership::Manager;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Proposal};
use crate::{body, fields, respond};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

pub async fn run(call: &ObjectCall, part: Part, bytes: Bytes) -> Result<Response, Status> {
    let media = match call.headers.contains_key(http::header::CONTENT_TYPE) {
        true => body::media_type(&call.headers)?,
        false => String::new(),
    };
    if media == APPLY {
        return super::apply::run(call, part, bytes).await;
    }
    if !patch::CONTENT_TYPES.contains(&media.as_str()) {
        return Err(unsupported());
    }
    if media == STRATEGIC && call.resource().custom.is_some() {
        return Err(Status::failure(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ));
    }
    let options = WriteOptions::of(&call.parameters, Write::Patch)?;
    let patch = decode(&bytes)?;

    let (resource, stored) = (call.resource(), call.stored());
    let manager = Manager::of(call, super::update::part_name(part));
    let mut finish = Finish::new(call, part, &manager);
    let request =
        Request::of(call, Operation::Update, options.dry_run).part(super::update::part_name(part));
    let changed = writing::change_admitted(
        &request,
        call.name(),
        |old| {
            let (mut new, warnings) = patched(resource, old, &media, &patch, &options)?;
            super::update::check_name(call, &new)?;
            // The version counts only if the patch itself names one; else it is the one read.
            let conditional = names_version(&patch);
            if conditional {
                writing::check_version(stored, &new, old)?;
            }
            if stored.namespaced {
                meta::set(&mut new, "namespace", call.namespace());
            }
            Ok(Proposal {
                value: new,
                conditional,
                warnings,
            })
        },
        |new, old| finish.run(new, old),
    )
    .await?;
    let response = super::update::answer(call, &changed)?;
    Ok(respond::warn(response, &changed.warnings))
}

/// A merge patch applied; it must be an object.
pub(super) fn merge(new: &mut Value, patch: &Value) -> Result<(), Status> {
    patch::check_object(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    patch::merge_patch(new, patch);
    Ok(())
}

/// A patch that is JSON.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes).map_err(|error| {
        let why = body::json_mistake(bytes, &error);
        Status::bad_request(format!("error decoding patch: {why}"))
    })
}

/// 415 with all the forms a patch may have.
fn unsupported() -> Status {
    let [first, second, third] = patch::CONTENT_TYPES;
    Status::unsupported_media_type(&[first, second, third, APPLY])
}

/// The object with the patch applied, in its stored version.
fn patched(
    resource: &'static Resource,
    old: &Value,
    media: &str,
    patch: &Value,
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), Status> {
    let mut new = old.clone();
    convert::from_stored(resource, &mut new);
    match media {
        JSON_PATCH => patch::json_patch(&mut new, patch).map_err(|error| error.status())?,
        MERGE => {
            merge(&mut new, patch)?;
        }
        STRATEGIC => {
            patch::strategic(resource, &mut new, patch).map_err(|error| error.status())?;
        }
        _ => return Err(unsupported()),
    }
    if json::depth(&new) > json::MAX_DEPTH {
        return Err(Status::bad_request(
            "error decoding patch: exceeded max depth",
        ));
    }
    strategy::check_body(resource, &new)?;
    // The old names in it are the server's own, so only the version is worth a word.
    convert::to_stored(resource, &mut new)?;
    let mut warnings: Vec<String> = convert::past_warning(resource).into_iter().collect();
    let found = fields::check(resource, &new, None, options.validation);
    warnings
        .extend(found.map_err(|status| misfit(resource, &new, media, patch).unwrap_or(status))?);
    Ok((new, warnings))
}

/// The refusal of a patch that leaves a value of the wrong type.
fn misfit(resource: &Resource, new: &Value, media: &str, patch: &Value) -> Option<Status> {
    let misfit = fieldcheck::misfit(resource, new)?;
    Some(match media {
        STRATEGIC => Status::invalid_patch(patch::go_text(patch), &misfit.converted),
        _ => Status::invalid_patch(new.to_string(), &misfit.json),
    })
}

/// Whether the patch sets `metadata.resourceVersion`.
fn names_version(patch: &Value) -> bool {
    match patch {
        Value::Object(_) => patch
            .pointer("/metadata/resourceVersion")
            .is_some_and(|v| !v.is_null()),
        Value::Array(operations) => operations.iter().any(|operation| {
            json::str_at(operation, "/path") == "/metadata/resourceVersion"
                && json::str_at(operation, "/op") != "test"
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_is_conditional_when_it_names_a_version() {
        assert!(names_version(
            &json!({"metadata": {"resourceVersion": "3"}})
        ));
        assert!(!names_version(
            &json!({"metadata": {"resourceVersion": null}})
        ));
        assert!(!names_version(&json!({"metadata": {"labels": {"a": "b"}}})));
        assert!(names_version(
            &json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "3"}])
        ));
        assert!(!names_version(
            &json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "3"}])
        ));
    }
}
