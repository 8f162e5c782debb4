//! What a CronJob's Jobs and the clock ask for.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::times::{Fault, Times};
use crate::job::{COMPLETE, ending};

/// An event to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// A Job to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub at: Timestamp,
    pub zone: TimeZone,
    /// These are removed before.
    pub replaced: Vec<ObjectReference>,
    /// Look again after this, once it is started.
    pub again: Option<Duration>,
}

/// See the module's opening.
#[derive(Debug)]
pub struct Decision {
    /// As far as it follows from what has happened; a start adds to it.
    pub status: CronJobStatus,
    pub notes: Vec<Note>,
    pub start: Option<Start>,
    /// More ended Jobs than are to be kept.
    pub expired: Vec<Arc<Job>>,
    pub again: Option<Duration>,
}

/// Looks at the Jobs a CronJob controls.
pub fn decide(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Decision {
    let mut decision = Decision {
        status: cron.status.clone().unwrap_or_default(),
        notes: Vec::new(),
        start: None,
        expired: expired(cron, jobs),
        again: None,
    };
    decision.take_stock(jobs);
    if cron.metadata.deletion_timestamp.is_none() {
        decision.schedule(cron, now);
    }
    decision
}

/// The name of the Job for a time: the minutes since 1970 make it unique.
pub fn name_at(cron: &str, at: Timestamp) -> String {
    format!("{cron}-{}", at.as_second() / 60)
}

impl Decision {
    fn note(&mut self, warning: bool, reason: &'static str, message: String) {
        self.notes.push(Note {
            warning,
            reason,
            message,
        });
    }

    /// Brings the list of active Jobs and the time of the last success up to date.
    fn take_stock(&mut self, jobs: &[Arc<Job>]) {
        let mut active = self.status.active.take().unwrap_or_default();
        for job in jobs {
            let (uid, name) = (job.metadata.uid.as_deref(), job.metadata.name.as_deref());
            let name = name.unwrap_or_default();
            let listed = active.iter().position(|entry| entry.uid.as_deref() == uid);
            let Some(end) = ending(job) else {
                if listed.is_none() {
                    let message =
                        format!("Saw a job that the controller did not create or forgot: {name}");
                    self.note(true, "UnexpectedJob", message);
                }
                continue;
            };
            if let Some(at) = listed {
                active.remove(at);
                let message = format!("Saw completed job: {name}, condition: {}", end.type_);
                self.note(false, "SawCompletedJob", message);
            }
            let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
            let last = self.status.last_successful_time.as_ref().map(|time| time.0);
            if let Some(completed) = completed.filter(|_| end.type_ == COMPLETE)
                && last.is_none_or(|last| completed.0 > last)
            {
                self.status.last_successful_time = Some(completed);
            }
        }
        let there = |entry: &ObjectReference| {
            jobs.iter()
                .any(|job| job.metadata.uid.as_deref() == entry.uid.as_deref())
        };
        let (left, missing): (Vec<_>, Vec<_>) = active.into_iter().partition(there);
        for entry in missing {
            let name = entry.name.unwrap_or_default();
            self.note(
                false,
                "MissingJob",
                format!("Active job went missing: {name}"),
            );
        }
        self.status.active = Some(left).filter(|left| !left.is_empty());
    }

    fn schedule(&mut self, cron: &CronJob, now: Timestamp) {
        let spec = &cron.spec;
        let text = &spec.schedule;
        let times = match Times::of(spec) {
            Ok(times) => times,
            Err(Fault::Zone(zone)) => {
                let message = format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
                return self.note(true, "UnknownTimeZone", message);
            }
            Err(_) if spec.suspend == Some(true) => return,
            Err(fault) => {
                let message = format!("unparseable schedule: {text:?} : {fault}");
                return self.note(true, "UnparseableSchedule", message);
            }
        };
        if spec.suspend == Some(true) {
            return;
        }
        if text.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {text:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            );
            self.note(true, "UnsupportedSchedule", message);
        }
        let created = cron.metadata.creation_timestamp.as_ref();
        let created = created.map_or(now, |time| time.0);
        let last = self.status.last_schedule_time.as_ref().map(|time| time.0);
        let since = last.unwrap_or(created);
        self.again = times.wait(since, now);

        let deadline = spec
            .starting_deadline_seconds
            .map(SignedDuration::from_secs);
        let horizon = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
        let (due, many) = match times.latest(since.max(horizon.unwrap_or(since)), now) {
            Ok(latest) => latest,
            Err(fault) => {
                let message = format!("invalid schedule: {text} : {fault}");
                return self.note(true, "InvalidSchedule", message);
            }
        };
        let Some(due) = due else { return };
        if many {
            let message = "too many missed start times. Set or decrease \
                .spec.startingDeadlineSeconds or check clock skew";
            self.note(true, "TooManyMissedTimes", message.to_owned());
        }
        let too_late = deadline
            .is_some_and(|deadline| due.checked_add(deadline).is_ok_and(|limit| limit < now));
        if too_late {
            let at = due.strftime("%a, %d %b %Y %H:%M:%S %z");
            let message = format!("Missed scheduled time to start a job: {at}");
            return self.note(true, "MissSchedule", message);
        }
        let active = self.status.active.clone().unwrap_or_default();
        let name = name_at(cron.metadata.name.as_deref().unwrap_or_default(), due);
        let runs = active
            .iter()
            .any(|entry| entry.name.as_deref() == Some(name.as_str()));
        if runs || last == Some(due) {
            return;
        }
        let policy = spec.concurrency_policy.as_deref().unwrap_or("Allow");
        if policy == "Forbid" && !active.is_empty() {
            let message = "Not starting job because prior execution is running and \
                concurrency policy is Forbid";
            return self.note(false, "JobAlreadyActive", message.to_owned());
        }
        self.start = Some(Start {
            at: due,
            again: times.wait(due, now),
            zone: times.zone,
            replaced: if policy == "Replace" { active } else { vec![] },
        });
    }
}

/// The oldest of the ended Jobs that are too many, successes and failures apart.
fn expired(cron: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron.spec;
    let mut out = Vec::new();
    for (success, limit) in [
        (true, spec.successful_jobs_history_limit),
        (false, spec.failed_jobs_history_limit),
    ] {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            continue;
        };
        let mut ended: Vec<_> = jobs
            .iter()
            .filter(|job| ending(job).is_some_and(|end| (end.type_ == COMPLETE) == success))
            .filter(|job| job.metadata.deletion_timestamp.is_none())
            .collect();
        ended.sort_by_key(|job| {
            let start = job.status.as_ref().and_then(|s| s.start_time.as_ref());
            let start = start.map(|time| time.0);
            (start.is_none(), start, job.metadata.name.clone())
        });
        let surplus = ended.len().saturating_sub(limit);
        out.extend(ended.into_iter().take(surplus).cloned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cron(spec: Value, status: Value) -> CronJob {
        let mut spec = spec;
        spec["schedule"] = spec
            .get("schedule")
            .cloned()
            .unwrap_or(json!("*/10 * * * *"));
        spec["jobTemplate"] = json!({});
        let metadata = json!({"name": "tick", "namespace": "d", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
            .unwrap()
    }

    fn job(name: &str, end: &str, start: &str) -> Arc<Job> {
        let mut conditions = json!([]);
        if !end.is_empty() {
            conditions = json!([{"type": end, "status": "True"}]);
        }
        let mut status = json!({"startTime": start, "conditions": conditions});
        if end == "Complete" {
            status["completionTime"] = json!(start);
        }
        let job = json!({"metadata": {"name": name, "uid": name}, "status": status});
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn active(names: &[&str]) -> Value {
        names
            .iter()
            .map(|name| json!({"name": name, "uid": name}))
            .collect()
    }

    /// In few words, at a time of 1 January 2026.
    fn told(cron: &CronJob, jobs: &[Arc<Job>], time: &str) -> Vec<String> {
        let now = format!("2026-01-01T{time}Z").parse().unwrap();
        let decision = decide(cron, jobs, now);
        let mut out: Vec<String> = decision.notes.iter().map(|n| n.reason.to_owned()).collect();
        out.extend(decision.start.map(|start| {
            let replaced = start.replaced.iter().filter_map(|r| r.name.clone());
            let replaced = replaced.collect::<Vec<_>>().join(",");
            format!("start {} {replaced}", name_at("tick", start.at))
                .trim()
                .to_owned()
        }));
        out.extend(decision.expired.iter().map(|job| {
            format!(
                "expire {}",
                job.metadata.name.as_deref().unwrap_or_default()
            )
        }));
        out
    }

    #[test]
    fn a_job_starts_when_its_time_has_come() {
        let plain = cron(json!({}), json!({}));
        assert!(told(&plain, &[], "00:09:59").is_empty());
        assert_eq!(told(&plain, &[], "00:10:00"), ["start tick-29453770"]);
        assert_eq!(
            told(&plain, &[], "00:31:00"),
            ["start tick-29453790"],
            "the last one counts"
        );
        let done = cron(
            json!({}),
            json!({"lastScheduleTime": "2026-01-01T00:10:00Z"}),
        );
        assert!(told(&done, &[], "00:11:00").is_empty());
        let wait = decide(&done, &[], "2026-01-01T00:11:00Z".parse().unwrap()).again;
        assert_eq!(wait, Some(Duration::from_millis(540_100)));
        assert!(told(&cron(json!({"suspend": true}), json!({})), &[], "00:10:00").is_empty());
    }

    #[test]
    fn too_late_is_too_late() {
        let strict = cron(json!({"startingDeadlineSeconds": 20}), json!({}));
        assert_eq!(told(&strict, &[], "00:10:19"), ["start tick-29453770"]);
        assert!(told(&strict, &[], "00:10:21").is_empty());
        let long = cron(json!({"schedule": "* * * * *"}), json!({}));
        assert_eq!(
            told(&long, &[], "02:00:00"),
            ["TooManyMissedTimes", "start tick-29453880"]
        );
    }

    #[test]
    fn what_still_runs_is_let_be_waited_for_or_replaced() {
        let running = [job("tick-1", "", "2026-01-01T00:00:00Z")];
        let with = |policy: &str| {
            let cron = cron(
                json!({"concurrencyPolicy": policy}),
                json!({"active": active(&["tick-1"])}),
            );
            told(&cron, &running, "00:10:00")
        };
        assert_eq!(with("Allow"), ["start tick-29453770"]);
        assert_eq!(with("Forbid"), ["JobAlreadyActive"]);
        assert_eq!(with("Replace"), ["start tick-29453770 tick-1"]);
    }

    #[test]
    fn the_list_of_active_jobs_follows_the_world() {
        let cron = cron(
            json!({}),
            json!({"active": active(&["done", "gone", "on"])}),
        );
        let jobs = [
            job("done", "Complete", "2026-01-01T00:01:00Z"),
            job("on", "", "2026-01-01T00:01:00Z"),
            job("by-hand", "", "2026-01-01T00:01:00Z"),
        ];
        assert_eq!(
            told(&cron, &jobs, "00:02:00"),
            ["SawCompletedJob", "UnexpectedJob", "MissingJob"]
        );
        let decision = decide(&cron, &jobs, "2026-01-01T00:02:00Z".parse().unwrap());
        assert_eq!(
            serde_json::to_value(&decision.status).unwrap(),
            json!({"active": active(&["on"]), "lastSuccessfulTime": "2026-01-01T00:01:00Z"})
        );
        assert_eq!(
            decision.notes[0].message,
            "Saw completed job: done, condition: Complete"
        );
    }

    #[test]
    fn the_oldest_ended_jobs_go() {
        let limits = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
        let cron = cron(limits, json!({}));
        let jobs = [
            job("new", "Complete", "2026-01-01T00:03:00Z"),
            job("old", "Complete", "2026-01-01T00:01:00Z"),
            job("bad", "Failed", "2026-01-01T00:02:00Z"),
        ];
        assert_eq!(told(&cron, &jobs, "00:04:00"), ["expire old", "expire bad"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let with = |spec: Value| {
            let cron = cron(spec, json!({}));
            decide(&cron, &[], "2026-01-01T00:10:00Z".parse().unwrap()).notes
        };
        let zone = with(json!({"timeZone": "Mars/Base"}));
        assert_eq!(zone[0].reason, "UnknownTimeZone");
        assert_eq!(
            zone[0].message,
            "invalid timeZone: \"Mars/Base\": unknown time zone Mars/Base"
        );
        let text = with(json!({"schedule": "x * * * *"}));
        assert_eq!(
            text[0].message,
            "unparseable schedule: \"x * * * *\" : failed to parse int from x"
        );
        let never = with(json!({"schedule": "0 0 31 2 *"}));
        assert_eq!(
            never[0].message,
            "invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second"
        );
    }
}
