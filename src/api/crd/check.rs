//! Does a custom object fit its schema? In the words of upstream's validator.

use regex::Regex;
use serde_json::{Number, Value, json};

use crate::clock;
use crate::field::{Error, index, member};
use crate::json::{bool_at, int_at, list_at, map_at, str_at};
use crate::quantity::Quantity;

/// Deeper values than this are not looked into; bodies are bounded at 128 levels anyway.
const DEPTH: usize = 200;

/// What is wrong with an object. Metadata and type are left to the rules all objects have.
pub fn validate(schema: &Value, object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut bare = object.clone();
    if let Some(members) = bare.as_object_mut() {
        members.remove("metadata");
    }
    value(schema, &bare, "", &mut errors, DEPTH);
    errors
}

/// What is wrong with one value, a default for instance.
pub(super) fn validate_part(schema: &Value, v: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    value(schema, v, "", &mut errors, DEPTH);
    errors
}

fn value(schema: &Value, v: &Value, path: &str, e: &mut Vec<Error>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    if v.is_null() && bool_at(schema, "/nullable") {
        return;
    }
    if !fits_type(schema, v) {
        let wanted = match bool_at(schema, "/x-kubernetes-int-or-string") {
            true => "integer,string",
            false => str_at(schema, "/type"),
        };
        let found = kind(v);
        e.push(Error::invalid(
            path,
            found,
            format!("{path} in body must be of type {wanted}: {found:?}"),
        ));
        return;
    }
    if let Some(known) = schema.get("enum").and_then(Value::as_array)
        && !known.contains(v)
    {
        let known: Vec<String> = known
            .iter()
            .map(|k| k.as_str().map_or_else(|| k.to_string(), str::to_owned))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        e.push(Error::not_supported(path, v.clone(), &known));
    }
    match v {
        Value::String(text) => string(schema, text, path, e),
        Value::Number(n) => number(schema, n, v, path, e),
        Value::Array(items) => array(schema, items, v, path, e, depth),
        Value::Object(_) => object(schema, v, path, e, depth),
        Value::Bool(_) | Value::Null => {}
    }
    combined(schema, v, path, e, depth);
}

fn kind(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits_type(schema: &Value, v: &Value) -> bool {
    if bool_at(schema, "/x-kubernetes-int-or-string") {
        return v.is_string() || v.as_i64().is_some();
    }
    match str_at(schema, "/type") {
        "" => true,
        "integer" => is_whole(v),
        "number" => v.is_number(),
        wanted => wanted == kind(v),
    }
}

fn is_whole(v: &Value) -> bool {
    v.is_i64() || v.is_u64() || v.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn string(schema: &Value, text: &str, path: &str, e: &mut Vec<Error>) {
    let length = text.chars().count() as i64;
    if int_at(schema, "/minLength").is_some_and(|min| length < min) {
        let min = int_at(schema, "/minLength").unwrap_or(0);
        let why = format!("{path} in body should be at least {min} chars long");
        e.push(Error::invalid(path, text, why));
    }
    if let Some(max) = int_at(schema, "/maxLength")
        && length > max
    {
        e.push(Error::too_long(path, usize::try_from(max).unwrap_or(0)));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
    {
        let why = format!("{path} in body should match '{pattern}'");
        e.push(Error::invalid(path, text, why));
    }
    let format = str_at(schema, "/format");
    if !fits_format(format, text) {
        let why = format!("{path} in body must be of type {format}: {text:?}");
        e.push(Error::invalid(path, text, why));
    }
}

/// The formats upstream checks; others are taken as notes for people.
fn fits_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => clock::parse(text).is_some(),
        "date" => clock::parse(&format!("{text}T00:00:00Z")).is_some(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "byte" => crate::json::base64_decode(text).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => {
            text.len() == 36
                && text.char_indices().all(|(at, c)| match at {
                    8 | 13 | 18 | 23 => c == '-',
                    _ => c.is_ascii_hexdigit(),
                })
        }
        "quantity" => text.parse::<Quantity>().is_ok(),
        _ => true,
    }
}

fn number(schema: &Value, n: &Number, v: &Value, path: &str, e: &mut Vec<Error>) {
    let Some(f) = n.as_f64() else { return };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let shown = |key: &str| schema.get(key).cloned().unwrap_or_default();
    if let Some(max) = bound("maximum") {
        let strict = bool_at(schema, "/exclusiveMaximum");
        if f > max || (strict && f == max) {
            let or = if strict { "" } else { " or equal to" };
            let than = shown("maximum");
            let why = format!("{path} in body should be less than{or} {than}");
            e.push(Error::invalid(path, v.clone(), why));
        }
    }
    if let Some(min) = bound("minimum") {
        let strict = bool_at(schema, "/exclusiveMinimum");
        if f < min || (strict && f == min) {
            let or = if strict { "" } else { " or equal to" };
            let than = shown("minimum");
            let why = format!("{path} in body should be greater than{or} {than}");
            e.push(Error::invalid(path, v.clone(), why));
        }
    }
    if let Some(step) = bound("multipleOf")
        && step > 0.0
        && (f / step).fract().abs() > 1e-9
    {
        let why = format!(
            "{path} in body should be a multiple of {}",
            shown("multipleOf")
        );
        e.push(Error::invalid(path, v.clone(), why));
    }
    let format = str_at(schema, "/format");
    if format == "int32" && v.as_i64().is_some_and(|n| i32::try_from(n).is_err()) {
        let why = format!("{path} in body must be of type int32: {:?}", v.to_string());
        e.push(Error::invalid(path, v.clone(), why));
    }
}

fn array(schema: &Value, items: &[Value], v: &Value, path: &str, e: &mut Vec<Error>, depth: usize) {
    let count = items.len();
    if let Some(max) = int_at(schema, "/maxItems")
        && count as i64 > max
    {
        let max = usize::try_from(max).unwrap_or(0);
        e.push(Error::too_many(path, count, max));
    }
    if let Some(min) = int_at(schema, "/minItems")
        && (count as i64) < min
    {
        let why = format!("{path} in body should have at least {min} items");
        e.push(Error::invalid(path, v.clone(), why));
    }
    let keys = list_at(schema, "/x-kubernetes-list-map-keys");
    let set = bool_at(schema, "/uniqueItems") || str_at(schema, "/x-kubernetes-list-type") == "set";
    let mut seen = std::collections::HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let known_by = if set {
            item.to_string()
        } else if keys.is_empty() {
            continue;
        } else {
            let known: Vec<String> = keys
                .iter()
                .filter_map(Value::as_str)
                .map(|key| item.get(key).map(Value::to_string).unwrap_or_default())
                .collect();
            json!(known).to_string()
        };
        if !seen.insert(known_by) {
            let shown = if set {
                item.clone()
            } else {
                let mut shown = serde_json::Map::new();
                for key in keys.iter().filter_map(Value::as_str) {
                    if let Some(value) = item.get(key) {
                        shown.insert(key.to_owned(), value.clone());
                    }
                }
                Value::Object(shown)
            };
            e.push(Error::duplicate(&index(path, at), shown));
        }
    }
    if let Some(inner) = schema.get("items") {
        for (at, item) in items.iter().enumerate() {
            value(inner, item, &index(path, at), e, depth);
        }
    }
}

fn object(schema: &Value, v: &Value, path: &str, e: &mut Vec<Error>, depth: usize) {
    let Some(members) = v.as_object() else { return };
    let count = members.len() as i64;
    if int_at(schema, "/minProperties").is_some_and(|min| count < min) {
        let min = int_at(schema, "/minProperties").unwrap_or(0);
        let why = format!("{path} in body should have at least {min} properties");
        e.push(Error::invalid(path, v.clone(), why));
    }
    if let Some(max) = int_at(schema, "/maxProperties")
        && count > max
    {
        let max = usize::try_from(max).unwrap_or(0);
        e.push(Error::too_many(path, members.len(), max));
    }
    for name in list_at(schema, "/required")
        .iter()
        .filter_map(Value::as_str)
    {
        // Metadata was taken out above; it is always there.
        let is_metadata = path.is_empty() && name == "metadata";
        if !is_metadata && !members.contains_key(name) {
            e.push(Error::required(&member(path, name), ""));
        }
    }
    let properties = map_at(schema, "/properties");
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    for (name, inner) in members {
        let known = properties.and_then(|p| p.get(name)).or(additional);
        if let Some(schema) = known {
            value(schema, inner, &member(path, name), e, depth);
        }
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`.
fn combined(schema: &Value, v: &Value, path: &str, e: &mut Vec<Error>, depth: usize) {
    let fits = |schema: &Value| {
        let mut errors = Vec::new();
        value(schema, v, path, &mut errors, depth);
        errors.is_empty()
    };
    for part in list_at(schema, "/allOf") {
        value(part, v, path, e, depth);
    }
    let any = list_at(schema, "/anyOf");
    if !any.is_empty() && !any.iter().any(fits) {
        let why = format!("{path:?} must validate at least one schema (anyOf)");
        e.push(Error::invalid(path, v.clone(), why));
    }
    let one = list_at(schema, "/oneOf");
    if !one.is_empty() && one.iter().filter(|s| fits(s)).count() != 1 {
        let why = format!("{path:?} must validate one and only one schema (oneOf)");
        e.push(Error::invalid(path, v.clone(), why));
    }
    if schema.get("not").is_some_and(fits) {
        let why = format!("{path:?} must not validate the schema (not)");
        e.push(Error::invalid(path, v.clone(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_says_what_upstream_says() {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
            "type": "object", "required": ["cron"], "properties": {
                "cron": {"type": "string", "pattern": "^[0-9*/ ]+$", "minLength": 3, "maxLength": 20},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "port": {"x-kubernetes-int-or-string": true},
                "when": {"type": "string", "format": "date-time"},
                "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "list": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
                "maybe": {"type": "string", "nullable": true},
                "either": {"oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
                "no": {"not": {"required": ["x"]}}}}}});
        let check = |spec: Value| -> Vec<String> {
            let object = json!({"metadata": {"name": "a"}, "spec": spec});
            validate(&schema, &object)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert!(
            check(
                json!({"cron": "* *", "replicas": 2.0, "port": "http", "maybe": null,
            "tags": ["a", "b"], "list": [{"k": 1}, {"k": 2}], "when": "2026-01-01T00:00:00Z"})
            )
            .is_empty()
        );
        for (spec, words) in [
            (json!({}), "spec.cron: Required value"),
            (
                json!({"cron": 1}),
                "spec.cron: Invalid value: \"integer\": spec.cron in body must be of type string: \"integer\"",
            ),
            (
                json!({"cron": "x y"}),
                "spec.cron: Invalid value: \"x y\": spec.cron in body should match '^[0-9*/ ]+$'",
            ),
            (
                json!({"cron": "*"}),
                "spec.cron: Invalid value: \"*\": spec.cron in body should be at least 3 chars long",
            ),
            (
                json!({"cron": "*".repeat(21)}),
                "spec.cron: Too long: may not be more than 20 bytes",
            ),
            (
                json!({"cron": "* *", "replicas": "x"}),
                "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
            ),
            (
                json!({"cron": "* *", "replicas": 12}),
                "spec.replicas: Invalid value: 12: spec.replicas in body should be less than or equal to 10",
            ),
            (
                json!({"cron": "* *", "replicas": 3}),
                "spec.replicas: Invalid value: 3: spec.replicas in body should be a multiple of 2",
            ),
            (
                json!({"cron": "* *", "mode": "c"}),
                "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"cron": "* *", "port": true}),
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"cron": "* *", "when": "soon"}),
                "spec.when: Invalid value: \"soon\": spec.when in body must be of type date-time: \"soon\"",
            ),
            (
                json!({"cron": "* *", "tags": ["a", "b", "c"]}),
                "spec.tags: Too many: 3: must have at most 2 items",
            ),
            (
                json!({"cron": "* *", "tags": ["a", "a"]}),
                "spec.tags[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"cron": "* *", "list": [{"k": 1}, {"k": 1}]}),
                "spec.list[1]: Duplicate value: {\"k\":1}",
            ),
            (
                json!({"cron": "* *", "either": {}}),
                "spec.either: Invalid value: {}: \"spec.either\" must validate one and only one schema (oneOf)",
            ),
            (
                json!({"cron": "* *", "no": {"x": 1}}),
                "spec.no: Invalid value: {\"x\":1}: \"spec.no\" must not validate the schema (not)",
            ),
        ] {
            assert_eq!(check(spec.clone()), [words], "{spec}");
        }
    }
}
