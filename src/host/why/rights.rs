//! Rights that a program lacks: "is forbidden", checked against what it may do now, because a
//! log remembers what has been mended since.

use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::Facts;
use crate::want::{Access, Want};
use crate::words::{between, kubectl, short};

/// What was refused to whom, as the API server words it:
/// `User "jo" cannot list resource "pods" in API group "" in the namespace "shop"`.
fn refusals(text: &str) -> Vec<(Access, &str)> {
    // Some programs write the sentence as a string inside of a string.
    text.lines()
        .filter(|line| line.contains("is forbidden") && line.contains(" cannot "))
        .filter_map(|line| {
            let quoted = if line.contains("\\\"") { "\\\"" } else { "\"" };
            let user = between(line, &format!("User {quoted}"), quoted)?;
            let verb = between(line, " cannot ", " resource ")?;
            let resource = between(line, &format!(" resource {quoted}"), quoted)?;
            let group = between(line, &format!("API group {quoted}"), quoted).unwrap_or_default();
            let namespace =
                between(line, &format!("in the namespace {quoted}"), quoted).unwrap_or_default();
            let access = Access {
                user: user.to_owned(),
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: namespace.to_owned(),
            };
            Some((access, line))
        })
        .collect()
}

/// Asks whether it is still refused.
pub fn wants(text: &str) -> Vec<Want> {
    let mut wants: Vec<Want> = refusals(text)
        .into_iter()
        .map(|(access, _)| Want::Access(access))
        .collect();
    wants.sort();
    wants.dedup();
    wants.truncate(3);
    wants
}

/// A program that may not do what it tries.
pub fn explain(facts: &Facts, subject: &str, text: &str) -> Option<Answer> {
    let mut all = refusals(text);
    all.reverse();
    let (access, line) = all
        .into_iter()
        .find(|(access, _)| facts.may(access) != Some(true))?;
    let checked = facts.may(&access) == Some(false);
    let who = match access.user.strip_prefix("system:serviceaccount:") {
        Some(rest) => format!("its service account {}", rest.replacen(':', "/", 1)),
        None => format!("user {}", access.user),
    };
    let place = match access.namespace.as_str() {
        "" => "in the whole cluster".to_owned(),
        namespace => format!("in namespace {namespace}"),
    };
    let what = match access.group.as_str() {
        "" => access.resource.clone(),
        group => format!("{}.{group}", access.resource),
    };
    let headline = format!(
        "{subject} lacks a right: {who} may not {} {what} {place}.",
        access.verb
    );
    let mut answer = Answer::new(Cause::Rbac, headline).with("log", short(line, 220));
    answer = match checked {
        true => answer.with("asked", "the API server still says no"),
        // What a log says may have been mended since.
        false => answer.unsure(),
    };
    Some(grant(answer, &access, &what))
}

/// Adds the commands that give the right.
fn grant(answer: Answer, access: &Access, what: &str) -> Answer {
    let Some(account) = access.user.strip_prefix("system:serviceaccount:") else {
        return answer;
    };
    let short = account.replace(':', "-");
    let (namespace, verb) = (access.namespace.as_str(), access.verb.as_str());
    // A part of an object (`pods/log`) is granted by its full name.
    let resource = what.split('/').next().unwrap_or(what);
    let resource = if access.resource.contains('/') {
        access.resource.as_str()
    } else {
        resource
    };
    match namespace {
        "" => answer
            .then(format!("kubectl create clusterrole {short}-{verb} --verb={verb} --resource={resource}"))
            .then(format!("kubectl create clusterrolebinding {short}-{verb} --clusterrole={short}-{verb} --serviceaccount={account}")),
        namespace => answer
            .then(kubectl(namespace, &format!("create role {short}-{verb} --verb={verb} --resource={resource}")))
            .then(kubectl(namespace, &format!("create rolebinding {short}-{verb} --role={short}-{verb} --serviceaccount={account}"))),
    }
}
