//! Volumes and sandboxes: what has to be there before the first container can be.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use super::{Case, Part, config};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::claim;
use crate::events;
use crate::facts::{name, ns};
use crate::kind::Kind;
use crate::owner;
use crate::words::{between, short};

/// Names of the claims that a pod uses.
pub fn claims(pod: &Value) -> Vec<&str> {
    list_at(pod, "/spec/volumes")
        .iter()
        .map(|volume| str_at(volume, "/persistentVolumeClaim/claimName"))
        .filter(|name| !name.is_empty())
        .collect()
}

/// What the scheduler says of a pod's claims.
pub fn unbound(case: &Case<'_>, sentence: &str) -> Option<Answer> {
    let subject = case.subject();
    let claim = between(sentence, "persistentvolumeclaim \"", "\"");
    if let Some(claim) = claim.filter(|_| sentence.contains("\" not found")) {
        let headline = format!("{subject} is Pending because its claim {claim} does not exist.");
        let answer = Answer::new(Cause::ClaimMissing, headline).with(
            "evidence",
            format!("there is no pvc/{claim} in namespace {}", ns(case.pod)),
        );
        return Some(
            answer
                .then(case.kubectl("get pvc"))
                .then(owner::edit(case.facts, case.pod)),
        );
    }
    if let Some(claim) = claim.filter(|_| sentence.contains("is being deleted")) {
        let headline = format!("{subject} is Pending because its claim {claim} is being deleted.");
        return Some(
            Answer::new(Cause::ClaimDeleted, headline)
                .then(case.kubectl(&format!("describe pvc {claim}"))),
        );
    }
    let lost = "bound to non-existent persistentvolume";
    if let Some(claim) = claim.filter(|_| sentence.contains(lost)) {
        let headline =
            format!("{subject} is Pending because the volume of its claim {claim} is gone.");
        return Some(
            Answer::new(Cause::ClaimLost, headline)
                .then(case.kubectl(&format!("describe pvc {claim}")))
                .then("kubectl get pv"),
        );
    }
    let waits = sentence.contains("unbound immediate PersistentVolumeClaims")
        || sentence.contains("didn't find available persistent volumes");
    if !waits {
        return None;
    }
    let waiting: Vec<&Value> = claims(case.pod)
        .into_iter()
        .filter_map(|name| case.facts.find(Kind::Claim, ns(case.pod), name))
        .filter(|claim| str_at(claim, "/status/phase") != "Bound")
        .collect();
    let mut told: Vec<(&str, Answer)> = waiting
        .into_iter()
        .map(|claim| (name(claim), claim::explain_for_pod(case.facts, claim)))
        .collect();
    // Of several the one that is at fault; others only wait for the pod.
    told.sort_by_key(|(_, answer)| !answer.is_fault());
    let Some((claim, behind)) = told.into_iter().next() else {
        let headline = format!("{subject} is Pending because a claim of it has no volume yet.");
        return Some(Answer::new(Cause::ClaimUnbound, headline).then(case.kubectl("get pvc")));
    };
    let headline = match behind.is_fault() {
        true => format!(
            "{subject} is Pending because of its claim: {}",
            behind.headline
        ),
        false => format!("{subject} is Pending because its claim {claim} has no volume yet."),
    };
    let cause = match behind.is_fault() {
        true => behind.cause,
        false => Cause::ClaimUnbound,
    };
    Some(Answer { cause, ..behind }.told_as(headline))
}

/// Why no container has been made yet.
pub fn explain(case: &Case<'_>) -> Option<Answer> {
    let parts = case.parts();
    let begins = |part: &Part<'_>| {
        part.status.is_null() || matches!(part.waiting(), "ContainerCreating" | "PodInitializing")
    };
    if parts.is_empty() || !parts.iter().all(begins) {
        return None;
    }
    let trouble = events::latest(
        &case.events,
        &[
            "FailedMount",
            "FailedMapVolume",
            "FailedAttachVolume",
            "FailedCreatePodSandBox",
        ],
    )?;
    // What came after it has gone further.
    let later = events::latest(&case.events, &["Pulling", "Pulled", "Created", "Started"]);
    if later.is_some_and(|later| events::time(later) > events::time(trouble)) {
        return None;
    }
    let text = events::message(trouble);
    let answer = match str_at(trouble, "/reason") {
        "FailedCreatePodSandBox" => sandbox(case, text),
        _ => mount(case, text),
    };
    Some(
        answer
            .with("event", short(text, 240))
            .since(case.since_created()),
    )
}

fn sandbox(case: &Case<'_>, text: &str) -> Answer {
    let subject = case.subject();
    if text.contains("address already in use") || text.contains("port is already allocated") {
        let headline =
            format!("{subject} does not start because a port it wants on its node is taken.");
        return Answer::new(Cause::PortInUse, headline).then(owner::edit(case.facts, case.pod));
    }
    if text.contains("no space left on device") {
        return full(case);
    }
    let headline = format!(
        "{subject} does not start because its node could not make its sandbox (its network and name)."
    );
    Answer::new(Cause::Sandbox, headline)
        .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
        .then("cadet logs")
}

/// The node's disk is full.
pub fn full(case: &Case<'_>) -> Answer {
    let node = str_at(case.pod, "/spec/nodeName");
    let headline = format!(
        "{} does not start because the disk of node {node} is full.",
        case.subject()
    );
    Answer::new(Cause::DiskFull, headline)
        .then("cadet ssh -- df -h")
        .then("cadet ssh -- docker system df")
}

fn mount(case: &Case<'_>, text: &str) -> Answer {
    let subject = case.subject();
    if let Some(missing) = config::missing(case, text) {
        return missing;
    }
    let volume = between(text, "volume \"", "\"")
        .or_else(|| between(text, "unmounted volumes=[", "]"))
        .unwrap_or("?");
    if let Some(rest) = text.split("hostPath type check failed: ").nth(1) {
        let (path, kind) = rest.split_once(" is not ").unwrap_or((rest, "there"));
        let node = str_at(case.pod, "/spec/nodeName");
        let headline =
            format!("{subject} does not start because {path} on node {node} is not {kind}.");
        let wanted = list_at(case.pod, "/spec/volumes")
            .iter()
            .find(|one| one["name"] == volume);
        let wanted = wanted.map_or("", |one| str_at(one, "/hostPath/type"));
        let answer = Answer::new(Cause::HostPath, headline).with(
            "evidence",
            format!("volume {volume} is a hostPath of type {wanted}"),
        );
        return answer
            .then(format!("cadet ssh -- ls -ld {path}"))
            .then(owner::edit(case.facts, case.pod));
    }
    if let Some(claim) = between(text, "persistentvolumeclaims \"", "\"") {
        let headline =
            format!("{subject} does not start because its claim {claim} does not exist.");
        return Answer::new(Cause::ClaimMissing, headline).then(case.kubectl("get pvc"));
    }
    if text.contains("PVC is not bound") || text.contains("PVC is being deleted") {
        let claim = between(text, "error processing PVC ", ":").unwrap_or_default();
        let claim = claim.rsplit('/').next().unwrap_or_default();
        let (cause, words) = match text.contains("being deleted") {
            true => (Cause::ClaimDeleted, "is being deleted"),
            false => (Cause::ClaimUnbound, "has no volume"),
        };
        let headline = format!("{subject} does not start because its claim {claim} {words}.");
        return Answer::new(cause, headline).then(case.kubectl(&format!("describe pvc {claim}")));
    }
    if text.contains("no space left on device") {
        return full(case);
    }
    let headline =
        format!("{subject} does not start because its volume {volume} cannot be mounted.");
    Answer::new(Cause::MountFailed, headline)
        .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
}
