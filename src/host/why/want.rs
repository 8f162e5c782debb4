//! One thing to be fetched, and what came of it.

use serde_json::{Value, json};

use crate::kind::Kind;

/// Lines of a log that are looked at.
const LOG_LINES: u32 = 30;

/// Something an explanation may stand on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    Object {
        kind: Kind,
        namespace: String,
        name: String,
    },
    /// All objects of a namespace; "" is all namespaces.
    List { kind: Kind, namespace: String },
    /// The pods of all namespaces, or those of one node.
    PodsOn { node: String },
    /// The last lines of a container.
    Log {
        namespace: String,
        pod: String,
        container: String,
        /// Of the run before this one.
        previous: bool,
    },
    /// Whether anybody listens at a port of a pod, asked through the API server's proxy.
    Dial {
        namespace: String,
        pod: String,
        port: u16,
    },
    /// Whether somebody may do something.
    Access(Access),
}

/// One act that somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    pub user: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    /// "" asks for the whole cluster.
    pub namespace: String,
}

/// What came of a [`Want`].
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// An object, or a list with its `items`.
    Object(Value),
    /// A log; for a [`Want::Dial`] anything that shows that somebody listens.
    Text(String),
    /// There is no such object.
    Absent,
    /// It could not be read; for a [`Want::Dial`] why nobody answered.
    Unread(String),
}

impl Want {
    #[must_use]
    pub fn object(kind: Kind, namespace: &str, name: &str) -> Want {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        Want::Object {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[must_use]
    pub fn list(kind: Kind, namespace: &str) -> Want {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        Want::List {
            kind,
            namespace: namespace.to_owned(),
        }
    }

    /// Path and query at the API server.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Want::Object {
                kind,
                namespace,
                name,
            } => format!("{}/{name}", kind.path(namespace)),
            Want::List { kind, namespace } => kind.path(namespace),
            Want::PodsOn { node } if node.is_empty() => Kind::Pod.path(""),
            Want::PodsOn { node } => {
                format!(
                    "{}?fieldSelector=spec.nodeName%3D{node}",
                    Kind::Pod.path("")
                )
            }
            Want::Log {
                namespace,
                pod,
                container,
                previous,
            } => format!(
                "{}/{pod}/log?container={container}&tailLines={LOG_LINES}&previous={previous}",
                Kind::Pod.path(namespace)
            ),
            Want::Dial {
                namespace,
                pod,
                port,
            } => format!("{}/{pod}:{port}/proxy/", Kind::Pod.path(namespace)),
            Want::Access(_) => "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned(),
        }
    }

    /// The body, for what is asked by posting.
    #[must_use]
    pub fn body(&self) -> Option<Value> {
        let Want::Access(access) = self else {
            return None;
        };
        Some(json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": access.user, "groups": groups(&access.user), "resourceAttributes": {
                "verb": access.verb, "group": access.group, "resource": access.resource,
                "namespace": access.namespace}},
        }))
    }
}

/// The groups of a service account, which its name tells.
fn groups(user: &str) -> Vec<String> {
    let mut groups = vec!["system:authenticated".to_owned()];
    if let Some(rest) = user.strip_prefix("system:serviceaccount:") {
        let namespace = rest.split(':').next().unwrap_or_default();
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_are_asked_where_the_api_has_them() {
        assert_eq!(
            Want::object(Kind::Node, "shop", "n1").path(),
            "/api/v1/nodes/n1"
        );
        let log = Want::Log {
            namespace: "shop".into(),
            pod: "web".into(),
            container: "app".into(),
            previous: true,
        };
        assert_eq!(
            log.path(),
            "/api/v1/namespaces/shop/pods/web/log?container=app&tailLines=30&previous=true"
        );
        let access = Want::Access(Access {
            user: "system:serviceaccount:shop:web".into(),
            verb: "list".into(),
            group: String::new(),
            resource: "pods".into(),
            namespace: "shop".into(),
        });
        let body = access.body().expect("a body");
        assert_eq!(body["spec"]["groups"][2], "system:serviceaccounts:shop");
    }
}
