//! What a path points at: an object, a collection, or a document about the API.

use cadet_api::resource::{self, Resource};

use crate::kinds::Kinds;
use http::Method;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An object or a collection of a served resource.
    Object(Reference),
    /// A resource path whose kind is not served: group, version, plural.
    Unknown {
        group: String,
        version: String,
        plural: String,
    },
    /// Anything else: discovery, health, documents.
    Path,
}

/// An object, or with no name a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub resource: &'static Resource,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// What stands after the subresource, e.g. the path of a proxy request.
    pub rest: String,
}

impl Target {
    /// Reads a path. Nothing is looked up in the world.
    pub fn of(path: &str, kinds: &Kinds) -> Target {
        let segments: Vec<String> = path
            .split('/')
            .filter(|s| !s.is_empty())
            .map(decode_segment)
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Target::Path,
        };
        let (namespace, rest) = match rest {
            [] => return Target::Path,
            // `namespaces/x/status` is about the namespace, `namespaces/x/pods` is in it.
            ["namespaces", ns, plural, rest @ ..]
                if group.is_empty() && !matches!(*plural, "status" | "finalize")
                    || !group.is_empty() =>
            {
                (Some((*ns).to_owned()), [&[*plural], rest].concat())
            }
            rest => (None, rest.to_vec()),
        };
        let (Some(plural), tail) = (rest.first(), &rest[1..]) else {
            return Target::Path;
        };
        let owned = |s: &&str| (*s).to_owned();
        // The old form of binding a pod names it in the body only.
        if group.is_empty() && *plural == "bindings" && tail.is_empty() && namespace.is_some() {
            return match resource::find(group, version, "pods") {
                Some(resource) => Target::Object(Reference {
                    resource,
                    namespace,
                    name: None,
                    subresource: Some("binding".to_owned()),
                    rest: String::new(),
                }),
                None => Target::Path,
            };
        }
        let found = kinds
            .find(group, version, plural)
            .filter(|resource| resource.namespaced || namespace.is_none())
            // An object of a namespaced kind has a namespace; only the collection may lack it.
            .filter(|resource| !resource.namespaced || namespace.is_some() || tail.is_empty());
        match found {
            Some(resource) => Target::Object(Reference {
                resource,
                namespace,
                name: tail.first().map(owned),
                subresource: tail.get(1).map(owned),
                rest: tail.get(2..).unwrap_or_default().join("/"),
            }),
            None => Target::Unknown {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: (*plural).to_owned(),
            },
        }
    }

    /// The verb of a request, as authorization and errors name it.
    pub fn verb(&self, method: &Method, watch: bool) -> &'static str {
        let named = matches!(self, Target::Object(r) if r.name.is_some());
        let object = matches!(self, Target::Object(_));
        // To a proxied server `?watch` may mean anything.
        let watch = watch && !matches!(self, Target::Object(r) if r.subresource.is_some());
        match (method.as_str(), named) {
            ("GET" | "HEAD", _) if !object => "get",
            ("GET" | "HEAD", _) if watch => "watch",
            ("GET" | "HEAD", true) => "get",
            ("GET" | "HEAD", false) => "list",
            ("POST", _) if object => "create",
            ("PUT", _) if object => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) if object => "deletecollection",
            ("POST", _) => "post",
            ("PUT", _) => "put",
            ("DELETE", false) => "delete",
            _ => "options",
        }
    }
}

/// Undoes percent-encoding. A malformed escape stays as it is; it then names nothing.
fn decode_segment(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| segment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> (String, Option<String>, Option<String>, Option<String>) {
        match Target::of(path, &Kinds::default()) {
            Target::Object(r) => (
                r.resource.path(None, None),
                r.namespace,
                r.name,
                r.subresource,
            ),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let s = |s: &str| Some(s.to_owned());
        let pods = || "api/v1/pods".to_owned();
        assert_eq!(object("/api/v1/pods"), (pods(), None, None, None));
        assert_eq!(
            object("/api/v1/namespaces/a/pods/"),
            (pods(), s("a"), None, None)
        );
        assert_eq!(
            object("/api/v1/namespaces/a/pods/x/log"),
            (pods(), s("a"), s("x"), s("log"))
        );
        let namespaces = || "api/v1/namespaces".to_owned();
        assert_eq!(
            object("/api/v1/namespaces"),
            (namespaces(), None, None, None)
        );
        assert_eq!(
            object("/api/v1/namespaces/a"),
            (namespaces(), None, s("a"), None)
        );
        assert_eq!(
            object("/api/v1/namespaces/a/finalize"),
            (namespaces(), None, s("a"), s("finalize"))
        );
        assert_eq!(object("/api/v1beta3/namespaces/a/pods/x").2, s("x"));
        assert_eq!(
            object("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n%2E1").2,
            s("n.1")
        );
        assert_eq!(
            object("/api/v1/namespaces/a/bindings"),
            (pods(), s("a"), None, s("binding"))
        );
    }

    #[test]
    fn what_is_no_object_is_said_so() {
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps/v1",
            "/version",
            "/openapi/v3",
        ] {
            assert_eq!(Target::of(path, &Kinds::default()), Target::Path, "{path}");
        }
        for path in [
            "/apis/apps/v9/deployments",
            "/api/v1/namespaces/a/nodes",
            "/api/v1/pods/x",
            "/api/v9/pods",
        ] {
            assert!(
                matches!(Target::of(path, &Kinds::default()), Target::Unknown { .. }),
                "{path}"
            );
        }
    }

    #[test]
    fn verbs_follow_method_and_target() {
        let collection = Target::of("/api/v1/namespaces/a/pods", &Kinds::default());
        let object = Target::of("/api/v1/namespaces/a/pods/x", &Kinds::default());
        assert_eq!(collection.verb(&Method::GET, false), "list");
        assert_eq!(collection.verb(&Method::GET, true), "watch");
        assert_eq!(collection.verb(&Method::DELETE, false), "deletecollection");
        assert_eq!(object.verb(&Method::GET, false), "get");
        assert_eq!(object.verb(&Method::DELETE, false), "delete");
        assert_eq!(Target::Path.verb(&Method::POST, false), "post");
    }
}
