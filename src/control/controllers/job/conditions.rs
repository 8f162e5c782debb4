//! Conditions of a Job: what its end is said in.
//!
//! ```text
//!   ─▶ SuccessCriteriaMet ─▶ (pods gone, all counted) ─▶ Complete
//!   ─▶ FailureTarget      ─▶ (pods gone, all counted) ─▶ Failed
//! ```

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

pub const COMPLETE: &str = "Complete";
pub const FAILED: &str = "Failed";
pub const SUSPENDED: &str = "Suspended";
const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";

/// How a Job will end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub success: bool,
    pub reason: String,
    pub message: String,
}

impl Verdict {
    pub fn fails(reason: &str, message: impl Into<String>) -> Verdict {
        Verdict {
            success: false,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub fn succeeds(reason: &str, message: impl Into<String>) -> Verdict {
        Verdict {
            success: true,
            ..Verdict::fails(reason, message)
        }
    }

    /// What was said of the Job before.
    pub fn said(job: &Job) -> Option<Verdict> {
        let of = |kind, success| {
            let condition = holding(job, kind)?;
            Some(Verdict {
                success,
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            })
        };
        of(SUCCESS_CRITERIA_MET, true).or_else(|| of(FAILURE_TARGET, false))
    }

    /// The condition that announces it.
    pub fn announced(&self) -> &'static str {
        match self.success {
            true => SUCCESS_CRITERIA_MET,
            false => FAILURE_TARGET,
        }
    }

    /// The condition that ends the Job.
    pub fn fulfilled(&self) -> &'static str {
        match self.success {
            true => COMPLETE,
            false => FAILED,
        }
    }
}

/// The condition of this type, if it is True.
pub fn holding<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions
        .into_iter()
        .find(|c| c.type_ == kind && c.status == "True")
}

/// The condition by which a Job has ended.
pub fn ending(job: &Job) -> Option<&JobCondition> {
    holding(job, COMPLETE).or_else(|| holding(job, FAILED))
}

/// Sets a condition; true if that changed anything. One that was never True is not said to
/// be False.
pub fn set(
    conditions: &mut Vec<JobCondition>,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let word = if status { "True" } else { "False" };
    let new = JobCondition {
        type_: kind.to_owned(),
        status: word.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(old) => {
            let differs = (&old.status, &old.reason, &old.message)
                != (&new.status, &new.reason, &new.message);
            if differs {
                *old = new;
            }
            differs
        }
        None if status => {
            conditions.push(new);
            true
        }
        None => false,
    }
}
