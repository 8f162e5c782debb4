//! What every field of every kind is: types, how lists merge, its number in protobuf.
//! Built-in kinds come from a table of facts, custom kinds from their definitions; both are
//! walked the same way by field validation, patches, server-side apply, protobuf and OpenAPI.

mod absent;
mod builtin;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use absent::drop_empty;
pub use builtin::{FACTS, builtin, definition_of, name_of, names, of};

/// A value that has no members of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    Text,
    /// 32 or 64 bits, which only matters to error messages and protobuf.
    Int32,
    Int64,
    Float,
    Bool,
    /// Base64 text in JSON.
    Bytes,
    /// Text or number in JSON: `100m`.
    Quantity,
    /// Text or number in JSON: a port by name or number, a percentage.
    IntOrText,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
}

/// How server-side apply takes a list (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// One owner for the whole list.
    Atomic,
    /// Each value is its own item.
    Set,
    /// Each item is known by the values of these fields.
    Map(Vec<MapKey>),
}

/// One of the fields that tell the items of a list apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapKey {
    pub name: Box<str>,
    /// Value of an item that leaves the field out: ports default to TCP.
    pub default: Option<serde_json::Value>,
}

/// What a value may look like.
#[derive(Debug)]
pub enum Shape {
    Scalar(Scalar),
    Struct(Struct),
    /// Any keys, values of one shape: labels, data.
    Map {
        value: Ref,
        atomic: bool,
    },
    List {
        item: Ref,
        list_type: ListType,
    },
    /// An object of this shape, or something simpler that nobody looks into.
    OrElse(Ref),
    /// Anything; nobody looks inside except server-side apply, which deduces the shape.
    Any,
}

/// An object with named fields.
#[derive(Debug, Default)]
pub struct Struct {
    pub fields: BTreeMap<Box<str>, Field>,
    /// It has one owner as a whole.
    pub atomic: bool,
    /// Fields not named are kept (`x-kubernetes-preserve-unknown-fields`).
    pub open: bool,
}

/// One field of a struct.
#[derive(Debug, Clone)]
pub struct Field {
    pub shape: Ref,
    pub required: bool,
    /// Number in protobuf; 0 if it has none we know of.
    pub number: u32,
    /// Number of the message it is embedded in, or 0: JSON shows such messages flat.
    pub outer: u32,
    pub patch: Patch,
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patch {
    /// A list of objects merged by this key.
    pub key: Option<&'static str>,
    /// A list of plain values merged as a set.
    pub set: bool,
    /// Patch items may carry `$retainKeys`.
    pub retain_keys: bool,
    /// Replaced as a whole although it is an object.
    pub replace: bool,
}

/// A shape that may be shared, named, or part of itself (JSONSchemaProps is).
#[derive(Debug, Clone)]
pub enum Ref {
    /// A built-in type by its definition's name, looked up when it is walked.
    Named(&'static str),
    Static(&'static Shape),
    Shared(Arc<Shape>),
}

impl Ref {
    /// The shape itself.
    pub fn get(&self) -> &Shape {
        match self {
            Ref::Named(name) => builtin(name).unwrap_or(&Shape::Any),
            Ref::Static(shape) => shape,
            Ref::Shared(shape) => shape,
        }
    }
}

impl Shape {
    /// The struct, if this is one.
    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Shape::Struct(fields) => Some(fields),
            Shape::OrElse(inner) => inner.get().as_struct(),
            _ => None,
        }
    }

    /// The shape of a member called `name`, of a struct or a map.
    pub fn member(&self, name: &str) -> Option<&Shape> {
        match self {
            Shape::Struct(fields) => fields.fields.get(name).map(|field| field.shape.get()),
            Shape::Map { value, .. } => Some(value.get()),
            Shape::OrElse(inner) => inner.get().member(name),
            _ => None,
        }
    }
}
