//! Moving from `kubectl apply` to `kubectl apply --server-side`: what the annotation of the
//! one says is no conflict for the other, and the annotation follows as long as it is there.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Writer;
use super::managed::Conflict;
use super::shaped::fields;
use crate::meta;
use crate::schema::Shape;

pub(super) const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// kubectl's name when it applies by the server.
const KUBECTL: &str = "kubectl";

/// More annotations than this an object cannot have.
const MOST: usize = 256 * 1024;

fn text(live: &Value) -> Option<&str> {
    let annotations = live.pointer("/metadata/annotations")?;
    annotations.get(ANNOTATION)?.as_str()
}

/// Takes out conflicts about fields that kubectl itself applied before, if those are all
/// there are; otherwise the others stay.
pub(super) fn excuse(
    shape: &Shape,
    live: Option<&Value>,
    writer: &Writer<'_>,
    conflicts: &mut Vec<Conflict>,
) {
    if conflicts.is_empty() || writer.manager != KUBECTL {
        return;
    }
    let Some(last) = live.and_then(text) else {
        return;
    };
    let Ok(last) = serde_json::from_str::<Value>(last) else {
        return;
    };
    let own: HashSet<String> = fields(shape, &last, false).paths().into_iter().collect();
    for conflict in &mut *conflicts {
        conflict.paths.retain(|path| !own.contains(path));
    }
    conflicts.retain(|conflict| !conflict.paths.is_empty());
}

/// Writes what was applied into the annotation, if there is one, for kubectls that read it.
pub(super) fn sync(live: Option<&Value>, applied: &Value, writer: &Writer<'_>, merged: &mut Value) {
    let is_kubectl = writer.manager == KUBECTL && writer.subresource.is_empty();
    if !is_kubectl || live.and_then(text).is_none() {
        return;
    }
    let mut told = applied.clone();
    if let Some(annotations) = told.pointer_mut("/metadata/annotations")
        && let Some(members) = annotations.as_object_mut()
    {
        members.remove(ANNOTATION);
    }
    let told = format!("{told}\n");
    let known = meta::string_map(merged.pointer("/metadata/annotations"));
    let others: usize = known
        .iter()
        .filter(|(key, _)| *key != ANNOTATION)
        .map(|(key, value)| key.len() + value.len())
        .sum();
    // Too long to be kept, it would be wrong: an empty one says nothing.
    let fits = others + ANNOTATION.len() + told.len() <= MOST;
    let told = if fits { told } else { String::new() };
    merged["metadata"]["annotations"][ANNOTATION] = json!(told);
}
