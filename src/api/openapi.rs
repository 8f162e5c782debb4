//! OpenAPI v3, as much as kubectl needs to create, apply, diff and explain.

use serde_json::{Map, Value, json};

use crate::resource::{self, Gv, Resource, Rows};

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
        schemas.insert(schema_name(r), schema(r));
    }
    if schemas.is_empty() {
        return None;
    }
    schemas.insert(META.to_owned(), metadata_schema());
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// A fingerprint of one document: clients keep the document as long as it stays the same.
pub fn hash(rows: &Rows, group: &str, version: &str) -> Option<String> {
    let text = document(rows, group, version)?.to_string();
    // FNV-1a, 64 bits: a cache key, not a seal.
    let h = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Some(format!("{h:016X}"))
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

fn schema(r: &Resource) -> Value {
    let text = |what: &str| json!({"type": "string", "description": what});
    let mut properties = Map::from_iter([
        (
            "apiVersion".to_owned(),
            text("Version of the API this object is written in."),
        ),
        ("kind".to_owned(), text("What this object is.")),
        (
            "metadata".to_owned(),
            json!({"allOf": [{"$ref": format!("#/components/schemas/{META}")}], "default": {},
                "description": "Name, labels and other data every object has."}),
        ),
    ]);
    for (name, what) in parts(r.kind) {
        let open = json!({"type": "object", "description": what,
            "x-kubernetes-preserve-unknown-fields": true});
        properties.insert((*name).to_owned(), open);
    }
    json!({
        "type": "object",
        "description": about(r.kind),
        "properties": properties,
        "x-kubernetes-group-version-kind":
            [{"group": r.gv.group, "version": r.gv.version, "kind": r.kind}],
    })
}

fn metadata_schema() -> Value {
    let text = |what: &str| json!({"type": "string", "description": what});
    let map = |what: &str| json!({"type": "object", "additionalProperties": {"type": "string"}, "description": what});
    json!({"type": "object", "description": "Data every object has.", "properties": {
        "name": text("Unique among objects of its kind in its namespace."),
        "generateName": text("Beginning of a name that the server completes."),
        "namespace": text("The namespace the object lives in."),
        "uid": text("Unique for all time; set by the server."),
        "resourceVersion": text("Changes with every write; set by the server."),
        "creationTimestamp": text("When the server took the object in."),
        "deletionTimestamp": text("When the object's time to end gracefully is over."),
        "labels": map("Keys and values to select objects by."),
        "annotations": map("Keys and values for tools; not selectable."),
    }})
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
