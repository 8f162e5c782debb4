//! JSON patch (RFC 6902).

use serde_json::Value;

use super::Error;
use crate::json::{MAX_DEPTH, depth};

/// Upstream's limit on operations in one patch.
const MAX_OPERATIONS: usize = 10_000;

/// Upstream's limit on what the copies of one patch may add, in bytes of JSON: a few dozen
/// of them double an object beyond any memory.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies the operations in order; on an error the object is left half-changed, so give
/// it a copy.
///
/// # Errors
/// The patch is malformed, a place does not exist, or a `test` fails.
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), Error> {
    let operations = patch
        .as_array()
        .ok_or_else(|| {
            let found = crate::json::type_name(patch);
            Error::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {found} into Go value of type []interface {{}}"
            ))
        })?;
    if operations.len() > MAX_OPERATIONS {
        return Err(Error::TooManyOperations {
            max: MAX_OPERATIONS,
            got: operations.len(),
        });
    }
    let mut copied = 0;
    operations
        .iter()
        .try_for_each(|op| apply(object, op, &mut copied))
}

fn apply(object: &mut Value, op: &Value, copied: &mut usize) -> Result<(), Error> {
    if !op.is_object() {
        let found = crate::json::type_name(op);
        return Err(Error::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type jsonpatch.Operation"
        )));
    }
    let text = |key: &str| {
        op.get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| Error::Inapplicable(format!("operation has no {key:?}: {op}")))
    };
    // None is null, as in the library upstream uses.
    let value = || op.get("value").cloned().unwrap_or_default();
    let path = text("path")?;
    match text("op")? {
        "add" => add(object, path, value()),
        "remove" => remove(object, path, "remove").map(drop),
        "replace" => {
            let new = value();
            check_depth(path, &new)?;
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
            let source = object
                .pointer(from)
                .ok_or_else(|| inapplicable("copy", from))?;
            *copied += size(source);
            if *copied > MAX_COPIED {
                return Err(Error::CopiesTooLarge {
                    copied: *copied,
                    limit: MAX_COPIED,
                });
            }
            let source = source.clone();
            add(object, path, source)
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
        other => Err(Error::Inapplicable(format!("unexpected kind: {other}"))),
    }
}

/// Length of a value in JSON, without writing it down.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // Counting cannot fail; if it did, the copy would be too large.
        Err(_) => usize::MAX / 2,
    }
}

/// Each operation may nest a little deeper than the one before.
fn check_depth(path: &str, value: &Value) -> Result<(), Error> {
    match path.matches('/').count() + depth(value) > MAX_DEPTH {
        true => Err(Error::Malformed(
            "error decoding patch: exceeded max depth".into(),
        )),
        false => Ok(()),
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
        .ok_or_else(|| Error::Inapplicable(format!("path {path:?} does not start with a slash")))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn position(token: &str, len: usize) -> Option<usize> {
    // No leading zeros, no signs: RFC 6901.
    let plain =
        token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    token.parse().ok().filter(|i| plain && *i <= len)
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), Error> {
    check_depth(path, &value)?;
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
            (json!({"op": "jump", "path": "/a"}), 422),
            (json!({"op": "add", "value": 1}), 422),
            (json!({"op": "add", "path": "a", "value": 1}), 422),
            (json!("add"), 400),
        ] {
            assert_eq!(
                run(doc.clone(), json!([op])).unwrap_err().status().code,
                code,
                "{op}"
            );
        }
        assert_eq!(run(doc.clone(), json!({})).unwrap_err().status().code, 400);
        let nothing = json!([{"op": "add", "path": "/b"}]);
        assert_eq!(run(doc.clone(), nothing), Ok(json!({"a": [1], "b": null})));
        let many = vec![json!({"op": "test", "path": "/a", "value": [1]}); MAX_OPERATIONS + 1];
        assert_eq!(run(doc, json!(many)).unwrap_err().status().code, 413);
    }

    #[test]
    fn copies_of_copies_and_ladders_are_cut() {
        let doc = json!({"a": {"b": "c".repeat(1000)}});
        let doubling: Vec<Value> = (0..40)
            .map(|n| json!({"op": "copy", "from": "", "path": format!("/{n}")}))
            .collect();
        let error = run(doc.clone(), json!(doubling)).unwrap_err();
        assert_eq!(error.status().code, 413);
        assert!(error.status().message.starts_with(
            "Request entity too large: Unable to complete the copy, the accumulated size increase of copy is "
        ));
        let rung = |n| json!({"op": "add", "path": format!("/a{}", "/a".repeat(n)), "value": {}});
        let ladder: Vec<Value> = (1..1000).map(rung).collect();
        assert_eq!(run(doc, json!(ladder)).unwrap_err().status().code, 400);
    }
}
