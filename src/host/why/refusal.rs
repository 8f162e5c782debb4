//! What the API server refuses to controllers: the reason why there is no pod at all.

use cadet_api::json::{int_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{Facts, condition, ns};
use crate::kind::Kind;
use crate::words::{ago, between, kubectl, short};

/// A controller's object that could not make its pods (or Jobs); `subject` is who is asked about.
pub fn explain(
    facts: &Facts,
    kind: Kind,
    maker: &Value,
    subject: &str,
    edit: &str,
) -> Option<Answer> {
    let about = events::about(facts, kind, maker);
    let failed = events::latest(&about, &["FailedCreate", "ReplicaSetCreateError"]);
    let made = events::latest(&about, &["SuccessfulCreate"]);
    let stands = condition(maker, "ReplicaFailure").filter(|failure| failure["status"] == "True");
    let text = match (stands, failed) {
        (Some(failure), _) => str_at(failure, "/message"),
        // What was made since shows that it is no longer refused.
        (None, Some(failed))
            if made.is_none_or(|made| events::time(made) < events::time(failed)) =>
        {
            events::message(failed)
        }
        _ => return None,
    };
    let since = stands.map(|failure| str_at(failure, "/lastTransitionTime"));
    let since = since.or_else(|| failed.map(events::time));
    let answer = judge(subject, ns(maker), text, edit);
    Some(
        answer
            .with("refused", short(clause(text), 260))
            .since(since.and_then(|at| ago(at, facts.now))),
    )
}

/// The part of a refusal that says why.
fn clause(text: &str) -> &str {
    let text = text.strip_prefix("Error creating: ").unwrap_or(text);
    text.split_once(" is forbidden: ")
        .map_or(text, |(_, why)| why)
}

/// Names the refusal of an API server.
pub fn judge(subject: &str, namespace: &str, text: &str, edit: &str) -> Answer {
    let makes = format!("{subject} cannot make its pods because");
    if let Some(quota) = between(text, "exceeded quota: ", ",") {
        let asked = between(text, "requested: ", ", used:").unwrap_or("?");
        let used = between(text, "used: ", ", limited:").unwrap_or("?");
        let most = text.split("limited: ").nth(1).unwrap_or("?");
        let headline =
            format!("{makes} ResourceQuota {quota} of namespace {namespace} is used up.");
        return Answer::new(Cause::Quota, headline)
            .with(
                "evidence",
                format!("asked for {asked}; used {used} of {}", short(most, 80)),
            )
            .then(kubectl(
                namespace,
                &format!("describe resourcequota {quota}"),
            ))
            .then(edit);
    }
    if let Some(quota) = between(text, "failed quota: ", ":") {
        let what = text
            .split("must specify ")
            .nth(1)
            .unwrap_or("requests and limits");
        let headline = format!(
            "{makes} ResourceQuota {quota} wants every container to say {}.",
            short(what, 100)
        );
        return Answer::new(Cause::QuotaUnset, headline)
            .then(kubectl(
                namespace,
                &format!("describe resourcequota {quota}"),
            ))
            .then(edit);
    }
    if (text.contains("maximum ") || text.contains("minimum ")) && text.contains(" usage per ") {
        let headline = format!(
            "{makes} they go beyond a LimitRange of namespace {namespace}: {}.",
            short(clause(text), 120).trim_end_matches('.')
        );
        return Answer::new(Cause::LimitRange, headline)
            .then(kubectl(namespace, "describe limitrange"))
            .then(edit);
    }
    if text.contains("violates PodSecurity") {
        let level = between(text, "violates PodSecurity \"", "\"").unwrap_or("");
        let headline = format!(
            "{makes} namespace {namespace} only takes pods of the security level {level:?}."
        );
        return Answer::new(Cause::PodSecurity, headline)
            .then(format!("kubectl get namespace {namespace} --show-labels"))
            .then(edit);
    }
    if text.contains("failed calling webhook") {
        let hook = between(text, "failed calling webhook \"", "\"").unwrap_or("?");
        let headline =
            format!("{makes} the admission webhook {hook} must agree and does not answer.");
        return Answer::new(Cause::WebhookSilent, headline)
            .then("kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations");
    }
    if text.contains("denied the request") || text.contains("denied request") {
        let hook = between(text, "admission webhook \"", "\"")
            .or_else(|| between(text, "ValidatingAdmissionPolicy '", "'"))
            .unwrap_or("?");
        let headline = format!("{makes} {hook} does not admit them.");
        return Answer::new(Cause::WebhookDenied, headline)
            .then("kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies")
            .then(edit);
    }
    if text.contains("error looking up service account") {
        let account = between(text, "serviceaccount \"", "\"").unwrap_or("?");
        let headline = format!("{makes} their service account {account} does not exist.");
        return Answer::new(Cause::AccountMissing, headline)
            .then(kubectl(
                namespace,
                &format!("create serviceaccount {account}"),
            ))
            .then(edit);
    }
    if let Some(class) = between(text, "no PriorityClass with name ", " was found") {
        let headline = format!("{makes} there is no PriorityClass {class}.");
        return Answer::new(Cause::PriorityMissing, headline)
            .then("kubectl get priorityclasses")
            .then(edit);
    }
    if text.contains(" is invalid: ") {
        let why = text.split(" is invalid: ").nth(1).unwrap_or(text);
        let why = short(why, 140);
        let headline = format!(
            "{makes} their template is not valid: {}.",
            why.trim_end_matches('.')
        );
        return Answer::new(Cause::Invalid, headline).then(edit);
    }
    let headline = format!("{makes} the API server refuses them.");
    Answer::new(Cause::Refused, headline).then(edit)
}

/// Number of pods that a controller wants.
#[must_use]
pub fn wanted(object: &Value) -> i64 {
    int_at(object, "/spec/replicas").unwrap_or(1)
}
