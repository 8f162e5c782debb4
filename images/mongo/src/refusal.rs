//! Errors a client sees: MongoDB's numbers and names, with our own words.

use bson::{Document, doc};

/// Result of anything a command does.
pub type Answer<T> = Result<T, Refusal>;

/// A refused command or write: what drivers turn into an exception.
///
/// Codes and names are those of MongoDB's public `error_codes` list, since drivers
/// and applications branch on them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} ({name}, code {code})")]
pub struct Refusal {
    /// Number drivers branch on.
    pub code: i32,
    /// Name belonging to the number.
    pub name: &'static str,
    /// The words.
    pub message: String,
    /// Further fields of the reply, for instance the key of a duplicate.
    pub details: Box<Document>,
}

impl Refusal {
    fn new(code: i32, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            name,
            message: message.into(),
            details: Box::default(),
        }
    }

    /// 1: something of our own went wrong, such as the disk.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(1, "InternalError", message)
    }

    /// 2: an argument or operator that makes no sense, or that the stand-in does not know.
    pub fn bad_value(message: impl Into<String>) -> Self {
        Self::new(2, "BadValue", message)
    }

    /// 9: a command whose shape cannot be understood.
    pub fn failed_to_parse(message: impl Into<String>) -> Self {
        Self::new(9, "FailedToParse", message)
    }

    /// 14: a field of the wrong type.
    pub fn type_mismatch(message: impl Into<String>) -> Self {
        Self::new(14, "TypeMismatch", message)
    }

    /// 18: credentials were offered, but the stand-in keeps no users.
    pub fn authentication_failed(message: impl Into<String>) -> Self {
        Self::new(18, "AuthenticationFailed", message)
    }

    /// 20: an operation this kind of server does not perform, such as transactions.
    pub fn illegal_operation(message: impl Into<String>) -> Self {
        Self::new(20, "IllegalOperation", message)
    }

    /// 26: no such collection.
    pub fn no_such_namespace(message: impl Into<String>) -> Self {
        Self::new(26, "NamespaceNotFound", message)
    }

    /// 27: no such index.
    pub fn no_such_index(message: impl Into<String>) -> Self {
        Self::new(27, "IndexNotFound", message)
    }

    /// 28: a path that leads through a value that is neither document nor array.
    pub fn path_not_viable(message: impl Into<String>) -> Self {
        Self::new(28, "PathNotViable", message)
    }

    /// 40: two operators of one update touch the same path.
    pub fn conflicting_update(message: impl Into<String>) -> Self {
        Self::new(40, "ConflictingUpdateOperators", message)
    }

    /// 43: the cursor is unknown or was closed.
    pub fn no_such_cursor(id: i64) -> Self {
        Self::new(43, "CursorNotFound", format!("cursor id {id} not found"))
    }

    /// 59: no such command.
    pub fn no_such_command(name: &str) -> Self {
        Self::new(59, "CommandNotFound", format!("no such command: '{name}'"))
    }

    /// 66: an update that would change `_id` or another immutable field.
    pub fn immutable_field(message: impl Into<String>) -> Self {
        Self::new(66, "ImmutableField", message)
    }

    /// 67: an index of a kind that cannot be made.
    pub fn cannot_create_index(message: impl Into<String>) -> Self {
        Self::new(67, "CannotCreateIndex", message)
    }

    /// 72: an option of the command that cannot be honoured.
    pub fn invalid_options(message: impl Into<String>) -> Self {
        Self::new(72, "InvalidOptions", message)
    }

    /// 73: a database or collection name that is not allowed.
    pub fn invalid_namespace(message: impl Into<String>) -> Self {
        Self::new(73, "InvalidNamespace", message)
    }

    /// 76: replication was asked of a server that stands alone.
    pub fn no_replication(message: impl Into<String>) -> Self {
        Self::new(76, "NoReplicationEnabled", message)
    }

    /// 85: an index of that name or key exists with other options.
    pub fn index_options_conflict(message: impl Into<String>) -> Self {
        Self::new(85, "IndexOptionsConflict", message)
    }

    /// 115: MongoDB has it, the stand-in has not.
    pub fn not_supported(what: &str) -> Self {
        Self::new(
            115,
            "CommandNotSupported",
            format!("{what} is not supported by Cadet's stand-in for MongoDB"),
        )
    }

    /// 168: an aggregation expression the stand-in does not know.
    pub fn unknown_expression(name: &str) -> Self {
        Self::new(
            168,
            "InvalidPipelineOperator",
            format!("Unrecognized expression '{name}'"),
        )
    }

    /// 171: one index would have to cover two arrays of a document.
    pub fn parallel_arrays(message: impl Into<String>) -> Self {
        Self::new(171, "CannotIndexParallelArrays", message)
    }

    /// 10334: a document above 16 MiB.
    pub fn document_too_large(size: usize) -> Self {
        Self::new(
            10334,
            "BSONObjectTooLarge",
            format!(
                "document of {size} bytes is larger than the maximum of {} bytes",
                crate::wire::MAX_DOCUMENT
            ),
        )
    }

    /// 11000: a unique index already holds this key.
    pub fn duplicate_key(namespace: &str, index: &str, pattern: Document, value: Document) -> Self {
        let mut refusal = Self::new(
            11000,
            "DuplicateKey",
            format!(
                "E11000 duplicate key error collection: {namespace} index: {index} dup key: {value}"
            ),
        );
        refusal.details = Box::new(doc! { "keyPattern": pattern, "keyValue": value });
        refusal
    }

    /// 40324: a pipeline stage the stand-in does not know.
    pub fn unknown_stage(name: &str) -> Self {
        Self::new(
            40324,
            "Location40324",
            format!("Unrecognized pipeline stage name: '{name}'"),
        )
    }

    /// 40415: a field the command does not have; ignoring it might change its meaning.
    pub fn unknown_field(command: &str, field: &str) -> Self {
        Self::new(
            40415,
            "Location40415",
            format!("BSON field '{command}.{field}' is an unknown field."),
        )
    }

    /// The reply document of a whole command that was refused.
    pub fn reply(&self) -> Document {
        let mut reply = doc! {
            "ok": 0.0, "errmsg": &self.message, "code": self.code, "codeName": self.name,
        };
        reply.extend(*self.details.clone());
        reply
    }

    /// One entry of `writeErrors`, for statement `index` of a write command.
    pub fn write_error(&self, index: usize) -> Document {
        let mut entry = doc! {
            "index": i32::try_from(index).unwrap_or(i32::MAX), "code": self.code, "errmsg": &self.message,
        };
        entry.extend(*self.details.clone());
        entry
    }
}
