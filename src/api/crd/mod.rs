//! Custom kinds: what a CustomResourceDefinition says, and what follows from it for its
//! objects. The table row of a custom kind carries a [`Custom`].

mod check;
mod definition;
mod path;
mod rules;
mod schema;

use std::collections::HashMap;

use serde_json::Value;

use crate::cel::Program;
use crate::columns::Column;
use crate::schema::Shape;

pub use check::validate;
pub use definition::{
    FINALIZER, defaults, key, rows, status, storage_version, update_rules, validate_definition,
};
pub use path::JsonPath;
pub use rules::check as check_rules;
pub use schema::{fill, prune};

/// What only custom kinds have.
#[derive(Debug)]
pub struct Custom {
    /// `openAPIV3Schema` of this version.
    pub schema: Value,
    pub shape: Shape,
    /// Columns after the name, with where their cells come from.
    pub columns: Vec<Column>,
    pub cells: Vec<Cell>,
    pub scale: Option<Scale>,
    /// Compiled rules by their text.
    pub programs: HashMap<String, Program>,
    /// What users of a deprecated version are told.
    pub deprecation: Option<String>,
}

/// Where the cell of a column comes from.
#[derive(Debug)]
pub struct Cell {
    pub path: JsonPath,
    /// Shown as an age.
    pub date: bool,
}

/// Where a custom kind keeps its scale, as JSON pointers.
#[derive(Debug, Clone)]
pub struct Scale {
    pub spec: String,
    pub status: String,
    /// A text, in the form of the `labelSelector` parameter.
    pub selector: Option<String>,
}
