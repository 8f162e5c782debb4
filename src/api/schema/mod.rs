//! What every field of every kind is: types, how lists merge, what explains it. Built-in
//! kinds come from a table of facts, custom kinds from their definitions; both are walked
//! the same way by field validation, server-side apply, protobuf and OpenAPI.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Go duration text: `15m0s`.
    Duration,
}

/// How server-side apply takes a list (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// One owner for the whole list.
    Atomic,
    /// Each value is its own item.
    Set,
    /// Each item is known by the values of these fields; with their defaults, if any.
    Map(Vec<Box<str>>),
}

/// What a value may look like.
#[derive(Debug)]
pub enum Shape {
    Scalar(Scalar),
    /// Named fields. With `atomic` it has one owner as a whole.
    Struct {
        fields: BTreeMap<Box<str>, Ref>,
        atomic: bool,
        /// Fields not named are kept (`x-kubernetes-preserve-unknown-fields`).
        open: bool,
    },
    /// Any keys, values of one shape: labels, data.
    Map {
        value: Ref,
        atomic: bool,
    },
    List {
        item: Ref,
        list_type: ListType,
    },
    /// Anything; nobody looks inside except server-side apply, which deduces the shape.
    Any,
}

/// A shape that may be shared, named, or part of itself (JSONSchemaProps is).
#[derive(Debug, Clone)]
pub enum Ref {
    /// A built-in type.
    Static(&'static Shape),
    /// A built-in type by name, looked up when it is walked.
    Named(&'static str),
    Shared(Arc<Shape>),
}
