//! Strategic merge patch: lists merge by key, and directives say the rest.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::keys::{How, Type, look};
use super::{Error, go_text};
use crate::json::{go_kind, type_name};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies `patch` to `object`, whose type is `kind`.
pub(super) fn apply(kind: Type<'_>, object: &mut Value, patch: &Value) -> Result<(), Error> {
    let Value::Object(p) = patch else {
        return Err(Error::NotAnObject(type_name(patch)));
    };
    let Value::Object(o) = object else {
        return Err(Error::NotAnObject(type_name(object)));
    };
    merge_map(kind, o, p)
}

fn merge_map(
    kind: Type<'_>,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), Error> {
    match patch.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            object.clear();
            // What is left of the patch is the new object, its own directives obeyed.
            let mut rest = patch.clone();
            rest.remove(DIRECTIVE);
            return merge_map(kind, object, &rest);
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(other) => return Err(bad_directive(other)),
    }
    retain_keys(object, patch)?;
    for (key, items) in patch {
        if let Some(field) = key.strip_prefix(DELETE) {
            let gone = items.as_array().ok_or_else(not_primitive)?;
            if let Some(Value::Array(list)) = object.get_mut(field) {
                let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
                list.retain(|v| !gone.contains(&v.to_string()));
            }
        }
    }
    for (key, change) in patch {
        if key.starts_with('$') {
            continue;
        }
        let (how, child) = look(kind, key);
        merge_member(
            object,
            key,
            change,
            how,
            child,
            patch.get(&format!("{ORDER}{key}")),
        )?;
    }
    // An order without a change to the list itself still sorts it.
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(ORDER)
            && !patch.contains_key(field)
            && let Some(Value::Array(list)) = object.get_mut(field)
        {
            let order = order.as_array().ok_or_else(not_an_order)?;
            let before = list.clone();
            sort(list, order, &before, merge_key(look(kind, field).0));
        }
    }
    Ok(())
}

fn merge_member(
    object: &mut Map<String, Value>,
    key: &str,
    change: &Value,
    how: How,
    child: Type<'_>,
    order: Option<&Value>,
) -> Result<(), Error> {
    match change {
        Value::Null => {
            object.remove(key);
        }
        Value::Object(change) if how != How::Replace => {
            let slot = object.entry(key).or_insert(Value::Null);
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(inner) = slot {
                merge_map(child, inner, change)?;
            }
        }
        Value::Array(changes) if matches!(how, How::ByKey(_) | How::Set) => {
            let slot = object.entry(key).or_insert(Value::Null);
            if !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            if let Value::Array(list) = slot {
                let before = list.clone();
                match merge_key(how) {
                    Some(merge_by) => merge_list(child, list, changes, merge_by)?,
                    None => {
                        let mut known: HashSet<String> =
                            list.iter().map(Value::to_string).collect();
                        let new = changes.iter().filter(|v| known.insert(v.to_string()));
                        list.extend(new.cloned());
                    }
                }
                // The patch itself is an order, so what it adds comes first.
                let order = match order {
                    Some(order) => {
                        let order = order.as_array().ok_or_else(not_an_order)?;
                        check_order(changes, order, merge_key(how))?;
                        order
                    }
                    None => changes,
                };
                sort(list, order, &before, merge_key(how));
            }
        }
        other => {
            object.insert(key.to_owned(), other.clone());
        }
    }
    Ok(())
}

fn merge_key(how: How) -> Option<&'static str> {
    match how {
        How::ByKey(key) => Some(key),
        How::Plain | How::Set | How::Replace => None,
    }
}

fn merge_list(
    child: Type<'_>,
    list: &mut Vec<Value>,
    changes: &[Value],
    merge_by: &str,
) -> Result<(), Error> {
    if changes
        .iter()
        .any(|c| c.get(DIRECTIVE).is_some_and(|d| d == "replace"))
    {
        list.clear();
    }
    // Items are found by the text of their key: a list may have a hundred thousand.
    let mut slots: Vec<Option<Value>> = list.drain(..).map(Some).collect();
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, item) in slots.iter().enumerate() {
        if let Some(id) = item.as_ref().and_then(|item| item.get(merge_by)) {
            places.entry(id.to_string()).or_default().push(at);
        }
    }
    for change in changes {
        let Value::Object(change) = change else {
            return Err(Error::Unknown(format!(
                "expected a map, but received a {}",
                go_kind(change)
            )));
        };
        let directive = change
            .get(DIRECTIVE)
            .map(|d| d.as_str().unwrap_or_default());
        let Some(id) = change.get(merge_by) else {
            // A lone {"$patch": "replace"} only says what to do with the list.
            if directive == Some("replace") && change.len() == 1 {
                continue;
            }
            return Err(Error::Unknown(format!(
                "map: {} does not contain declared merge key: {merge_by}",
                go_text(&Value::Object(change.clone()))
            )));
        };
        let id = id.to_string();
        match directive {
            Some("delete") => {
                for at in places.remove(&id).unwrap_or_default() {
                    slots[at] = None;
                }
            }
            None | Some("merge" | "replace") => {
                let at = match places.get(&id) {
                    Some(known) => known[0],
                    None => {
                        slots.push(Some(Value::Object(Map::new())));
                        // An item whose key is null has none afterwards.
                        if !change[merge_by].is_null() {
                            places.insert(id, vec![slots.len() - 1]);
                        }
                        slots.len() - 1
                    }
                };
                if let Some(Value::Object(inner)) = &mut slots[at] {
                    merge_map(child, inner, change)?;
                }
            }
            Some(other) => return Err(bad_directive(other)),
        }
    }
    list.extend(slots.into_iter().flatten());
    Ok(())
}

/// `$retainKeys` names all members that stay; others of the object go.
fn retain_keys(object: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Error> {
    let Some(keep) = patch.get(RETAIN) else {
        return Ok(());
    };
    let keep = keep.as_array().ok_or_else(not_retained)?;
    let keep: HashSet<&str> = keep.iter().filter_map(Value::as_str).collect();
    let kept = |key: &str| keep.contains(key);
    if patch
        .iter()
        .any(|(k, v)| !k.starts_with('$') && !v.is_null() && !kept(k))
    {
        return Err(not_retained());
    }
    object.retain(|key, _| kept(key));
    Ok(())
}

/// Brings `list` into the order the client wants; items it does not know stay where they
/// stood relative to those it does.
fn sort(list: &mut Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) {
    let identity = |v: &Value| match key {
        Some(key) => v.get(key).map(Value::to_string),
        None => Some(v.to_string()),
    };
    let places = |list: &[Value]| {
        let mut places = HashMap::new();
        for (at, value) in list.iter().enumerate() {
            if let Some(identity) = identity(value) {
                places.entry(identity).or_insert(at);
            }
        }
        places
    };
    let (order, before) = (places(order), places(before));
    let place = |in_: &HashMap<String, usize>, v: &Value| in_.get(&identity(v)?).copied();
    let (mut known, mut own): (Vec<Value>, Vec<Value>) =
        list.drain(..).partition(|v| place(&order, v).is_some());
    known.sort_by_cached_key(|v| place(&order, v));
    own.sort_by_cached_key(|v| place(&before, v).unwrap_or(usize::MAX));
    let mut known = known.into_iter().peekable();
    for mine in own {
        while let Some(next) = known.peek() {
            let first = matches!((place(&before, &mine), place(&before, next)), (Some(m), Some(n)) if m < n);
            if first {
                break;
            }
            list.extend(known.next());
        }
        list.push(mine);
    }
    list.extend(known);
}

/// The items of a patch stand in its order as well.
fn check_order(changes: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    let same = |a: &Value, b: &Value| match key {
        Some(k) => a.get(k).is_some() && a.get(k) == b.get(k),
        None => a == b,
    };
    let kept = |v: &&Value| key.is_none() || v.get(DIRECTIVE).is_none();
    let mut kept = changes.iter().filter(kept).peekable();
    for place in order {
        if kept.peek().is_some_and(|next| same(next, place)) {
            kept.next();
        }
    }
    if kept.peek().is_none() {
        return Ok(());
    }
    let list = |items: &[Value]| go_text(&Value::Array(items.to_vec()));
    Err(Error::Unknown(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        list(changes),
        list(order)
    )))
}

fn bad_directive(d: &str) -> Error {
    Error::Unknown(format!("unknown patch type: {d} in map"))
}

fn not_an_order() -> Error {
    Error::Malformed("invalid patch format of setElementOrder list".to_owned())
}

fn not_primitive() -> Error {
    Error::Malformed("invalid patch format of primitive list".to_owned())
}

fn not_retained() -> Error {
    Error::Malformed("invalid patch format of retainKeys".to_owned())
}

#[cfg(test)]
mod tests;
