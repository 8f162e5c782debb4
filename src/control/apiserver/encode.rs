//! Objects, lists and events in the form a client accepts and the version it asked for.
//!
//! The common case (JSON, current version) copies stored bytes; Tables, bare metadata and
//! old versions are built from the decoded object.

use std::cell::Cell;

use axum::response::Response;
use bytes::Bytes;
use cadet_api::columns::{self, Frame, Include};
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{convert, meta};
use cadet_store::Revision;
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::call::ObjectCall;
use crate::negotiate::{self, Form};
use crate::object::Object;
use crate::world::{Change, Listing, What, line_of};
use crate::{pieces, respond};

/// What a list says about its further pages.
#[derive(Debug, Default)]
pub struct Page {
    pub continue_token: Option<String>,
    pub remaining: Option<usize>,
}

fn include_of(call: &ObjectCall) -> Result<Include, Status> {
    match call.parameters.get("includeObject") {
        None | Some("Metadata") => Ok(Include::Metadata),
        Some("None") => Ok(Include::None),
        Some("Object") => Ok(Include::Object),
        Some(other) => Err(Status::bad_request(format!(
            "includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
        ))),
    }
}

/// The object in the version the request names.
fn in_version(resource: &'static Resource, object: &Object) -> Value {
    let mut value = object.value();
    if resource.is_converted() {
        convert::from_stored(resource, &mut value);
    }
    value
}

/// An object that may not be stored at all (a dry run), as the answer to its writer.
pub fn value(call: &ObjectCall, code: StatusCode, mut value: Value) -> Result<Response, Status> {
    let resource = call.resource();
    if resource.is_converted() {
        convert::from_stored(resource, &mut value);
    }
    let body = match negotiate::form(&call.headers)? {
        Form::Json => value,
        Form::Table(version) => {
            let rows = vec![row(resource, &value, include_of(call)?)];
            columns::table(resource, version, rows, &frame_of(&value))
        }
        Form::Metadata(version) => partial(&value, version),
    };
    Ok(pieces::whole(&call.headers, code, body.to_string().into()))
}

/// One stored object.
pub fn object(call: &ObjectCall, code: StatusCode, object: &Object) -> Result<Response, Status> {
    if negotiate::form(&call.headers)? == Form::Json && !call.resource().is_converted() {
        return Ok(pieces::whole(&call.headers, code, object.to_bytes().into()));
    }
    value(call, code, object.value())
}

/// A list of stored objects.
pub fn list(call: &ObjectCall, listing: Listing, page: &Page) -> Result<Response, Status> {
    let resource = call.resource();
    let body: Bytes = match negotiate::form(&call.headers)? {
        Form::Json if !resource.is_converted() => {
            let head = head_of(resource, &metadata_of(&listing, page));
            return Ok(pieces::list(&call.headers, head, listing.objects));
        }
        Form::Json => converted(resource, &listing, &metadata_of(&listing, page)).into(),
        Form::Table(version) => {
            let include = include_of(call)?;
            let rows = listing
                .objects
                .iter()
                .map(|object| row(resource, &in_version(resource, object), include))
                .collect();
            let frame = Frame {
                resource_version: listing.revision.to_string(),
                continue_token: page.continue_token.clone().unwrap_or_default(),
                remaining: page.remaining.map(|n| n as u64),
                without_columns: false,
            };
            columns::table(resource, version, rows, &frame)
                .to_string()
                .into()
        }
        Form::Metadata(version) => {
            let items: Vec<Value> = listing
                .objects
                .iter()
                .map(|object| partial(&in_version(resource, object), version))
                .collect();
            json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata_of(&listing, page),
                "items": items,
            })
            .to_string()
            .into()
        }
    };
    Ok(old_version_warning(
        call,
        pieces::whole(&call.headers, StatusCode::OK, body),
    ))
}

/// How a typed list opens, up to its first item.
fn head_of(resource: &Resource, metadata: &Value) -> String {
    format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        resource.list_kind,
        resource.gv.api_version()
    )
}

/// A typed list of objects in an old version.
fn converted(resource: &'static Resource, listing: &Listing, metadata: &Value) -> String {
    let mut out = head_of(resource, metadata);
    for (index, object) in listing.objects.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&in_version(resource, object).to_string());
    }
    out.push_str("]}");
    out
}

/// A list's own metadata.
fn metadata_of(listing: &Listing, page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": listing.revision.to_string()});
    if let Some(token) = &page.continue_token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// The frame of a Table about one object.
fn frame_of(object: &Value) -> Frame {
    let version = cadet_api::json::str_at(object, "/metadata/resourceVersion");
    Frame {
        resource_version: version.to_owned(),
        ..Frame::default()
    }
}

fn row(resource: &Resource, object: &Value, include: Include) -> Value {
    columns::row(resource, object, OffsetDateTime::now_utc(), include)
}

fn partial(object: &Value, version: &str) -> Value {
    let mut partial = columns::partial(object);
    partial["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
    partial
}

/// Tells readers of an old version what to ask for today; writers hear it from the
/// conversion of what they sent.
pub fn old_version_warning(call: &ObjectCall, response: Response) -> Response {
    match convert::past_warning(call.resource()) {
        Some(warning) => respond::warn(response, &[warning]),
        None => response,
    }
}

fn text(event: &Value) -> Bytes {
    format!("{event}\n").into()
}

/// Writes watch events for one client, each as a line with its newline.
#[derive(Debug, Clone)]
pub struct EventEncoder {
    resource: &'static Resource,
    form: Form,
    include: Include,
    /// Columns are told once, with the first Table.
    columns_told: Cell<bool>,
}

impl EventEncoder {
    pub fn new(call: &ObjectCall) -> Result<EventEncoder, Status> {
        Ok(EventEncoder {
            resource: call.resource(),
            form: negotiate::form(&call.headers)?,
            include: include_of(call)?,
            columns_told: Cell::new(false),
        })
    }

    /// A change; the common form is shared with every other watcher.
    pub fn event(&self, change: &Change, what: What) -> Bytes {
        if self.form == Form::Json && !self.resource.is_converted() {
            return change.line(what);
        }
        match change.shown(what) {
            Some(object) => self.line(what, object, change.revision),
            None => Bytes::new(),
        }
    }

    /// An object that was there before the watch began.
    pub fn initial(&self, object: &Object) -> Bytes {
        if self.form == Form::Json && !self.resource.is_converted() {
            return line_of(What::Added, object, object.revision);
        }
        self.line(What::Added, object, object.revision)
    }

    fn line(&self, what: What, object: &Object, revision: Revision) -> Bytes {
        let mut value = in_version(self.resource, object);
        meta::set_resource_version(&mut value, revision);
        let shown = match self.form {
            Form::Json => value,
            Form::Table(version) => {
                let rows = vec![row(self.resource, &value, self.include)];
                let frame = Frame {
                    without_columns: self.columns_told.replace(true),
                    ..frame_of(&value)
                };
                columns::table(self.resource, version, rows, &frame)
            }
            Form::Metadata(version) => partial(&value, version),
        };
        text(&json!({"type": what.name(), "object": shown}))
    }

    /// A sign of life that carries a version; `last_initial` marks the end of the
    /// initial events of a streamed list.
    pub fn bookmark(&self, revision: Revision, last_initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if last_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Json => json!({
                "kind": self.resource.kind,
                "apiVersion": self.resource.gv.api_version(),
                "metadata": metadata,
            }),
            Form::Table(version) => {
                let mut table = columns::table(self.resource, version, vec![], &Frame::default());
                table["metadata"] = metadata;
                table
            }
            Form::Metadata(version) => partial(&json!({"metadata": metadata}), version),
        };
        text(&json!({"type": "BOOKMARK", "object": object}))
    }

    /// The end of a watch that cannot go on, as its one line.
    pub fn error(&self, status: &Status) -> Bytes {
        let mut line = b"{\"type\":\"ERROR\",\"object\":".to_vec();
        line.extend_from_slice(&status.to_json());
        line.extend_from_slice(b"}\n");
        line.into()
    }
}
