//! Reading and writing places inside a JSON object without ceremony.

use serde_json::{Map, Value};

static EMPTY_LIST: Vec<Value> = Vec::new();

/// What stands at JSON pointer `path`: as [`Value::pointer`], which makes two new strings of
/// every segment to undo escapes that paths in this code seldom have.
pub fn at<'a>(v: &'a Value, path: &str) -> Option<&'a Value> {
    if path.contains('~') {
        return v.pointer(path);
    }
    let Some(segments) = path.strip_prefix('/') else {
        return path.is_empty().then_some(v);
    };
    segments.split('/').try_fold(v, |v, segment| match v {
        Value::Object(members) => members.get(segment),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The string at JSON pointer `path`, or "" if it is absent or no string.
pub fn str_at<'a>(v: &'a Value, path: &str) -> &'a str {
    at(v, path).and_then(Value::as_str).unwrap_or("")
}

/// The whole number at `path`, if there is one.
pub fn int_at(v: &Value, path: &str) -> Option<i64> {
    at(v, path).and_then(Value::as_i64)
}

/// The boolean at `path`; absent counts as false, as everywhere in Kubernetes.
pub fn bool_at(v: &Value, path: &str) -> bool {
    at(v, path).and_then(Value::as_bool).unwrap_or(false)
}

/// The array at `path`; absent counts as empty.
pub fn list_at<'a>(v: &'a Value, path: &str) -> &'a [Value] {
    at(v, path).and_then(Value::as_array).unwrap_or(&EMPTY_LIST)
}

/// The object at `path`, if there is one.
pub fn map_at<'a>(v: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
    at(v, path).and_then(Value::as_object)
}

/// The array at `path` for changing its items; `None` if it is absent.
pub fn list_mut<'a>(v: &'a mut Value, path: &str) -> Option<&'a mut Vec<Value>> {
    v.pointer_mut(path).and_then(Value::as_array_mut)
}

/// The object under `key`, created if absent, null or of another type.
pub fn child<'a>(m: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = m.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object on the line above"),
    }
}

/// Sets `key` unless it already holds something other than null or "".
///
/// Go cannot tell an empty string from an absent one, so a default replaces both.
pub fn default(m: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let unset = match m.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(_) => false,
    };
    if unset {
        m.insert(key.to_owned(), value.into());
    }
}

/// Deepest object taken. What the server writes beside it (who owns which field) nests a
/// little deeper, and records are read back to 127 levels.
pub const MAX_DEPTH: usize = 100;

/// How deep a value nests; 0 if it has no members.
pub fn depth(v: &Value) -> usize {
    match v {
        Value::Object(m) => 1 + m.values().map(depth).max().unwrap_or(0),
        Value::Array(a) => 1 + a.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether Go's `omitempty` would leave the value out.
pub fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// Drops every `null` member of every object: to Kubernetes a null is an absent field,
/// and stored objects must not carry it.
pub fn drop_nulls(v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.retain(|_, v| !v.is_null());
            m.values_mut().for_each(drop_nulls);
        }
        Value::Array(a) => a.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The JSON type's name as Go's decoder says it in errors.
pub fn type_name(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The JSON value's kind as Go's reflection names it once it is decoded.
pub fn go_kind(v: &Value) -> &'static str {
    match v {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// Decodes standard base64 with padding, the form Kubernetes gives binary data in JSON;
/// line breaks are skipped, as Go skips them.
///
/// # Errors
/// The offset of the first byte that does not fit.
pub fn base64_decode(text: &str) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut padding) = (0_u32, 0_u32, 0_u32);
    for (at, byte) in text.bytes().enumerate() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'\r' | b'\n' => continue,
            b'=' if count % 4 >= 2 || padding > 0 => {
                padding += 1;
                continue;
            }
            _ => return Err(at),
        };
        if padding > 0 {
            return Err(at);
        }
        bits = bits << 6 | u32::from(six);
        count += 1;
        if count % 4 != 1 {
            out.push((bits >> (6 - 2 * ((count - 1) % 4))) as u8);
        }
    }
    match (count % 4, padding) {
        (0, 0) | (2, 2) | (3, 1) => Ok(out),
        _ => Err(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_found_as_by_a_pointer_of_the_library() {
        let v = json!({"a": {"b": [1, {"c/d": 2}], "": 3}, "": {"x": 4}});
        for path in [
            "",
            "/",
            "/a",
            "/a/b",
            "/a/b/0",
            "/a/b/1/c~1d",
            "/a/b/2",
            "/a/b/x",
            "/a/",
            "//x",
            "/a/b/0/c",
            "a",
            "/none",
        ] {
            assert_eq!(at(&v, path), v.pointer(path), "{path:?}");
        }
    }

    #[test]
    fn default_fills_absent_null_and_empty_but_keeps_false_and_zero() {
        let mut m = json!({"a": null, "b": "", "c": false, "d": 0})
            .as_object()
            .cloned()
            .unwrap();
        for key in ["a", "b", "c", "d", "e"] {
            default(&mut m, key, "x");
        }
        assert_eq!(
            Value::Object(m),
            json!({"a":"x","b":"x","c":false,"d":0,"e":"x"})
        );
    }

    #[test]
    fn nulls_vanish_at_every_depth_but_not_from_arrays() {
        let mut v = json!({"a": null, "b": [{"c": null, "d": 1}, null]});
        drop_nulls(&mut v);
        assert_eq!(v, json!({"b": [{"d": 1}, null]}));
    }

    #[test]
    fn base64_is_read_as_go_reads_it() {
        for (text, want) in [
            ("", Ok(&b""[..])),
            ("Zg==", Ok(b"f")),
            ("Zm8=", Ok(b"fo")),
            ("Zm9v", Ok(b"foo")),
            ("Zm\n9v\n", Ok(b"foo")),
            ("w78=", Ok("\u{ff}".as_bytes())),
            ("!", Err(0)),
            ("Zg=", Err(3)),
            ("Zg", Err(2)),
            ("Zg==Zg==", Err(4)),
            ("Z===", Err(1)),
        ] {
            assert_eq!(base64_decode(text), want.map(<[u8]>::to_vec), "{text}");
        }
    }
}
