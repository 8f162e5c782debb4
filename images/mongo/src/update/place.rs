//! Getting, setting and removing one exact place in a document.

use bson::{Bson, Document};

use crate::query::path::array_index;
use crate::refusal::{Answer, Refusal};

/// Most nulls an update may put in front of an array element, as in MongoDB.
const MAX_PADDING: usize = 1_500_000;

/// The value at a place; numbers lead into arrays.
pub fn get<'a>(document: &'a Document, parts: &[String]) -> Option<&'a Bson> {
    let (first, rest) = parts.split_first()?;
    let mut value = document.get(first)?;
    for part in rest {
        value = match value {
            Bson::Document(inner) => inner.get(part)?,
            Bson::Array(items) => items.get(array_index(part)?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Sets a place, making documents on the way and padding arrays with nulls.
///
/// # Errors
/// `PathNotViable` where the way leads through a plain value.
pub fn set(document: &mut Document, parts: &[String], value: Bson) -> Answer<()> {
    match parts {
        [] => Ok(()),
        [last] => {
            document.insert(last, value);
            Ok(())
        }
        [first, rest @ ..] => {
            if !document.contains_key(first) {
                document.insert(first, Document::new());
            }
            match document.get_mut(first) {
                Some(inner) => set_inside(inner, first, rest, value),
                None => Ok(()),
            }
        }
    }
}

fn set_inside(holder: &mut Bson, name: &str, parts: &[String], value: Bson) -> Answer<()> {
    match holder {
        Bson::Document(inner) => set(inner, parts, value),
        Bson::Array(items) => {
            let Some((first, rest)) = parts.split_first() else {
                return Ok(());
            };
            let index = array_index(first)
                .ok_or_else(|| not_viable(first, &format!("the array '{name}'")))?;
            if index >= items.len() {
                if index - items.len() > MAX_PADDING {
                    return Err(Refusal::bad_value(format!(
                        "can't backfill more than {MAX_PADDING} elements of an array"
                    )));
                }
                items.resize(index + 1, Bson::Null);
                if !rest.is_empty() {
                    items[index] = Bson::Document(Document::new());
                }
            }
            if rest.is_empty() {
                items[index] = value;
                return Ok(());
            }
            set_inside(&mut items[index], first, rest, value)
        }
        other => Err(not_viable(
            parts.first().map_or("", String::as_str),
            &format!("{{{name}: {other}}}"),
        )),
    }
}

fn not_viable(field: &str, element: &str) -> Refusal {
    Refusal::path_not_viable(format!(
        "Cannot create field '{field}' in element {element}"
    ))
}

/// Removes a place; an array element becomes null, so that its neighbours keep their index.
pub fn unset(document: &mut Document, parts: &[String]) {
    match parts {
        [] => {}
        [last] => {
            document.remove(last);
        }
        [first, rest @ ..] => {
            if let Some(inner) = document.get_mut(first) {
                unset_inside(inner, rest);
            }
        }
    }
}

fn unset_inside(holder: &mut Bson, parts: &[String]) {
    match holder {
        Bson::Document(inner) => unset(inner, parts),
        Bson::Array(items) => {
            let Some((first, rest)) = parts.split_first() else {
                return;
            };
            if let Some(item) = array_index(first).and_then(|index| items.get_mut(index)) {
                if rest.is_empty() {
                    *item = Bson::Null;
                } else {
                    unset_inside(item, rest);
                }
            }
        }
        _ => {}
    }
}
