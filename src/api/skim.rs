//! Parts of a JSON document, read without building the rest.
//!
//! The server keeps each object as bytes and needs a few of its members beside them; most
//! of a pod is passed over.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The members at `pointers` (RFC 6901, without escapes) and what leads to them; everything
/// else is left out. `"/metadata"` keeps all of the metadata. Parts of arrays cannot be named.
///
/// # Errors
/// The bytes are no JSON document. Of what is left out only the syntax is checked.
pub fn skim(bytes: &[u8], pointers: &[&str]) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Wanted(Cow::Borrowed(pointers)).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// What is wanted of the value to come; an empty pointer wants it whole.
struct Wanted<'p>(Cow<'p, [&'p str]>);

impl<'p> Wanted<'p> {
    /// What is wanted of a member.
    fn of_member(&self, name: &str) -> Vec<&'p str> {
        let rest = |pointer: &&'p str| {
            let rest = pointer.strip_prefix('/')?.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        self.0.iter().filter_map(rest).collect()
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.iter().any(|pointer| pointer.is_empty()) {
            return Value::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(Name(name)) = members.next_key()? {
            let wanted = self.of_member(&name);
            if wanted.is_empty() {
                members.next_value::<IgnoredAny>()?;
            } else {
                let value = members.next_value_seed(Wanted(wanted.into()))?;
                kept.insert(name.into_owned(), value);
            }
        }
        Ok(Value::Object(kept))
    }

    // Whoever expected an object here finds that there is none.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wanted_is_kept_and_nothing_else() {
        let document = json!({
            "metadata": {"name": "a", "labels": {"x": "y"}, "managedFields": [{"a": [1, {}]}]},
            "spec": {"nodeName": "n", "nodeNames": 1, "containers": [{"name": "c"}]},
            "status": 7,
            "list": [1, {"a": null}],
        });
        let bytes = document.to_string();
        for (pointers, expected) in [
            (vec![], json!({})),
            (
                vec!["/spec/nodeName", "/spec/absent", "/none/at/all"],
                json!({"spec": {"nodeName": "n"}}),
            ),
            (
                vec!["/metadata/labels", "/metadata/name"],
                json!({"metadata": {"name": "a", "labels": {"x": "y"}}}),
            ),
            (
                vec!["/spec", "/spec/nodeName"],
                json!({"spec": document["spec"]}),
            ),
            (
                vec!["/status/phase", "/list/a"],
                json!({"status": null, "list": null}),
            ),
            (vec![""], document.clone()),
        ] {
            let read = skim(bytes.as_bytes(), &pointers).expect("json");
            assert_eq!(read, expected, "{pointers:?}");
        }
    }

    #[test]
    fn names_with_escapes_are_found() {
        let read = skim(br#"{"sp\u0065c": {"a": "\n"}}"#, &["/spec/a"]).expect("json");
        assert_eq!(read, json!({"spec": {"a": "\n"}}));
    }

    #[test]
    fn what_is_passed_over_must_be_json_too() {
        for broken in [
            "",
            "{",
            r#"{"a": [1,}"#,
            r#"{"a": tru}"#,
            r#"{"a": 1} x"#,
            r#"{"a" 1}"#,
        ] {
            assert!(skim(broken.as_bytes(), &["/b"]).is_err(), "{broken}");
        }
    }
}
