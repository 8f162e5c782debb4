//! What the server serves, in the three forms clients ask for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::resource::{self, Resource, Rows};

/// Content type of the aggregated form that kubectl 1.30 and later asks for.
pub const AGGREGATED_V2: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Content type of the aggregated form that kubectl 1.26 to 1.29 asks for.
pub const AGGREGATED_V2BETA1: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The aggregated document at `/api`; `version` is `v2` or `v2beta1`.
pub fn aggregated_core(rows: &Rows, version: &str) -> Value {
    aggregated(rows, version, |group| group.is_empty())
}

/// The aggregated document at `/apis`.
pub fn aggregated_groups(rows: &Rows, version: &str) -> Value {
    aggregated(rows, version, |group| !group.is_empty())
}

fn aggregated(rows: &Rows, version: &str, wanted: impl Fn(&str) -> bool) -> Value {
    let items: Vec<Value> = resource::groups(rows)
        .into_iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|v| {
                    let resources: Vec<Value> =
                        resource::in_version(rows, group, v).map(item).collect();
                    json!({"version": v, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn item(r: &'static Resource) -> Value {
    let subresources: Vec<Value> = r
        .subresources
        .iter()
        .map(|s| {
            json!({"subresource": s.name, "responseKind": kind(s.gv, s.kind), "verbs": s.verbs})
        })
        .collect();
    let mut out = json!({
        "resource": r.plural,
        "responseKind": kind(r.gv, r.kind),
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": r.singular,
        "verbs": r.verbs,
    });
    for (key, list) in [
        ("shortNames", json!(r.short_names)),
        ("categories", json!(r.categories)),
        ("subresources", json!(subresources)),
    ] {
        if !list.as_array().is_none_or(Vec::is_empty) {
            out[key] = list;
        }
    }
    out
}

fn kind(gv: resource::Gv, kind: &str) -> Value {
    json!({"group": gv.group, "version": gv.version, "kind": kind})
}

/// The plain document at `/api`; `address` is where clients reach the server, host:port.
pub fn api_versions(rows: &Rows, address: &str) -> Value {
    let versions = resource::groups(rows)
        .into_iter()
        .find(|(group, _)| group.is_empty())
        .map_or(Vec::new(), |(_, versions)| versions);
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// The plain document at `/apis`.
pub fn group_list(rows: &Rows) -> Value {
    let groups: Vec<Value> = resource::groups(rows)
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_body(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The plain document at `/apis/<group>`, if the group is served.
pub fn group(rows: &Rows, name: &str) -> Option<Value> {
    let (group, versions) = resource::groups(rows)
        .into_iter()
        .find(|(g, _)| *g == name && !g.is_empty())?;
    let mut out = group_body(group, &versions);
    out["kind"] = json!("APIGroup");
    out["apiVersion"] = json!("v1");
    Some(out)
}

fn group_body(group: &'static str, versions: &[&'static str]) -> Value {
    let all: Vec<Value> = versions
        .iter()
        .map(|v| {
            let gv = resource::Gv { group, version: v };
            json!({"groupVersion": gv.api_version(), "version": v})
        })
        .collect();
    json!({"name": group, "preferredVersion": all[0], "versions": all})
}

/// The plain document at `/api/<version>` or `/apis/<group>/<version>`, if it is served.
pub fn resource_list(rows: &Rows, group: &str, version: &str) -> Option<Value> {
    let mut listed: Vec<Value> = Vec::new();
    let mut name = None;
    for r in resource::in_version(rows, group, version) {
        name = Some(r.gv.api_version());
        let mut row = json!({"name": r.plural, "singularName": r.singular,
            "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs});
        if !r.short_names.is_empty() {
            row["shortNames"] = json!(r.short_names);
        }
        if !r.categories.is_empty() {
            row["categories"] = json!(r.categories);
        }
        if !r.transient {
            row["storageVersionHash"] = json!(storage_version_hash(r));
        }
        listed.push(row);
        for s in r.subresources {
            let mut row = json!({"name": format!("{}/{}", r.plural, s.name), "singularName": "",
                "namespaced": r.namespaced, "kind": s.kind, "verbs": s.verbs});
            if s.gv != r.gv {
                row["group"] = json!(s.gv.group);
                row["version"] = json!(s.gv.version);
            }
            listed.push(row);
        }
    }
    let name = name?;
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}),
    )
}

/// By what clients notice that objects are stored in another form: eight bytes of the SHA-256
/// of group, version and kind (apiserver's `discovery.StorageVersionHash`).
fn storage_version_hash(r: &Resource) -> String {
    let stored = format!("{}/{}/{}", r.storage.group, r.storage.version, r.kind);
    STANDARD.encode(&Sha256::digest(stored)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::built_in;

    #[test]
    fn aggregated_core_lists_both_versions_and_log() {
        let d = aggregated_core(&built_in(), "v2");
        assert_eq!(d["apiVersion"], "apidiscovery.k8s.io/v2");
        assert_eq!(d["items"].as_array().unwrap().len(), 1);
        let versions = &d["items"][0]["versions"];
        assert_eq!(versions[0]["version"], "v1");
        assert_eq!(versions[1]["version"], "v1beta3");
        let pods = versions[0]["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["resource"] == "pods")
            .unwrap();
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["categories"], json!(["all"]));
        assert_eq!(pods["scope"], "Namespaced");
        assert!(
            pods["subresources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|s| s["subresource"] == "log")
        );
        assert!(versions[1]["resources"][0].get("shortNames").is_none());
    }

    #[test]
    fn groups_have_names_and_plain_forms() {
        let d = aggregated_groups(&built_in(), "v2beta1");
        assert_eq!(d["items"][0]["metadata"]["name"], "apps");
        assert_eq!(
            group_list(&built_in())["groups"][0]["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
        assert_eq!(
            group(&built_in(), "coordination.k8s.io").unwrap()["kind"],
            "APIGroup"
        );
        assert!(group(&built_in(), "").is_none() && group(&built_in(), "example.com").is_none());
        assert_eq!(
            api_versions(&built_in(), "10.0.2.15:6443")["versions"],
            json!(["v1", "v1beta3"])
        );
        let list = resource_list(&built_in(), "", "v1").unwrap();
        assert_eq!(list["groupVersion"], "v1");
        assert!(
            list["resources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|r| r["name"] == "pods/log")
        );
        assert!(resource_list(&built_in(), "", "v9").is_none());
        // As an upstream server gives them.
        for (name, hash) in [
            ("pods", json!("xPOwRZ+Yhw8=")),
            ("services", json!("0/CO1lhkEBI=")),
            ("events", json!("r2yiGXH7wu8=")),
            ("pods/log", json!(null)),
            ("bindings", json!(null)),
        ] {
            let rows = list["resources"].as_array().unwrap();
            let row = rows.iter().find(|r| r["name"] == name).unwrap();
            assert_eq!(row["storageVersionHash"], hash, "{name}");
        }
        let autoscalers = resource_list(&built_in(), "autoscaling", "v1").unwrap();
        assert_eq!(
            autoscalers["resources"][0]["storageVersionHash"],
            "qwQve8ut294="
        );
    }
}
