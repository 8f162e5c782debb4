//! Values seen along their shape: which fields they have, and how two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fieldset::{Set, Step, key_text};
use crate::schema::{ListType, MapKey, Shape};

/// How a value is taken apart.
pub(super) enum View<'a> {
    /// As a whole: scalars, atomic parts, nothing.
    Whole,
    /// Member by member. `map` tells a map, whose keys are data, from a struct.
    Members {
        members: &'a Map<String, Value>,
        map: bool,
    },
    Items {
        items: &'a [Value],
        list_type: &'a ListType,
        item: &'a Shape,
    },
}

pub(super) fn view<'a>(shape: &'a Shape, value: &'a Value) -> View<'a> {
    match (shape, value) {
        (Shape::OrElse(inner), value) => view(inner.get(), value),
        (Shape::Struct(known), Value::Object(members)) if !known.atomic => View::Members {
            members,
            map: false,
        },
        (Shape::Map { atomic: false, .. } | Shape::Any, Value::Object(members)) => {
            View::Members { members, map: true }
        }
        (Shape::List { item, list_type }, Value::Array(items))
            if *list_type != ListType::Atomic =>
        {
            View::Items {
                items,
                list_type,
                item: item.get(),
            }
        }
        _ => View::Whole,
    }
}

/// The shape of a member; what nobody knows is deduced from the value.
pub(super) fn member<'a>(shape: &'a Shape, name: &str) -> &'a Shape {
    shape.member(name).unwrap_or(&Shape::Any)
}

/// What an item of a list is known by; `None` if it lacks a field it is known by.
pub(super) fn item_step(list_type: &ListType, item: &Value) -> Option<Step> {
    match list_type {
        ListType::Atomic => None,
        ListType::Set => Some(Step::Value(key_text(item))),
        ListType::Map(keys) => {
            let mut known = Map::new();
            for MapKey { name, default } in keys {
                match (item.get(&**name), default) {
                    (Some(value), _) if !value.is_null() => {
                        known.insert(name.to_string(), value.clone());
                    }
                    (_, Some(default)) => {
                        known.insert(name.to_string(), default.clone());
                    }
                    // A key without a value may be absent as long as one is there.
                    _ => {}
                }
            }
            (!known.is_empty()).then(|| Step::Key(key_text(&Value::Object(known))))
        }
    }
}

/// The fields a value has. With `dots` maps count as fields themselves, as they do when
/// somebody brings them into being.
pub(super) fn fields(shape: &Shape, value: &Value, dots: bool) -> Set {
    match view(shape, value) {
        View::Whole => Set::leaf(),
        View::Members { members, map } => {
            let mut set = Set {
                member: members.is_empty() || (dots && map),
                ..Set::default()
            };
            for (name, value) in members {
                set.insert(
                    Step::Field(name.as_str().into()),
                    fields(member(shape, name), value, dots),
                );
            }
            set
        }
        View::Items {
            items,
            list_type,
            item,
        } => {
            let mut set = Set {
                member: items.is_empty(),
                ..Set::default()
            };
            for value in items {
                match item_step(list_type, value) {
                    Some(step) => {
                        let mut below = fields(item, value, dots);
                        below.member = true;
                        set.insert(step, below);
                    }
                    None => return Set::leaf(),
                }
            }
            set
        }
    }
}

/// What `fieldsV1` says of a whole new value: [`fields`] with dots, written, made without the
/// sets in between. `gone` are the paths of fields that are nobody's; `is_field` is whether
/// this place itself is in the set, where that does not follow from the value. `None` if
/// nothing is left.
pub(super) fn written(
    shape: &Shape,
    value: &Value,
    gone: &[&[&str]],
    is_field: Option<bool>,
) -> Option<Map<String, Value>> {
    let mut out = Map::new();
    let natural = match view(shape, value) {
        View::Whole => true,
        View::Members { members, map } => {
            let is_member = is_field.unwrap_or(map);
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in sorted {
                let below = gone.iter().filter_map(|path| {
                    let (first, rest) = path.split_first()?;
                    (*first == name.as_str()).then_some(rest)
                });
                let below: Vec<&[&str]> = below.collect();
                if below.iter().any(|rest| rest.is_empty()) {
                    continue;
                }
                if let Some(fields) = written(member(shape, name), value, &below, None) {
                    put(&mut out, is_member, format!("f:{name}"), fields);
                }
            }
            members.is_empty() || map
        }
        View::Items {
            items,
            list_type,
            item,
        } => {
            let is_member = is_field.unwrap_or(false);
            let mut known = BTreeMap::new();
            for value in items {
                match item_step(list_type, value) {
                    Some(step) => known.insert(step, value),
                    // Nobody can tell the items apart: the list is one field.
                    None => return Some(Map::new()),
                };
            }
            for (step, value) in known {
                let fields = written(item, value, &[], Some(true)).unwrap_or_default();
                put(&mut out, is_member, step.write(), fields);
            }
            items.is_empty()
        }
    };
    (is_field.unwrap_or(natural) || !out.is_empty()).then_some(out)
}

/// Adds a field; a place that is itself in the set says so before all that is below it.
fn put(out: &mut Map<String, Value>, is_member: bool, step: String, below: Map<String, Value>) {
    if is_member && out.is_empty() {
        out.insert(".".into(), Value::Object(Map::new()));
    }
    out.insert(step, Value::Object(below));
}

/// How a new state differs from an old one.
#[derive(Debug, Default, Clone)]
pub(super) struct Difference {
    /// Added or changed.
    pub changed: Set,
    pub removed: Set,
}

impl Difference {
    fn put(&mut self, step: Step, below: Difference) {
        self.changed.insert(step.clone(), below.changed);
        self.removed.insert(step, below.removed);
    }
}

pub(super) fn compare(shape: &Shape, old: &Value, new: &Value) -> Difference {
    let mut out = Difference::default();
    if old == new {
        return out;
    }
    match (view(shape, old), view(shape, new)) {
        (View::Members { members: a, .. }, View::Members { members: b, .. }) => {
            for (name, value) in b {
                let shape = member(shape, name);
                let step = || Step::Field(name.as_str().into());
                match a.get(name) {
                    Some(before) => {
                        let below = compare(shape, before, value);
                        if !below.changed.is_empty() || !below.removed.is_empty() {
                            out.put(step(), below);
                        }
                    }
                    None => out.changed.insert(step(), fields(shape, value, true)),
                }
            }
            for (name, value) in a.iter().filter(|(name, _)| !b.contains_key(*name)) {
                let mut gone = fields(member(shape, name), value, true);
                gone.member = true;
                out.removed.insert(Step::Field(name.as_str().into()), gone);
            }
        }
        (
            View::Items {
                items: a,
                list_type,
                item,
            },
            View::Items { items: b, .. },
        ) => {
            let steps = |items: &[Value]| -> Option<Vec<Step>> {
                items.iter().map(|i| item_step(list_type, i)).collect()
            };
            let (Some(before), Some(after)) = (steps(a), steps(b)) else {
                out.changed.member = true;
                return out;
            };
            // Found by their steps: a list may have a hundred thousand items.
            let mut place = BTreeMap::new();
            for (at, step) in before.iter().enumerate() {
                place.entry(step).or_insert(at);
            }
            for (at, step) in after.iter().enumerate() {
                match place.get(step).copied() {
                    Some(was) => out.put(step.clone(), compare(item, &a[was], &b[at])),
                    None => {
                        let mut new = fields(item, &b[at], true);
                        new.member = true;
                        out.changed.insert(step.clone(), new);
                    }
                }
            }
            let stays: BTreeSet<&Step> = after.iter().collect();
            for (at, step) in before.iter().enumerate() {
                if !stays.contains(step) {
                    let mut gone = fields(item, &a[at], true);
                    gone.member = true;
                    out.removed.insert(step.clone(), gone);
                }
            }
        }
        // The view changed (null became an object, say) or it is one whole.
        (_, View::Whole) => {
            out.changed.member = true;
            let mut gone = fields(shape, old, true);
            gone.member = false;
            out.removed = gone;
        }
        (_, _) => out.changed = fields(shape, new, true),
    }
    out
}
