//! What a Job's status says after a look at its pods.
//!
//! A pod that has ended is counted exactly once, whenever this process dies (KEP-2307):
//! ```text
//!   settle:   its uid into status.uncountedTerminatedPods ── write
//!   release:  its finalizer goes, so it may be deleted
//!   conclude: its uid out of there, and one more counted  ── write
//! ```

use std::collections::{BTreeSet, HashSet};

use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::conditions::{self, Verdict};
use super::policy::judge;
use super::tally::{Pod, Tally, count, uncounted};
use super::terms::{Terms, tracked};
use crate::shared::Phase;

/// Most uids in the status at a time.
const MOST_UNCOUNTED: usize = 500;

/// See the module's opening.
#[derive(Debug)]
pub struct Settled {
    pub status: JobStatus,
    /// Whether the status must be written before anything is released.
    pub write: bool,
    /// Their finalizers may go.
    pub release: Vec<Pod>,
    pub verdict: Option<Verdict>,
    /// There are more to count than fit into one status.
    pub more: bool,
    /// Events: reason and message.
    pub notes: Vec<(&'static str, &'static str)>,
}

/// Looks at the pods as they are after the decision was carried out. `decided` is its
/// verdict, `managed` that pods were allowed to be made and removed.
pub fn settle(
    job: &Job,
    pods: &[Pod],
    decided: Option<Verdict>,
    managed: bool,
    now: Timestamp,
) -> Settled {
    let terms = Terms::of(job);
    let tally = Tally::of(job, &terms, pods);
    let before = job.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let mut notes = Vec::new();
    if status.start_time.is_none() && !terms.suspended {
        status.start_time = Some(Time(now));
    }
    let mut write = false;
    let verdict = match decided {
        // Not before nothing runs any more.
        Some(verdict) => Some(verdict).filter(|_| tally.active.is_empty()),
        None if is_complete(&terms, &tally) => Some(Verdict::succeeds(
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        )),
        None => {
            if managed {
                write |= suspension(&mut status, &terms, now, &mut notes);
            }
            None
        }
    };
    let (active, terminating) = (count(tally.active.iter()), count(tally.terminating.iter()));
    write |= before.active.unwrap_or(0) != active
        || before.ready != Some(tally.ready)
        || before.terminating != Some(terminating);
    status.active = Some(active).filter(|n| *n > 0);
    status.ready = Some(tally.ready);
    status.terminating = Some(terminating);
    write |= status.uncounted_terminated_pods.is_none();
    write |= take_in(&mut status, &finalized(pods));

    let leaving = job.metadata.deletion_timestamp.is_some();
    let counted = enter(&mut status, &terms, &tally, pods, verdict.as_ref(), leaving);
    write |= counted.write;
    if terms.indexed {
        write |= enter_indexes(&mut status, &tally, &counted.indexes);
    }
    if let Some(verdict) = &verdict {
        let conditions = status.conditions.get_or_insert_default();
        let (reason, message) = (&verdict.reason, &verdict.message);
        if !conditions
            .iter()
            .any(|c| c.type_ == verdict.announced() && c.status == "True")
        {
            write |= conditions::set(conditions, verdict.announced(), true, reason, message, now);
        }
    }
    if status.conditions.as_ref().is_some_and(Vec::is_empty) {
        status.conditions = None;
    }
    Settled {
        status,
        write,
        release: counted.release,
        verdict,
        more: counted.more,
        notes,
    }
}

fn is_complete(terms: &Terms<'_>, tally: &Tally<'_>) -> bool {
    let enough = match terms.completions {
        None => tally.succeeded > 0,
        Some(completions) => tally.succeeded >= completions,
    };
    enough && tally.active.is_empty()
}

/// Says that the Job is suspended, or no longer is; true if that is new.
fn suspension(
    status: &mut JobStatus,
    terms: &Terms<'_>,
    now: Timestamp,
    notes: &mut Vec<(&'static str, &'static str)>,
) -> bool {
    let (reason, note, message) = match terms.suspended {
        true => ("JobSuspended", "Suspended", "Job suspended"),
        false => ("JobResumed", "Resumed", "Job resumed"),
    };
    let conditions = status.conditions.get_or_insert_default();
    let kind = conditions::SUSPENDED;
    let new = conditions::set(conditions, kind, terms.suspended, reason, message, now);
    if new {
        notes.push((note, message));
        if !terms.suspended {
            status.start_time = Some(Time(now));
        }
    }
    new
}

struct Counted {
    write: bool,
    release: Vec<Pod>,
    indexes: BTreeSet<i32>,
    more: bool,
}

/// Enters the uids of ended pods. `leaving` is that the Job is on its way out and holds nobody.
fn enter(
    status: &mut JobStatus,
    terms: &Terms<'_>,
    tally: &Tally<'_>,
    pods: &[Pod],
    verdict: Option<&Verdict>,
    leaving: bool,
) -> Counted {
    let mut out = Counted {
        write: false,
        release: Vec::new(),
        indexes: BTreeSet::new(),
        more: false,
    };
    let known: (HashSet<String>, HashSet<String>) = {
        let (succeeded, failed) = uncounted(status);
        let own = |uids: HashSet<&str>| uids.into_iter().map(str::to_owned).collect();
        (own(succeeded), own(failed))
    };
    let waiting = status.uncounted_terminated_pods.get_or_insert_default();
    let mut sorted: Vec<&Pod> = pods.iter().filter(|pod| tracked(pod)).collect();
    if terms.indexed {
        sorted.sort_by_key(|pod| terms.index(pod));
    }
    for pod in sorted {
        let failed = terms.failed(pod);
        let index = terms.index(pod);
        let kept = index.and_then(|index| tally.kept.get(&index));
        let kept = kept.is_some_and(|kept| kept.uid == pod.uid);
        let free =
            leaving || verdict.is_some() || pod.phase == Phase::Succeeded || (failed && !kept);
        if !free {
            continue;
        }
        out.release.push(Pod::clone(pod));
        let place = !terms.indexed || index.is_some();
        if pod.phase == Phase::Succeeded && !known.1.contains(&pod.uid) {
            if terms.indexed {
                // The index itself says that it is counted.
                out.indexes
                    .extend(index.filter(|index| !tally.counted_indexes.has(*index)));
            } else if !known.0.contains(&pod.uid) {
                out.write = true;
                waiting
                    .succeeded
                    .get_or_insert_default()
                    .push(pod.uid.clone());
            }
        } else if failed || verdict.is_some_and(|verdict| !verdict.success) {
            let counts = judge(terms.failure_policy(), pod).counts();
            if place && counts && !known.1.contains(&pod.uid) {
                out.write = true;
                waiting.failed.get_or_insert_default().push(pod.uid.clone());
            }
        }
        let listed = |uids: &Option<Vec<String>>| uids.as_ref().map_or(0, Vec::len);
        let waits = listed(&waiting.succeeded) + listed(&waiting.failed) + out.indexes.len();
        if waits >= MOST_UNCOUNTED {
            out.more = true;
            break;
        }
    }
    out.write |= !out.indexes.is_empty();
    out
}

fn enter_indexes(status: &mut JobStatus, tally: &Tally<'_>, new: &BTreeSet<i32>) -> bool {
    let succeeded = tally.counted_indexes.with(new);
    let text = Some(succeeded.to_string()).filter(|text| !text.is_empty());
    let total = succeeded.total();
    let failed = tally.failed_indexes.as_ref().map(ToString::to_string);
    let write = text != status.completed_indexes
        || total != status.succeeded.unwrap_or(0)
        || failed != status.failed_indexes;
    status.completed_indexes = text;
    status.succeeded = Some(total).filter(|n| *n > 0);
    status.failed_indexes = failed;
    write
}

/// Uids of pods that are seen and released.
fn finalized(pods: &[Pod]) -> HashSet<&str> {
    let waiting = pods.iter().filter(|pod| tracked(pod));
    waiting.map(|pod| pod.uid.as_str()).collect()
}

/// Counts what is uncounted and no longer holds a finalizer; true if there was something.
fn take_in(status: &mut JobStatus, holding: &HashSet<&str>) -> bool {
    let Some(waiting) = &mut status.uncounted_terminated_pods else {
        return false;
    };
    let counted = |uids: &mut Option<Vec<String>>| {
        let before = uids.as_ref().map_or(0, Vec::len);
        if let Some(uids) = uids {
            uids.retain(|uid| holding.contains(uid.as_str()));
        }
        let left = uids.as_ref().map_or(0, Vec::len);
        if left == 0 {
            *uids = None;
        }
        i32::try_from(before - left).unwrap_or(i32::MAX)
    };
    let UncountedTerminatedPods { succeeded, failed } = waiting;
    let (succeeded, failed) = (counted(succeeded), counted(failed));
    let add = |sum: &mut Option<i32>, more: i32| {
        if more > 0 {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut status.succeeded, succeeded);
    add(&mut status.failed, failed);
    succeeded + failed > 0
}

/// The status after finalizers were released, if it changes: uids are counted, and a Job
/// that waits for nothing more ends. True with it if it ended.
pub fn conclude(
    job: &Job,
    pods: &[Pod],
    verdict: Option<&Verdict>,
    more: bool,
    now: Timestamp,
) -> Option<(JobStatus, bool)> {
    let mut status = job.status.clone().unwrap_or_default();
    let changed = take_in(&mut status, &finalized(pods));
    let waits = {
        let (succeeded, failed) = uncounted(&status);
        more || !succeeded.is_empty() || !failed.is_empty() || status.terminating.unwrap_or(0) > 0
    };
    let Some(verdict) = verdict.filter(|_| !waits) else {
        return changed.then_some((status, false));
    };
    let conditions = status.conditions.get_or_insert_default();
    let (reason, message) = (&verdict.reason, &verdict.message);
    conditions::set(conditions, verdict.fulfilled(), true, reason, message, now);
    if verdict.success {
        status.completion_time = Some(Time(now));
    }
    Some((status, true))
}
