//! Does a body fit its kind? Wrong types, fields nobody knows, keys written twice.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::resource::Resource;
use crate::schema::{self, Scalar, Shape};
use crate::status::Status;
use crate::{clock, field, json as place, quantity};

/// Most sentences kept about one body, as upstream's decoder does: nobody reads more, and
/// each becomes a header of the answer.
const MOST: usize = 100;

/// Walks the object, already in its stored version, along the shape of its kind. Returns
/// the sentences for fields the kind does not have (`unknown field "spec.foo"`), in order.
///
/// # Errors
/// 400 in upstream's words if a field has the wrong type.
pub fn check(res: &Resource, object: &Value) -> Result<Vec<String>, Status> {
    // A custom kind is checked against its own definition.
    let res = res.stored_as_or_self();
    if let Some(custom) = res.custom {
        // Types are for its own schema to judge; here only what would be dropped.
        let mut gone = Vec::new();
        crate::crd::prune(&custom.schema, &mut object.clone(), &mut gone);
        if let Some(meta) = object.get("metadata") {
            let shape = schema::builtin("apimachinery.pkg.apis.meta.v1.ObjectMeta");
            let known = shape.map_or(Ok(Vec::new()), |shape| {
                check_at("metadata", res, shape, meta)
            });
            gone.extend(known?);
        }
        return Ok(gone
            .into_iter()
            .map(|f| format!("unknown field {f:?}"))
            .collect());
    }
    let Some(shape) = schema::of(res) else {
        return Ok(Vec::new());
    };
    check_shape(res, shape, object)
}

/// As [`check`], for a body that is not of the resource's own kind: a Scale, an Eviction.
///
/// # Errors
/// As [`check`].
pub fn check_shape(res: &Resource, shape: &Shape, object: &Value) -> Result<Vec<String>, Status> {
    Ok(check_at("", res, shape, object)?
        .into_iter()
        .map(|f| format!("unknown field {f:?}"))
        .collect())
}

/// The paths of unknown fields of a value that stands at `path`.
fn check_at(path: &str, res: &Resource, shape: &Shape, v: &Value) -> Result<Vec<String>, Status> {
    let mut fit = Fit {
        kind: res.kind,
        path: path.to_owned(),
        unknown: Vec::new(),
    };
    fit.walk(shape, v)
        .map_err(|why| Status::bad_request(format!("{}: {why}", cannot(res))))?;
    Ok(fit.unknown)
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

/// A walk over a value along its shape.
struct Fit<'a> {
    kind: &'a str,
    path: String,
    unknown: Vec<String>,
}

impl Fit<'_> {
    fn walk(&mut self, shape: &Shape, value: &Value) -> Result<(), String> {
        match (shape, value) {
            (_, Value::Null) | (Shape::Any, _) => Ok(()),
            (Shape::Scalar(scalar), value) => self.scalar(*scalar, value),
            (Shape::Struct(known), Value::Object(members)) => {
                for (name, value) in members {
                    match known.fields.get(name.as_str()) {
                        Some(found) => {
                            self.inside(name, |fit| fit.walk(found.shape.get(), value))?;
                        }
                        None if known.open => {}
                        None if self.unknown.len() < MOST => {
                            self.unknown.push(field::member(&self.path, name));
                        }
                        None => {}
                    }
                }
                Ok(())
            }
            (Shape::Map { value: each, .. }, Value::Object(members)) => {
                let each = each.get();
                for (name, value) in members {
                    self.inside(name, |fit| fit.walk(each, value))?;
                }
                Ok(())
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                let item = item.get();
                let length = self.path.len();
                for (at, value) in items.iter().enumerate() {
                    self.path.push_str(&format!("[{at}]"));
                    self.walk(item, value)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            (Shape::OrElse(inner), Value::Object(_)) => self.walk(inner.get(), value),
            (Shape::OrElse(_), _) => Ok(()),
            (Shape::Struct(_) | Shape::Map { .. }, value) => Err(self.misfit(value, "object")),
            (Shape::List { .. }, value) => Err(self.misfit(value, "array")),
        }
    }

    fn inside<T>(&mut self, name: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let done = act(self);
        self.path.truncate(length);
        done
    }

    fn scalar(&self, scalar: Scalar, value: &Value) -> Result<(), String> {
        match (scalar, value) {
            (Scalar::Text, Value::String(_)) | (Scalar::Bool, Value::Bool(_)) => Ok(()),
            (Scalar::Float, Value::Number(_)) => Ok(()),
            (Scalar::Int32 | Scalar::Int64 | Scalar::IntOrText, Value::Number(n)) => {
                let whole = n.as_i64().or_else(|| {
                    // Go takes 1e3 and 1.0 for whole numbers too.
                    let float = n.as_f64()?;
                    (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
                });
                let fits =
                    whole.is_some_and(|n| scalar == Scalar::Int64 || i32::try_from(n).is_ok());
                match fits {
                    true => Ok(()),
                    false => Err(self.cannot_unmarshal(&format!("number {n}"), go_name(scalar))),
                }
            }
            (Scalar::IntOrText, Value::String(_)) => Ok(()),
            (Scalar::Quantity, Value::String(text)) => self.quantity(text),
            (Scalar::Quantity, Value::Number(n)) => self.quantity(&n.to_string()),
            (Scalar::Bytes, Value::String(text)) => match place::base64_decode(text) {
                Ok(_) => Ok(()),
                Err(at) => Err(format!("illegal base64 data at input byte {at}")),
            },
            (Scalar::Time | Scalar::MicroTime, Value::String(text)) => match clock::parse(text) {
                Some(_) => Ok(()),
                None => Err(format!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                )),
            },
            (scalar, value) => Err(self.misfit(value, go_name(scalar))),
        }
    }

    fn quantity(&self, text: &str) -> Result<(), String> {
        match text.parse::<quantity::Quantity>() {
            Ok(_) => Ok(()),
            Err(_) => Err(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                    .to_owned(),
            ),
        }
    }

    fn misfit(&self, value: &Value, wanted: &str) -> String {
        self.cannot_unmarshal(place::type_name(value), wanted)
    }

    fn cannot_unmarshal(&self, found: &str, wanted: &str) -> String {
        // Go leaves indices out: spec.containers.ports.containerPort.
        let mut field = String::new();
        let mut depth = 0;
        for c in self.path.chars() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                c if depth == 0 => field.push(c),
                _ => {}
            }
        }
        let kind = self.kind;
        format!(
            "json: cannot unmarshal {found} into Go struct field {kind}.{field} of type {wanted}"
        )
    }
}

/// What Go calls the type.
fn go_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Text => "string",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Float => "float64",
        Scalar::Bool => "bool",
        Scalar::Bytes => "[]uint8",
        Scalar::Quantity => "resource.Quantity",
        Scalar::IntOrText => "intstr.IntOrString",
        Scalar::Time => "v1.Time",
        Scalar::MicroTime => "v1.MicroTime",
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
            if !seen.insert(key) && self.found.len() < MOST && !self.found.contains(&path) {
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
        let many: String = (0..1000).map(|n| format!("\"{n}\":0,\"{n}\":1,")).collect();
        let many = format!("{{{}}}", many.trim_end_matches(','));
        assert_eq!(duplicates(many.as_bytes()).len(), MOST);
    }
}
