//! Rules for label selectors inside objects, and for numbers that must not be negative.

use serde_json::{Value, json};

use super::{all, labels};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
use crate::names;

/// A `LabelSelector` at `pointer`.
pub(super) fn label_selector(e: &mut Vec<Error>, path: &str, object: &Value, pointer: &str) {
    labels(
        e,
        &format!("{path}.matchLabels"),
        object,
        &format!("{pointer}/matchLabels"),
    );
    let expressions = list_at(object, &format!("{pointer}/matchExpressions"));
    for (i, expression) in expressions.iter().enumerate() {
        let at = index(&format!("{path}.matchExpressions"), i);
        let key = str_at(expression, "/key");
        let values = list_at(expression, "/values");
        match str_at(expression, "/operator") {
            "In" | "NotIn" if values.is_empty() => e.push(Error::required(
                &format!("{at}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => e.push(Error::forbidden(
                &format!("{at}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => e.push(Error::invalid(
                &format!("{at}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
        all(
            e,
            &format!("{at}.key"),
            &json!(key),
            names::qualified_name(key),
        );
        for (j, value) in values.iter().enumerate() {
            let text = value.as_str().unwrap_or_default();
            let why = names::label_value(text);
            all(e, &format!("{at}.values[{j}]"), value, why);
        }
    }
}

/// Whether a `LabelSelector` selects everything, which most owners may not.
pub(super) fn selects_all(selector: Option<&Value>) -> bool {
    selector.is_none_or(|s| {
        list_at(s, "/matchExpressions").is_empty()
            && crate::json::map_at(s, "/matchLabels").is_none_or(serde_json::Map::is_empty)
    })
}

/// Each of the whole numbers, where it stands, must be zero or more.
pub(super) fn not_negative(e: &mut Vec<Error>, object: &Value, fields: &[&str]) {
    for field in fields {
        let pointer = format!("/{}", field.replace('.', "/"));
        if let Some(n) = int_at(object, &pointer)
            && n < 0
        {
            e.push(Error::invalid(
                field,
                n,
                "must be greater than or equal to 0",
            ));
        }
    }
}

/// A field that may not change once it is set.
pub(super) fn immutable(e: &mut Vec<Error>, field: &str, new: &Value, old: &Value) {
    let pointer = format!("/{}", field.replace('.', "/"));
    let (now, before) = (new.pointer(&pointer), old.pointer(&pointer));
    if now != before {
        let now = now.cloned().unwrap_or(Value::Null);
        e.push(Error::invalid(field, now, "field is immutable"));
    }
}
