//! Figures and conditions of a Deployment. Pure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::amounts::{max_unavailable, replicas};
use super::sets::{Set, Sets};
use crate::shared::Record;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const COMPLETE: &str = "NewReplicaSetAvailable";
const PAUSED: &str = "DeploymentPaused";
/// As deadline: none at all.
const NEVER: i32 = i32::MAX;

fn deadline(deployment: &Deployment) -> Option<i64> {
    let spec = deployment.spec.as_ref()?;
    let seconds = spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds != NEVER)?;
    Some(i64::from(seconds))
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

fn progressing(status: Option<&DeploymentStatus>) -> Option<&DeploymentCondition> {
    find(status?, PROGRESSING)
}

fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Puts a condition unless one of the same status and reason is there; its time of transition
/// stays as long as its status does.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(old) = find(status, &condition.type_) {
        if old.status == condition.status && old.reason == condition.reason {
            return;
        }
        if old.status == condition.status {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
    let kind = condition.type_.clone();
    remove(status, &kind);
    status.conditions.get_or_insert_default().push(condition);
}

/// Whether something is said about the progress for the first time, and what of this kind:
/// (`True`, `FoundNewReplicaSet`, message) and the like.
pub fn note_progress(
    deployment: &mut Deployment,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    if deadline(deployment).is_some() {
        let condition = condition(PROGRESSING, status, reason, message, now);
        set(deployment.status.get_or_insert_default(), condition);
    }
}

pub fn says_progress(deployment: &Deployment) -> bool {
    progressing(deployment.status.as_ref()).is_some()
}

/// Says that it is paused, or goes on: the time of a pause does not count.
pub fn note_pause(deployment: &mut Deployment, now: Timestamp) {
    let paused = is_paused(deployment);
    let old = progressing(deployment.status.as_ref());
    let reason = old.and_then(|c| c.reason.as_deref());
    let (reason, message) = match (paused, reason == Some(PAUSED)) {
        _ if reason == Some(TIMED_OUT) => return,
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    note_progress(deployment, "Unknown", reason, message.to_owned(), now);
}

pub fn is_paused(deployment: &Deployment) -> bool {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.paused).unwrap_or(false)
}

/// Whether all pods are of today's template and available, by this status.
pub fn is_complete(deployment: &Deployment, status: Option<&DeploymentStatus>) -> bool {
    let all = replicas(deployment);
    let zero = DeploymentStatus::default();
    let status = status.unwrap_or(&zero);
    status.updated_replicas.unwrap_or(0) == all
        && status.replicas.unwrap_or(0) == all
        && status.available_replicas.unwrap_or(0) == all
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

/// Figures and the condition Available; all other conditions as they are.
pub fn figures(deployment: &Deployment, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let some = |number: i32| (number != 0).then_some(number);
    let old = deployment.status.as_ref();
    let available = sets.sum(|status| status.available_replicas.unwrap_or(0));
    let updated = sets.new.as_ref().and_then(|set| set.status.as_ref());
    let terminating = sets
        .all()
        .map(|set| set.status.as_ref()?.terminating_replicas);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sets.sum(|status| status.replicas)),
        updated_replicas: some(updated.map_or(0, |status| status.replicas)),
        ready_replicas: some(sets.sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((sets.wanted() - available).max(0)),
        terminating_replicas: terminating.sum(),
        collision_count: old.and_then(|status| status.collision_count),
        conditions: old.and_then(|status| status.conditions.clone()),
    };
    let (word, reason, message) =
        match available >= replicas(deployment) - max_unavailable(deployment) {
            true => (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            ),
            false => (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        };
    set(
        &mut status,
        condition(AVAILABLE, word, reason, message.to_owned(), now),
    );
    status
}

/// The status of a rollout under way: figures, and how it progresses.
pub fn rollout(deployment: &Deployment, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let mut new = figures(deployment, sets, now);
    let old = deployment.status.as_ref();
    let said = progressing(old).cloned();
    if deadline(deployment).is_none() {
        remove(&mut new, PROGRESSING);
    } else {
        let over = said
            .as_ref()
            .is_some_and(|c| c.reason.as_deref() == Some(COMPLETE))
            && new.replicas == new.updated_replicas;
        if !over {
            judge(deployment, sets, &mut new, said, now);
        }
    }
    match failure(sets) {
        Some(failure) => set(&mut new, failure),
        None => remove(&mut new, FAILURE),
    }
    new
}

fn judge(
    deployment: &Deployment,
    sets: &Sets,
    new: &mut DeploymentStatus,
    said: Option<DeploymentCondition>,
    now: Timestamp,
) {
    let who = match &sets.new {
        Some(set) => format!("ReplicaSet {:?}", set.meta().name),
        None => format!("Deployment {:?}", deployment.meta().name),
    };
    if is_complete(deployment, Some(new)) {
        let message = format!("{who} has successfully progressed.");
        set(new, condition(PROGRESSING, "True", COMPLETE, message, now));
    } else if progresses(deployment.status.as_ref(), new) {
        let message = format!("{who} is progressing.");
        let mut next = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        if let Some(said) = said {
            if said.status == "True" {
                next.last_transition_time = said.last_transition_time;
            }
            remove(new, PROGRESSING);
        }
        set(new, next);
    } else if has_timed_out(deployment, new, now) {
        let message = format!("{who} has timed out progressing.");
        set(
            new,
            condition(PROGRESSING, "False", TIMED_OUT, message, now),
        );
    }
}

/// Whether more pods are new, ready or available, or fewer old, than at the last look.
fn progresses(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let zero = DeploymentStatus::default();
    let old = old.unwrap_or(&zero);
    let of = |number: Option<i32>| number.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| of(status.replicas) - of(status.updated_replicas);
    of(new.updated_replicas) > of(old.updated_replicas)
        || outdated(new) < outdated(old)
        || of(new.ready_replicas) > of(old.ready_replicas)
        || of(new.available_replicas) > of(old.available_replicas)
}

fn has_timed_out(deployment: &Deployment, new: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(seconds), Some(said)) = (deadline(deployment), find(new, PROGRESSING)) else {
        return false;
    };
    match said.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => since(said).is_some_and(|since| since + seconds < now.as_second()),
    }
}

fn since(condition: &DeploymentCondition) -> Option<i64> {
    let time = condition.last_update_time.as_ref()?;
    Some(time.0.as_second())
}

/// When to look whether the rollout, whose status this is, is stuck.
pub fn look_again(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let (seconds, said) = (deadline(deployment)?, find(status, PROGRESSING)?);
    let decided = matches!(said.reason.as_deref(), Some(TIMED_OUT | COMPLETE | PAUSED));
    if decided || is_complete(deployment, Some(status)) {
        return None;
    }
    let left = since(said)? + seconds - now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0) + 1))
}

/// Why a set cannot make its pods; the new one's reason comes first.
fn failure(sets: &Sets) -> Option<DeploymentCondition> {
    let of = |set: &Set| -> Option<ReplicaSetCondition> {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|c| c.type_ == FAILURE).cloned()
    };
    let found = sets.new.as_ref().and_then(of);
    let found = found.or_else(|| sets.old.iter().find_map(of))?;
    Some(DeploymentCondition {
        type_: found.type_,
        status: found.status,
        reason: found.reason,
        message: found.message,
        last_update_time: found.last_transition_time.clone(),
        last_transition_time: found.last_transition_time,
    })
}
