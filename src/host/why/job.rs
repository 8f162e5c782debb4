//! Jobs and CronJobs.

use cadet_api::json::{bool_at, int_at, list_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{Facts, condition, is_condition, name, ns};
use crate::kind::Kind;
use crate::want::Want;
use crate::words::{ago, count, duration, kubectl, short};
use crate::{owner, pod, refusal};

/// Why a Job is as it is.
#[must_use]
pub fn explain(facts: &Facts, job: &Value) -> Answer {
    let subject = format!("job/{}", name(job));
    let run = |command: &str| kubectl(ns(job), command);
    let logs = run(&format!(
        "logs -l job-name={} --tail=20 --prefix",
        name(job)
    ));
    let failed = ["Failed", "FailureTarget"]
        .into_iter()
        .find_map(|kind| condition(job, kind).filter(|one| one["status"] == "True"));
    if let Some(failed) = failed {
        let since = ago(str_at(failed, "/lastTransitionTime"), facts.now);
        return failure(facts, job, failed).since(since).then(logs);
    }
    if is_condition(job, "Complete", "True") {
        let headline = format!("Nothing is wrong with {subject}: it is complete.");
        return Answer::new(Cause::NothingWrong, headline).then(logs);
    }
    if bool_at(job, "/spec/suspend") {
        let headline = format!("{subject} does not run because it is suspended.");
        return Answer::new(Cause::Suspended, headline)
            .with("evidence", "spec.suspend is true")
            .then(run(&format!(
                r#"patch {subject} -p '{{"spec":{{"suspend":false}}}}'"#
            )));
    }
    let edit = run(&format!("get {subject} -o yaml"));
    let active = int_at(job, "/status/active").unwrap_or(0);
    if active == 0
        && let Some(answer) = refusal::explain(facts, Kind::Job, job, &subject, &edit)
    {
        return answer;
    }
    let mut told: Vec<Answer> = suspects(facts, job)
        .into_iter()
        .map(|pod| pod::explain(facts, pod))
        .collect();
    told.sort_by_key(|answer| !answer.is_fault());
    let tries = int_at(job, "/status/failed").unwrap_or(0);
    let most = int_at(job, "/spec/backoffLimit").unwrap_or(6);
    match told.into_iter().next() {
        Some(first) => {
            let headline = format!("{subject} is not complete: {}", first.headline);
            let mut answer = first.told_as(headline);
            if tries > 0 {
                answer = answer.with(
                    "tries",
                    format!("{tries} failed, and it gives up after {most} retries"),
                );
            }
            answer
        }
        None if active > 0 => {
            let headline = format!(
                "{subject} is still at work: {} running.",
                count(usize::try_from(active).unwrap_or(0), "pod")
            );
            let answer = Answer::new(Cause::NotYet, headline);
            let answer = if tries > 0 {
                answer.with("tries", format!("{tries} failed before"))
            } else {
                answer
            };
            answer
                .since(ago(str_at(job, "/status/startTime"), facts.now))
                .then(logs)
        }
        None if tries > 0 => {
            let headline = format!(
                "{subject} will be tried again; {tries} of its pods failed, and it gives up after {most} retries."
            );
            Answer::new(Cause::NotYet, headline).then(logs)
        }
        None => {
            let headline =
                format!("I do not know why {subject} has no pod; its controller has said nothing.");
            let answer = Answer::new(Cause::Unknown, headline);
            answer.then(run(&format!("describe {subject}")))
        }
    }
}

/// Pods of a Job that are not at peace: the newest first.
fn suspects<'a>(facts: &'a Facts, job: &Value) -> Vec<&'a Value> {
    let mut pods: Vec<&Value> = owner::children(facts, Kind::Pod, job)
        .into_iter()
        .filter(|pod| {
            str_at(pod, "/status/phase") != "Succeeded" && !is_condition(pod, "Ready", "True")
        })
        .collect();
    pods.sort_by_key(|pod| {
        std::cmp::Reverse(str_at(pod, "/metadata/creationTimestamp").to_owned())
    });
    pods.truncate(2);
    pods
}

fn failure(facts: &Facts, job: &Value, failed: &Value) -> Answer {
    let subject = format!("job/{}", name(job));
    let most = int_at(job, "/spec/backoffLimit").unwrap_or(6);
    let message = str_at(failed, "/message");
    let behind = suspects(facts, job)
        .into_iter()
        .map(|pod| pod::explain(facts, pod))
        .find(Answer::is_fault);
    match str_at(failed, "/reason") {
        "DeadlineExceeded" => {
            let limit = int_at(job, "/spec/activeDeadlineSeconds").unwrap_or(0);
            let headline = format!(
                "{subject} was ended because it took longer than its deadline of {}.",
                duration(limit)
            );
            Answer::new(Cause::Deadline, headline).with("condition", message)
        }
        reason => {
            let tries = int_at(job, "/status/failed").unwrap_or(0);
            let tries = count(usize::try_from(tries).unwrap_or(0), "failed pod");
            let start = match reason {
                "BackoffLimitExceeded" => format!("{subject} has given up after {tries}"),
                _ => format!("{subject} has failed"),
            };
            let answer = match &behind {
                Some(behind) => {
                    Answer::new(Cause::JobBackoff, format!("{start}: {}", behind.headline))
                }
                None => Answer::new(
                    Cause::JobBackoff,
                    format!("{start}; its pods are gone or say nothing."),
                ),
            };
            let answer = answer.with("condition", format!("{message}; backoffLimit is {most}"));
            match behind {
                Some(behind) => {
                    let answer = behind
                        .evidence
                        .iter()
                        .fold(answer, |answer, (label, text)| {
                            answer.with(label, text.clone())
                        });
                    behind
                        .next
                        .into_iter()
                        .fold(answer, |answer, command| answer.then(command))
                }
                None => answer,
            }
        }
    }
}

/// What is still to be fetched for a Job.
pub fn wants(facts: &Facts, job: &Value) -> Vec<Want> {
    suspects(facts, job)
        .into_iter()
        .flat_map(|pod| pod::wants(facts, pod))
        .collect()
}

/// Jobs of a CronJob, the newest first.
fn jobs<'a>(facts: &'a Facts, cron: &Value) -> Vec<&'a Value> {
    let mut jobs = owner::children(facts, Kind::Job, cron);
    jobs.sort_by_key(|job| {
        std::cmp::Reverse(str_at(job, "/metadata/creationTimestamp").to_owned())
    });
    jobs
}

/// What is still to be fetched for a CronJob.
pub fn cron_wants(facts: &Facts, cron: &Value) -> Vec<Want> {
    let mut wants = vec![Want::list(Kind::Job, ns(cron))];
    if let Some(job) = jobs(facts, cron).first() {
        wants.extend(self::wants(facts, job));
    }
    wants
}

/// Why a CronJob is as it is.
#[must_use]
pub fn explain_cron(facts: &Facts, cron: &Value) -> Answer {
    let subject = format!("cronjob/{}", name(cron));
    let run = |command: &str| kubectl(ns(cron), command);
    let schedule = str_at(cron, "/spec/schedule");
    if bool_at(cron, "/spec/suspend") {
        let headline = format!("{subject} starts no job because it is suspended.");
        return Answer::new(Cause::Suspended, headline)
            .with("evidence", "spec.suspend is true")
            .then(run(&format!(
                r#"patch {subject} -p '{{"spec":{{"suspend":false}}}}'"#
            )));
    }
    let about = events::about(facts, Kind::CronJob, cron);
    let last = str_at(cron, "/status/lastScheduleTime");
    let bad = events::latest(
        &about,
        &["UnparseableSchedule", "InvalidSchedule", "UnknownTimeZone"],
    );
    // A schedule that has worked since is no longer a bad one.
    if let Some(event) = bad.filter(|event| last.is_empty() || events::time(event) > last) {
        let headline =
            format!("{subject} starts no job because its schedule cannot be understood.");
        return Answer::new(Cause::Schedule, headline)
            .with(
                "schedule",
                format!("{schedule:?} {}", str_at(cron, "/spec/timeZone")),
            )
            .with("event", short(events::message(event), 200))
            .then(run(&format!("edit {subject}")));
    }
    let edit = run(&format!("edit {subject}"));
    if let Some(answer) = refusal::explain(facts, Kind::CronJob, cron, &subject, &edit) {
        return answer;
    }
    let jobs = jobs(facts, cron);
    let told = jobs.first().map(|job| explain(facts, job));
    let stuck = events::latest(&about, &["JobAlreadyActive"]).filter(|_| {
        !list_at(cron, "/status/active").is_empty()
            && str_at(cron, "/spec/concurrencyPolicy") == "Forbid"
    });
    if let Some(told) = told.clone().filter(Answer::is_fault) {
        let headline = format!(
            "{subject} starts its jobs, and the last one fails: {}",
            told.headline
        );
        return told.told_as(headline);
    }
    if let Some(event) = stuck {
        let headline = format!(
            "{subject} starts no new job because the last one still runs, and concurrencyPolicy is Forbid."
        );
        return Answer::new(Cause::Overlap, headline)
            .with("event", events::message(event))
            .since(ago(last, facts.now))
            .then(run("get jobs"))
            .then(edit);
    }
    if let Some(event) = events::latest(&about, &["MissSchedule", "TooManyMissedTimes"])
        .filter(|event| events::time(event) > last)
    {
        let headline = format!("{subject} has missed its time to start a job.");
        return Answer::new(Cause::StartMissed, headline)
            .with("event", short(events::message(event), 200))
            .then(edit);
    }
    if let Some(told) = told {
        let headline = format!(
            "Nothing is wrong with {subject}; of its last job: {}",
            told.headline
        );
        return Answer::new(Cause::NothingWrong, headline)
            .with("schedule", schedule)
            .since(ago(last, facts.now).map(|since| format!("the last start was {since} ago")))
            .then(run("get jobs"));
    }
    let headline = format!("{subject} has started no job yet; its schedule is {schedule:?}.");
    Answer::new(Cause::NotYet, headline)
        .since(ago(str_at(cron, "/metadata/creationTimestamp"), facts.now))
        .then(run(&format!(
            "create job {0}-now --from=cronjob/{0}",
            name(cron)
        )))
}
