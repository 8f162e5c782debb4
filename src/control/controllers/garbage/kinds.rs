//! Which kinds the collector watches: all that can be listed, watched and deleted, those of
//! definitions included.

use cadet_api::meta::Meta;
use cadet_api::resource;
use serde::Deserialize;

use crate::shared;

/// A kind as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
}

impl Kind {
    /// Path of all there are.
    pub fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}/{}", self.version, self.plural),
            group => format!("/apis/{group}/{}/{}", self.version, self.plural),
        }
    }

    /// Path of one.
    pub fn path_of(&self, namespace: &str, name: &str) -> String {
        let all = self.path();
        match self.namespaced {
            true => format!("{}/{name}", crate::wire::in_namespace(&all, namespace)),
            false => format!("{all}/{name}"),
        }
    }

    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether an owner reference means this kind, in whatever version.
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.group == group && self.kind == kind
    }
}

/// Those that every server has. News about objects (events) own nothing and are nobody's.
pub fn built_in() -> Vec<Kind> {
    let rows = resource::all().iter();
    rows.filter(|r| !r.is_converted() && !r.transient && r.kind != "Event")
        .filter(|r| {
            ["list", "watch", "delete"]
                .iter()
                .all(|verb| r.allows(verb))
        })
        .map(|r| Kind {
            group: r.gv.group.to_owned(),
            version: r.gv.version.to_owned(),
            plural: r.plural.to_owned(),
            kind: r.kind.to_owned(),
            namespaced: r.namespaced,
        })
        .collect()
}

/// A definition of a custom kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    name: String,
    uid: String,
    version: u64,
    terminating: bool,
    /// `None` until it is served.
    pub kind: Option<Kind>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wire {
    metadata: Meta,
    spec: WireSpec,
    status: WireStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireSpec {
    group: String,
    scope: String,
    names: WireNames,
    versions: Vec<WireVersion>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireNames {
    kind: String,
    plural: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireVersion {
    name: String,
    served: bool,
    storage: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    conditions: Vec<WireCondition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireCondition {
    r#type: String,
    status: String,
}

impl shared::Record for Definition {
    type Wire = Wire;

    fn path() -> String {
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned()
    }

    fn of(wire: Wire) -> Definition {
        let Wire {
            metadata: meta,
            spec,
            status,
        } = wire;
        let established = |c: &WireCondition| c.r#type == "Established" && c.status == "True";
        let served = spec.versions.iter().filter(|version| version.served);
        let version = served.max_by_key(|version| version.storage);
        Definition {
            version: shared::version(Some(&meta.resource_version)),
            terminating: meta.is_deleting(),
            name: meta.name,
            uid: meta.uid,
            kind: version
                .filter(|_| status.conditions.iter().any(established))
                .map(|version| Kind {
                    group: spec.group.clone(),
                    version: version.name.clone(),
                    plural: spec.names.plural.clone(),
                    kind: spec.names.kind.clone(),
                    namespaced: spec.scope == "Namespaced",
                }),
        }
    }

    fn meta(&self) -> shared::Meta<'_> {
        shared::Meta {
            namespace: "",
            name: &self.name,
            uid: &self.uid,
            version: self.version,
            controller: None,
        }
    }

    fn deleting(&self) -> Definition {
        Definition {
            terminating: true,
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.terminating
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record as _;
    use serde_json::json;

    #[test]
    fn kinds_have_paths_and_are_known_by_group() {
        let all = built_in();
        let of = |plural: &str| all.iter().find(|k| k.plural == plural).unwrap();
        assert_eq!(of("nodes").path_of("", "n"), "/api/v1/nodes/n");
        let sets = of("replicasets");
        assert_eq!(
            sets.path_of("d", "w"),
            "/apis/apps/v1/namespaces/d/replicasets/w"
        );
        assert!(sets.is("apps/v1", "ReplicaSet") && sets.is("apps/v1beta2", "ReplicaSet"));
        assert!(!sets.is("v1", "ReplicaSet"));
        assert!(
            !all.iter()
                .any(|k| k.kind == "Event" || k.kind == "ComponentStatus")
        );
    }

    #[test]
    fn a_definition_counts_once_it_is_served() {
        let of = |conditions| {
            let crd = json!({"metadata": {"name": "cats.zoo.io"}, "spec": {"group": "zoo.io",
                "scope": "Namespaced", "names": {"kind": "Cat", "plural": "cats"},
                "versions": [{"name": "v2", "served": false, "storage": false},
                    {"name": "v1", "served": true, "storage": true}]},
                "status": {"conditions": conditions}});
            Definition::of(serde_json::from_value(crd).unwrap()).kind
        };
        assert_eq!(of(json!([])), None);
        let kind = of(json!([{"type": "Established", "status": "True"}])).unwrap();
        assert_eq!(kind.path(), "/apis/zoo.io/v1/cats");
        assert_eq!(kind.api_version(), "zoo.io/v1");
    }
}
