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
    let unknown = fieldcheck::check(named.stored_as(), object)?;
    judge(named, unknown, text, validation)
}

/// Checks only for keys that stand twice in the body.
pub fn twice(
    named: &'static Resource,
    text: Option<&[u8]>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    judge(named, vec![], text, validation)
}

/// What the client wishes to hear of these fields, and of keys that stand twice.
fn judge(
    named: &'static Resource,
    mut found: Vec<String>,
    text: Option<&[u8]>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    if validation == FieldValidation::Ignore {
        return Ok(vec![]);
    }
    found.extend(text.map(fieldcheck::duplicates).unwrap_or_default());
    if found.is_empty() || validation == FieldValidation::Warn {
        return Ok(found);
    }
    Err(fieldcheck::strict_error(named, &found))
}
