//! Pods that end or have ended: deletion that does not come to its end, eviction, deadlines,
//! nodes that refused or are gone.

use cadet_api::json::{int_at, list_at, str_at};

use super::{Case, crash};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{condition, name};
use crate::kind::Kind;
use crate::owner;
use crate::words::{ago, between, duration, labels, seconds_since, short};

/// A pod that is being deleted.
pub fn terminating(case: &Case<'_>) -> Option<Answer> {
    let due = str_at(case.pod, "/metadata/deletionTimestamp");
    if due.is_empty() {
        return None;
    }
    let subject = case.subject();
    let past = seconds_since(due, case.facts.now).unwrap_or(0);
    let grace = int_at(case.pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(30);
    let since = Some(duration(past + grace));
    let runs = case.parts().iter().any(super::Part::is_running);
    let finalizers: Vec<&str> = list_at(case.pod, "/metadata/finalizers")
        .iter()
        .filter_map(|one| one.as_str())
        .collect();
    if !finalizers.is_empty() && !runs && past > 0 {
        let headline = format!(
            "{subject} is deleted but stays, because a finalizer waits for somebody to do its work."
        );
        let take_out = r#"'{"metadata":{"finalizers":null}}'"#;
        return Some(
            Answer::new(Cause::StuckFinalizer, headline)
                .with("evidence", format!("finalizers: {}", finalizers.join(", ")))
                .since(since)
                .then(case.kubectl(&format!(
                    "patch pod {} --type=merge -p {take_out}",
                    name(case.pod)
                ))),
        );
    }
    let force = case.kubectl(&format!(
        "delete pod {} --force --grace-period=0",
        name(case.pod)
    ));
    if past > 5
        && let Some(answer) = node_is_away(case)
    {
        let headline = format!(
            "{subject} is deleted but stays, because its node {} does not answer.",
            str_at(case.pod, "/spec/nodeName")
        );
        return Some(answer.told_as(headline).since(since).then(force));
    }
    if past > 30 {
        let headline = format!(
            "{subject} should have ended {} ago and has not.",
            duration(past)
        );
        let mut answer = Answer::new(Cause::StuckTerminating, headline).with(
            "evidence",
            format!("its grace of {} is over", duration(grace)),
        );
        let killing = events::latest(&case.events, &["FailedKillPod", "FailedPreStopHook"]);
        if let Some(event) = killing {
            answer = answer.with("event", events::message(event));
        }
        return Some(
            answer
                .since(since)
                .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
                .then(force),
        );
    }
    let headline = format!(
        "{subject} is being deleted and has {} left to end by itself.",
        duration(-past)
    );
    let mut answer = Answer::new(Cause::Terminating, headline);
    if let Some(why) = condition(case.pod, "DisruptionTarget") {
        answer = answer.with("evidence", str_at(why, "/message"));
    }
    Some(
        answer
            .since(since)
            .then(case.kubectl(&format!("get pod {} --watch", name(case.pod)))),
    )
}

/// A pod whose life is over.
pub fn over(case: &Case<'_>) -> Option<Answer> {
    let subject = case.subject();
    let (reason, message) = (
        str_at(case.pod, "/status/reason"),
        str_at(case.pod, "/status/message"),
    );
    match case.phase() {
        "Succeeded" => {
            let headline =
                format!("Nothing is wrong with {subject}: it has done its work and ended.");
            return Some(
                Answer::new(Cause::NothingWrong, headline)
                    .then(case.kubectl(&format!("logs {}", name(case.pod)))),
            );
        }
        "Failed" => {}
        _ => return None,
    }
    let answer = match reason {
        "Evicted" => evicted(case, message),
        "DeadlineExceeded" => {
            let most = int_at(case.pod, "/spec/activeDeadlineSeconds").unwrap_or(0);
            let headline = format!(
                "{subject} was ended because it ran longer than its deadline of {}.",
                duration(most)
            );
            Answer::new(Cause::Deadline, headline)
                .with("evidence", format!("spec.activeDeadlineSeconds is {most}"))
                .then(owner::edit(case.facts, case.pod))
        }
        "NodePorts" => {
            let headline =
                format!("{subject} was refused by its node, where a port it wants is taken.");
            Answer::new(Cause::PortInUse, headline)
        }
        "NodeAffinity" => {
            let headline =
                format!("{subject} was refused by its node, which is not of the kind it asks for.");
            Answer::new(Cause::NodeSelector, headline)
                .with("evidence", format!("nodeSelector {}", wanted(case)))
        }
        "SysctlForbidden" => {
            let which = between(message, "forbidden sysctl: \"", "\"").unwrap_or("a setting");
            let headline = format!(
                "{subject} was refused by its node, which does not allow the kernel setting {which}."
            );
            Answer::new(Cause::Sysctl, headline).then(owner::edit(case.facts, case.pod))
        }
        _ if reason.starts_with("OutOf") => {
            let what = reason.trim_start_matches("OutOf");
            let headline =
                format!("{subject} was refused by its node, which has too little {what} left.");
            Answer::new(Cause::NoRoom, headline).then(case.kubectl(&format!(
                "describe node {}",
                str_at(case.pod, "/spec/nodeName")
            )))
        }
        "NodeLost" => {
            let headline = format!("{subject} was given up because its node was lost.");
            Answer::new(Cause::NodeDead, headline).then("kubectl get nodes")
        }
        _ => return crash::ended(case),
    };
    let remove = case.kubectl(&format!("delete pod {}", name(case.pod)));
    Some(answer.with("evidence", short(message, 200)).then(remove))
}

fn wanted(case: &Case<'_>) -> String {
    labels(cadet_api::json::map_at(case.pod, "/spec/nodeSelector"))
}

fn evicted(case: &Case<'_>, message: &str) -> Answer {
    let subject = case.subject();
    let node = str_at(case.pod, "/spec/nodeName");
    let own_doing = message.contains("Usage of EmptyDir volume")
        || message.contains("local ephemeral storage limit")
        || message.contains("ephemeral local storage usage exceeds");
    if own_doing {
        let headline = format!(
            "{subject} was evicted because it wrote more to the disk than its limit allows."
        );
        return Answer::new(Cause::StorageLimit, headline).then(owner::edit(case.facts, case.pod));
    }
    let resource = between(message, "low on resource: ", ".")
        .or_else(|| between(message, "had condition: [", "]"))
        .unwrap_or("a resource");
    let headline = format!("{subject} was evicted because node {node} ran short of {resource}.");
    Answer::new(Cause::Evicted, headline).then(format!("kubectl describe node {node}"))
}

/// A pod on a node that does not answer, is not ready or is gone.
pub fn node_is_away(case: &Case<'_>) -> Option<Answer> {
    let node = str_at(case.pod, "/spec/nodeName");
    let subject = case.subject();
    if case.facts.is_absent(Kind::Node, "", node) {
        let headline = format!("{subject} belongs to node {node}, which no longer exists.");
        let force = format!("delete pod {} --force --grace-period=0", name(case.pod));
        return Some(
            Answer::new(Cause::NodeGone, headline)
                .then("kubectl get nodes")
                .then(case.kubectl(&force)),
        );
    }
    let found = case.node()?;
    let ready = condition(found, "Ready")?;
    let (cause, words) = match str_at(ready, "/status") {
        "True" => return None,
        "Unknown" => (Cause::NodeDead, "has stopped answering"),
        _ => (Cause::NodeNotReady, "is not ready"),
    };
    let headline = format!("{subject} is not served because its node {node} {words}.");
    let since = ago(str_at(ready, "/lastTransitionTime"), case.facts.now);
    Some(
        Answer::new(cause, headline)
            .with(
                "evidence",
                format!("node {node}: {}", str_at(ready, "/message")),
            )
            .since(since)
            .then(format!("cadet why node/{node}"))
            .then("kubectl get nodes"),
    )
}
