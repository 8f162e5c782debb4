//! Structural schemas: their shape for server-side apply and OpenAPI, dropping what they do
//! not know, and filling in what they default.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::json::{bool_at, list_at, map_at, str_at};
use crate::schema::{Field, ListType, MapKey, Patch, Ref, Scalar, Shape, Struct};

const PRESERVE: &str = "/x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "/x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "/x-kubernetes-int-or-string";

/// The shape of a whole object: what the schema says, and the metadata every object has.
pub(super) fn object_shape(schema: &Value) -> Shape {
    let Shape::Struct(mut object) = shape(schema) else {
        return Shape::Any;
    };
    let meta = field(Ref::Named("apimachinery.pkg.apis.meta.v1.ObjectMeta"));
    object.fields.insert("metadata".into(), meta);
    for key in ["apiVersion", "kind"] {
        object.fields.insert(
            key.into(),
            field(Ref::Shared(Shape::Scalar(Scalar::Text).into())),
        );
    }
    Shape::Struct(object)
}

fn field(shape: Ref) -> Field {
    Field {
        shape,
        required: false,
        number: 0,
        outer: 0,
        patch: Patch::default(),
    }
}

fn shape(schema: &Value) -> Shape {
    if bool_at(schema, INT_OR_STRING) {
        return Shape::Scalar(Scalar::IntOrText);
    }
    match str_at(schema, "/type") {
        "object" => object(schema),
        "array" => {
            let keys = list_at(schema, "/x-kubernetes-list-map-keys");
            let items = schema.get("items");
            let list_type = match str_at(schema, "/x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map(
                    keys.iter()
                        .filter_map(Value::as_str)
                        .map(|name| MapKey {
                            name: name.into(),
                            default: items
                                .and_then(|i| i.pointer(&format!("/properties/{name}/default")))
                                .cloned(),
                        })
                        .collect(),
                ),
                _ => ListType::Atomic,
            };
            let item = items.map_or(Shape::Any, shape);
            Shape::List {
                item: Ref::Shared(Arc::new(item)),
                list_type,
            }
        }
        "string" => Shape::Scalar(Scalar::Text),
        "integer" => Shape::Scalar(Scalar::Int64),
        "number" => Shape::Scalar(Scalar::Float),
        "boolean" => Shape::Scalar(Scalar::Bool),
        _ => Shape::Any,
    }
}

fn object(schema: &Value) -> Shape {
    let atomic = str_at(schema, "/x-kubernetes-map-type") == "atomic";
    let open = bool_at(schema, PRESERVE);
    let additional = schema.get("additionalProperties");
    if let Some(value) = additional.filter(|a| a.is_object()) {
        return Shape::Map {
            value: Ref::Shared(Arc::new(shape(value))),
            atomic,
        };
    }
    let properties = map_at(schema, "/properties");
    if properties.is_none() && (open || additional == Some(&Value::Bool(true))) {
        return Shape::Any;
    }
    let mut fields: BTreeMap<Box<str>, Field> = properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let shape = Ref::Shared(Arc::new(shape(schema)));
            (name.as_str().into(), field(shape))
        })
        .collect();
    if bool_at(schema, EMBEDDED)
        && let Shape::Struct(embedded) = object_shape(&Value::Null)
    {
        fields.extend(embedded.fields);
    }
    Shape::Struct(Struct {
        fields,
        atomic,
        open,
    })
}

/// Drops members the schema does not know; their paths go into `gone`. Metadata is left to
/// the rules all objects have.
pub fn prune(schema: &Value, object: &mut Value, gone: &mut Vec<String>) {
    prune_at(schema, object, "", true, gone);
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, root: bool, gone: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let properties = map_at(schema, "/properties");
            let additional = schema.get("additionalProperties");
            let open = bool_at(schema, PRESERVE);
            let whole = root || bool_at(schema, EMBEDDED);
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                if whole && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let at = crate::field::member(path, &name);
                let known = properties.and_then(|p| p.get(&name));
                let inner = known.or(additional.filter(|a| a.is_object()));
                match inner {
                    Some(inner) => {
                        if let Some(value) = members.get_mut(&name) {
                            prune_at(inner, value, &at, false, gone);
                        }
                    }
                    None if open || additional == Some(&Value::Bool(true)) => {}
                    None => {
                        members.remove(&name);
                        gone.push(at);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for (at, item) in items.iter_mut().enumerate() {
                    prune_at(inner, item, &format!("{path}[{at}]"), false, gone);
                }
            }
        }
        _ => {}
    }
}

/// Fills in defaults. A null where the schema wants a value counts as absent if there is a
/// default.
pub fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, inner) in map_at(schema, "/properties").into_iter().flatten() {
                let nullable = bool_at(inner, "/nullable");
                let missing = match members.get(name) {
                    None => true,
                    Some(Value::Null) => !nullable,
                    Some(_) => false,
                };
                if missing && let Some(default) = inner.get("default") {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(value) = members.get_mut(name) {
                    fill(inner, value);
                }
            }
            fill_additional(schema, members);
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                items.iter_mut().for_each(|item| fill(inner, item));
            }
        }
        _ => {}
    }
}

fn fill_additional(schema: &Value, members: &mut Map<String, Value>) {
    let Some(inner) = schema.get("additionalProperties").filter(|a| a.is_object()) else {
        return;
    };
    let named = map_at(schema, "/properties");
    for (name, value) in members.iter_mut() {
        if named.is_none_or(|named| !named.contains_key(name)) {
            fill(inner, value);
        }
    }
}
