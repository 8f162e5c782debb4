//! The scale of a workload: how many replicas it wants and has, whatever its kind.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::patch;
use cadet_api::selector::LabelSelector;
use cadet_api::status::Status;
use cadet_api::strategy::{self, Part};
use cadet_api::{fieldcheck, json, meta, schema, validate};
use http::StatusCode;
use serde_json::{Value, json};

use crate::admission::{Operation, Request};
use crate::call::ObjectCall;
use crate::ownership::Manager;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Changed, Outcome, Proposal};
use crate::{body, respond, webhooks};

/// Where the built-in kinds keep their scale.
const SPEC: &str = "/spec/replicas";
const STATUS: &str = "/status/replicas";

/// Where a kind keeps its scale.
struct Places {
    spec: String,
    status: String,
    /// A text; `None` for the built-in kinds, which have a selector object.
    selector: Option<String>,
    custom: bool,
}

fn places(call: &ObjectCall) -> Places {
    match call.stored().custom.and_then(|c| c.scale.as_ref()) {
        Some(scale) => Places {
            spec: scale.spec.clone(),
            status: scale.status.clone(),
            selector: scale.selector.clone(),
            custom: true,
        },
        None => Places {
            spec: SPEC.to_owned(),
            status: STATUS.to_owned(),
            selector: None,
            custom: false,
        },
    }
}

/// Upstream's scales of the built-in kinds are named by their path: `deployments/scale.apps`.
fn missing(call: &ObjectCall) -> Status {
    let mut status = call.not_found();
    let group = match call.resource().gv.group {
        "" => "autoscaling",
        "apps" => "apps",
        _ => return status,
    };
    let kind = format!("{}/scale", call.resource().plural);
    status.message = format!("{kind}.{group} {:?} not found", call.name());
    if let Some(details) = &mut status.details {
        details.group = group.to_owned();
        details.kind = kind;
    }
    status
}

/// GET: the scale as it is.
pub fn get(call: &ObjectCall) -> Result<Response, Status> {
    let found = call
        .app
        .world
        .get(call.stored(), call.namespace(), call.name());
    let object = found.ok_or_else(|| missing(call))?.value();
    Ok(answer(call, &object))
}

/// PUT: a Scale with other replicas.
pub async fn update(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let sent = body::decode("Scale", &call.headers, bytes)?.value;
    check(call, &sent)?;
    let changed = change(call, Write::Update, |_| Ok(sent.clone())).await?;
    finish(call, &changed)
}

/// PATCH: as on any object, but on the Scale.
pub async fn patch(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let media = body::media_type(&call.headers)?;
    if !patch::CONTENT_TYPES.contains(&media.as_str()) {
        return Err(Status::unsupported_media_type(&patch::CONTENT_TYPES));
    }
    let patch = super::patch::decode(&bytes)?;
    let changed = change(call, Write::Patch, |old| {
        let mut scale = scale_of(call, old);
        match media.as_str() {
            "application/json-patch+json" => {
                patch::json_patch(&mut scale, &patch).map_err(|e| e.status())?;
            }
            _ => super::patch::merge(&mut scale, &patch)?,
        }
        check(call, &scale)?;
        Ok(scale)
    })
    .await?;
    finish(call, &changed)
}

/// Whether the body is a Scale of the object in the path.
fn check(call: &ObjectCall, scale: &Value) -> Result<(), Status> {
    let kind = json::str_at(scale, "/kind");
    if !matches!(kind, "" | "Scale") {
        return Err(Status::bad_request(format!(
            "{kind} cannot be handled as a Scale"
        )));
    }
    if let Some(shape) = schema::builtin("api.autoscaling.v1.Scale") {
        fieldcheck::check_shape(call.stored(), shape, scale)?;
    }
    let name = json::str_at(scale, "/metadata/name");
    if !name.is_empty() && name != call.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    let errors = validate::scale(scale);
    if errors.is_empty() {
        return Ok(());
    }
    let mut status = Status::invalid(call.stored(), call.name(), &errors);
    // Invalid is the Scale, not the workload.
    let of = call.stored().qualified_kind();
    status.message = status.message.replacen(&of, "Scale.autoscaling", 1);
    if let Some(details) = &mut status.details {
        details.kind = "Scale".into();
        details.group = "autoscaling".into();
    }
    Err(status)
}

async fn change(
    call: &ObjectCall,
    write: Write,
    mut wanted: impl FnMut(&Value) -> Result<Value, Status>,
) -> Result<Changed, Status> {
    let options = WriteOptions::of(&call.parameters, write)?;
    let manager = Manager::of(call, "scale");
    let stored = call.stored();
    let request = Request::of(call, Operation::Update, options.dry_run).part("scale");
    let (mut admitted, mut told) = (None, vec![]);
    if webhooks::may_ask(&request) {
        let found = call.app.world.get(stored, call.namespace(), call.name());
        let old = found.ok_or_else(|| missing(call))?.value();
        let mut scale = wanted(&old)?;
        strategy::set_type_of(&mut scale, "autoscaling/v1", "Scale");
        let before = scale_of(call, &old);
        told = request.consult(Some(&mut scale), Some(&before)).await?;
        check(call, &scale)?;
        admitted = Some(scale);
    }
    let mut changed = writing::change(
        &call.app,
        stored,
        call.namespace(),
        call.name(),
        options.dry_run,
        |old| {
            let scale = match &admitted {
                Some(scale) => scale.clone(),
                None => wanted(old)?,
            };
            let conditional = writing::check_version(stored, &scale, old)?;
            let uid = json::str_at(&scale, "/metadata/uid");
            if !uid.is_empty() && uid != json::str_at(old, "/metadata/uid") {
                return Err(Status::conflict(stored, call.name()));
            }
            let mut new = old.clone();
            meta::set(&mut new, "resourceVersion", Value::Null);
            let replicas = json::int_at(&scale, SPEC).unwrap_or(0);
            set(&mut new, &places(call).spec, json!(replicas));
            let warnings = strategy::prepare_update(stored, Part::Main, &mut new, old)?;
            manager.track(stored, Some(old), &mut new);
            Ok(Proposal {
                value: new,
                conditional,
                warnings,
            })
        },
    )
    .await?;
    changed.warnings.extend(told);
    Ok(changed)
}

/// Sets a value at a JSON pointer, making the objects on the way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    *at = value;
}

fn finish(call: &ObjectCall, changed: &Changed) -> Result<Response, Status> {
    let response = match &changed.outcome {
        Outcome::Stored(object) => answer(call, &object.value()),
        Outcome::DryRun(value) => answer(call, value),
        Outcome::Removed(_) => return Err(missing(call)),
    };
    Ok(respond::warn(response, &changed.warnings))
}

fn answer(call: &ObjectCall, object: &Value) -> Response {
    respond::json(StatusCode::OK, scale_of(call, object).to_string())
}

/// The Scale of a workload.
fn scale_of(call: &ObjectCall, object: &Value) -> Value {
    let places = places(call);
    let mut metadata = json!({});
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.pointer(&format!("/metadata/{key}")) {
            metadata[key] = value.clone();
        }
    }
    let number = |pointer: &str| json::int_at(object, pointer).unwrap_or(0);
    let mut status = json!({"replicas": number(&places.status)});
    let selector = match (&places.selector, places.custom) {
        (Some(at), _) => json::str_at(object, at).to_owned(),
        (None, true) => String::new(),
        (None, false) => selector_of(object),
    };
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    let mut spec = json!({});
    if number(&places.spec) != 0 {
        spec["replicas"] = json!(number(&places.spec));
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": spec, "status": status})
}

/// The selector as text: from a LabelSelector, or from the plain map of a
/// ReplicationController.
fn selector_of(object: &Value) -> String {
    let Some(found) = object.pointer("/spec/selector") else {
        return String::new();
    };
    let is_selector = found.get("matchLabels").is_some() || found.get("matchExpressions").is_some();
    if is_selector {
        return LabelSelector::from_object(found)
            .map(|selector| selector.to_string())
            .unwrap_or_default();
    }
    let pairs = meta::string_map(Some(found));
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}
