//! Does a body fit its kind? Wrong types, fields nobody knows; keys written twice are found by
//! [`duplicates`].

use serde_json::Value;

pub use crate::duplicates::{duplicates, repeats};
use crate::resource::Resource;
use crate::schema::{self, Ref, Scalar, Shape};
use crate::status::Status;
use crate::{clock, field, json as place, quantity};

/// Most sentences kept about one body, as upstream's decoder does: nobody reads more, and
/// each becomes a header of the answer.
pub(crate) const MOST: usize = 100;

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
    let mut fit = Fit::new(res, path);
    fit.walk(None, shape, v)
        .map_err(|misfit| Status::bad_request(format!("{}: {}", cannot(res), misfit.json)))?;
    Ok(fit.unknown)
}

/// A value of the wrong type, in the words of whoever meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// When JSON is decoded.
    pub json: String,
    /// When a strategic merge patch has been applied.
    pub converted: String,
}

/// The first value of the wrong type in an object of a built-in kind, in its stored version.
pub fn misfit(res: &Resource, object: &Value) -> Option<Misfit> {
    let res = res.stored_as_or_self();
    Fit::new(res, "").walk(None, schema::of(res)?, object).err()
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
    /// The innermost type around the value.
    kind: &'a str,
    path: String,
    /// As Go tells it: field names without indices and keys of maps.
    fields: String,
    unknown: Vec<String>,
}

impl<'a> Fit<'a> {
    fn new(res: &Resource, path: &str) -> Fit<'a> {
        Fit {
            kind: res.kind,
            path: path.to_owned(),
            fields: path.to_owned(),
            unknown: Vec::new(),
        }
    }

    /// `named` is the shape as the field around it names it, if there is one.
    fn walk(&mut self, named: Option<&Ref>, shape: &Shape, value: &Value) -> Result<(), Misfit> {
        match (shape, value) {
            (_, Value::Null) | (Shape::Any, _) => Ok(()),
            (Shape::Scalar(scalar), value) => self.scalar(*scalar, value),
            (Shape::Struct(known), Value::Object(members)) => {
                let outer = self.kind;
                if let Some(Ref::Named(name)) = named {
                    self.kind = type_of(name);
                }
                for (name, value) in members {
                    match known.fields.get(name.as_str()) {
                        Some(found) => {
                            let length = self.fields.len();
                            append(&mut self.fields, name);
                            let shape = &found.shape;
                            self.inside(name, |fit| fit.walk(Some(shape), shape.get(), value))?;
                            self.fields.truncate(length);
                        }
                        None if known.open => {}
                        None if self.unknown.len() < MOST => {
                            self.unknown.push(field::member(&self.path, name));
                        }
                        None => {}
                    }
                }
                self.kind = outer;
                Ok(())
            }
            (Shape::Map { value: each, .. }, Value::Object(members)) => {
                for (name, value) in members {
                    self.inside(name, |fit| fit.walk(Some(each), each.get(), value))?;
                }
                Ok(())
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                let length = self.path.len();
                for (at, value) in items.iter().enumerate() {
                    self.path.push_str(&format!("[{at}]"));
                    self.walk(Some(item), item.get(), value)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            (Shape::OrElse(inner), Value::Object(_)) => self.walk(Some(inner), inner.get(), value),
            (Shape::OrElse(_), _) => Ok(()),
            (shape, value) => Err(self.misfit(value, &go_type(named, shape))),
        }
    }

    fn inside<T>(&mut self, name: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        append(&mut self.path, name);
        let done = act(self);
        self.path.truncate(length);
        done
    }

    fn scalar(&self, scalar: Scalar, value: &Value) -> Result<(), Misfit> {
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
                    false => Err(self.misfit_as(&format!("number {n}"), value, go_name(scalar))),
                }
            }
            (Scalar::IntOrText, Value::String(_)) => Ok(()),
            (Scalar::Quantity, Value::String(text)) => self.quantity(text),
            (Scalar::Quantity, Value::Number(n)) => self.quantity(&n.to_string()),
            (Scalar::Bytes, Value::String(text)) => match place::base64_decode(text) {
                Ok(_) => Ok(()),
                Err(at) => Err(format!("illegal base64 data at input byte {at}").into()),
            },
            (Scalar::Time | Scalar::MicroTime, Value::String(text)) => match clock::parse(text) {
                Some(_) => Ok(()),
                None => Err(format!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                )
                .into()),
            },
            (scalar, value) => Err(self.misfit(value, go_name(scalar))),
        }
    }

    fn quantity(&self, text: &str) -> Result<(), Misfit> {
        match text.parse::<quantity::Quantity>() {
            Ok(_) => Ok(()),
            Err(_) => Err(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                    .to_owned()
                    .into(),
            ),
        }
    }

    fn misfit(&self, value: &Value, wanted: &str) -> Misfit {
        self.misfit_as(place::type_name(value), value, wanted)
    }

    fn misfit_as(&self, found: &str, value: &Value, wanted: &str) -> Misfit {
        let (kind, fields) = (self.kind, &self.fields);
        Misfit {
            json: format!(
                "json: cannot unmarshal {found} into Go struct field {kind}.{fields} of type {wanted}"
            ),
            converted: conversion(value, wanted),
        }
    }
}

/// A value that has the right type but cannot be read says the same everywhere.
impl From<String> for Misfit {
    fn from(why: String) -> Misfit {
        Misfit {
            json: why.clone(),
            converted: why,
        }
    }
}

fn append(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// What the converter behind strategic merge patches says.
fn conversion(value: &Value, wanted: &str) -> String {
    let found = place::go_kind(value);
    match wanted {
        // Go itself would make a character of the number.
        "string" if found == "int64" => "cannot convert int64 to string".to_owned(),
        "string" | "bool" | "int32" | "int64" | "float64" => format!("unrecognized type: {wanted}"),
        list if list.starts_with("[]") => format!("cannot restore slice from {found}"),
        map if map.starts_with("map[") => format!("cannot restore map from {found}"),
        _ => format!("cannot restore struct from: {found}"),
    }
}

/// `Container` of `api.core.v1.Container`.
fn type_of(definition: &'static str) -> &'static str {
    definition.rsplit('.').next().unwrap_or(definition)
}

/// What Go calls the type of a field: `[]v1.Container`, `map[string]string`.
fn go_type(named: Option<&Ref>, shape: &Shape) -> String {
    match (shape, named) {
        (Shape::Scalar(scalar), _) => go_name(*scalar).to_owned(),
        (Shape::List { item, .. }, _) => format!("[]{}", go_type(Some(item), item.get())),
        (Shape::Map { value, .. }, _) => {
            format!("map[string]{}", go_type(Some(value), value.get()))
        }
        (_, Some(Ref::Named(name))) => {
            let mut parts = name.rsplitn(3, '.');
            match (parts.next(), parts.next()) {
                (Some(kind), Some(version)) => format!("{version}.{kind}"),
                _ => (*name).to_owned(),
            }
        }
        _ => "object".to_owned(),
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
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32"
        );
        let e = check(
            pods(),
            &json!({"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}}),
        );
        assert!(e.unwrap_err().message.ends_with(
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string"
        ));
        for (wrong, json, converted) in [
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
                "cannot convert int64 to string",
            ),
            (
                json!({"metadata": {"labels": "a"}}),
                "string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
                "cannot restore map from string",
            ),
            (
                json!({"spec": {"containers": {}}}),
                "object into Go struct field PodSpec.spec.containers of type []v1.Container",
                "cannot restore slice from map",
            ),
            (
                json!({"spec": [1]}),
                "array into Go struct field Pod.spec of type v1.PodSpec",
                "cannot restore struct from: slice",
            ),
            (
                json!({"spec": {"priority": "high"}}),
                "string into Go struct field PodSpec.spec.priority of type int32",
                "unrecognized type: int32",
            ),
        ] {
            let found = misfit(pods(), &wrong).unwrap();
            assert_eq!(found.json, format!("json: cannot unmarshal {json}"));
            assert_eq!(found.converted, converted);
        }
        assert_eq!(misfit(pods(), &json!({"spec": {"priority": 1}})), None);
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
        let counted = |text: &[u8], twice: bool| {
            let value = serde_json::from_slice(text).unwrap();
            assert_eq!(repeats(text, &value), twice);
            assert_eq!(duplicates(text).is_empty(), !twice);
        };
        counted(text, true);
        counted(
            br#"{"a": {"b:": ":\":", "c": [{}, {"d": 1}]}, "e\\": [], "f": {"b": "x"}}"#,
            false,
        );
        counted(br#"{"a": {"b": 1, "c": 2}, "a": {}}"#, true);
        counted(br#"{"a": {}, "\u0061": 1}"#, true);
        counted(b"[]", false);
        counted(b"{}", false);
        let many: String = (0..1000).map(|n| format!("\"{n}\":0,\"{n}\":1,")).collect();
        let many = format!("{{{}}}", many.trim_end_matches(','));
        assert_eq!(duplicates(many.as_bytes()).len(), MOST);
    }
}
