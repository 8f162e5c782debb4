//! NetworkPolicies: which pods they close, and whether anything is let in or out at all. Who
//! may come in is for each asker another matter, so most of this is possible, not certain.

use cadet_api::json::{at, list_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::{Facts, name, ns};
use crate::kind::Kind;
use crate::owner;
use crate::words::{and, kubectl};

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// The policies that close a pod in one direction.
fn closing<'a>(facts: &'a Facts, pod: &'a Value, way: Way) -> Vec<&'a Value> {
    facts
        .within(Kind::NetworkPolicy, ns(pod))
        .filter(|policy| owner::selects(&policy["spec"]["podSelector"], pod))
        .filter(|policy| types(policy).contains(&way))
        .collect()
}

fn types(policy: &Value) -> Vec<Way> {
    let listed = list_at(policy, "/spec/policyTypes");
    if listed.is_empty() {
        let out = at(policy, "/spec/egress").is_some();
        return if out {
            vec![Way::In, Way::Out]
        } else {
            vec![Way::In]
        };
    }
    listed
        .iter()
        .filter_map(|one| match one.as_str()? {
            "Ingress" => Some(Way::In),
            "Egress" => Some(Way::Out),
            _ => None,
        })
        .collect()
}

fn rules(policy: &Value, way: Way) -> &[Value] {
    match way {
        Way::In => list_at(policy, "/spec/ingress"),
        Way::Out => list_at(policy, "/spec/egress"),
    }
}

/// Whether a rule is open for this port; a name may be any number.
fn allows(rule: &Value, protocol: &str, port: u64) -> bool {
    let ports = list_at(rule, "/ports");
    ports.is_empty()
        || ports.iter().any(|one| {
            let wanted = match str_at(one, "/protocol") {
                "" => "TCP",
                wanted => wanted,
            };
            let fits = match &one["port"] {
                Value::Number(number) => {
                    let first = number.as_u64().unwrap_or(0);
                    let last = one["endPort"].as_u64().unwrap_or(first);
                    (first..=last).contains(&port)
                }
                _ => true,
            };
            wanted == protocol && fits
        })
}

/// Policies that close a pod's way to the cluster's names: none of them lets port 53 out.
#[must_use]
pub fn without_names(facts: &Facts, pod: &Value) -> Option<Answer> {
    let closing = closing(facts, pod, Way::Out);
    let names_may_pass = closing
        .iter()
        .flat_map(|policy| rules(policy, Way::Out))
        .any(|rule| allows(rule, "UDP", 53) || allows(rule, "TCP", 53));
    if closing.is_empty() || names_may_pass {
        return None;
    }
    let headline = format!(
        "pod/{} finds no names because NetworkPolicy {} lets nothing out to port 53, where names are served.",
        name(pod),
        names(&closing)
    );
    let answer = Answer::new(Cause::NetworkPolicy, headline);
    Some(commands(answer, pod, &closing))
}

/// What policies say of a pod that is ready otherwise.
#[must_use]
pub fn about(facts: &Facts, pod: &Value) -> Option<Answer> {
    let closing = closing(facts, pod, Way::In);
    if closing.is_empty() {
        return None;
    }
    let which = names(&closing);
    let is_open = closing
        .iter()
        .flat_map(|policy| rules(policy, Way::In))
        .any(|rule| list_at(rule, "/from").is_empty() && list_at(rule, "/ports").is_empty());
    if is_open {
        return None;
    }
    let lets_some = closing
        .iter()
        .any(|policy| !rules(policy, Way::In).is_empty());
    let subject = format!("pod/{}", name(pod));
    let answer = match lets_some {
        false => Answer::new(
            Cause::NetworkPolicy,
            format!("{subject} runs and is ready, but NetworkPolicy {which} lets nobody in."),
        ),
        true => Answer::new(
            Cause::NetworkPolicy,
            format!("{subject} runs and is ready; if somebody cannot reach it, NetworkPolicy {which} may be why: it lets only some in."),
        )
        .unsure(),
    };
    Some(commands(answer, pod, &closing))
}

fn names(policies: &[&Value]) -> String {
    let all: Vec<String> = policies
        .iter()
        .map(|policy| name(policy).to_owned())
        .collect();
    and(&all)
}

fn commands(answer: Answer, pod: &Value, policies: &[&Value]) -> Answer {
    let labels = crate::words::labels(cadet_api::json::map_at(pod, "/metadata/labels"));
    policies.iter().fold(
        answer.with("evidence", format!("the pod has labels {labels}")),
        |answer, policy| {
            let command = format!("describe networkpolicy {}", name(policy));
            answer.then(kubectl(ns(pod), &command))
        },
    )
}
