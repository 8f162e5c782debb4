//! Taints: what nodes put between themselves and pods.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use super::{Case, obstacle};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::name;
use crate::kind::Kind;
use crate::owner;

/// Taints of a node that keep a pod away.
fn untolerated<'a>(node: &'a Value, pod: &Value) -> Vec<&'a Value> {
    list_at(node, "/spec/taints")
        .iter()
        .filter(|taint| matches!(str_at(taint, "/effect"), "NoSchedule" | "NoExecute"))
        .filter(|taint| {
            !list_at(pod, "/spec/tolerations")
                .iter()
                .any(|toleration| tolerates(toleration, taint))
        })
        .collect()
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = str_at(toleration, "/effect");
    let (key, operator) = (str_at(toleration, "/key"), str_at(toleration, "/operator"));
    let named = (key.is_empty() && operator == "Exists") || key == str_at(taint, "/key");
    let worth = operator == "Exists" || str_at(toleration, "/value") == str_at(taint, "/value");
    (effect.is_empty() || effect == str_at(taint, "/effect")) && named && worth
}

/// Why no node takes a pod that does not tolerate its taints.
pub fn explain(case: &Case<'_>) -> Answer {
    let subject = case.subject();
    let mut all = Vec::new();
    for node in case.facts.all(Kind::Node) {
        for taint in untolerated(node, case.pod) {
            all.push((name(node), taint));
        }
    }
    if all.is_empty() {
        return obstacle::past(case);
    }
    let key = |taint: &Value| str_at(taint, "/key").to_owned();
    let is = |part: &str| all.iter().any(|(_, taint)| key(taint).contains(part));
    let evidence = |mut answer: Answer| {
        for (node, taint) in all.iter().take(4) {
            let value = match str_at(taint, "/value") {
                "" => String::new(),
                value => format!("={value}"),
            };
            let effect = str_at(taint, "/effect");
            let text = format!(
                "node {node} has taint {}{value}:{effect}, which the pod does not tolerate",
                key(taint)
            );
            answer = answer.with("evidence", text);
        }
        answer
    };
    let lone = all.len() == 1;
    if is("node.kubernetes.io/not-ready") || is("node.kubernetes.io/unreachable") {
        let headline = format!("{subject} is Pending because its nodes are not ready.");
        let first = all.first().map_or("", |(node, _)| *node);
        return evidence(Answer::new(Cause::NodeDead, headline))
            .then(format!("cadet why node/{first}"));
    }
    if is("-pressure") {
        let headline = format!("{subject} is Pending because its nodes are short of a resource.");
        let first = all.first().map_or("", |(node, _)| *node);
        return evidence(Answer::new(Cause::NodePressure, headline))
            .then(format!("cadet why node/{first}"));
    }
    if is("node.kubernetes.io/unschedulable") && lone {
        let headline =
            format!("{subject} is Pending because the node is cordoned: it takes no new pods.");
        let first = all.first().map_or("", |(node, _)| *node);
        return evidence(Answer::new(Cause::Cordoned, headline))
            .then(format!("kubectl uncordon {first}"));
    }
    let headline = match all.first() {
        Some((node, taint)) if lone => format!(
            "{subject} is Pending because node {node} has a taint that it does not tolerate: {}.",
            key(taint)
        ),
        _ => format!("{subject} is Pending because of taints that it does not tolerate."),
    };
    let mut answer = evidence(Answer::new(Cause::Taint, headline));
    if let Some((node, taint)) = all.first() {
        let effect = str_at(taint, "/effect");
        answer = answer.then(format!(
            "kubectl taint node {node} {}:{effect}-",
            key(taint)
        ));
    }
    answer.then(owner::edit(case.facts, case.pod))
}
