//! What a served kind is: one row of one table, read by every other part.

mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::crd::Custom;

use table::ALL;

/// Group and version, e.g. ("", "v1") or ("coordination.k8s.io", "v1").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gv {
    /// "" is the core group.
    pub group: &'static str,
    pub version: &'static str,
}

impl Gv {
    /// As in `apiVersion`: `v1`, `coordination.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// URL prefix without leading slash: `api/v1`, `apis/coordination.k8s.io/v1`.
    pub fn path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }
}

/// A part of an object with its own path, e.g. `pods/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    pub name: &'static str,
    /// Group and version of its body; that of the resource unless it says otherwise.
    pub gv: Gv,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// A field that may stand in a field selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As the client writes it: `spec.nodeName`.
    pub name: &'static str,
    /// JSON pointers, tried in order: `/spec/nodeName`.
    pub paths: &'static [&'static str],
    /// Value when absent (upstream compares with Go's zero value): "" or "false".
    pub absent: &'static str,
}

/// One served resource at one version.
#[derive(Debug)]
pub struct Resource {
    pub gv: Gv,
    pub kind: &'static str,
    pub list_kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub namespaced: bool,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// Fields beyond metadata.name and metadata.namespace that selectors may name.
    pub fields: &'static [Field],
    /// Version that objects are stored in; another one than `gv` where a row is one of
    /// several versions of the same objects.
    pub storage: Gv,
    /// Answered at once and never stored: reviews, bindings.
    pub transient: bool,
    /// The row of the stored version, where the table of built-in kinds does not have it.
    pub stored_row: Option<&'static Resource>,
    /// What a CustomResourceDefinition says of it.
    pub custom: Option<&'static Custom>,
    /// For versions of the past, since when they are: "deprecated since Kubernetes 1.0
    /// (2015)". "" for versions of today.
    pub history: &'static str,
}

/// Rows are told apart by what they serve, and custom ones by their definition.
impl PartialEq for Resource {
    fn eq(&self, other: &Resource) -> bool {
        let same = match (self.custom, other.custom) {
            (Some(a), Some(b)) => std::ptr::eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same && self.gv == other.gv && self.plural == other.plural
    }
}

impl Eq for Resource {}

impl Resource {
    /// `pods`, `leases.coordination.k8s.io`: how errors name the resource.
    pub fn qualified(&self) -> String {
        if self.gv.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.gv.group)
        }
    }

    /// `Pod`, `Lease.coordination.k8s.io`: how Invalid errors name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.gv.group.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}.{}", self.kind, self.gv.group)
        }
    }

    /// The row this one's objects are stored as: itself, or today's version of an old kind.
    pub fn stored_as(&'static self) -> &'static Resource {
        if self.storage == self.gv {
            return self;
        }
        let known = self.stored_row;
        known.unwrap_or_else(|| {
            find(self.storage.group, self.storage.version, self.plural).unwrap_or(self)
        })
    }

    /// As [`Resource::stored_as`], for a borrowed row.
    pub fn stored_as_or_self(&self) -> &Resource {
        if self.storage == self.gv {
            return self;
        }
        let known = self.stored_row;
        known.unwrap_or_else(|| {
            find(self.storage.group, self.storage.version, self.plural).unwrap_or(self)
        })
    }

    /// True where bodies are converted at the edge, because objects are stored in another
    /// version.
    pub fn is_converted(&self) -> bool {
        self.storage != self.gv
    }

    /// True for a version that exists for old manifests only.
    pub fn is_past(&self) -> bool {
        !self.history.is_empty()
    }

    /// Group and kind as stored: what code that treats kinds differently matches on. A
    /// custom resource may have a kind of the same name, never the same group.
    pub fn id(&self) -> (&'static str, &'static str) {
        (self.storage.group, self.kind)
    }

    /// Whether this is the kind of that group, in whatever version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.id() == (group, kind)
    }

    /// Whether clients may use `verb` on the resource itself.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Path of one object or, without a name, of the collection; no leading slash.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut p = self.gv.path();
        if let (true, Some(ns)) = (self.namespaced, namespace) {
            p = format!("{p}/namespaces/{ns}");
        }
        p = format!("{p}/{}", self.plural);
        match name {
            Some(name) => format!("{p}/{name}"),
            None => p,
        }
    }
}

/// Every served resource, in discovery order.
pub fn all() -> &'static [Resource] {
    &ALL
}

type Place = (&'static str, &'static str, &'static str);

/// Asked by every request, so it is an index.
static BY_PLACE: LazyLock<HashMap<Place, &'static Resource>> = LazyLock::new(|| {
    let place = |r: &'static Resource| ((r.gv.group, r.gv.version, r.plural), r);
    all().iter().map(place).collect()
});

/// The resource at `/apis/<group>/<version>/<plural>`; group "" is the core group.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    BY_PLACE.get(&(group, version, plural)).copied()
}

/// The resource an object of this `apiVersion` and `kind` belongs to.
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    all()
        .iter()
        .find(|r| r.gv.group == group && r.gv.version == version && r.kind == kind)
}

/// Rows in discovery order: the built-in ones, or those and custom ones.
pub type Rows = Vec<&'static Resource>;

/// The built-in rows.
pub fn built_in() -> Rows {
    all().iter().collect()
}

/// Groups with their versions in order of preference, core group first.
pub fn groups(rows: &Rows) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut out: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for r in rows.iter().filter(|r| !r.verbs.is_empty()) {
        match out.iter_mut().find(|(g, _)| *g == r.gv.group) {
            Some((_, versions)) if versions.contains(&r.gv.version) => {}
            Some((_, versions)) => versions.push(r.gv.version),
            None => out.push((r.gv.group, vec![r.gv.version])),
        }
    }
    out
}

/// The rows of one group and version that anybody can ask for.
pub fn in_version<'a>(
    rows: &'a Rows,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'static Resource> + 'a {
    let fits = move |r: &&'static Resource| {
        r.gv.group == group && r.gv.version == version && !r.verbs.is_empty()
    };
    rows.iter().copied().filter(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_are_unique_and_lead_to_storage() {
        let mut seen = HashSet::new();
        for r in all() {
            assert!(seen.insert((r.gv, r.plural)), "{} twice", r.plural);
            assert!(
                !r.stored_as().is_converted(),
                "{} has no stored row",
                r.plural
            );
            assert_eq!(r.list_kind, format!("{}List", r.kind));
            assert!(r.singular == r.kind.to_lowercase(), "{}", r.plural);
            if r.is_past() {
                // kubectl would warn that a short name is ambiguous.
                assert!(r.short_names.is_empty() && r.categories.is_empty());
            }
        }
    }

    #[test]
    fn short_names_do_not_clash() {
        let mut seen = HashSet::new();
        for r in all() {
            for s in r.short_names.iter().filter(|_| !r.is_converted()) {
                assert!(seen.insert(*s), "short name {s} twice");
            }
        }
    }

    #[test]
    fn the_core_group_prefers_v1_and_still_has_v1beta3() {
        assert_eq!(groups(&built_in())[0], ("", vec!["v1", "v1beta3"]));
        let old = find_kind("v1beta3", "Pod").unwrap();
        assert_eq!(old.stored_as(), find("", "v1", "pods").unwrap());
        assert!(old.is("", "Pod") && old.is_past());
        let hpa = find_kind("autoscaling/v1", "HorizontalPodAutoscaler").unwrap();
        assert!(hpa.is_converted() && !hpa.is_past());
        assert_eq!(hpa.stored_as().gv.version, "v2");
        assert_eq!(
            old.path(Some("default"), Some("x")),
            "api/v1beta3/namespaces/default/pods/x"
        );
    }
}
