//! The three kinds of patch a client may send.

mod json_patch;
mod keys;
mod merge;
mod strategic;

use serde_json::Value;

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
    /// Upstream has no code for it, so that it counts as the server's fault.
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Inapplicable(String),
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooManyOperations { max: usize, got: usize },
}

impl Error {
    /// The reply a client gets.
    pub fn status(&self) -> Status {
        match self {
            Error::Malformed(_) => Status::bad_request(self.to_string()),
            Error::Unknown(_) => Status::failure(500, "", self.to_string()),
            Error::Inapplicable(_) => Status::failure(
                422,
                "Invalid",
                // Upstream keeps the reason to itself.
                "the server rejected our request due to an error in our request",
            ),
            Error::TooManyOperations { .. } => {
                Status::failure(413, "RequestEntityTooLarge", self.to_string())
            }
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
