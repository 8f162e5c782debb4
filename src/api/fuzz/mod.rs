//! Fuzz targets: each is a test that plays its corpus and some random inputs, and a target
//! of `scripts/fuzz`, which lets coverage guide it for as long as one likes.
//!
//! Random bytes seldom get past the first bracket, so an input is not the text itself but
//! the choices of a generator that spoils real manifests ([`material`]).

mod bodies;
mod material;
mod patches;
mod selectors;
mod words;

use serde_json::Value;

use crate::json::str_at;
use crate::resource::{self, Resource};

/// The row of an object's kind; none if the object is too spoilt to tell.
fn row_of(object: &Value) -> Option<&'static Resource> {
    resource::find_kind(str_at(object, "/apiVersion"), str_at(object, "/kind"))
}
