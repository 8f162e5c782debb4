//! The three kinds of patch a client may send.

mod json_patch;
mod keys;
mod merge;
mod strategic;

use serde_json::Value;

use crate::json::type_name;
use crate::resource::Resource;
use crate::schema;
use crate::status::Status;

pub use json_patch::json_patch;
pub use merge::merge_patch;

/// Content types a PATCH request may have, in the order upstream lists them.
pub const CONTENT_TYPES: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Malformed(String),
    /// With the type it has instead.
    #[error("json: cannot unmarshal {0} into Go value of type map[string]interface {{}}")]
    NotAnObject(&'static str),
    /// Upstream has no code for it, so that it counts as the server's fault.
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Inapplicable(String),
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooManyOperations { max: usize, got: usize },
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {limit}"
    )]
    CopiesTooLarge { copied: usize, limit: usize },
}

impl Error {
    /// The reply a client gets.
    pub fn status(&self) -> Status {
        match self {
            Error::Malformed(_) | Error::NotAnObject(_) => Status::bad_request(self.to_string()),
            Error::Unknown(_) => Status::failure(500, "", self.to_string()),
            Error::Inapplicable(_) => Status::failure(
                422,
                "Invalid",
                // Upstream keeps the reason to itself.
                "the server rejected our request due to an error in our request",
            ),
            Error::TooManyOperations { .. } | Error::CopiesTooLarge { .. } => Status::failure(
                413,
                "RequestEntityTooLarge",
                format!("Request entity too large: {self}"),
            ),
        }
    }
}

/// A patch other than a list of operations must be an object.
///
/// # Errors
/// It is something else.
pub fn check_object(patch: &Value) -> Result<(), Error> {
    match patch {
        Value::Object(_) => Ok(()),
        other => Err(Error::NotAnObject(type_name(other))),
    }
}

/// A value as Go prints it, which is how a refusal shows a patch: `map[spec:map[replicas:2]]`.
pub fn go_text(value: &Value) -> String {
    let all = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", all(items.iter().map(go_text).collect())),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let part = |(key, value): &(&String, &Value)| format!("{key}:{}", go_text(value));
            format!("map[{}]", all(members.iter().map(part).collect()))
        }
    }
}

/// Applies a strategic merge patch to an object of kind `res`.
///
/// # Errors
/// The patch is no object, or a directive in it is wrong.
pub fn strategic(res: &Resource, object: &mut Value, patch: &Value) -> Result<(), Error> {
    strategic::apply(schema::of(res), object, patch)
}
