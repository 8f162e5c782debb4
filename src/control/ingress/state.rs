//! What the controller knows: rules, the namespaces they lead to, and certificates by host.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::api::networking::v1::Ingress;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::backends::{Backends, Choice, Missing};
use crate::certificates::{self, CertificateError};
use crate::class::{self, Classes};
use crate::rules::{self, Route, Table, Target};

/// How many endpoints one request may be tried on.
const TRIES: usize = 3;

/// Where a request goes, or why it goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Go(Arc<Route>, Choice),
    /// A rule leads to something that cannot answer.
    Dead(Arc<Route>, Missing),
    /// The end of the rule is no Service.
    Resource(Arc<Route>),
    NoRule,
    /// The rules are not known yet.
    NotYet,
}

/// Namespace and name.
pub type Key = (String, String);

/// What is followed in one namespace.
#[derive(Debug, Default)]
pub struct Namespace {
    pub backends: Backends,
    /// By name of the Secret.
    pub certificates: HashMap<String, Arc<CertifiedKey>>,
}

#[derive(Debug, Default)]
pub struct Inner {
    pub classes: Classes,
    pub ingresses: HashMap<Key, Ingress>,
    table: Table,
    /// Hosts and the Secrets (namespace, name) that may have their certificates, those of
    /// older Ingresses first.
    secrets: HashMap<String, Vec<Key>>,
    pub namespaces: HashMap<String, Namespace>,
    /// Lists that are here: classes, Ingresses.
    pub complete: [bool; 2],
}

/// See the file's head.
#[derive(Debug)]
pub struct State {
    inner: RwLock<Inner>,
    fallback: Arc<CertifiedKey>,
}

impl State {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn new() -> Result<State, CertificateError> {
        Ok(State {
            inner: RwLock::default(),
            fallback: certificates::self_signed()?,
        })
    }

    // Between any two statements it is whole enough to serve from.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a request goes; `host` without its port, `path` without its query.
    pub fn decide(&self, host: &str, path: &str) -> Verdict {
        let inner = self.read();
        let Some(route) = inner.table.route(host, path).cloned() else {
            return match inner.complete {
                [true, true] => Verdict::NoRule,
                _ => Verdict::NotYet,
            };
        };
        let Target::Service { name, port } = &route.target else {
            return Verdict::Resource(route);
        };
        let chosen = match inner.namespaces.get(&route.namespace) {
            Some(namespace) => namespace.backends.choose(name, port, TRIES),
            None => Err(Missing::Service),
        };
        match chosen {
            Ok(choice) => Verdict::Go(route, choice),
            Err(missing) => Verdict::Dead(route, missing),
        }
    }

    fn certificate(&self, host: &str) -> Arc<CertifiedKey> {
        let inner = self.read();
        let host = host.to_ascii_lowercase();
        let wildcard = host.find('.').map(|dot| format!("*{}", &host[dot..]));
        let names = [Some(host), wildcard];
        let secrets = names.iter().flatten();
        let mut secrets = secrets.filter_map(|name| inner.secrets.get(name)).flatten();
        let found = secrets.find_map(|(namespace, secret)| {
            inner.namespaces.get(namespace)?.certificates.get(secret)
        });
        found.map_or_else(|| Arc::clone(&self.fallback), Arc::clone)
    }
}

impl ResolvesServerCert for State {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who names no host has asked for an address.
        Some(match hello.server_name() {
            Some(host) => self.certificate(host),
            None => Arc::clone(&self.fallback),
        })
    }
}

impl Inner {
    /// Makes rules and hosts anew, after Ingresses or classes have changed.
    pub fn rebuild(&mut self) {
        let classes = &self.classes;
        let ours = || {
            let all = self.ingresses.values();
            all.filter(|ingress| classes.own(class::of(ingress)))
        };
        self.table = Table::new(ours());
        let mut secrets: HashMap<String, Vec<Key>> = HashMap::new();
        for ingress in rules::by_age(ours()) {
            let Some(spec) = &ingress.spec else { continue };
            let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
            for tls in spec.tls.iter().flatten() {
                let Some(secret) = &tls.secret_name else {
                    continue;
                };
                let named = tls.hosts.iter().flatten().map(String::as_str);
                let named: Vec<&str> = named.collect();
                let rules = spec.rules.iter().flatten();
                let hosts: Vec<&str> = match named.is_empty() {
                    // It says for no host in particular, so for all of this Ingress.
                    true => rules.filter_map(|rule| rule.host.as_deref()).collect(),
                    false => named,
                };
                for host in hosts {
                    let key = (namespace.clone(), secret.clone());
                    let all = secrets.entry(host.to_ascii_lowercase()).or_default();
                    all.push(key);
                }
            }
        }
        self.secrets = secrets;
    }

    /// Namespaces in which something must be followed.
    pub fn wanted(&self) -> BTreeSet<String> {
        let all = self.ingresses.iter();
        let ours = all.filter(|(_, ingress)| self.classes.own(class::of(ingress)));
        ours.map(|((namespace, _), _)| namespace.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CONTROLLER;
    use serde_json::json;

    fn certificate(inner: &mut Inner, secret: &str) -> Arc<CertifiedKey> {
        let pair = certificates::self_signed().unwrap();
        let known = inner.namespaces.entry("d".into()).or_default();
        known.certificates.insert(secret.into(), Arc::clone(&pair));
        pair
    }

    #[test]
    fn nothing_is_missing_before_it_could_be_known() {
        let state = State::new().unwrap();
        assert_eq!(state.decide("shop.example", "/"), Verdict::NotYet);
        state.write().complete = [true, false];
        assert_eq!(state.decide("shop.example", "/"), Verdict::NotYet);
        state.write().complete = [true, true];
        assert_eq!(state.decide("shop.example", "/"), Verdict::NoRule);
    }

    #[test]
    fn a_host_shows_the_certificate_of_the_oldest_ingress_that_has_one() {
        let state = State::new().unwrap();
        let mut inner = state.write();
        let class = json!({"spec": {"controller": CONTROLLER}});
        let class = serde_json::from_value(class).unwrap();
        inner.classes.set("mine".into(), &class);
        for (name, born) in [
            ("a", "2026-01-02"),
            ("b", "2026-01-01"),
            ("c", "2026-01-03"),
        ] {
            let ingress = json!({
                "metadata": {"namespace": "d", "name": name,
                    "creationTimestamp": format!("{born}T00:00:00Z")},
                "spec": {"ingressClassName": "mine",
                    "tls": [{"hosts": ["Shop.example"], "secretName": name}]}});
            let ingress = serde_json::from_value(ingress).unwrap();
            inner.ingresses.insert(("d".into(), name.into()), ingress);
        }
        inner.rebuild();
        let (a, b) = (certificate(&mut inner, "a"), certificate(&mut inner, "b"));
        drop(inner);
        let shows =
            |pair: &Arc<CertifiedKey>| Arc::ptr_eq(&state.certificate("shop.EXAMPLE"), pair);
        assert!(shows(&b));
        // Its Secret went; the next older one has a certificate.
        let mut inner = state.write();
        let known = inner.namespaces.get_mut("d").unwrap();
        known.certificates.remove("b");
        drop(inner);
        assert!(shows(&a));
        state.write().namespaces.clear();
        assert!(shows(&state.fallback));
    }
}
