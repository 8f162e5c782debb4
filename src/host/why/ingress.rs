//! An Ingress: whether somebody serves its class, and whether its Services are there.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::{Facts, name, ns};
use crate::kind::Kind;
use crate::service;
use crate::want::Want;
use crate::words::{and, kubectl, nearest};

/// How Ingresses named their class before they had a field for it.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// What is still to be fetched.
pub fn wants(facts: &Facts, ingress: &Value) -> Vec<Want> {
    let namespace = ns(ingress);
    let mut wants = vec![
        Want::list(Kind::IngressClass, ""),
        Want::list(Kind::Service, namespace),
    ];
    for backend in backends(ingress) {
        if let Some(found) = facts.find(Kind::Service, namespace, str_at(backend, "/name")) {
            wants.extend(service::wants(facts, found));
        }
    }
    wants
}

/// The Services it names, each with the port it wants.
fn backends(ingress: &Value) -> Vec<&Value> {
    let default = &ingress["spec"]["defaultBackend"]["service"];
    let mut all: Vec<&Value> = list_at(ingress, "/spec/rules")
        .iter()
        .flat_map(|rule| list_at(rule, "/http/paths"))
        .map(|path| &path["backend"]["service"])
        .chain([default])
        .filter(|service| service.is_object())
        .collect();
    all.dedup();
    all
}

/// Why an Ingress is as it is.
#[must_use]
pub fn explain(facts: &Facts, ingress: &Value) -> Answer {
    let subject = format!("ingress/{}", name(ingress));
    let edit = kubectl(ns(ingress), &format!("edit {subject}"));
    if let Some(answer) = class(facts, ingress, &subject) {
        return answer.then(edit);
    }
    for backend in backends(ingress) {
        if let Some(answer) = missing(facts, ingress, backend, &subject) {
            return answer.then(edit);
        }
    }
    for backend in backends(ingress) {
        let found = facts.find(Kind::Service, ns(ingress), str_at(backend, "/name"));
        let told = found.map(|found| service::explain(facts, found));
        if let Some(told) = told.filter(|told| told.is_fault() && told.confident) {
            let headline = format!(
                "{subject} leads nowhere because of its Service: {}",
                told.headline
            );
            return told.told_as(headline);
        }
    }
    let hosts: Vec<String> = list_at(ingress, "/spec/rules")
        .iter()
        .map(|rule| str_at(rule, "/host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    let addresses: Vec<&str> = list_at(ingress, "/status/loadBalancer/ingress")
        .iter()
        .map(|one| match str_at(one, "/ip") {
            "" => str_at(one, "/hostname"),
            ip => ip,
        })
        .collect();
    let Some(address) = addresses.first() else {
        let headline = format!(
            "I do not know why {subject} has no address: its class and its Services are there, but no controller has taken it up yet."
        );
        return Answer::new(Cause::Unknown, headline)
            .then("kubectl get ingressclasses")
            .then(kubectl(ns(ingress), &format!("describe {subject}")));
    };
    let headline = format!("Nothing is wrong with {subject}: it is served at {address}.");
    let mut answer = Answer::new(Cause::NothingWrong, headline);
    if !hosts.is_empty() {
        answer = answer.with(
            "hosts",
            format!("only requests that name {} are answered", and(&hosts)),
        );
    }
    let host = hosts
        .first()
        .map_or(String::new(), |host| format!(" -H 'Host: {host}'"));
    answer.then(format!("cadet ssh -- curl -s{host} http://{address}/"))
}

fn class(facts: &Facts, ingress: &Value, subject: &str) -> Option<Answer> {
    if !facts.has_all(Kind::IngressClass, "") {
        return None;
    }
    let old = ingress["metadata"]["annotations"][OLD_CLASS].as_str();
    let wanted = match str_at(ingress, "/spec/ingressClassName") {
        "" => old,
        class => Some(class),
    };
    let known: Vec<String> = facts
        .all(Kind::IngressClass)
        .map(|class| name(class).to_owned())
        .collect();
    let told = match known.is_empty() {
        true => "the cluster has no IngressClass".to_owned(),
        false => format!("there is {}", and(&known)),
    };
    let Some(wanted) = wanted else {
        let has_default = facts
            .all(Kind::IngressClass)
            .any(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true");
        let served = !list_at(ingress, "/status/loadBalancer/ingress").is_empty();
        if has_default || served {
            return None;
        }
        let headline = format!(
            "{subject} may be served by nobody: it names no class, and no IngressClass is the default."
        );
        return Some(
            Answer::new(Cause::IngressClass, headline)
                .with("classes", told)
                .unsure(),
        );
    };
    if facts.find(Kind::IngressClass, "", wanted).is_some()
        || (old.is_some() && str_at(ingress, "/spec/ingressClassName").is_empty())
    {
        return None;
    }
    let headline =
        format!("{subject} is served by nobody because there is no IngressClass {wanted}.");
    let mut answer = Answer::new(Cause::IngressClass, headline).with("classes", told);
    if let [only] = known.as_slice() {
        let patch = format!(r#"patch {subject} -p '{{"spec":{{"ingressClassName":"{only}"}}}}'"#);
        answer = answer.then(kubectl(ns(ingress), &patch));
    }
    Some(answer)
}

fn missing(facts: &Facts, ingress: &Value, backend: &Value, subject: &str) -> Option<Answer> {
    let namespace = ns(ingress);
    let wanted = str_at(backend, "/name");
    let Some(found) = facts.find(Kind::Service, namespace, wanted) else {
        if !facts.is_absent(Kind::Service, namespace, wanted) {
            return None;
        }
        let headline =
            format!("{subject} leads nowhere because its Service {wanted} does not exist.");
        let mut answer = Answer::new(Cause::BackendMissing, headline);
        let known = facts.within(Kind::Service, namespace).map(name);
        if let Some(near) = nearest(wanted, known) {
            answer = answer.with("evidence", format!("there is a Service {near}"));
        }
        return Some(answer.then(kubectl(namespace, "get services")));
    };
    let ports = list_at(found, "/spec/ports");
    let port = &backend["port"];
    let fits = ports.iter().any(|one| {
        let by_name = port["name"].is_string() && one["name"] == port["name"];
        by_name || (port["number"].is_number() && one["port"] == port["number"])
    });
    if fits {
        return None;
    }
    let asked = match port["name"].as_str() {
        Some(name) => name.to_owned(),
        None => port["number"].to_string(),
    };
    let has: Vec<String> = ports
        .iter()
        .map(|one| match str_at(one, "/name") {
            "" => one["port"].to_string(),
            name => format!("{} ({name})", one["port"]),
        })
        .collect();
    let headline = format!("{subject} leads nowhere because Service {wanted} has no port {asked}.");
    Some(
        Answer::new(Cause::BackendPort, headline)
            .with("evidence", format!("the Service has port {}", and(&has))),
    )
}
