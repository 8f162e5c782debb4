//! Laying an applied configuration over the live object, and taking out what is no longer
//! applied.

use std::collections::{BTreeMap, BTreeSet};

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
    let steps = |items: &[Value]| -> Vec<Option<Step>> {
        items
            .iter()
            .map(|value| item_step(list_type, value))
            .collect()
    };
    let (live_steps, applied_steps) = (steps(live), steps(applied));
    let mut before: BTreeMap<&Step, &Value> = BTreeMap::new();
    for (step, value) in live_steps.iter().zip(live) {
        if let Some(step) = step {
            before.entry(step).or_insert(value);
        }
    }
    let sent: BTreeSet<Option<&Step>> = applied_steps.iter().map(Option::as_ref).collect();
    // Items of others, each behind the applied item it followed, or first of all.
    let mut first = vec![];
    let mut behind: BTreeMap<&Step, Vec<Value>> = BTreeMap::new();
    let mut followed: Option<&Step> = None;
    for (step, value) in live_steps.iter().map(Option::as_ref).zip(live) {
        if sent.contains(&step) {
            followed = step;
        } else if let Some(before) = followed {
            behind.entry(before).or_default().push(value.clone());
        } else {
            first.push(value.clone());
        }
    }
    let mut out = first;
    for (step, value) in applied_steps.iter().map(Option::as_ref).zip(applied) {
        let known = step.and_then(|step| before.get(step));
        out.push(known.map_or_else(|| value.clone(), |known| merge(item, known, value)));
        if let Some(followers) = step.and_then(|step| behind.remove(step)) {
            out.extend(followers);
        }
    }
    Value::Array(out)
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
