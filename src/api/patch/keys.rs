//! Which lists merge by which key: what the schema says of a field.

use crate::schema::{Patch, Shape};

/// How a field is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Objects merge, lists are replaced: the rule without a rule.
    Plain,
    /// A list of objects merged by this key.
    ByKey(&'static str),
    /// A list of plain values merged as a set.
    Set,
    /// Replaced as a whole although it is an object.
    Replace,
}

/// What is known of an object's or an item's type; `None` below what the schema knows.
pub(super) type Type<'a> = Option<&'a Shape>;

/// How `field` of an object of type `owner` merges, and the type of its value or items.
pub(super) fn look<'a>(owner: Type<'a>, field: &str) -> (How, Type<'a>) {
    let child = owner.and_then(|shape| shape.member(field)).map(items);
    let known = owner
        .and_then(Shape::as_struct)
        .and_then(|known| known.fields.get(field));
    (known.map_or(How::Plain, |field| how(field.patch)), child)
}

fn items(shape: &Shape) -> &Shape {
    match shape {
        Shape::List { item, .. } => item.get(),
        shape => shape,
    }
}

fn how(patch: Patch) -> How {
    match patch {
        Patch { key: Some(key), .. } => How::ByKey(key),
        Patch { set: true, .. } => How::Set,
        Patch { replace: true, .. } => How::Replace,
        _ => How::Plain,
    }
}
