//! Which objects are refused, with upstream's words for each wrong field.

mod container;
mod kinds;
mod metadata;
mod pod;
mod pod_update;
mod service;

use serde_json::{Value, json};

use crate::field::Error;
use crate::json::{list_at, map_at, str_at};
use crate::resource::Resource;
use crate::strategy::Part;

pub use metadata::identity;

/// What is wrong with a new object, after defaults.
pub fn create(res: &Resource, object: &Value) -> Vec<Error> {
    let mut errors = metadata::create(res, object);
    errors.extend(content(res, object));
    errors
}

/// What is wrong with a changed object, after defaults and after the parts its door may
/// not touch were put back.
pub fn update(res: &Resource, part: Part, new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = metadata::update(res, new, old);
    if part != Part::Main {
        return errors;
    }
    errors.extend(match res.id() {
        ("", "Pod") => pod_update::update(new, old),
        ("", "Service") => service::update(new, old),
        ("", "Secret") | ("", "ConfigMap") => kinds::data_update(new, old),
        ("", "Node") => kinds::node_update(new, old),
        _ => Vec::new(),
    });
    // A pod that was valid is still valid in the fields that may not change; the few that
    // may are checked with the rest.
    errors.extend(content(res, new));
    errors
}

fn content(res: &Resource, object: &Value) -> Vec<Error> {
    match res.id() {
        ("", "Pod") => pod::spec(object),
        ("", "Service") => service::spec(object),
        ("", "ConfigMap") => kinds::config_map(object),
        ("", "Secret") => kinds::secret(object),
        ("", "Node") => kinds::node(object),
        ("", "Event") => kinds::event(object),
        ("coordination.k8s.io", "Lease") => kinds::lease(object),
        ("", "Endpoints") => kinds::endpoints(object),
        _ => Vec::new(),
    }
}

/// What is allowed but unwise, for the `Warning` header.
pub fn warnings(res: &Resource, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if !res.is("", "Pod") {
        return out;
    }
    for list in ["initContainers", "containers"] {
        for (i, c) in list_at(object, &format!("/spec/{list}")).iter().enumerate() {
            let mut seen: Vec<&str> = Vec::new();
            for (j, e) in list_at(c, "/env").iter().enumerate() {
                let name = str_at(e, "/name");
                if seen.contains(&name) {
                    out.push(format!(
                        "spec.{list}[{i}].env[{j}]: hides previous definition of {name:?}, which may be dropped when using apply"
                    ));
                }
                seen.push(name);
            }
        }
    }
    let grace = crate::json::int_at(object, "/spec/terminationGracePeriodSeconds");
    if grace.is_some_and(|g| g < 0) {
        out.push(
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
                .into(),
        );
    }
    out
}

/// `value` must be one of `known`; absent and empty are "required".
fn one_of(errors: &mut Vec<Error>, path: &str, value: &str, known: &[&str]) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !known.contains(&value) {
        errors.push(Error::not_supported(path, value, known));
    }
}

/// Adds an Invalid error for every sentence in `why`.
fn all(errors: &mut Vec<Error>, path: &str, value: &Value, why: Vec<String>) {
    errors.extend(
        why.into_iter()
            .map(|w| Error::invalid(path, value.clone(), w)),
    );
}

/// `metadata.labels`-like maps: keys and values must be labels.
fn labels(errors: &mut Vec<Error>, path: &str, object: &Value, pointer: &str) {
    for (key, value) in map_at(object, pointer).into_iter().flatten() {
        all(errors, path, &json!(key), crate::names::qualified_name(key));
        let why = crate::names::label_value(value.as_str().unwrap_or_default());
        all(errors, path, value, why);
    }
}
