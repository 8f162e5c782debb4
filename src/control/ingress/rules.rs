//! Which backend a request is for, as the documentation of Ingress says. Pure.
//!
//! Hosts: the exact one, then a wildcard for its first label, then rules without a host. Paths:
//! the longest that matches; of equal ones the exact. What no rule matches goes to the default
//! backend of an Ingress that names the host, then to that of one without rules, then to any
//! other. Of two Ingresses that say different things the older is right.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

/// The port of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    Name(String),
    Number(i32),
}

/// Where a rule leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Service {
        name: String,
        port: Port,
    },
    /// Something that is no Service, which nobody here serves.
    Resource {
        kind: String,
        name: String,
    },
}

/// A rule's end, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub namespace: String,
    pub ingress: String,
    pub target: Target,
}

/// What is said about one host.
#[derive(Debug, Default)]
struct Host {
    exact: HashMap<String, Arc<Route>>,
    /// Without the slash at the end; "" matches everything.
    prefix: HashMap<String, Arc<Route>>,
    default: Option<Arc<Route>>,
}

/// All rules.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Host>,
    /// By what follows the star: `.example.com`.
    wildcard: HashMap<String, Host>,
    any: Host,
    /// The default backend of an Ingress for certain hosts, for all others.
    last: Option<Arc<Route>>,
}

/// The oldest first: of two Ingresses that say different things it is right.
pub fn by_age<'a>(ingresses: impl IntoIterator<Item = &'a Ingress>) -> Vec<&'a Ingress> {
    let mut sorted: Vec<&Ingress> = ingresses.into_iter().collect();
    sorted.sort_by_key(|ingress| {
        let meta = &ingress.metadata;
        let born = meta.creation_timestamp.as_ref().map(|time| time.0);
        (born, &meta.namespace, &meta.name)
    });
    sorted
}

impl Table {
    /// The rules of these Ingresses.
    pub fn new<'a>(ingresses: impl IntoIterator<Item = &'a Ingress>) -> Table {
        let mut table = Table::default();
        for ingress in by_age(ingresses) {
            table.add(ingress);
        }
        table
    }

    fn add(&mut self, ingress: &Ingress) {
        let Some(spec) = &ingress.spec else { return };
        let meta = &ingress.metadata;
        let route = |backend: &IngressBackend| {
            Some(Arc::new(Route {
                namespace: meta.namespace.clone().unwrap_or_default(),
                ingress: meta.name.clone().unwrap_or_default(),
                target: target(backend)?,
            }))
        };
        let default = spec.default_backend.as_ref().and_then(route);
        let rules = spec.rules.as_deref().unwrap_or_default();
        for rule in rules {
            let host = self.host_mut(rule.host.as_deref().unwrap_or_default());
            if host.default.is_none() {
                host.default.clone_from(&default);
            }
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                if let Some(route) = route(&path.backend) {
                    host.add(path, route);
                }
            }
        }
        let others = match rules.is_empty() {
            true => &mut self.any.default,
            false => &mut self.last,
        };
        if others.is_none() {
            *others = default;
        }
    }

    fn host_mut(&mut self, host: &str) -> &mut Host {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            _ if host.is_empty() => &mut self.any,
            Some(rest) => self.wildcard.entry(rest.to_owned()).or_default(),
            None => self.exact.entry(host).or_default(),
        }
    }

    /// The rule for a request; `host` without its port, `path` without its query.
    #[must_use]
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let exact = self.exact.get(&host);
        // A star stands for one label, no more.
        let wildcard = host.find('.').filter(|dot| *dot > 0);
        let wildcard = wildcard.and_then(|dot| self.wildcard.get(&host[dot..]));
        let hosts = || exact.into_iter().chain(wildcard).chain([&self.any]);
        let mut matching = hosts().filter_map(|host| host.route(path));
        let default = || hosts().find_map(|host| host.default.as_ref());
        let found = matching.next().or_else(default);
        found.or(self.last.as_ref())
    }
}

impl Host {
    fn add(&mut self, path: &HTTPIngressPath, route: Arc<Route>) {
        let text = path.path.as_deref().unwrap_or("/");
        let (paths, text) = match path.path_type.as_str() {
            "Exact" => (&mut self.exact, text),
            // What is left to us is a prefix, as with most others.
            _ => (&mut self.prefix, text.trim_end_matches('/')),
        };
        paths.entry(text.to_owned()).or_insert(route);
    }

    fn route(&self, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        // From the longest prefix to the shortest, one element at a time.
        let mut rest = path.trim_end_matches('/');
        loop {
            if let Some(route) = self.prefix.get(rest) {
                return Some(route);
            }
            rest = &rest[..rest.rfind('/')?];
        }
    }
}

fn target(backend: &IngressBackend) -> Option<Target> {
    if let Some(service) = &backend.service {
        let port = service.port.as_ref()?;
        let port = match (&port.name, port.number) {
            (Some(name), _) => Port::Name(name.clone()),
            (None, Some(number)) => Port::Number(number),
            (None, None) => return None,
        };
        let name = service.name.clone();
        return Some(Target::Service { name, port });
    }
    backend.resource.as_ref().map(|resource| Target::Resource {
        kind: resource.kind.clone(),
        name: resource.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn backend(service: &str) -> Value {
        json!({"service": {"name": service, "port": {"number": 80}}})
    }

    /// `rules`: host, kind of path, path, service.
    fn ingress(
        name: &str,
        born: &str,
        default: Option<&str>,
        rules: &[(&str, &str, &str, &str)],
    ) -> Ingress {
        let rules = rules.iter().map(|(host, kind, path, service)| {
            let paths = json!([{"path": path, "pathType": kind, "backend": backend(service)}]);
            match *host {
                "" => json!({"http": {"paths": paths}}),
                host => json!({"host": host, "http": {"paths": paths}}),
            }
        });
        let mut spec = json!({"rules": rules.collect::<Vec<_>>()});
        if let Some(default) = default {
            spec["defaultBackend"] = backend(default);
        }
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "d", "creationTimestamp": born}, "spec": spec}))
        .unwrap()
    }

    fn ends<'a>(table: &'a Table, host: &str, path: &str) -> &'a str {
        match table.route(host, path).map(|route| &route.target) {
            Some(Target::Service { name, .. }) => name,
            Some(Target::Resource { .. }) => "a resource",
            None => "-",
        }
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-01-02T00:00:00Z";

    /// The table "Examples" of the documentation.
    #[test]
    fn paths_match_as_the_documentation_lists() {
        for (kind, path, request, expected) in [
            ("Prefix", "/", "/any/path", true),
            ("Exact", "/foo", "/foo", true),
            ("Exact", "/foo", "/bar", false),
            ("Exact", "/foo", "/foo/", false),
            ("Exact", "/foo/", "/foo", false),
            ("Prefix", "/foo", "/foo", true),
            ("Prefix", "/foo", "/foo/", true),
            ("Prefix", "/foo/", "/foo", true),
            ("Prefix", "/foo/", "/foo/", true),
            ("Prefix", "/aaa/bb", "/aaa/bbb", false),
            ("Prefix", "/aaa/bbb", "/aaa/bbb", true),
            ("Prefix", "/aaa/bbb/", "/aaa/bbb", true),
            ("Prefix", "/aaa/bbb", "/aaa/bbb/", true),
            ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", true),
            ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", false),
            ("ImplementationSpecific", "/aaa", "/aaa/bbb", true),
            ("Prefix", "/aaa", "/", false),
        ] {
            let ingress = ingress("a", OLD, None, &[("", kind, path, "s")]);
            let found = ends(&Table::new([&ingress]), "h", request) == "s";
            assert_eq!(found, expected, "{kind} {path} {request}");
        }
    }

    #[test]
    fn the_longest_path_wins_and_of_equals_the_exact() {
        let ingress = ingress(
            "a",
            OLD,
            None,
            &[
                ("", "Prefix", "/", "root"),
                ("", "Prefix", "/aaa", "a"),
                ("", "Prefix", "/aaa/bbb", "b"),
                ("", "Exact", "/aaa/bbb", "exact"),
            ],
        );
        let table = Table::new([&ingress]);
        for (path, service) in [
            ("/aaa/ccc", "a"),
            ("/aaa/bbb/ccc", "b"),
            ("/aaa/bbb", "exact"),
            ("/aaa/bbb/", "b"),
            ("/ccc", "root"),
            ("/", "root"),
        ] {
            assert_eq!(ends(&table, "h", path), service, "{path}");
        }
    }

    #[test]
    fn hosts_match_as_the_documentation_lists() {
        let ingress = ingress(
            "a",
            OLD,
            None,
            &[
                ("*.foo.com", "Prefix", "/", "star"),
                ("bar.foo.com", "Prefix", "/", "exact"),
                ("", "Prefix", "/any", "any"),
            ],
        );
        let table = Table::new([&ingress]);
        for (host, path, service) in [
            ("bar.foo.com", "/", "exact"),
            ("BAR.foo.com.", "/", "exact"),
            ("baz.foo.com", "/", "star"),
            ("baz.bar.foo.com", "/", "-"),
            ("foo.com", "/", "-"),
            ("10.0.2.15", "/any/thing", "any"),
            ("foo.com", "/any", "any"),
        ] {
            assert_eq!(ends(&table, host, path), service, "{host}{path}");
        }
    }

    #[test]
    fn what_no_rule_matches_goes_to_a_default_backend() {
        let all = [
            ingress("everything", NEW, Some("all"), &[]),
            ingress(
                "shop",
                OLD,
                Some("lost"),
                &[("shop.com", "Prefix", "/cart", "cart")],
            ),
            ingress(
                "blog",
                OLD,
                None,
                &[("blog.com", "Prefix", "/posts", "posts")],
            ),
        ];
        let table = Table::new(&all[1..]);
        assert_eq!(ends(&table, "shop.com", "/cart/1"), "cart");
        assert_eq!(ends(&table, "shop.com", "/else"), "lost");
        assert_eq!(ends(&table, "blog.com", "/else"), "lost");
        // One that is for everything goes before an older one for a shop.
        let table = Table::new(&all);
        assert_eq!(ends(&table, "shop.com", "/else"), "lost");
        assert_eq!(ends(&table, "blog.com", "/else"), "all");
        let table = Table::new(&all[..1]);
        assert_eq!(ends(&table, "h", "/"), "all");
        let table = Table::new([]);
        assert_eq!(ends(&table, "h", "/"), "-");
    }

    #[test]
    fn of_two_that_say_the_same_the_older_is_right() {
        let old = ingress("z", OLD, None, &[("h", "Prefix", "/", "old")]);
        let new = ingress("a", NEW, None, &[("h", "Prefix", "/", "new")]);
        assert_eq!(ends(&Table::new([&new, &old]), "h", "/"), "old");
    }

    #[test]
    fn ports_have_a_name_or_a_number_and_resources_have_neither() {
        let of = |backend: Value| target(&serde_json::from_value(backend).unwrap());
        let named = json!({"service": {"name": "s", "port": {"name": "http"}}});
        assert!(matches!(
            of(named),
            Some(Target::Service {
                port: Port::Name(_),
                ..
            })
        ));
        let resource =
            json!({"resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "b"}});
        assert!(matches!(of(resource), Some(Target::Resource { .. })));
        assert_eq!(of(json!({})), None);
    }
}
