//! JSON patch (RFC 6902).

use serde_json::Value;

use super::Error;

/// Upstream's limit on operations in one patch.
const MAX_OPERATIONS: usize = 10_000;

/// Applies the operations in order; on an error the object is left half-changed, so give
/// it a copy.
///
/// # Errors
/// The patch is malformed, a place does not exist, or a `test` fails.
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), Error> {
    let operations = patch
        .as_array()
        .ok_or_else(|| Error::Malformed("a JSON patch is a list of operations".into()))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(Error::TooManyOperations {
            max: MAX_OPERATIONS,
            got: operations.len(),
        });
    }
    operations.iter().try_for_each(|op| apply(object, op))
}

fn apply(object: &mut Value, op: &Value) -> Result<(), Error> {
    let text = |key: &str| {
        op.get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| Error::Malformed(format!("operation has no {key:?}: {op}")))
    };
    let value = || {
        op.get("value")
            .cloned()
            .ok_or_else(|| Error::Malformed(format!("operation has no \"value\": {op}")))
    };
    let path = text("path")?;
    match text("op")? {
        "add" => add(object, path, value()?),
        "remove" => remove(object, path, "remove").map(drop),
        "replace" => {
            let new = value()?;
            let missing = || inapplicable("replace", path);
            *object.pointer_mut(path).ok_or_else(missing)? = new;
            Ok(())
        }
        "move" => {
            let from = text("from")?;
            if path.starts_with(&format!("{from}/")) {
                return Err(Error::Inapplicable(format!(
                    "move operation: {path} lies inside {from}"
                )));
            }
            let moved = remove(object, from, "move")?;
            add(object, path, moved)
        }
        "copy" => {
            let from = text("from")?;
            let copied = object
                .pointer(from)
                .ok_or_else(|| inapplicable("copy", from))?
                .clone();
            add(object, path, copied)
        }
        "test" => {
            // A missing place equals null, as in the library upstream uses.
            let want = op.get("value").unwrap_or(&Value::Null);
            if object.pointer(path).unwrap_or(&Value::Null) == want {
                Ok(())
            } else {
                Err(Error::Inapplicable(format!(
                    "testing value {path} failed: test failed"
                )))
            }
        }
        other => Err(Error::Malformed(format!("unexpected kind: {other}"))),
    }
}

fn inapplicable(op: &str, path: &str) -> Error {
    Error::Inapplicable(format!(
        "{op} operation does not apply: doc is missing path: {path}"
    ))
}

/// Parent of a pointer and its last token, unescaped.
fn split(path: &str) -> Result<(&str, String), Error> {
    let (parent, last) = path
        .rsplit_once('/')
        .ok_or_else(|| Error::Malformed(format!("path {path:?} does not start with a slash")))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn position(token: &str, len: usize) -> Option<usize> {
    // No leading zeros, no signs: RFC 6901.
    let plain =
        token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    token.parse().ok().filter(|i| plain && *i <= len)
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), Error> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = split(path)?;
    let missing = || inapplicable("add", path);
    match object.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(m) => {
            m.insert(last, value);
        }
        Value::Array(a) => {
            let at = if last == "-" {
                a.len()
            } else {
                position(&last, a.len()).ok_or_else(missing)?
            };
            a.insert(at, value);
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str, op: &str) -> Result<Value, Error> {
    let (parent, last) = split(path)?;
    let missing = || inapplicable(op, path);
    match object.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(m) => m.remove(&last).ok_or_else(missing),
        Value::Array(a) => {
            let at = position(&last, a.len())
                .filter(|i| *i < a.len())
                .ok_or_else(missing)?;
            Ok(a.remove(at))
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(mut doc: Value, patch: Value) -> Result<Value, Error> {
        json_patch(&mut doc, &patch)?;
        Ok(doc)
    }

    #[test]
    fn operations() {
        for (doc, op, want) in [
            (
                json!({"a": [1, 2]}),
                json!({"op": "add", "path": "/a/1", "value": 9}),
                json!({"a": [1, 9, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!({"op": "add", "path": "/a/-", "value": 2}),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "add", "path": "/x~1y~0z", "value": null}),
                json!({"a": 1, "x/y~z": null}),
            ),
            (
                json!({"a": [1, 2]}),
                json!({"op": "remove", "path": "/a/0"}),
                json!({"a": [2]}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "replace", "path": "/a", "value": 2}),
                json!({"a": 2}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "move", "from": "/a", "path": "/b"}),
                json!({"b": 1}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "copy", "from": "/a", "path": "/b"}),
                json!({"a": 1, "b": 1}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "test", "path": "/a", "value": 1}),
                json!({"a": 1}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "add", "path": "", "value": [1]}),
                json!([1]),
            ),
        ] {
            assert_eq!(run(doc, json!([op])).unwrap(), want, "{op}");
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        let doc = json!({"a": [1]});
        for (op, code) in [
            (json!({"op": "remove", "path": "/b"}), 422),
            (json!({"op": "replace", "path": "/b", "value": 1}), 422),
            (json!({"op": "add", "path": "/a/2", "value": 1}), 422),
            (json!({"op": "add", "path": "/a/01", "value": 1}), 422),
            (json!({"op": "test", "path": "/a", "value": 1}), 422),
            (json!({"op": "move", "from": "/a", "path": "/a/0"}), 422),
            (json!({"op": "jump", "path": "/a"}), 400),
            (json!({"op": "add", "path": "/a"}), 400),
            (json!({"op": "add", "path": "a", "value": 1}), 400),
        ] {
            assert_eq!(
                run(doc.clone(), json!([op])).unwrap_err().status().code,
                code,
                "{op}"
            );
        }
        assert_eq!(run(doc.clone(), json!({})).unwrap_err().status().code, 400);
        let many = vec![json!({"op": "test", "path": "/a", "value": [1]}); MAX_OPERATIONS + 1];
        assert_eq!(run(doc, json!(many)).unwrap_err().status().code, 413);
    }
}
