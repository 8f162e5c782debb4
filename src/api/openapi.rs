//! OpenAPI v3: what kubectl needs to create, apply, diff and explain, down to every field.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::resource::{self, Gv, Resource, Rows};
use crate::schema::{self, ListType, Ref, Scalar, Shape, Struct};

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
pub fn document(rows: &Rows, group: &str, version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut types: Vec<&'static str> = vec!["apimachinery.pkg.apis.meta.v1.ObjectMeta"];
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
        schemas.insert(schema_name(r), schema(r, &mut types));
    }
    if schemas.is_empty() {
        return None;
    }
    while let Some(name) = types.pop() {
        let full = format!("io.k8s.{name}");
        if !schemas.contains_key(&full)
            && let Some(shape) = schema::builtin(name).and_then(Shape::as_struct)
        {
            let value = match full.as_str() {
                META => metadata_schema(struct_schema(shape, &mut types)),
                _ => struct_schema(shape, &mut types),
            };
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

/// What this program knows of built-in kinds.
static PROGRAM: LazyLock<u64> = LazyLock::new(|| {
    let start = fnv(0xcbf2_9ce4_8422_2325, env!("CARGO_PKG_VERSION"));
    fnv(start, schema::FACTS)
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

/// The schema of a kind. Custom kinds bring their own.
fn schema(r: &Resource, types: &mut Vec<&'static str>) -> Value {
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
        (None, Some(shape)) => struct_schema(shape, types),
        (None, None) => json!({"type": "object"}),
    };
    describe(
        &mut out,
        "apiVersion",
        "Version of the API this object is written in.",
    );
    describe(&mut out, "kind", "What this object is.");
    describe(
        &mut out,
        "metadata",
        "Name, labels and other data every object has.",
    );
    if r.custom.is_none() {
        out["description"] = json!(about(r.kind));
        for (name, what) in parts(r.kind) {
            describe(&mut out, name, what);
        }
    }
    out["x-kubernetes-group-version-kind"] =
        json!([{"group": r.gv.group, "version": r.gv.version, "kind": r.kind}]);
    out
}

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

fn struct_schema(shape: &Struct, types: &mut Vec<&'static str>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, field) in &shape.fields {
        let mut value = shape_schema(&field.shape, types);
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

fn shape_schema(shape: &Ref, types: &mut Vec<&'static str>) -> Value {
    if let Ref::Named(name) = shape {
        types.push(name);
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
        Shape::Struct(inner) => struct_schema(inner, types),
        Shape::Map { value, atomic } => {
            let value = shape_schema(value, types);
            let mut out = json!({"type": "object", "additionalProperties": value});
            if *atomic {
                out["x-kubernetes-map-type"] = json!("atomic");
            }
            out
        }
        Shape::List { item, list_type } => {
            let items = shape_schema(item, types);
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

/// The schema of metadata, with words for what beginners meet first.
fn metadata_schema(mut schema: Value) -> Value {
    schema["description"] = json!("Data every object has.");
    for (name, what) in [
        ("name", "Unique among objects of its kind in its namespace."),
        (
            "generateName",
            "Beginning of a name that the server completes.",
        ),
        ("namespace", "The namespace the object lives in."),
        ("uid", "Unique for all time; set by the server."),
        (
            "resourceVersion",
            "Changes with every write; set by the server.",
        ),
        ("creationTimestamp", "When the server took the object in."),
        (
            "deletionTimestamp",
            "When the object's time to end gracefully is over.",
        ),
        ("labels", "Keys and values to select objects by."),
        ("annotations", "Keys and values for tools; not selectable."),
        (
            "finalizers",
            "What must be done before the object goes; each name is taken off by whoever has done it.",
        ),
        (
            "ownerReferences",
            "Objects this one belongs to: it goes when they are gone.",
        ),
        ("managedFields", "Who set which field; kept by the server."),
        (
            "generation",
            "Counts changes of what is wanted; set by the server.",
        ),
    ] {
        describe(&mut schema, name, what);
    }
    schema
}

/// Top-level members of a kind beyond apiVersion, kind and metadata.
fn parts(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "Pod" => &[
            (
                "spec",
                "Containers, volumes and rules of the pod; what is wanted.",
            ),
            ("status", "What the node agent last saw; what is."),
        ],
        "Node" => &[
            (
                "spec",
                "Address range, taints and whether pods may be placed here.",
            ),
            (
                "status",
                "Capacity, addresses and health the agent reports.",
            ),
        ],
        "Namespace" => &[
            ("spec", "Finalizers that must go before the namespace does."),
            (
                "status",
                "Active, or Terminating while its contents are deleted.",
            ),
        ],
        "Service" => &[
            (
                "spec",
                "Ports, the pods behind them and how they are reached.",
            ),
            ("status", "Addresses of a load balancer, if there is one."),
        ],
        "Endpoints" => &[("subsets", "Addresses and ports behind a Service.")],
        "ConfigMap" => &[
            ("data", "Texts by key."),
            ("binaryData", "Bytes by key, in base64."),
            ("immutable", "True: the data can never change."),
        ],
        "Secret" => &[
            ("data", "Bytes by key, in base64."),
            ("stringData", "Texts by key; stored as data, never shown."),
            ("type", "What the secret is for."),
            ("immutable", "True: the data can never change."),
        ],
        "Event" => &[
            ("involvedObject", "What the event is about."),
            ("reason", "One word for machines."),
            ("message", "One sentence for people."),
            ("type", "Normal or Warning."),
            ("count", "How often it happened."),
            ("source", "Who reported it."),
            ("firstTimestamp", "When it first happened."),
            ("lastTimestamp", "When it last happened."),
        ],
        "ServiceAccount" => &[
            ("secrets", "Secrets pods of this account may use."),
            ("imagePullSecrets", "Secrets to pull images with."),
        ],
        "Lease" => &[("spec", "Who holds the lease, since when and for how long.")],
        _ => &[],
    }
}

fn about(kind: &str) -> &'static str {
    match kind {
        "Pod" => "Containers that run together on one node and share its network.",
        "Node" => "A machine that runs pods.",
        "Namespace" => "A room that keeps names apart.",
        "Service" => "One address in front of several pods.",
        "Endpoints" => "The addresses behind a Service.",
        "ConfigMap" => "Settings for pods.",
        "Secret" => "Settings for pods that others must not read.",
        "Event" => "Something that happened to an object.",
        "ServiceAccount" => "The identity pods act under.",
        "Lease" => "A claim that must be renewed; nodes show with it that they live.",
        _ => "An object of this cluster.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::built_in;

    #[test]
    fn every_version_has_a_document_with_what_kubectl_looks_for() {
        for gv in versions(&built_in()) {
            let d = document(&built_in(), gv.group, gv.version).unwrap();
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
        assert!(document(&built_in(), "", "v9").is_none());
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
}
