//! Role-based access: roles and bindings, read into an index that is made anew only when
//! one of them has changed.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use cadet_api::json::{list_at, str_at};
use cadet_api::resource::{self, Resource};
use cadet_api::selector::LabelSelector;
use serde_json::Value;

use super::identity::User;
use crate::object::Object;
use crate::world::World;

const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

/// What somebody wants to do to a resource.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// Plural, without a subresource.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

fn any(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

impl Rule {
    /// Reads a rule as roles write it.
    pub fn read(value: &Value) -> Rule {
        let list = |key: &str| -> Vec<String> {
            list_at(value, key)
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect()
        };
        Rule {
            verbs: list("/verbs"),
            groups: list("/apiGroups"),
            resources: list("/resources"),
            names: list("/resourceNames"),
            urls: list("/nonResourceURLs"),
        }
    }

    /// Whether the rule allows it, wherever its binding holds.
    pub fn allows(&self, ask: &Ask<'_>) -> bool {
        any(&self.verbs, ask.verb)
            && any(&self.groups, ask.group)
            && self.has_resource(ask)
            && (self.names.is_empty() || self.names.iter().any(|name| name == ask.name))
    }

    fn has_resource(&self, ask: &Ask<'_>) -> bool {
        self.resources.iter().any(|listed| {
            if listed == "*" {
                return true;
            }
            match listed.split_once('/') {
                None => ask.subresource.is_empty() && listed == ask.resource,
                Some((resource, part)) => {
                    !ask.subresource.is_empty()
                        && part == ask.subresource
                        && (resource == "*" || resource == ask.resource)
                }
            }
        })
    }

    fn allows_path(&self, verb: &str, path: &str) -> bool {
        any(&self.verbs, verb)
            && self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => url == path,
            })
    }
}

/// Rules bound to somebody, in one namespace or everywhere.
#[derive(Debug, Clone)]
struct Grant {
    namespace: Option<String>,
    rules: Arc<Vec<Rule>>,
    /// By what, and to which of its subjects.
    binding: Arc<Object>,
    subject: usize,
}

impl Grant {
    /// By what, and as whom: a sentence's part, made only for the reviews that ask.
    fn because(&self) -> String {
        let (binding, value) = (&self.binding, self.binding.value());
        let (kind, named) = match &self.namespace {
            Some(namespace) => ("RoleBinding", format!("{}/{namespace}", binding.name())),
            None => ("ClusterRoleBinding", binding.name().to_owned()),
        };
        let role = str_at(&value, "/roleRef/kind");
        let of = str_at(&value, "/roleRef/name");
        let subject = list_at(&value, "/subjects").get(self.subject);
        let whom = described(subject.unwrap_or(&Value::Null), binding.namespace());
        format!("{kind} {named:?} of {role} {of:?} to {whom}")
    }
}

/// Who may do what.
#[derive(Debug, Default)]
pub struct Index {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

/// The index of a world's roles and bindings, kept until one changes.
#[derive(Debug, Default)]
pub struct Rbac(Mutex<Option<(u64, Arc<Index>)>>);

impl Rbac {
    /// The index as of now.
    pub fn index(&self, world: &World) -> Arc<Index> {
        let stamp = world.rules_changed().load(Ordering::Acquire);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, index)) if *of == stamp => Arc::clone(index),
            _ => {
                let index = Arc::new(Index::read(world));
                *kept = Some((stamp, Arc::clone(&index)));
                index
            }
        }
    }
}

/// A kind of the group this file is about.
pub fn kind(plural: &str) -> Option<&'static Resource> {
    resource::find(GROUP, "v1", plural)
}

/// The rules of a role by its reference; those of an aggregated role include what its
/// selectors choose.
pub fn rules_of(world: &World, kind_name: &str, namespace: &str, name: &str) -> Vec<Rule> {
    let (plural, namespace) = match kind_name {
        "ClusterRole" => ("clusterroles", ""),
        _ => ("roles", namespace),
    };
    let found = kind(plural).and_then(|kind| world.get(kind, namespace, name));
    let Some(role) = found.map(|object| object.value()) else {
        return Vec::new();
    };
    let mut rules: Vec<Rule> = list_at(&role, "/rules").iter().map(Rule::read).collect();
    let selectors = list_at(&role, "/aggregationRule/clusterRoleSelectors");
    if selectors.is_empty() {
        return rules;
    }
    for object in kind("clusterroles").map_or_else(Vec::new, |k| world.list(k, None).objects) {
        let chosen = selectors.iter().any(|selector| {
            LabelSelector::from_object(selector)
                .is_ok_and(|s| s.matches_of(|key| object.label(key)))
        });
        if chosen && object.name() != name {
            let value = object.value();
            rules.extend(list_at(&value, "/rules").iter().map(Rule::read));
        }
    }
    rules
}

impl Index {
    fn read(world: &World) -> Index {
        let mut index = Index::default();
        let mut known: HashMap<(String, String, String), Arc<Vec<Rule>>> = HashMap::new();
        for (plural, namespaced) in [("clusterrolebindings", false), ("rolebindings", true)] {
            let bindings = kind(plural).map_or_else(Vec::new, |k| world.list(k, None).objects);
            for binding in bindings {
                let value = binding.value();
                let key = (
                    str_at(&value, "/roleRef/kind").to_owned(),
                    binding.namespace().to_owned(),
                    str_at(&value, "/roleRef/name").to_owned(),
                );
                let rules = known
                    .entry(key)
                    .or_insert_with_key(|(k, ns, name)| Arc::new(rules_of(world, k, ns, name)));
                for (place, subject) in list_at(&value, "/subjects").iter().enumerate() {
                    let grant = Grant {
                        namespace: namespaced.then(|| binding.namespace().to_owned()),
                        rules: Arc::clone(rules),
                        binding: Arc::clone(&binding),
                        subject: place,
                    };
                    index.bind(subject, grant);
                }
            }
        }
        index
    }

    fn bind(&mut self, subject: &Value, grant: Grant) {
        let name = str_at(subject, "/name");
        let (map, key) = match str_at(subject, "/kind") {
            "User" => (&mut self.users, name.to_owned()),
            "Group" => (&mut self.groups, name.to_owned()),
            "ServiceAccount" => {
                let namespace = str_at(subject, "/namespace");
                let user = format!("system:serviceaccount:{namespace}:{name}");
                (&mut self.users, user)
            }
            _ => return,
        };
        map.entry(key).or_default().push(grant);
    }

    fn grants<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Grant> {
        let own = self.users.get(&user.name).into_iter().flatten();
        let shared = user.groups.iter().filter_map(|g| self.groups.get(g));
        own.chain(shared.flatten())
    }

    /// Whether some rule bound to the user allows it.
    pub fn allows(&self, user: &User, ask: &Ask<'_>) -> bool {
        self.grant(user, ask).is_some()
    }

    /// Whether some rule bound to the user in the whole cluster allows the path.
    pub fn allows_path(&self, user: &User, verb: &str, path: &str) -> bool {
        self.grant_path(user, verb, path).is_some()
    }

    /// The binding by which the user may do it.
    pub fn why(&self, user: &User, ask: &Ask<'_>) -> Option<String> {
        self.grant(user, ask).map(Grant::because)
    }

    /// The binding by which the user may ask for the path.
    pub fn why_path(&self, user: &User, verb: &str, path: &str) -> Option<String> {
        self.grant_path(user, verb, path).map(Grant::because)
    }

    fn grant<'a>(&'a self, user: &'a User, ask: &Ask<'_>) -> Option<&'a Grant> {
        self.grants(user)
            .filter(|g| g.namespace.as_deref().is_none_or(|ns| ns == ask.namespace))
            .find(|g| g.rules.iter().any(|rule| rule.allows(ask)))
    }

    fn grant_path<'a>(&'a self, user: &'a User, verb: &str, path: &str) -> Option<&'a Grant> {
        self.grants(user)
            .filter(|g| g.namespace.is_none())
            .find(|g| g.rules.iter().any(|rule| rule.allows_path(verb, path)))
    }

    /// All rules that hold for the user in a namespace.
    pub fn rules(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.grants(user)
            .filter(|g| g.namespace.as_deref().is_none_or(|ns| ns == namespace))
            .flat_map(|g| g.rules.iter().cloned())
            .collect()
    }

    /// Whether the user already has all that a rule gives, in a namespace or everywhere.
    pub fn covers(&self, user: &User, namespace: &str, rule: &Rule) -> bool {
        let held = self.rules(user, namespace);
        let resources = rule.verbs.iter().all(|verb| {
            rule.groups.iter().all(|group| {
                rule.resources.iter().all(|listed| {
                    let (resource, subresource) = listed.split_once('/').unwrap_or((listed, ""));
                    let names: Vec<&str> = match rule.names.as_slice() {
                        [] => vec![""],
                        names => names.iter().map(String::as_str).collect(),
                    };
                    names.iter().all(|name| {
                        let ask = Ask {
                            verb,
                            group,
                            resource,
                            subresource,
                            namespace,
                            name,
                        };
                        held.iter().any(|r| r.allows(&ask))
                    })
                })
            })
        });
        let urls = rule.verbs.iter().all(|verb| {
            rule.urls.iter().all(|url| {
                held.iter()
                    .any(|r| any(&r.verbs, verb) && covers_url(r, url))
            })
        });
        resources && urls
    }
}

/// A subject as reviews name it; an account without a namespace is of its binding's.
fn described(subject: &Value, namespace: &str) -> String {
    let (kind, name) = (str_at(subject, "/kind"), str_at(subject, "/name"));
    let own = str_at(subject, "/namespace");
    match (kind, if own.is_empty() { namespace } else { own }) {
        ("ServiceAccount", namespace) if !namespace.is_empty() => {
            format!("{kind} {:?}", format!("{name}/{namespace}"))
        }
        _ => format!("{kind} {name:?}"),
    }
}

fn covers_url(rule: &Rule, url: &str) -> bool {
    rule.urls.iter().any(|held| match held.strip_suffix('*') {
        Some(prefix) => url.starts_with(prefix),
        None => held == url,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask<'a>(verb: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Ask<'a> {
        Ask {
            verb,
            group: "",
            resource,
            subresource,
            namespace: "default",
            name,
        }
    }

    #[test]
    fn rules_allow_what_they_list_and_no_more() {
        let rule = Rule::read(&json!({"verbs": ["get"], "apiGroups": [""],
            "resources": ["pods", "pods/log", "*/scale"], "resourceNames": ["a"]}));
        assert!(rule.allows(&ask("get", "pods", "", "a")));
        assert!(rule.allows(&ask("get", "pods", "log", "a")));
        assert!(rule.allows(&ask("get", "anything", "scale", "a")));
        for no in [
            ask("get", "pods", "", "b"),
            ask("list", "pods", "", "a"),
            ask("get", "pods", "exec", "a"),
            ask("get", "secrets", "", "a"),
        ] {
            assert!(!rule.allows(&no), "{no:?}");
        }
        let all = Rule::read(&json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        assert!(all.allows(&ask("get", "pods", "exec", "")));
        let urls =
            Rule::read(&json!({"verbs": ["get"], "nonResourceURLs": ["/metrics", "/api/*"]}));
        assert!(urls.allows_path("get", "/metrics") && urls.allows_path("get", "/api/v1"));
        assert!(!urls.allows_path("get", "/metrics/x") && !urls.allows_path("post", "/metrics"));
    }
}
