//! Where a Job stands: its pods, sorted and counted. What the status has counted and what
//! still waits to be counted come together here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus};

use super::indexes::Indexes;
use super::policy::{Failure, judge};
use super::terms::{Terms, earlier_failures, index, tracked};
use crate::shared::{Phase, PodInfo};

/// A pod as the cache gave it out.
pub type Pod = Arc<PodInfo>;

/// See the module's opening.
#[derive(Debug)]
pub struct Tally<'a> {
    pub active: Vec<&'a Pod>,
    pub ready: i32,
    /// On their way out, not ended.
    pub terminating: Vec<&'a Pod>,
    /// Ended, and not counted before.
    pub new_succeeded: Vec<&'a Pod>,
    pub new_failed: Vec<&'a Pod>,
    pub succeeded: i32,
    /// Without those that a rule ignores.
    pub failed: i32,
    /// Indexes that have succeeded by the status alone, and in all.
    pub counted_indexes: Indexes,
    pub succeeded_indexes: Indexes,
    /// Indexes that have failed for good, if indexes can.
    pub failed_indexes: Option<Indexes>,
    /// By index: the failed pod that stays until its replacement knows how often the index
    /// has failed (KEP-3850).
    pub kept: BTreeMap<i32, &'a Pod>,
}

impl<'a> Tally<'a> {
    pub fn of(job: &Job, terms: &Terms<'_>, pods: &'a [Pod]) -> Tally<'a> {
        let empty = JobStatus::default();
        let status = job.status.as_ref().unwrap_or(&empty);
        let (waiting_succeeded, waiting_failed) = uncounted(status);
        let active: Vec<&Pod> = pods.iter().filter(|pod| pod.is_active()).collect();
        let to_count = |pod: &&Pod| tracked(pod) && (!terms.indexed || terms.index(pod).is_some());
        let new_succeeded: Vec<&Pod> = pods
            .iter()
            .filter(to_count)
            .filter(|pod| pod.phase == Phase::Succeeded)
            .filter(|pod| !waiting_succeeded.contains(pod.uid.as_str()))
            .collect();
        let new_failed: Vec<&Pod> = pods
            .iter()
            .filter(to_count)
            .filter(|pod| terms.failed(pod) && !waiting_failed.contains(pod.uid.as_str()))
            .collect();
        let policy = terms.failure_policy();
        let counting = new_failed.iter().filter(|pod| judge(policy, pod).counts());
        let total = |counted: Option<i32>, new: usize, waiting: usize| {
            let more = i32::try_from(new + waiting).unwrap_or(i32::MAX);
            counted.unwrap_or(0).saturating_add(more)
        };
        let failed = total(status.failed, counting.count(), waiting_failed.len());
        let mut tally = Tally {
            ready: count(active.iter().filter(|pod| pod.is_ready())),
            terminating: pods
                .iter()
                .filter(|pod| pod.deletion.is_some() && !pod.has_ended())
                .collect(),
            succeeded: total(
                status.succeeded,
                new_succeeded.len(),
                waiting_succeeded.len(),
            ),
            failed,
            active,
            new_succeeded,
            new_failed,
            counted_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            kept: BTreeMap::new(),
        };
        if terms.indexed {
            tally.count_indexes(status, terms, pods);
        }
        tally
    }

    fn count_indexes(&mut self, status: &JobStatus, terms: &Terms<'_>, pods: &'a [Pod]) {
        let completed = status.completed_indexes.as_deref().unwrap_or_default();
        self.counted_indexes = Indexes::parse(completed, terms.indexes());
        let succeeded = pods
            .iter()
            .filter(|pod| pod.phase == Phase::Succeeded && tracked(pod))
            .filter_map(|pod| terms.index(pod))
            .collect();
        self.succeeded_indexes = self.counted_indexes.with(&succeeded);
        self.succeeded = self.succeeded_indexes.total();
        let Some(limit) = terms.per_index else { return };
        let before = status.failed_indexes.as_deref().unwrap_or_default();
        let failed = pods
            .iter()
            .filter(|pod| fails_index(terms, pod, limit))
            .filter_map(|pod| terms.index(pod))
            .collect();
        let failed = Indexes::parse(before, terms.indexes()).with(&failed);
        let active: BTreeSet<i32> = self.active.iter().filter_map(|pod| index(pod)).collect();
        for pod in pods.iter().filter(|pod| tracked(pod) && terms.failed(pod)) {
            let Some(index) = terms.index(pod) else {
                continue;
            };
            if self.succeeded_indexes.has(index) || failed.has(index) || active.contains(&index) {
                continue;
            }
            let later = self.kept.get(&index).is_none_or(|kept| {
                let failures = |pod: &Pod| {
                    let (counted, ignored) = earlier_failures(pod);
                    counted.saturating_add(ignored)
                };
                failures(kept) <= failures(pod) && ended(kept) <= ended(pod)
            });
            if later {
                self.kept.insert(index, pod);
            }
        }
        self.failed_indexes = Some(failed);
    }

    /// Which of the active pods to remove so that at least so many go: those without a place
    /// in the Job first, then those with least to lose.
    pub fn to_remove(&self, terms: &Terms<'_>, at_least: usize) -> Vec<Pod> {
        if at_least == 0 && (!terms.indexed || self.all_have_places(terms)) {
            return Vec::new();
        }
        let mut sorted = self.active.clone();
        sorted.sort_by_cached_key(|pod| least_to_lose(pod));
        let mut out = Vec::new();
        let mut left = sorted;
        if terms.indexed {
            // Of several pods with one index the most advanced stays.
            let mut seen = BTreeSet::new();
            let mut stay = Vec::new();
            for pod in left.into_iter().rev() {
                match terms.index(pod).is_some_and(|index| seen.insert(index)) {
                    true => stay.push(pod),
                    false => out.push(Arc::clone(pod)),
                }
            }
            stay.reverse();
            left = stay;
        }
        let more = at_least.saturating_sub(out.len());
        out.extend(left.into_iter().take(more).cloned());
        out
    }

    /// Whether every active pod has an index of the Job for itself.
    fn all_have_places(&self, terms: &Terms<'_>) -> bool {
        let mut seen = HashSet::new();
        let mut indexes = self.active.iter().map(|pod| terms.index(pod));
        indexes.all(|index| index.is_some_and(|index| seen.insert(index)))
    }

    /// Indexes for new pods, the smallest first.
    pub fn pending_indexes(&self, terms: &Terms<'_>, count: usize) -> Vec<i32> {
        let mut taken: BTreeSet<i32> = self.active.iter().filter_map(|pod| index(pod)).collect();
        if terms.replace_failed_only {
            taken.extend(self.terminating.iter().filter_map(|pod| index(pod)));
        }
        let mut taken = self.succeeded_indexes.with(&taken);
        if let Some(failed) = &self.failed_indexes {
            taken = taken.union(failed);
        }
        taken.first_missing(count, terms.indexes())
    }
}

/// Uids that the status names as ended but not yet counted: succeeded, failed.
pub fn uncounted(status: &JobStatus) -> (HashSet<&str>, HashSet<&str>) {
    let Some(waiting) = &status.uncounted_terminated_pods else {
        return Default::default();
    };
    (
        waiting
            .succeeded
            .iter()
            .flatten()
            .map(String::as_str)
            .collect(),
        waiting
            .failed
            .iter()
            .flatten()
            .map(String::as_str)
            .collect(),
    )
}

/// When a pod of a Job ended.
pub fn ended(pod: &PodInfo) -> k8s_openapi::jiff::Timestamp {
    pod.outcome
        .as_ref()
        .map_or(pod.created, |outcome| outcome.finished)
}

pub fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

/// Whether with this pod its index has failed for good.
fn fails_index(terms: &Terms<'_>, pod: &PodInfo, limit: i32) -> bool {
    if !terms.failed(pod) {
        return false;
    }
    match judge(terms.failure_policy(), pod) {
        Failure::FailIndex => true,
        Failure::Ignore => false,
        Failure::Count | Failure::FailJob(_) => earlier_failures(pod).0 >= limit,
    }
}

/// Upstream's order of active pods: unplaced, pending, unready, lately ready, much restarted
/// and young ones go first.
fn least_to_lose(pod: &PodInfo) -> impl Ord + use<> {
    (
        !pod.node.is_empty(),
        pod.phase,
        pod.is_ready(),
        Reverse(pod.ready_since),
        Reverse(pod.restarts),
        Reverse(pod.created),
        pod.name.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{job, pods};
    use super::*;
    use serde_json::{Value, json};

    fn names(pods: &[Pod]) -> Vec<&str> {
        pods.iter().map(|pod| pod.name.as_str()).collect()
    }

    fn sorted_out(spec: Value, status: Value, all: Value) -> String {
        let job = job(spec, status);
        let terms = Terms::of(&job);
        let pods = pods(all);
        let tally = Tally::of(&job, &terms, &pods);
        format!(
            "active {} ready {} terminating {} succeeded {} failed {} indexes [{}] failed [{}] kept {:?}",
            tally.active.len(),
            tally.ready,
            tally.terminating.len(),
            tally.succeeded,
            tally.failed,
            tally.succeeded_indexes,
            tally
                .failed_indexes
                .map(|f| f.to_string())
                .unwrap_or("-".into()),
            tally.kept.keys().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn ended_pods_count_once() {
        let status = json!({"succeeded": 2, "failed": 1,
            "uncountedTerminatedPods": {"succeeded": ["s1"], "failed": ["f1"]}});
        let all = json!([
            {"name": "s1", "phase": "Succeeded"}, {"name": "s2", "phase": "Succeeded"},
            {"name": "s3", "phase": "Succeeded", "tracked": false},
            {"name": "f1", "phase": "Failed"}, {"name": "f2", "phase": "Failed"},
            {"name": "a", "phase": "Running", "ready": true}, {"name": "b"},
            {"name": "t", "phase": "Running", "deleting": true},
        ]);
        assert_eq!(
            sorted_out(json!({}), status.clone(), all.clone()),
            "active 2 ready 1 terminating 1 succeeded 4 failed 4 indexes [] failed [-] kept []"
        );
        assert_eq!(
            sorted_out(json!({"podReplacementPolicy": "Failed"}), status, all),
            "active 2 ready 1 terminating 1 succeeded 4 failed 3 indexes [] failed [-] kept []"
        );
    }

    #[test]
    fn indexes_succeed_and_fail_on_their_own() {
        let spec =
            json!({"completionMode": "Indexed", "completions": 6, "backoffLimitPerIndex": 1});
        let status = json!({"completedIndexes": "0", "failedIndexes": "5", "succeeded": 1});
        let all = json!([
            {"name": "a", "index": 1, "phase": "Succeeded"},
            {"name": "b", "index": 9, "phase": "Succeeded"},
            {"name": "c", "index": 2, "phase": "Failed"},
            {"name": "d", "index": 3, "phase": "Failed", "failures": 1},
            {"name": "e", "index": 4, "phase": "Failed"}, {"name": "f", "index": 4},
        ]);
        assert_eq!(
            sorted_out(spec, status, all),
            "active 1 ready 0 terminating 0 succeeded 2 failed 3 indexes [0,1] failed [3,5] kept [2]"
        );
    }

    #[test]
    fn those_with_least_to_lose_go_first_and_doubles_always() {
        let all = pods(json!([
            {"name": "ready", "index": 0, "phase": "Running", "node": "n", "ready": true},
            {"name": "double", "index": 0, "phase": "Running", "node": "n"},
            {"name": "waits", "index": 1}, {"name": "placed", "index": 2, "node": "n"},
            {"name": "beyond", "index": 7, "phase": "Running", "node": "n", "ready": true},
        ]));
        let plain = job(json!({}), json!({}));
        let terms = Terms::of(&plain);
        let tally = Tally::of(&plain, &terms, &all);
        assert_eq!(
            names(&tally.to_remove(&terms, 3)),
            ["waits", "placed", "double"]
        );
        let indexed = job(
            json!({"completionMode": "Indexed", "completions": 5}),
            json!({}),
        );
        let terms = Terms::of(&indexed);
        let tally = Tally::of(&indexed, &terms, &all);
        assert_eq!(names(&tally.to_remove(&terms, 0)), ["beyond", "double"]);
        assert_eq!(
            names(&tally.to_remove(&terms, 3)),
            ["beyond", "double", "waits"]
        );
        assert_eq!(tally.pending_indexes(&terms, 5), [3, 4]);
    }
}
