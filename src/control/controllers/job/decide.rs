//! What a Job's pods ask for: an end of the Job, fewer pods, more pods, or patience.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;

use super::backoff::{self, Record};
use super::conditions::Verdict;
use super::policy::{Failure, judge, succeeded_early};
use super::tally::{Pod, Tally, count, ended};
use super::terms::{Terms, earlier_failures};
use crate::shared::{Phase, PodInfo};

/// Most pods made or removed in one go.
const AT_ONCE: usize = 500;

/// What to do, before the status is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Nothing,
    /// The Job ends: what still runs goes, and counts.
    End(Vec<Pod>),
    /// Too many or suspended: these go and count for nothing.
    Remove(Vec<Pod>),
    Create(Vec<Place>),
}

/// A pod to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub index: Option<i32>,
    /// Failures of the index so far, counted and ignored, if the Job counts per index.
    pub failures: Option<(i32, i32)>,
}

/// See the module's opening.
#[derive(Debug)]
pub struct Decision {
    pub act: Act,
    pub verdict: Option<Verdict>,
    /// Look again after a while, whatever happens.
    pub again: Option<Duration>,
    /// To be remembered once the failures in it are in the status.
    pub record: Record,
}

/// Decides from what the cache shows; `record` is of earlier failures.
pub fn decide(job: &Job, pods: &[Pod], record: Record, now: Timestamp) -> Decision {
    let terms = Terms::of(job);
    let tally = Tally::of(job, &terms, pods);
    let times = |pods: &[&Pod]| pods.iter().map(|pod| ended(pod)).collect::<Vec<_>>();
    let record = record.after(&times(&tally.new_succeeded), &times(&tally.new_failed));
    let mut again = None;
    let verdict = Verdict::said(job)
        .or_else(|| failed_by_rule(&terms, pods))
        .or_else(|| out_of_patience(job, &terms, &tally, pods, now, &mut again))
        .or_else(|| failed_by_indexes(&terms, &tally))
        .or_else(|| {
            let done = &tally.succeeded_indexes;
            let message = succeeded_early(terms.success_policy(), terms.indexes(), done)?;
            Some(Verdict::succeeds("SuccessPolicy", message))
        });
    let act = match &verdict {
        Some(_) => Act::End(tally.active.iter().map(|pod| Pod::clone(pod)).collect()),
        None if job.metadata.deletion_timestamp.is_some() => Act::Nothing,
        None => {
            let (act, pause) = manage(&terms, &tally, &record, now);
            again = again.into_iter().chain(pause).min();
            act
        }
    };
    Decision {
        act,
        verdict,
        again,
        record,
    }
}

fn failed_by_rule(terms: &Terms<'_>, pods: &[Pod]) -> Option<Verdict> {
    let policy = terms.failure_policy()?;
    let mut failed = pods.iter().filter(|pod| terms.failed(pod));
    failed.find_map(|pod| match judge(Some(policy), pod) {
        Failure::FailJob(message) => Some(Verdict::fails("PodFailurePolicy", message)),
        _ => None,
    })
}

/// Too many failures or too much time; `again` is set to when the time will be up.
fn out_of_patience(
    job: &Job,
    terms: &Terms<'_>,
    tally: &Tally<'_>,
    pods: &[Pod],
    now: Timestamp,
    again: &mut Option<Duration>,
) -> Option<Verdict> {
    if tally.failed > terms.backoff_limit || restarted_too_often(terms, pods) {
        return Some(Verdict::fails(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ));
    }
    let deadline = terms.deadline().filter(|_| !terms.suspended)?;
    let deadline = Duration::from_secs(u64::try_from(deadline).unwrap_or(0));
    let start = job.status.as_ref().and_then(|s| s.start_time.as_ref());
    let start = start.map_or(now, |time| time.0);
    let passed = Duration::try_from(now.duration_since(start)).unwrap_or_default();
    let rest = deadline.saturating_sub(passed);
    if rest.is_zero() {
        return Some(Verdict::fails(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        ));
    }
    *again = Some(rest);
    None
}

/// Where the kubelet restarts containers, their restarts are the failures.
fn restarted_too_often(terms: &Terms<'_>, pods: &[Pod]) -> bool {
    if !terms.restarts_in_place() {
        return false;
    }
    let alive = |pod: &&Pod| matches!(pod.phase, Phase::Running | Phase::Pending);
    let restarts = |pod: &PodInfo| pod.outcome.as_ref().map_or(0, |outcome| outcome.restarts);
    let restarts: i32 = pods.iter().filter(alive).map(|pod| restarts(pod)).sum();
    restarts > 0 && restarts >= terms.backoff_limit
}

fn failed_by_indexes(terms: &Terms<'_>, tally: &Tally<'_>) -> Option<Verdict> {
    let failed = tally.failed_indexes.as_ref()?.total();
    if terms.max_failed_indexes().is_some_and(|most| failed > most) {
        return Some(Verdict::fails(
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes",
        ));
    }
    let ended = failed + tally.succeeded_indexes.total();
    (failed > 0 && ended >= terms.indexes())
        .then(|| Verdict::fails("FailedIndexes", "Job has failed indexes"))
}

/// More or fewer pods, and when to look again for more.
fn manage(
    terms: &Terms<'_>,
    tally: &Tally<'_>,
    record: &Record,
    now: Timestamp,
) -> (Act, Option<Duration>) {
    let active = count(tally.active.iter());
    if terms.suspended {
        let all = tally.to_remove(terms, tally.active.len());
        return (or_nothing(all), None);
    }
    let wanted = match terms.completions {
        // One success is enough; what runs by then may end by itself.
        None if tally.succeeded > 0 => active,
        None => terms.parallelism,
        Some(completions) => (completions - tally.succeeded)
            .min(terms.parallelism)
            .max(0),
    };
    let surplus = usize::try_from(active - wanted).unwrap_or(0);
    let mut remove = tally.to_remove(terms, surplus);
    if !remove.is_empty() {
        // Not both in one go: what is removed may make room for an index.
        remove.truncate(AT_ONCE);
        return (Act::Remove(remove), None);
    }
    let leaving = match terms.replace_failed_only {
        true => count(tally.terminating.iter()),
        false => 0,
    };
    let missing = usize::try_from(wanted - leaving - active)
        .unwrap_or(0)
        .min(AT_ONCE);
    if missing == 0 {
        return (Act::Nothing, None);
    }
    if terms.per_index.is_none() {
        let rest = record.rest(now);
        if !rest.is_zero() {
            return (Act::Nothing, Some(rest));
        }
    }
    if !terms.indexed {
        let place = Place {
            index: None,
            failures: None,
        };
        return (Act::Create(vec![place; missing]), None);
    }
    let mut places = Vec::new();
    let mut pause: Option<Duration> = None;
    for index in tally.pending_indexes(terms, missing) {
        let kept = tally.kept.get(&index);
        let failures = terms.per_index.map(|_| failures_with(terms, kept));
        let rest = match (failures, kept) {
            (Some((counted, ignored)), Some(kept)) => {
                backoff::rest(counted.saturating_add(ignored), ended(kept), now)
            }
            _ => Duration::ZERO,
        };
        match rest.is_zero() {
            true => places.push(Place {
                index: Some(index),
                failures,
            }),
            false => pause = pause.into_iter().chain([rest]).min(),
        }
    }
    match places.is_empty() {
        true => (Act::Nothing, pause),
        false => (Act::Create(places), pause),
    }
}

fn or_nothing(pods: Vec<Pod>) -> Act {
    match pods.is_empty() {
        true => Act::Nothing,
        false => Act::Remove(pods),
    }
}

/// Failures of an index including the pod kept for it.
fn failures_with(terms: &Terms<'_>, kept: Option<&&Pod>) -> (i32, i32) {
    let Some(kept) = kept else { return (0, 0) };
    let (counted, ignored) = earlier_failures(kept);
    match judge(terms.failure_policy(), kept).counts() {
        true => (counted.saturating_add(1), ignored),
        false => (counted, ignored.saturating_add(1)),
    }
}
