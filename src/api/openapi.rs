//! OpenAPI v3: what kubectl needs to create, apply, diff and explain, down to every field.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::resource::{self, Gv, Resource, Rows};
use crate::schema::{self, ListType, Ref, Scalar, Shape, Struct};

/// What the documentation says of types and fields.
#[derive(Debug, Default)]
pub struct Descriptions {
    text: String,
    /// By type: where the words of each field lie in the text.
    places: HashMap<String, HashMap<String, Range<usize>>>,
}

impl Descriptions {
    /// Reads records `type US field US words RS`; an empty field stands for the type itself.
    pub fn new(text: String) -> Descriptions {
        let mut places: HashMap<String, HashMap<String, Range<usize>>> = HashMap::new();
        let mut start = 0;
        for record in text.split_inclusive('\x1e') {
            let end = start + record.len();
            let mut parts = record.trim_end_matches('\x1e').splitn(3, '\x1f');
            if let (Some(name), Some(field), Some(words)) =
                (parts.next(), parts.next(), parts.next())
            {
                let words_end = start + record.trim_end_matches('\x1e').len();
                let fields = places.entry(name.to_owned()).or_default();
                fields.insert(field.to_owned(), words_end - words.len()..words_end);
            }
            start = end;
        }
        Descriptions { text, places }
    }

    /// The words on a field of a type (`api.core.v1.Pod`), or with "" on the type.
    pub fn of(&self, definition: &str, field: &str) -> Option<&str> {
        let place = self.places.get(definition)?.get(field)?;
        self.text.get(place.clone())
    }
}

/// The document at `/openapi/v3`: where each group-version's own document lies.
pub fn index(rows: &Rows) -> Value {
    let mut paths = Map::new();
    for gv in versions(rows) {
        let path = gv.path();
        let hash = hash(rows, gv.group, gv.version).unwrap_or_default();
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn versions(rows: &Rows) -> Vec<Gv> {
    let mut out: Vec<Gv> = Vec::new();
    for r in rows.iter().filter(|r| !r.verbs.is_empty()) {
        if !out.contains(&r.gv) {
            out.push(r.gv);
        }
    }
    out
}

/// The document at `/openapi/v3/<api/v1 or apis/group/version>`, if it is served.
pub fn document(rows: &Rows, group: &str, version: &str, words: &Descriptions) -> Option<Value> {
    let mut paths = Map::new();
    let mut writer = Writer {
        words,
        types: vec!["apimachinery.pkg.apis.meta.v1.ObjectMeta"],
    };
    let mut schemas = Map::new();
    for r in resource::in_version(rows, group, version) {
        let (collection, object) = if r.namespaced {
            (
                r.path(Some("{namespace}"), None),
                r.path(Some("{namespace}"), Some("{name}")),
            )
        } else {
            (r.path(None, None), r.path(None, Some("{name}")))
        };
        paths.insert(
            format!("/{collection}"),
            operations(r, &[("get", "list"), ("post", "post")]),
        );
        paths.insert(
            format!("/{object}"),
            operations(
                r,
                &[
                    ("get", "get"),
                    ("put", "put"),
                    ("patch", "patch"),
                    ("delete", "delete"),
                ],
            ),
        );
        schemas.insert(schema_name(r), writer.kind(r));
    }
    if schemas.is_empty() {
        return None;
    }
    while let Some(name) = writer.types.pop() {
        let full = format!("io.k8s.{name}");
        if !schemas.contains_key(&full)
            && let Some(shape) = schema::builtin(name).and_then(Shape::as_struct)
        {
            let value = writer.definition(name, shape);
            schemas.insert(full, value);
        }
    }
    for (name, value) in scalars() {
        schemas.insert(name.to_owned(), value);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// A fingerprint of one document: clients keep the document as long as it stays the same.
/// Made of what the document is made of, because the index is asked for by every apply.
pub fn hash(rows: &Rows, group: &str, version: &str) -> Option<String> {
    let mut h = *PROGRAM;
    let mut found = false;
    for r in resource::in_version(rows, group, version) {
        found = true;
        h = fnv(h, r.plural);
        h = fnv(h, r.kind);
        if let Some(custom) = r.custom {
            h = fnv(h, &custom.schema.to_string());
        }
    }
    found.then(|| format!("{h:016X}"))
}

/// Changes when documents do although the version and the facts stay the same.
const FORM: &str = "described";

/// What this program knows of built-in kinds.
static PROGRAM: LazyLock<u64> = LazyLock::new(|| {
    let start = fnv(0xcbf2_9ce4_8422_2325, env!("CARGO_PKG_VERSION"));
    fnv(fnv(start, FORM), schema::FACTS)
});

/// FNV-1a, 64 bits: a cache key, not a seal.
fn fnv(start: u64, text: &str) -> u64 {
    text.bytes().fold(start, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn schema_name(r: &Resource) -> String {
    let group =
        r.gv.group
            .split('.')
            .next()
            .filter(|g| !g.is_empty())
            .unwrap_or("core");
    format!("io.k8s.api.{group}.{}.{}", r.gv.version, r.kind)
}

fn operations(r: &Resource, methods: &[(&str, &str)]) -> Value {
    let gvk = json!({"group": r.gv.group, "version": r.gv.version, "kind": r.kind});
    let body = json!({"$ref": format!("#/components/schemas/{}", schema_name(r))});
    let mut out = Map::new();
    for (method, action) in methods {
        let mut op = json!({
            "operationId": format!("{action}{}{}", r.gv.version, r.kind),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "responses": {"200": {"description": "OK",
                "content": {"application/json": {"schema": body}}}},
        });
        // These parameters on `patch` are what tells kubectl that the server validates
        // fields and knows dry runs.
        if !matches!(*method, "get") {
            op["parameters"] = Value::Array(
                ["dryRun", "fieldManager", "fieldValidation"]
                    .iter()
                    .map(|p| query(p))
                    .collect(),
            );
        }
        out.insert((*method).to_owned(), op);
    }
    Value::Object(out)
}

fn query(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

/// Writes schemas, and notes the types they refer to.
struct Writer<'a> {
    words: &'a Descriptions,
    types: Vec<&'static str>,
}

impl Writer<'_> {
    /// The schema of a kind. Custom kinds bring their own.
    fn kind(&mut self, r: &Resource) -> Value {
        let mut out = match (r.custom, schema::of(r).and_then(Shape::as_struct)) {
            (Some(custom), _) => {
                let mut own = custom.schema.clone();
                if let Some(members) = own.as_object_mut() {
                    let properties = crate::json::child(members, "properties");
                    for key in ["apiVersion", "kind"] {
                        properties.insert(key.into(), json!({"type": "string"}));
                    }
                    properties.insert("metadata".into(), reference(META));
                }
                own
            }
            (None, Some(shape)) => self.definition(&schema::name_of(r), shape),
            (None, None) => json!({"type": "object"}),
        };
        for (name, what) in COMMON {
            if out["properties"][name].get("description").is_none() {
                describe(&mut out, name, what);
            }
        }
        out["x-kubernetes-group-version-kind"] =
            json!([{"group": r.gv.group, "version": r.gv.version, "kind": r.kind}]);
        out
    }

    /// The schema of a built-in type, with the words on it and on its fields.
    fn definition(&mut self, name: &str, shape: &Struct) -> Value {
        let mut out = self.fields(shape);
        if let Some(what) = self.words.of(name, "") {
            out["description"] = json!(what);
        }
        for field in shape.fields.keys() {
            if let Some(what) = self.words.of(name, field) {
                describe(&mut out, field, what);
            }
        }
        out
    }

    fn fields(&mut self, shape: &Struct) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (name, field) in &shape.fields {
            let mut value = self.shape(&field.shape);
            let patch = field.patch;
            if let Some(key) = patch.key {
                value["x-kubernetes-patch-merge-key"] = json!(key);
            }
            let strategy = match (
                patch.key.is_some() || patch.set,
                patch.retain_keys,
                patch.replace,
            ) {
                (true, true, _) => "merge,retainKeys",
                (true, false, _) => "merge",
                (false, true, _) => "retainKeys",
                (false, false, true) => "replace",
                (false, false, false) => "",
            };
            if !strategy.is_empty() {
                if value.get("$ref").is_some() {
                    value = json!({"allOf": [value], "default": {}});
                }
                value["x-kubernetes-patch-strategy"] = json!(strategy);
            }
            properties.insert(name.to_string(), value);
            if field.required {
                required.push(json!(name));
            }
        }
        let mut out = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            out["required"] = Value::Array(required);
        }
        if shape.atomic {
            out["x-kubernetes-map-type"] = json!("atomic");
        }
        out
    }
    fn shape(&mut self, shape: &Ref) -> Value {
        if let Ref::Named(name) = shape {
            self.types.push(name);
            return reference(&format!("io.k8s.{name}"));
        }
        match shape.get() {
            Shape::Scalar(scalar) => match scalar {
                Scalar::Text => json!({"type": "string"}),
                Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
                Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
                Scalar::Float => json!({"type": "number", "format": "double"}),
                Scalar::Bool => json!({"type": "boolean"}),
                Scalar::Bytes => json!({"type": "string", "format": "byte"}),
                Scalar::Quantity => reference(QUANTITY),
                Scalar::IntOrText => reference(INT_OR_STRING),
                Scalar::Time => reference(TIME),
                Scalar::MicroTime => reference(MICRO_TIME),
            },
            Shape::Struct(inner) => self.fields(inner),
            Shape::Map { value, atomic } => {
                let value = self.shape(value);
                let mut out = json!({"type": "object", "additionalProperties": value});
                if *atomic {
                    out["x-kubernetes-map-type"] = json!("atomic");
                }
                out
            }
            Shape::List { item, list_type } => {
                let items = self.shape(item);
                let mut out = json!({"type": "array", "items": items});
                match list_type {
                    ListType::Atomic => out["x-kubernetes-list-type"] = json!("atomic"),
                    ListType::Set => out["x-kubernetes-list-type"] = json!("set"),
                    ListType::Map(keys) => {
                        let keys: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
                        out["x-kubernetes-list-type"] = json!("map");
                        out["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                out
            }
            Shape::OrElse(_) | Shape::Any => json!({"type": "object"}),
        }
    }
}

/// What every kind carries.
const COMMON: [(&str, &str); 3] = [
    (
        "apiVersion",
        "Version of the API this object is written in.",
    ),
    ("kind", "What this object is."),
    ("metadata", "Name, labels and other data every object has."),
];

/// Adds words to a property; a reference is wrapped, because nothing may stand beside it.
fn describe(schema: &mut Value, name: &str, what: &str) {
    if let Some(property) = schema.pointer_mut(&format!("/properties/{name}")) {
        if property.get("$ref").is_some() {
            *property = json!({"allOf": [property.clone()], "default": {}});
        }
        property["description"] = json!(what);
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// Types with a name of their own that are no objects.
fn scalars() -> [(&'static str, Value); 4] {
    [
        (
            QUANTITY,
            json!({"oneOf": [{"type": "string"}, {"type": "number"}],
                "description": "An amount with a unit: 100m is a tenth, 1Gi is 2^30."}),
        ),
        (
            INT_OR_STRING,
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string",
                "description": "A number or a text: a port by number or name, a count or a percentage."}),
        ),
        (
            TIME,
            json!({"type": "string", "format": "date-time",
                "description": "A moment as RFC 3339 writes it."}),
        ),
        (
            MICRO_TIME,
            json!({"type": "string", "format": "date-time",
                "description": "A moment as RFC 3339 writes it, to the microsecond."}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::built_in;

    #[test]
    fn every_version_has_a_document_with_what_kubectl_looks_for() {
        let words = Descriptions::default();
        for gv in versions(&built_in()) {
            let d = document(&built_in(), gv.group, gv.version, &words).unwrap();
            for r in resource::in_version(&built_in(), gv.group, gv.version) {
                let path = if r.namespaced {
                    format!("/{}", r.path(Some("{namespace}"), Some("{name}")))
                } else {
                    format!("/{}", r.path(None, Some("{name}")))
                };
                let patch = &d["paths"][&path]["patch"];
                assert_eq!(
                    patch["x-kubernetes-group-version-kind"]["kind"], r.kind,
                    "{path}"
                );
                let names: Vec<_> = patch["parameters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| p["name"].clone())
                    .collect();
                assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation"]);
                let s = &d["components"]["schemas"][schema_name(r)];
                assert_eq!(
                    s["x-kubernetes-group-version-kind"][0]["version"],
                    gv.version
                );
            }
        }
        assert!(document(&built_in(), "", "v9", &words).is_none());
    }

    #[test]
    fn the_index_names_old_versions_too_and_hashes_are_stable() {
        let i = index(&built_in());
        let url = i["paths"]["api/v1beta3"]["serverRelativeURL"]
            .as_str()
            .unwrap();
        assert_eq!(
            url,
            format!(
                "/openapi/v3/api/v1beta3?hash={}",
                hash(&built_in(), "", "v1beta3").unwrap()
            )
        );
        assert_ne!(
            hash(&built_in(), "", "v1beta3"),
            hash(&built_in(), "", "v1")
        );
    }

    #[test]
    fn types_and_fields_carry_their_words_and_custom_kinds_their_own() {
        let words = Descriptions::new(
            [
                "api.core.v1.Pod\x1f\x1fRuns.\x1e",
                "api.core.v1.Pod\x1fspec\x1fWanted.\x1e",
                "api.core.v1.Probe\x1fhttpGet\x1fAsks.\nTwice.\x1e",
                "broken\x1e",
            ]
            .concat(),
        );
        assert_eq!(words.of("api.core.v1.Pod", "status"), None);
        let d = document(&built_in(), "", "v1", &words).unwrap();
        let schemas = &d["components"]["schemas"];
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["description"], "Runs.");
        let spec = &pod["properties"]["spec"];
        assert_eq!(spec["description"], "Wanted.");
        assert!(spec["allOf"][0]["$ref"].is_string());
        let get = &schemas["io.k8s.api.core.v1.Probe"]["properties"]["httpGet"];
        assert_eq!(get["description"], "Asks.\nTwice.");
    }
}
