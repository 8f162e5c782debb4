//! Label and field selectors as they stand in a query string.

mod field;
mod label;
mod lex;

pub use field::{FieldSelector, values as field_values};
pub use label::{LabelSelector, Op, Requirement};

/// Why a selector cannot be understood; the text is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    #[error("{0}")]
    Syntax(String),
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    FieldTerm { selector: String, term: String },
    #[error("field label not supported: {0}")]
    UnsupportedField(String),
    /// Of a kind that has no fields of its own to select by.
    #[error("{0:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    UnknownField(String),
}
