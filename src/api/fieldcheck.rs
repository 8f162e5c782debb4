//! Does a body fit its kind? Wrong types, fields nobody knows, keys written twice.

use std::collections::HashSet;
use std::fmt;

use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;

use crate::resource::Resource;
use crate::status::Status;
use crate::{defaults, json as place, strategy};

/// Decodes a copy of the object, already in its stored version, into its kind. Returns the
/// sentences for fields the kind does not have (`unknown field "spec.foo"`), in order.
///
/// # Errors
/// 400 in upstream's words if a field has the wrong type.
pub fn check(res: &Resource, object: &Value) -> Result<Vec<String>, Status> {
    let mut copy = object.clone();
    place::drop_nulls(&mut copy);
    strategy::set_type(res, &mut copy);
    // Numbers are allowed where quantities are text; defaults bring them into that form.
    defaults::apply(res, &mut copy);
    let known = match res.id() {
        ("", "Pod") => recode::<core::Pod>(&copy),
        ("", "Node") => recode::<core::Node>(&copy),
        ("", "Namespace") => recode::<core::Namespace>(&copy),
        ("", "Service") => recode::<core::Service>(&copy),
        ("", "Endpoints") => recode::<core::Endpoints>(&copy),
        ("", "ConfigMap") => recode::<core::ConfigMap>(&copy),
        ("", "Secret") => recode::<core::Secret>(&copy),
        ("", "Event") => recode::<core::Event>(&copy),
        ("", "ServiceAccount") => recode::<core::ServiceAccount>(&copy),
        ("coordination.k8s.io", "Lease") => recode::<coordination::Lease>(&copy),
        // A kind without a typed view keeps whatever it is given.
        _ => return Ok(Vec::new()),
    }
    .map_err(|why| Status::bad_request(format!("{}: {}", cannot(res), why.in_go(res.kind))))?;
    let mut unknown = Vec::new();
    missing("", &copy, &known, &mut unknown);
    Ok(unknown
        .into_iter()
        .map(|f| format!("unknown field {f:?}"))
        .collect())
}

/// The refusal under `fieldValidation=Strict`; `sentences` as [`check`] and [`duplicates`]
/// return them.
pub fn strict_error(res: &Resource, sentences: &[String]) -> Status {
    Status::bad_request(format!(
        "{}: strict decoding error: {}",
        cannot(res),
        sentences.join(", ")
    ))
}

fn cannot(res: &Resource) -> String {
    format!(
        "{} in version {:?} cannot be handled as a {}",
        res.kind, res.gv.version, res.kind
    )
}

/// Why decoding failed, with the field it failed at.
struct Misfit {
    path: String,
    words: String,
}

impl Misfit {
    /// As Go's JSON decoder would put it, as far as can be told.
    fn in_go(&self, kind: &str) -> String {
        let field: String = {
            // Go leaves indices out: spec.containers.ports.containerPort.
            let mut depth = 0;
            self.path
                .chars()
                .filter(|c| match c {
                    '[' => {
                        depth += 1;
                        false
                    }
                    ']' => {
                        depth -= 1;
                        false
                    }
                    _ => depth == 0,
                })
                .collect()
        };
        let parts = self
            .words
            .strip_prefix("invalid type: ")
            .and_then(|w| w.split_once(", expected "));
        let Some((found, wanted)) = parts else {
            return match field.as_str() {
                "" | "." => self.words.clone(),
                _ => format!("{} (field {kind}.{field})", self.words),
            };
        };
        let found = match found.split(' ').next().unwrap_or_default() {
            "string" => "string",
            "integer" | "floating" => "number",
            "boolean" => "bool",
            "sequence" => "array",
            "map" => "object",
            other => other,
        };
        let wanted = match wanted {
            "i32" => "int32",
            "i64" => "int64",
            "a string" => "string",
            "a boolean" => "bool",
            w if w.starts_with("struct ") || w == "a map" => "object",
            w if w.contains("sequence") || w == "Vec" => "array",
            other => other,
        };
        format!(
            "json: cannot unmarshal {found} into Go struct field {kind}.{field} of type {wanted}"
        )
    }
}

fn recode<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, Misfit> {
    let typed: T = serde_path_to_error::deserialize(object).map_err(|e| Misfit {
        path: e.path().to_string(),
        words: e.inner().to_string(),
    })?;
    serde_json::to_value(&typed).map_err(|e| Misfit {
        path: String::new(),
        words: e.to_string(),
    })
}

/// Members of `given` that did not survive decoding.
fn missing(path: &str, given: &Value, known: &Value, out: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let at = crate::field::member(path, key);
                match known.get(key) {
                    Some(k) => missing(&at, value, k, out),
                    None => out.push(at),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (i, (g, k)) in given.iter().zip(known).enumerate() {
                missing(&crate::field::index(path, i), g, k, out);
            }
        }
        _ => {}
    }
}

/// Sentences for keys that stand twice in one object (`duplicate field "metadata.name"`).
/// The last of them counts, as everywhere in JSON. Text that is no JSON has none.
pub fn duplicates(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let walk = Walk {
        path: String::new(),
        found: &mut found,
    };
    // A syntax error is reported by whoever decodes the body for its content.
    if walk.deserialize(&mut reader).is_err() {
        return Vec::new();
    }
    found
        .into_iter()
        .map(|f| format!("duplicate field {f:?}"))
        .collect()
}

struct Walk<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = crate::field::member(&self.path, &key);
            if !seen.insert(key) && !self.found.contains(&path) {
                self.found.push(path.clone());
            }
            map.next_value_seed(Walk {
                path,
                found: self.found,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut i = 0;
        loop {
            let path = crate::field::index(&self.path, i);
            if seq
                .next_element_seed(Walk {
                    path,
                    found: self.found,
                })?
                .is_none()
            {
                return Ok(());
            }
            i += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use serde_json::json;

    fn pods() -> &'static Resource {
        find("", "v1", "pods").unwrap()
    }

    #[test]
    fn unknown_fields_are_named_with_their_place() {
        let p = json!({"metadata": {"name": "a", "creationTimestamp": null, "colour": "red"},
            "spec": {"foo": 1, "containers": [{"name": "c", "image": "x", "imagee": "y",
                "resources": {"limits": {"cpu": 1}}, "ports": [], "args": []}]}});
        let mut found = check(pods(), &p).unwrap();
        // serde_json keeps the order of the document or of the alphabet, as it was built.
        found.sort();
        assert_eq!(
            found,
            [
                "unknown field \"metadata.colour\"",
                "unknown field \"spec.containers[0].imagee\"",
                "unknown field \"spec.foo\""
            ]
        );
        let e = strict_error(pods(), &found[1..2]);
        assert_eq!(
            e.message,
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].imagee\""
        );
    }

    #[test]
    fn wrong_types_read_like_gos() {
        let p = json!({"metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "c", "ports": [{"containerPort": "80"}]}]}});
        let e = check(pods(), &p).unwrap_err();
        assert_eq!(e.code, 400);
        assert_eq!(
            e.message,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field Pod.spec.containers.ports.containerPort of type int32"
        );
        let e = check(
            pods(),
            &json!({"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}}),
        );
        assert!(e.unwrap_err().message.ends_with(
            "json: cannot unmarshal number into Go struct field Pod.spec.containers.env.value of type string"
        ));
    }

    #[test]
    fn good_objects_of_every_kind_have_nothing_unknown() {
        for (plural, object) in [
            (
                "secrets",
                json!({"stringData": {"a": "b"}, "data": {"c": "eA=="}, "type": "Opaque"}),
            ),
            (
                "nodes",
                json!({"status": {"capacity": {"cpu": 2}}, "spec": {"taints": []}}),
            ),
            (
                "services",
                json!({"spec": {"ports": [{"port": 80, "targetPort": "x"}]}}),
            ),
            (
                "events",
                json!({"involvedObject": {"kind": "Pod"}, "eventTime": null, "count": 1}),
            ),
            (
                "configmaps",
                json!({"data": {"a": "b"}, "binaryData": {"c": "eA=="}}),
            ),
            ("namespaces", json!({"metadata": {"name": "x"}})),
            (
                "endpoints",
                json!({"subsets": [{"addresses": [{"ip": "1.2.3.4"}]}]}),
            ),
            ("serviceaccounts", json!({"metadata": {"name": "x"}})),
        ] {
            let res = find("", "v1", plural).unwrap();
            assert_eq!(
                check(res, &object).unwrap(),
                Vec::<String>::new(),
                "{plural}"
            );
        }
        let leases = find("coordination.k8s.io", "v1", "leases").unwrap();
        let lease = json!({"spec": {"renewTime": "2026-11-20T20:16:05.000123Z", "leaseDurationSeconds": 40}});
        assert!(check(leases, &lease).unwrap().is_empty());
        let bad = json!({"data": {"c": "!"}});
        assert!(check(find("", "v1", "secrets").unwrap(), &bad).is_err());
    }

    #[test]
    fn keys_written_twice_are_found_at_any_depth() {
        let text =
            br#"{"a": {"b": 1, "b": 2}, "c": [{"d": 1}, {"d": 1, "d": 1, "d": 2}], "a": {}}"#;
        assert_eq!(
            duplicates(text),
            [
                "duplicate field \"a.b\"",
                "duplicate field \"c[1].d\"",
                "duplicate field \"a\""
            ]
        );
        assert!(duplicates(br#"{"a": 1"#).is_empty());
    }
}
