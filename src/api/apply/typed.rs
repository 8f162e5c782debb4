//! Does an applied configuration fit its kind? Server-side apply asks more than decoding:
//! every field must be known, and every item of a list be told apart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fieldset::Step;
use super::shaped::{View, item_step, view};
use crate::json::str_at;
use crate::resource::Resource;
use crate::schema::{ListType, Shape};

/// What is wrong with the body, in the words of upstream's typed values.
pub(super) fn check(shape: &Shape, applied: &Value) -> Vec<String> {
    let mut found = vec![];
    walk(shape, applied, &mut String::new(), &mut found);
    found
}

/// The object as such errors name it: `default/a; apps/v1, Kind=Deployment`.
pub(super) fn name(named: &Resource, applied: &Value) -> String {
    format!(
        "{}/{}; {}/{}, Kind={}",
        str_at(applied, "/metadata/namespace"),
        str_at(applied, "/metadata/name"),
        named.gv.group,
        named.gv.version,
        named.kind
    )
}

fn walk(shape: &Shape, value: &Value, path: &mut String, found: &mut Vec<String>) {
    match view(shape, value) {
        View::Whole => {
            // What is owned as a whole has known fields all the same.
            match (shape, value) {
                (Shape::Struct(_) | Shape::Map { .. }, Value::Object(_)) => {
                    members(shape, value, path, found);
                }
                (Shape::List { item, .. }, Value::Array(items)) => {
                    for (at, value) in items.iter().enumerate() {
                        within(path, &format!("[{at}]"), |path| {
                            walk(item.get(), value, path, found);
                        });
                    }
                }
                _ => {}
            }
        }
        View::Members { .. } => members(shape, value, path, found),
        View::Items {
            items,
            list_type,
            item,
        } => {
            let mut seen: BTreeSet<Step> = BTreeSet::new();
            for (at, value) in items.iter().enumerate() {
                if let Some(key) = missing_key(list_type, value) {
                    found.push(format!(
                        "{path}: element {at}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                    ));
                    continue;
                }
                let Some(step) = item_step(list_type, value) else {
                    continue;
                };
                if seen.contains(&step) {
                    found.push(format!("{path}: duplicate entries for key {step}"));
                    continue;
                }
                within(path, &step.to_string(), |path| {
                    walk(item, value, path, found);
                });
                seen.insert(step);
            }
        }
    }
}

fn members(shape: &Shape, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let known = shape.as_struct();
    for (name, value) in value.as_object().into_iter().flatten() {
        let is_type = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
        match shape.member(name) {
            Some(inner) => {
                let step = format!(".{name}");
                within(path, &step, |path| walk(inner, value, path, found));
            }
            None if is_type => {}
            None if known.is_some_and(|known| !known.open) => {
                found.push(format!("{path}.{name}: field not declared in schema"));
            }
            None => {}
        }
    }
}

fn within(path: &mut String, step: &str, act: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(step);
    act(path);
    path.truncate(length);
}

/// The field an item ought to be known by. One of several is enough.
fn missing_key<'a>(list_type: &'a ListType, item: &Value) -> Option<&'a str> {
    let ListType::Map(keys) = list_type else {
        return None;
    };
    let has = |name: &str| item.get(name).is_some_and(|v| !v.is_null());
    let lacks = keys
        .iter()
        .find(|key| key.default.is_none() && !has(&key.name))?;
    let any = keys.iter().any(|key| has(&key.name));
    (!any || keys.len() == 1).then_some(&*lacks.name)
}
