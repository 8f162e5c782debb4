//! Names that are not found: a complaint in a log, held against what the cluster has.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::{Facts, name, ns};
use crate::kind::Kind;
use crate::owner;
use crate::policy;
use crate::want::Want;
use crate::words::{between, kubectl, nearest, short};

/// Domain of the cluster's Services.
const DOMAIN: &str = "cluster.local";
/// The Service of the cluster's names.
const DNS: (&str, &str) = ("kube-system", "kube-dns");

/// A line that says that a name was not found, and the name.
fn complaint(text: &str) -> Option<(&str, &str)> {
    text.lines().rev().find_map(|line| {
        let name = asked(line)?;
        let name = name.split(':').next().unwrap_or(name).trim_end_matches('.');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = !name.is_empty()
            && name.bytes().all(plain)
            && name.bytes().any(|b| b.is_ascii_alphabetic());
        is_name.then_some((line, name))
    })
}

/// As resolvers of the usual languages put it.
fn asked(line: &str) -> Option<&str> {
    // busybox
    between(line, "bad address '", "'")
        // curl
        .or_else(|| after(line, "Could not resolve host: "))
        .or_else(|| between(line, "unable to resolve host address '", "'"))
        .or_else(|| between(line, "unable to resolve host address ‘", "’"))
        // Node.js
        .or_else(|| after(line, "getaddrinfo ENOTFOUND "))
        .or_else(|| after(line, "getaddrinfo EAI_AGAIN "))
        // Go: lookup NAME on SERVER: no such host
        .or_else(
            || match line.contains("no such host") || line.contains("server misbehaving") {
                true => after(line, "lookup "),
                false => None,
            },
        )
        // PostgreSQL and others of C
        .or_else(|| between(line, "could not translate host name \"", "\""))
        // nginx
        .or_else(|| between(line, "host not found in upstream \"", "\""))
        // Java
        .or_else(|| after(line, "UnknownHostException: "))
        // Debian's ping and the like
        .or_else(|| {
            line.find(": Name or service not known")
                .and_then(|end| line[..end].rsplit(' ').next())
        })
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(mark)?;
    rest.split([' ', ',', ';', ')', '"', '\'']).next()
}

/// What has to be known to judge a complaint.
pub fn wants(namespace: &str, text: &str) -> Vec<Want> {
    let Some((_, wanted)) = complaint(text) else {
        return Vec::new();
    };
    let mut wants = vec![
        Want::list(Kind::Service, namespace),
        Want::object(Kind::Service, DNS.0, DNS.1),
        Want::list(Kind::EndpointSlice, DNS.0),
    ];
    if let Some((_, Some(other))) = as_service(wanted) {
        wants.push(Want::list(Kind::Service, other));
    }
    wants
}

/// Service and namespace that a name means, if it can mean one of the cluster.
fn as_service(wanted: &str) -> Option<(&str, Option<&str>)> {
    let inner = wanted
        .strip_suffix(DOMAIN)
        .map(|rest| rest.trim_end_matches('.'));
    let inner = inner.unwrap_or(wanted);
    let parts: Vec<&str> = inner.split('.').collect();
    match parts.as_slice() {
        [service] => Some((service, None)),
        [service, namespace, "svc"] => Some((service, Some(namespace))),
        [service, namespace] if inner == wanted => Some((service, Some(namespace))),
        _ => None,
    }
}

/// Why a name was not found.
pub fn explain(facts: &Facts, pod: &Value, text: &str) -> Option<Answer> {
    let (line, wanted) = complaint(text)?;
    let subject = format!("pod/{}", name(pod));
    let told = |answer: Answer| answer.with("log", short(line, 160));
    let policy = str_at(pod, "/spec/dnsPolicy");
    let on_node = pod["spec"]["hostNetwork"] == true;
    let asks_node = policy == "Default" || (on_node && policy != "ClusterFirstWithHostNet");
    let meant = as_service(wanted);
    if let Some((service, other)) = meant {
        let namespace = other.unwrap_or(ns(pod));
        let exists = facts.find(Kind::Service, namespace, service).is_some();
        let own = policy == "None";
        if exists && (asks_node || own) {
            let why = match own {
                true => "its dnsPolicy is None, so it asks only the servers of its dnsConfig",
                false if on_node => {
                    "it is on the node's network and dnsPolicy is not ClusterFirstWithHostNet, so it asks the node's name server"
                }
                false => "its dnsPolicy is Default, so it asks the node's name server",
            };
            let headline = format!("{subject} does not find the name {wanted} because {why}.");
            return Some(told(
                Answer::new(Cause::DnsPolicy, headline)
                    .with(
                        "evidence",
                        format!("service {service} exists in namespace {namespace}"),
                    )
                    .then(owner::edit(facts, pod)),
            ));
        }
    }
    if let Some(answer) = policy::without_names(facts, pod) {
        return Some(told(answer));
    }
    if let Some(answer) = server_is_down(facts, &subject, wanted) {
        return Some(told(answer));
    }
    let (service, other) = meant?;
    let namespace = other.unwrap_or(ns(pod));
    // A name of two parts may be one of the world outside.
    let certain = other.is_none() || wanted.contains(".svc");
    if !certain || !facts.is_absent(Kind::Service, namespace, service) {
        return None;
    }
    let headline = format!(
        "{subject} does not find the name {wanted}: there is no Service {service} in namespace {namespace}."
    );
    let mut answer = Answer::new(Cause::DnsName, headline);
    let known = facts.within(Kind::Service, namespace).map(name);
    if let Some(near) = nearest(service, known) {
        answer = answer.with("evidence", format!("there is a Service {near}"));
    }
    let elsewhere = facts.all(Kind::Service).find(|one| name(one) == service);
    if let Some(one) = elsewhere {
        answer = answer.with(
            "evidence",
            format!(
                "namespace {} has one: its name here is {service}.{}",
                ns(one),
                ns(one)
            ),
        );
    }
    Some(
        told(answer)
            .then(kubectl(namespace, "get services"))
            .then(owner::edit(facts, pod)),
    )
}

fn selector_of(service: &Value) -> String {
    crate::words::labels(cadet_api::json::map_at(service, "/spec/selector"))
}

fn server_is_down(facts: &Facts, subject: &str, wanted: &str) -> Option<Answer> {
    let (namespace, service) = DNS;
    let missing = facts.is_absent(Kind::Service, namespace, service);
    // Cadet's own agents serve names without pods; then there is no selector, and no endpoint.
    let by_pods = facts
        .find(Kind::Service, namespace, service)
        .is_some_and(|found| !selector_of(found).is_empty());
    let silent = facts.has_all(Kind::EndpointSlice, namespace)
        && by_pods
        && !facts
            .within(Kind::EndpointSlice, namespace)
            .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service)
            .flat_map(|slice| list_at(slice, "/endpoints"))
            .any(|endpoint| endpoint["conditions"]["ready"] != false);
    let why = match (missing, silent) {
        (true, _) => "there is no Service kube-dns in namespace kube-system",
        (_, true) => "the cluster's name server has no ready endpoint",
        _ => return None,
    };
    let headline = format!(
        "{subject} does not find the name {wanted} because the cluster's names are not served: {why}."
    );
    Some(
        Answer::new(Cause::DnsServer, headline)
            .then("kubectl get service,endpointslices,pods -n kube-system")
            .then("cadet status"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_many_languages_are_read() {
        for line in [
            "wget: bad address 'db:8080'",
            "curl: (6) Could not resolve host: db",
            "Error: getaddrinfo ENOTFOUND db",
            "dial tcp: lookup db on 10.96.0.10:53: no such host",
            "could not translate host name \"db\" to address: Name or service not known",
            "java.net.UnknownHostException: db",
            "nginx: [emerg] host not found in upstream \"db\" in /etc/nginx/conf.d/a.conf:3",
            "ping: db: Name or service not known",
        ] {
            assert_eq!(complaint(line).map(|(_, name)| name), Some("db"), "{line}");
        }
        assert_eq!(complaint("lookup table built\nready"), None);
    }

    #[test]
    fn names_of_the_cluster_are_told_from_others() {
        assert_eq!(as_service("db"), Some(("db", None)));
        assert_eq!(as_service("db.shop"), Some(("db", Some("shop"))));
        assert_eq!(
            as_service("db.shop.svc.cluster.local"),
            Some(("db", Some("shop")))
        );
        assert_eq!(as_service("www.example.com"), None);
    }
}
