//! A node: whether it answers, is short of something, or is closed.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{Facts, condition, name};
use crate::kind::Kind;
use crate::words::{ago, and, count};

/// Why a node is as it is.
#[must_use]
pub fn explain(facts: &Facts, node: &Value) -> Answer {
    let subject = format!("node/{}", name(node));
    let describe = format!("kubectl describe node {}", name(node));
    let pods = facts
        .all(Kind::Pod)
        .filter(|pod| str_at(pod, "/spec/nodeName") == name(node))
        .count();
    let since = |condition: &Value| ago(str_at(condition, "/lastTransitionTime"), facts.now);
    let Some(ready) = condition(node, "Ready") else {
        let headline = format!("I do not know how {subject} is: its agent has never said.");
        return Answer::new(Cause::Unknown, headline).then(describe);
    };
    if str_at(ready, "/status") == "Unknown" {
        let headline = format!(
            "{subject} has stopped answering: its agent, the machine or the way to it is down."
        );
        return Answer::new(Cause::NodeDead, headline)
            .with("evidence", str_at(ready, "/message"))
            .with("last sign", heartbeat(facts, ready))
            .with("pods", format!("{} belong to it", count(pods, "pod")))
            .since(since(ready))
            .then("cadet status")
            .then("cadet logs")
            .then(describe);
    }
    if str_at(ready, "/status") != "True" {
        let headline = format!(
            "{subject} is not ready: {}",
            str_at(ready, "/message").trim_end_matches('.')
        ) + ".";
        return Answer::new(Cause::NodeNotReady, headline)
            .with("reason", str_at(ready, "/reason"))
            .since(since(ready))
            .then("cadet logs")
            .then(describe);
    }
    let pressing: Vec<&Value> = list_at(node, "/status/conditions")
        .iter()
        .filter(|one| str_at(one, "/type") != "Ready" && one["status"] == "True")
        .collect();
    if let Some(first) = pressing.first() {
        let what = match str_at(first, "/type") {
            "MemoryPressure" => "memory",
            "DiskPressure" => "disk",
            "PIDPressure" => "process ids",
            "NetworkUnavailable" => "network",
            other => other,
        };
        let headline =
            format!("{subject} is short of {what}: it takes no new pods and may end some.");
        let mut answer = Answer::new(Cause::NodePressure, headline).with(
            "condition",
            format!("{}: {}", str_at(first, "/type"), str_at(first, "/message")),
        );
        let about = events::about(facts, Kind::Node, node);
        if let Some(event) = events::latest(&about, &["EvictionThresholdMet"]) {
            answer = answer.with("event", events::message(event));
        }
        return answer
            .since(since(first))
            .then("cadet ssh -- df -h")
            .then("kubectl top pods -A")
            .then(describe);
    }
    if node["spec"]["unschedulable"] == true {
        let headline = format!("{subject} is cordoned: its pods run on, and it takes no new ones.");
        return Answer::new(Cause::Cordoned, headline)
            .with("evidence", "spec.unschedulable is true")
            .then(format!("kubectl uncordon {}", name(node)));
    }
    let taints: Vec<String> = list_at(node, "/spec/taints")
        .iter()
        .map(|taint| format!("{}:{}", str_at(taint, "/key"), str_at(taint, "/effect")))
        .collect();
    let headline = format!(
        "Nothing is wrong with {subject}: it is Ready and has {}.",
        count(pods, "pod")
    );
    let mut answer = Answer::new(Cause::NothingWrong, headline);
    if !taints.is_empty() {
        answer = answer.with(
            "taints",
            format!("only pods that tolerate {} may come", and(&taints)),
        );
    }
    answer.since(since(ready)).then(describe)
}

fn heartbeat(facts: &Facts, ready: &Value) -> String {
    let at = ago(str_at(ready, "/lastHeartbeatTime"), facts.now);
    at.map_or(String::new(), |at| format!("{at} ago"))
}
