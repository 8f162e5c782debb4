//! What a Job wants, with upstream's defaults where an old object leaves something open.

use k8s_openapi::api::batch::v1::{Job, JobSpec, PodFailurePolicy, SuccessPolicy};

use crate::shared::{Phase, PodInfo};

/// Finalizer of a pod that is not counted yet (KEP-2307).
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Annotation, label and environment by which a pod knows its index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
/// Annotations of a pod: failures of its index before it, counted and ignored ones.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// Value of `spec.managedBy` that means us.
const MANAGER: &str = "kubernetes.io/job-controller";

/// A Job's wishes.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    spec: Option<&'a JobSpec>,
    pub completions: Option<i32>,
    pub parallelism: i32,
    pub backoff_limit: i32,
    /// Failures allowed per index, if indexes fail on their own.
    pub per_index: Option<i32>,
    pub indexed: bool,
    pub suspended: bool,
    /// Replacements wait until the old pod has failed, rather than until it is told to go.
    pub replace_failed_only: bool,
}

impl<'a> Terms<'a> {
    pub fn of(job: &'a Job) -> Terms<'a> {
        let spec = job.spec.as_ref();
        let indexed = spec.and_then(|s| s.completion_mode.as_deref()) == Some("Indexed");
        let replacement = spec.and_then(|s| s.pod_replacement_policy.as_deref());
        Terms {
            spec,
            completions: spec.and_then(|s| s.completions),
            parallelism: spec.and_then(|s| s.parallelism).unwrap_or(1),
            backoff_limit: spec.and_then(|s| s.backoff_limit).unwrap_or(6),
            per_index: spec
                .and_then(|s| s.backoff_limit_per_index)
                .filter(|_| indexed),
            indexed,
            suspended: spec.and_then(|s| s.suspend).unwrap_or(false),
            replace_failed_only: replacement == Some("Failed")
                || spec.is_some_and(|s| s.pod_failure_policy.is_some()),
        }
    }

    /// Completions of an indexed Job, which always has them.
    pub fn indexes(&self) -> i32 {
        self.completions.unwrap_or(0)
    }

    pub fn failure_policy(&self) -> Option<&'a PodFailurePolicy> {
        self.spec.and_then(|s| s.pod_failure_policy.as_ref())
    }

    pub fn success_policy(&self) -> Option<&'a SuccessPolicy> {
        self.spec.and_then(|s| s.success_policy.as_ref())
    }

    pub fn max_failed_indexes(&self) -> Option<i32> {
        self.spec.and_then(|s| s.max_failed_indexes)
    }

    /// Seconds.
    pub fn deadline(&self) -> Option<i64> {
        self.spec.and_then(|s| s.active_deadline_seconds)
    }

    /// Whether the kubelet restarts what fails, so that its restarts count as failures.
    pub fn restarts_in_place(&self) -> bool {
        let pod = self.spec.and_then(|s| s.template.spec.as_ref());
        pod.and_then(|p| p.restart_policy.as_deref()) == Some("OnFailure")
    }

    /// The index of a pod, if it has one that this Job has.
    pub fn index(&self, pod: &PodInfo) -> Option<i32> {
        index(pod).filter(|index| *index < self.indexes())
    }

    /// Whether a pod counts as failed: also one that is told to go and may never say how it
    /// ended, unless only the ended ones are replaced.
    pub fn failed(&self, pod: &PodInfo) -> bool {
        match pod.phase {
            Phase::Failed => true,
            Phase::Succeeded => false,
            _ => !self.replace_failed_only && pod.deletion.is_some(),
        }
    }
}

/// Whether somebody else runs this Job (KEP-4368).
pub fn is_foreign(job: &Job) -> bool {
    let spec = job.spec.as_ref();
    let manager = spec.and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != MANAGER)
}

/// Whether a pod still waits to be counted.
pub fn tracked(pod: &PodInfo) -> bool {
    pod.finalizers.iter().any(|f| f == TRACKING)
}

/// The index a pod was made for.
pub fn index(pod: &PodInfo) -> Option<i32> {
    number(pod, INDEX)
}

/// Failures of the pod's index before it: counted, ignored.
pub fn earlier_failures(pod: &PodInfo) -> (i32, i32) {
    let count = |key| number(pod, key).unwrap_or(0);
    (count(FAILURES), count(IGNORED))
}

fn number(pod: &PodInfo, key: &str) -> Option<i32> {
    let text = pod.annotations.get(key)?;
    text.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_may_be_somebody_elses() {
        let foreign = |manager: Option<&str>| {
            let job = json!({"spec": {"template": {}, "managedBy": manager}});
            is_foreign(&serde_json::from_value(job).unwrap())
        };
        assert!(!foreign(None));
        assert!(!foreign(Some("kubernetes.io/job-controller")));
        assert!(foreign(Some("kueue.x-k8s.io/multikueue")));
    }
}
