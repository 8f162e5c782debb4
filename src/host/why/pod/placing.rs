//! Pods without a node: the scheduler's sentence, taken apart and filled with numbers.

use cadet_api::json::{list_at, str_at};

use super::{Case, obstacle, volume};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{condition, name};
use crate::kind::Kind;
use crate::owner;
use crate::want::Want;
use crate::words::{and, between, count, seconds_since, short};

/// The scheduler that is there without anybody's doing.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// A scheduler that looks at pods at all has looked at one after so many seconds.
const PATIENCE: i64 = 15;

/// What is needed beside the pod itself.
pub fn wants(case: &Case<'_>) -> Vec<Want> {
    let sentence = sentence(case);
    let mut wants = vec![Want::list(Kind::Node, "")];
    let crowded = [
        "Insufficient",
        "Too many pods",
        "free ports",
        "affinity rules",
    ];
    if crowded.iter().any(|words| sentence.contains(words)) {
        wants.push(Want::PodsOn {
            node: String::new(),
        });
    }
    if sentence.contains("PersistentVolumeClaim") || sentence.contains("persistent") {
        wants.push(Want::list(Kind::StorageClass, ""));
        wants.push(Want::list(Kind::Volume, ""));
    }
    wants
}

/// What the scheduler said last.
fn sentence<'a>(case: &Case<'a>) -> &'a str {
    let told = condition(case.pod, "PodScheduled").map(|told| str_at(told, "/message"));
    match told {
        Some(text) if !text.is_empty() => text,
        _ => events::latest(&case.events, &["FailedScheduling"]).map_or("", events::message),
    }
}

/// Why a pod has no node.
pub fn explain(case: &Case<'_>) -> Option<Answer> {
    if !str_at(case.pod, "/spec/nodeName").is_empty() {
        return None;
    }
    let subject = case.subject();
    let gates: Vec<&str> = list_at(case.pod, "/spec/schedulingGates")
        .iter()
        .map(|gate| str_at(gate, "/name"))
        .collect();
    if !gates.is_empty() {
        let headline = format!(
            "{subject} is Pending because a scheduling gate holds it back; whoever set it must take it out."
        );
        let patch = format!(
            r#"patch pod {} --type=merge -p '{{"spec":{{"schedulingGates":null}}}}'"#,
            name(case.pod)
        );
        return Some(
            Answer::new(Cause::Gated, headline)
                .with("evidence", format!("gates: {}", gates.join(", ")))
                .since(case.since_created())
                .then(case.kubectl(&patch)),
        );
    }
    let sentence = sentence(case);
    if sentence.is_empty() {
        return Some(unseen(case));
    }
    let answer = volume::unbound(case, sentence).unwrap_or_else(|| by_nodes(case, sentence));
    let tries = events::latest(&case.events, &["FailedScheduling"]).map_or(0, events::times);
    let since = case.since_created().map(|since| match tries {
        0 | 1 => since,
        n => format!("{since}, {n} tries by the scheduler"),
    });
    Some(
        answer
            .since(since)
            .with("scheduler", short(first_part(sentence), 220)),
    )
}

/// Nobody has said anything about it.
fn unseen(case: &Case<'_>) -> Answer {
    let subject = case.subject();
    let scheduler = str_at(case.pod, "/spec/schedulerName");
    let age = seconds_since(
        str_at(case.pod, "/metadata/creationTimestamp"),
        case.facts.now,
    );
    let late = age.is_some_and(|seconds| seconds > PATIENCE);
    if late && !matches!(scheduler, "" | DEFAULT_SCHEDULER) {
        let headline = format!(
            "{subject} is Pending because it waits for a scheduler called {scheduler:?}, and none of that name has looked at it."
        );
        return Answer::new(Cause::NoScheduler, headline)
            .with("evidence", format!("spec.schedulerName is {scheduler}"))
            .since(case.since_created())
            .then(owner::edit(case.facts, case.pod));
    }
    if late {
        let headline = format!(
            "I do not know why {subject} is Pending: no scheduler has said anything about it. The scheduler may not be running."
        );
        return Answer::new(Cause::Unknown, headline)
            .since(case.since_created())
            .then("cadet status")
            .then("cadet logs");
    }
    let headline = format!("{subject} is new; the scheduler will look for a node.");
    Answer::new(Cause::NotYet, headline)
        .since(case.since_created())
        .then(case.kubectl(&format!("get pod {} --watch", name(case.pod))))
}

/// `0/3 nodes are available: 1 Insufficient cpu, …` without what preemption says.
fn first_part(sentence: &str) -> &str {
    let ends = [
        ". no new claims",
        ". preemption",
        " preemption: ",
        ". not found",
    ];
    let end = ends.iter().filter_map(|mark| sentence.find(mark)).min();
    sentence[..end.unwrap_or(sentence.len())].trim_end_matches('.')
}

/// How many nodes there are, and how many object for each reason.
pub fn reasons(sentence: &str) -> (usize, Vec<(usize, String)>) {
    let told = first_part(sentence);
    let nodes = between(told, "/", " nodes are available");
    let nodes = nodes.and_then(|number| number.parse().ok()).unwrap_or(0);
    let Some((_, list)) = told.split_once("nodes are available:") else {
        return (nodes, Vec::new());
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    for part in list.trim().split(", ") {
        let counted = part
            .split_once(' ')
            .and_then(|(number, words)| Some((number.parse::<usize>().ok()?, words.to_owned())));
        if let Some(one) = counted {
            found.push(one);
        } else if let Some(last) = found.last_mut() {
            // A comma inside of a reason.
            last.1 = format!("{}, {part}", last.1);
        } else {
            found.push((nodes, part.to_owned()));
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then(rank(&a.1).cmp(&rank(&b.1))));
    (nodes, found)
}

/// Among reasons of as many nodes, what a user can change best comes first.
fn rank(reason: &str) -> usize {
    const ORDER: [&str; 6] = [
        "Insufficient",
        "node affinity/selector",
        "free ports",
        "affinity",
        "untolerated taint",
        "unschedulable",
    ];
    let place = ORDER.iter().position(|words| reason.contains(words));
    place.unwrap_or(ORDER.len())
}

fn by_nodes(case: &Case<'_>, sentence: &str) -> Answer {
    let subject = case.subject();
    if sentence.contains("no nodes available to schedule pods") {
        let headline = format!("{subject} is Pending because the cluster has no node.");
        return Answer::new(Cause::NoNode, headline).then("kubectl get nodes");
    }
    let (nodes, reasons) = reasons(sentence);
    let Some((_, first)) = reasons.first() else {
        let headline =
            format!("I do not know why {subject} is Pending; the scheduler's words are below.");
        return Answer::new(Cause::Unknown, headline)
            .then(case.kubectl(&format!("describe pod {}", name(case.pod))));
    };
    let mut answer = obstacle::told(case, first, nodes);
    if reasons.len() > 1 {
        let all: Vec<String> = reasons
            .iter()
            .map(|(n, words)| format!("{} {words}", count(*n, "node")).replace("node(s) ", ""))
            .collect();
        answer = answer.with("nodes", and(&all));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_taken_apart() {
        let sentence = "0/14 nodes are available: 10 Insufficient cpu, 2 Too many pods, \
            2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/14 \
            nodes are available: 1 Preemption is not helpful for scheduling.";
        let (nodes, told) = reasons(sentence);
        assert_eq!(nodes, 14);
        let told: Vec<(usize, &str)> = told.iter().map(|(n, w)| (*n, w.as_str())).collect();
        assert_eq!(
            told,
            [
                (10, "Insufficient cpu"),
                (2, "node(s) had untolerated taint(s)"),
                (2, "Too many pods")
            ]
        );
        let older = "0/2 nodes are available: 1 node(s) had untolerated taint {a: b, c}, 1 Insufficient memory. preemption: 0/2";
        assert_eq!(
            reasons(older).1[1].1,
            "node(s) had untolerated taint {a: b, c}"
        );
    }
}
