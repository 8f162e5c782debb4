//! Fields the kind does not have: refused, warned of or ignored, as the client wishes.

use cadet_api::fieldcheck;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use serde_json::Value;

use crate::query::FieldValidation;

/// Checks an object as the client sent it, but in its stored version; `text` is the body
/// itself, in which alone a key can stand twice. `named` is the kind as the client named
/// it. Returns warnings for the client.
///
/// A field of the wrong type is an error whatever the client wishes.
pub fn check(
    named: &'static Resource,
    object: &Value,
    text: Option<&[u8]>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let mut found = fieldcheck::check(named.stored_as(), object)?;
    if validation == FieldValidation::Ignore {
        return Ok(vec![]);
    }
    found.extend(text.map(fieldcheck::duplicates).unwrap_or_default());
    if found.is_empty() || validation == FieldValidation::Warn {
        return Ok(found);
    }
    Err(fieldcheck::strict_error(named, &found))
}

/// Checks only for keys that stand twice in the body.
pub fn twice(
    named: &'static Resource,
    text: Option<&[u8]>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let found = text.map(fieldcheck::duplicates).unwrap_or_default();
    match validation {
        FieldValidation::Ignore => Ok(vec![]),
        FieldValidation::Strict if !found.is_empty() => {
            Err(fieldcheck::strict_error(named, &found))
        }
        FieldValidation::Warn | FieldValidation::Strict => Ok(found),
    }
}
