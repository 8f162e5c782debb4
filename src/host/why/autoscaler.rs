//! A HorizontalPodAutoscaler: whether it finds its target and can measure it.

use cadet_api::json::{int_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::{Facts, condition, name, ns};
use crate::kind::Kind;
use crate::want::Want;
use crate::words::{ago, between, kubectl, short};

fn target(autoscaler: &Value) -> (Option<Kind>, &str, &str) {
    let kind = str_at(autoscaler, "/spec/scaleTargetRef/kind");
    (
        Kind::of_word(kind),
        kind,
        str_at(autoscaler, "/spec/scaleTargetRef/name"),
    )
}

/// What is still to be fetched.
pub fn wants(autoscaler: &Value) -> Vec<Want> {
    match target(autoscaler) {
        (Some(kind), _, name) => vec![Want::object(kind, ns(autoscaler), name)],
        _ => Vec::new(),
    }
}

/// Why an autoscaler is as it is.
#[must_use]
pub fn explain(facts: &Facts, autoscaler: &Value) -> Answer {
    let subject = format!("hpa/{}", name(autoscaler));
    let run = |command: &str| kubectl(ns(autoscaler), command);
    let (kind, word, wanted) = target(autoscaler);
    let low = word.to_lowercase();
    let able = condition(autoscaler, "AbleToScale");
    let active = condition(autoscaler, "ScalingActive");
    let absent = kind.is_some_and(|kind| facts.is_absent(kind, ns(autoscaler), wanted));
    let no_scale = able.filter(|one| one["status"] == "False" && one["reason"] == "FailedGetScale");
    let describe = run(&format!("describe hpa {}", name(autoscaler)));
    if absent || no_scale.is_some() {
        let headline = match absent {
            true => format!(
                "{subject} scales nothing because its target {low}/{wanted} does not exist."
            ),
            false => format!(
                "{subject} scales nothing because it cannot see the size of its target {low}/{wanted}."
            ),
        };
        return Answer::new(Cause::ScaleTarget, headline)
            .with(
                "condition",
                no_scale.map_or("", |one| str_at(one, "/message")),
            )
            .then(run("get deployments,statefulsets"))
            .then(run(&format!("edit hpa {}", name(autoscaler))));
    }
    if let Some(active) = active.filter(|one| one["status"] == "False") {
        let message = str_at(active, "/message");
        let answer = idle(&subject, &low, wanted, active, ns(autoscaler));
        return answer
            .with("condition", short(message, 240))
            .since(ago(str_at(active, "/lastTransitionTime"), facts.now))
            .then(describe);
    }
    let (now, most) = (
        int_at(autoscaler, "/status/currentReplicas").unwrap_or(0),
        int_at(autoscaler, "/spec/maxReplicas").unwrap_or(0),
    );
    if able.is_none() && active.is_none() {
        let headline = format!("{subject} is new: its controller has not measured anything yet.");
        return Answer::new(Cause::NotYet, headline).then(describe);
    }
    let headline = match now >= most && most > 0 {
        true => format!(
            "Nothing is wrong with {subject}: it has scaled {low}/{wanted} to {now}, the most it may."
        ),
        false => format!(
            "Nothing is wrong with {subject}: {low}/{wanted} has {now} of at most {most} replicas."
        ),
    };
    let limited = condition(autoscaler, "ScalingLimited").filter(|one| one["status"] == "True");
    Answer::new(Cause::NothingWrong, headline)
        .with(
            "condition",
            active.map_or("", |one| str_at(one, "/message")),
        )
        .with("limit", limited.map_or("", |one| str_at(one, "/message")))
        .then(describe)
}

fn idle(subject: &str, low: &str, wanted: &str, active: &Value, namespace: &str) -> Answer {
    let message = str_at(active, "/message");
    let target = format!("{low}/{wanted}");
    if str_at(active, "/reason") == "ScalingDisabled" {
        let headline = format!("{subject} does nothing because {target} is scaled to 0.");
        return Answer::new(Cause::ScaledToZero, headline)
            .then(kubectl(namespace, &format!("scale {target} --replicas=1")));
    }
    if let Some(resource) = between(message, "missing request for ", " in ") {
        let container = between(message, "in container ", " of").unwrap_or("a container");
        let headline = format!(
            "{subject} scales nothing because {container} of {target} does not say how much {resource} it asks for, and the goal is a share of that."
        );
        return Answer::new(Cause::NoRequest, headline).then(kubectl(
            namespace,
            &format!("set resources {target} --requests={resource}=100m"),
        ));
    }
    let headline = format!("{subject} scales nothing because its pods cannot be measured.");
    let answer = Answer::new(Cause::NoMetrics, headline);
    if message.contains("custom.metrics")
        || message.contains("external.metrics")
        || message.contains("external metrics")
    {
        return answer.with("evidence", "no server of such metrics is in the cluster");
    }
    answer
        .then(kubectl(namespace, "top pods"))
        .then(kubectl(namespace, &format!("get {target}")))
}
