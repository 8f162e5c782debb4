//! Laying an applied configuration over the live object, and taking out what is no longer
//! applied.

use serde_json::Value;

use super::fieldset::{Set, Step};
use super::shaped::{View, item_step, member, view};
use crate::schema::{ListType, Shape};

/// The live value with the applied one on top.
pub(super) fn merge(shape: &Shape, live: &Value, applied: &Value) -> Value {
    match (view(shape, live), view(shape, applied)) {
        (View::Members { members: a, .. }, View::Members { members: b, .. }) => {
            let mut out = a.clone();
            for (name, value) in b {
                let merged = match a.get(name) {
                    Some(before) => merge(member(shape, name), before, value),
                    None => value.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (
            View::Items {
                items: a,
                list_type,
                item,
            },
            View::Items { items: b, .. },
        ) => merge_items(list_type, item, a, b),
        _ => applied.clone(),
    }
}

/// Items stand in the order they were applied in; those of others keep their place behind
/// the item they followed.
fn merge_items(list_type: &ListType, item: &Shape, live: &[Value], applied: &[Value]) -> Value {
    let step = |value: &Value| item_step(list_type, value);
    let mut out: Vec<(Option<Step>, Value)> = applied
        .iter()
        .map(|value| {
            let found = step(value);
            let before = live.iter().find(|l| found.is_some() && step(l) == found);
            let merged = before.map_or_else(|| value.clone(), |l| merge(item, l, value));
            (found, merged)
        })
        .collect();
    let mut previous: Option<Step> = None;
    for value in live {
        let found = step(value);
        if !out.iter().any(|(s, _)| *s == found) {
            let at = match &previous {
                Some(before) => out
                    .iter()
                    .position(|(s, _)| s.as_ref() == Some(before))
                    .map_or(out.len(), |at| at + 1),
                None => 0,
            };
            out.insert(at, (found.clone(), value.clone()));
        }
        previous = found;
    }
    Value::Array(out.into_iter().map(|(_, value)| value).collect())
}

/// Removes the fields in `gone` from a value. Parts that become empty by it go as well,
/// unless `keep` has them.
pub(super) fn prune(shape: &Shape, value: &mut Value, gone: &Set, keep: &Set) {
    if gone.children.is_empty() {
        return;
    }
    match shape {
        Shape::List { item, list_type } if *list_type != ListType::Atomic => {
            let item = item.get();
            let Value::Array(items) = value else { return };
            items.retain_mut(|value| {
                let Some(step) = item_step(list_type, value) else {
                    return true;
                };
                let Some(below) = gone.children.get(&step) else {
                    return true;
                };
                let kept = keep.children.get(&step);
                // An item goes when its owner let go of it and nobody else holds any of it.
                if below.member && kept.is_none() {
                    return false;
                }
                prune(item, value, below, kept.unwrap_or(&Set::default()));
                true
            });
        }
        Shape::OrElse(inner) => prune(inner.get(), value, gone, keep),
        _ => {
            let Value::Object(members) = value else {
                return;
            };
            for (step, below) in &gone.children {
                let Step::Field(name) = step else { continue };
                let kept = keep.children.get(step);
                if below.member && kept.is_none() {
                    members.remove(&**name);
                    continue;
                }
                if let Some(inner) = members.get_mut(&**name) {
                    prune(
                        member(shape, name),
                        inner,
                        below,
                        kept.unwrap_or(&Set::default()),
                    );
                    if kept.is_none() && crate::json::is_empty(inner) {
                        members.remove(&**name);
                    }
                }
            }
        }
    }
}
