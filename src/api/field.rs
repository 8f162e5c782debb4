//! Errors about one field of an object, worded as upstream words them.

use std::fmt;

use serde_json::Value;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Required,
    Invalid,
    /// Invalid together with other fields; its own value would tell nothing.
    Inconsistent,
    NotSupported,
    Forbidden,
    Duplicate,
    NotFound,
    TooLong,
    TooMany,
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    pub fault: Fault,
    /// As the user would write it: `spec.containers[0].image`.
    pub field: String,
    /// The value found; null where the message does not show it.
    pub value: Value,
    pub detail: String,
}

impl Error {
    fn new(fault: Fault, field: &str, value: Value, detail: impl Into<String>) -> Error {
        Error {
            fault,
            field: field.to_owned(),
            value,
            detail: detail.into(),
        }
    }

    /// The field must be set.
    pub fn required(field: &str, detail: &str) -> Error {
        Error::new(Fault::Required, field, Value::Null, detail)
    }

    /// The value breaks a rule, which `detail` tells.
    pub fn invalid(field: &str, value: impl Into<Value>, detail: impl Into<String>) -> Error {
        Error::new(Fault::Invalid, field, value.into(), detail)
    }

    /// Fields contradict each other: as [`Error::invalid`], without a value.
    pub fn inconsistent(field: &str, detail: impl Into<String>) -> Error {
        Error::new(Fault::Inconsistent, field, Value::Null, detail)
    }

    /// The value is none of `known`.
    pub fn not_supported(field: &str, value: impl Into<Value>, known: &[&str]) -> Error {
        let list: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        let detail = format!("supported values: {}", list.join(", "));
        Error::new(Fault::NotSupported, field, value.into(), detail)
    }

    /// The field may not be set, or not be changed.
    pub fn forbidden(field: &str, detail: impl Into<String>) -> Error {
        Error::new(Fault::Forbidden, field, Value::Null, detail)
    }

    /// The value stands there twice.
    pub fn duplicate(field: &str, value: impl Into<Value>) -> Error {
        Error::new(Fault::Duplicate, field, value.into(), "")
    }

    /// The value names something that is not there.
    pub fn not_found(field: &str, value: impl Into<Value>) -> Error {
        Error::new(Fault::NotFound, field, value.into(), "")
    }

    /// More than `max` bytes.
    pub fn too_long(field: &str, max: usize) -> Error {
        Error::new(
            Fault::TooLong,
            field,
            Value::Null,
            format!("may not be more than {max} bytes"),
        )
    }

    /// More than `max` items.
    pub fn too_many(field: &str, count: usize, max: usize) -> Error {
        let detail = format!("must have at most {max} items");
        Error::new(Fault::TooMany, field, Value::from(count), detail)
    }

    /// The cause's reason in a Status.
    pub fn reason(&self) -> &'static str {
        match self.fault {
            Fault::Required => "FieldValueRequired",
            Fault::Invalid | Fault::Inconsistent => "FieldValueInvalid",
            Fault::NotSupported => "FieldValueNotSupported",
            Fault::Forbidden => "FieldValueForbidden",
            Fault::Duplicate => "FieldValueDuplicate",
            Fault::NotFound => "FieldValueNotFound",
            Fault::TooLong => "FieldValueTooLong",
            Fault::TooMany => "FieldValueTooMany",
        }
    }

    /// The message without the field's name.
    pub fn body(&self) -> String {
        let (words, show_value) = match self.fault {
            Fault::Required => ("Required value", false),
            Fault::Invalid => ("Invalid value", true),
            Fault::Inconsistent => ("Invalid value", false),
            Fault::NotSupported => ("Unsupported value", true),
            Fault::Forbidden => ("Forbidden", false),
            Fault::Duplicate => ("Duplicate value", true),
            Fault::NotFound => ("Not found", true),
            Fault::TooLong => ("Too long", false),
            Fault::TooMany => ("Too many", true),
        };
        let mut out = words.to_owned();
        if show_value {
            // Strings come out quoted, everything else as compact JSON.
            out = format!("{out}: {}", self.value);
        }
        if !self.detail.is_empty() {
            out = format!("{out}: {}", self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// The JSON pointer of a path of plain members: `/spec/template` for `spec.template`.
pub fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// `path[index]`.
pub fn index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// `path[key]`, for members of a map.
pub fn key(path: &str, key: &str) -> String {
    format!("{path}[{key}]")
}

/// `path.name`.
pub fn member(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_read_like_upstream() {
        let f = "spec.x";
        for (e, want) in [
            (Error::required(f, ""), "spec.x: Required value"),
            (
                Error::invalid(f, "A", "bad"),
                "spec.x: Invalid value: \"A\": bad",
            ),
            (Error::invalid(f, 0, "bad"), "spec.x: Invalid value: 0: bad"),
            (
                Error::not_supported(f, "Z", &["A", "B"]),
                "spec.x: Unsupported value: \"Z\": supported values: \"A\", \"B\"",
            ),
            (Error::inconsistent(f, "no"), "spec.x: Invalid value: no"),
            (Error::forbidden(f, "no"), "spec.x: Forbidden: no"),
            (Error::duplicate(f, "a"), "spec.x: Duplicate value: \"a\""),
            (Error::not_found(f, "a"), "spec.x: Not found: \"a\""),
            (
                Error::too_long(f, 9),
                "spec.x: Too long: may not be more than 9 bytes",
            ),
            (
                Error::too_many(f, 5, 2),
                "spec.x: Too many: 5: must have at most 2 items",
            ),
        ] {
            assert_eq!(e.to_string(), want);
        }
    }
}
