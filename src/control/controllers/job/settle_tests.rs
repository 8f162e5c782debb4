//! What a Job's status says, step by step to its end.

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::decide::decide;
use super::settle::{Settled, conclude, settle};
use super::tally::Pod;
use super::testing::{at, job, pods};

/// The status after a look, without its times, as JSON.
fn shown(status: &JobStatus) -> Value {
    let mut status = serde_json::to_value(status).unwrap();
    for key in ["startTime", "completionTime"] {
        status.as_object_mut().unwrap().remove(key);
    }
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let told = conditions.iter().map(|c| {
        let text = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
        format!("{}={} {}", text("type"), text("status"), text("reason"))
    });
    status["conditions"] = json!(told.collect::<Vec<_>>());
    status
}

fn look(job: &Job, all: Value) -> Settled {
    let pods = pods(all);
    let decided = decide(job, &pods, Default::default(), at(100));
    settle(job, &pods, decided.verdict, true, at(100))
}

fn names(pods: &[Pod]) -> Vec<&str> {
    pods.iter().map(|pod| pod.name.as_str()).collect()
}

#[test]
fn a_success_is_entered_released_and_counted() {
    let mut job = job(json!({"completions": 1}), json!({}));
    let running = look(
        &job,
        json!([{"name": "a", "phase": "Running", "ready": true}]),
    );
    assert!(running.write && running.release.is_empty());
    assert_eq!(
        shown(&running.status),
        json!({"active": 1, "ready": 1, "terminating": 0, "uncountedTerminatedPods": {}, "conditions": []})
    );
    job.status = Some(running.status);
    let same = look(
        &job,
        json!([{"name": "a", "phase": "Running", "ready": true}]),
    );
    assert!(!same.write, "nothing new, nothing written");
    let done = json!([{"name": "a", "phase": "Succeeded"}]);
    let ended = look(&job, done.clone());
    assert_eq!(names(&ended.release), ["a"]);
    assert_eq!(
        shown(&ended.status),
        json!({"ready": 0, "terminating": 0, "uncountedTerminatedPods": {"succeeded": ["a"]},
            "conditions": ["SuccessCriteriaMet=True CompletionsReached"]})
    );
    job.status = Some(ended.status);
    let verdict = ended.verdict.as_ref();
    assert!(
        conclude(&job, &pods(done), verdict, false, at(101)).is_none(),
        "its finalizer is still there"
    );
    let free = pods(json!([{"name": "a", "phase": "Succeeded", "tracked": false}]));
    let (status, over) = conclude(&job, &free, verdict, false, at(101)).unwrap();
    assert!(over);
    assert!(status.completion_time.is_some());
    assert_eq!(
        shown(&status),
        json!({"succeeded": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
            "conditions": ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]})
    );
}

#[test]
fn a_failed_job_waits_for_its_pods_to_end() {
    let mut job = job(json!({"completions": 2, "backoffLimit": 0}), json!({}));
    let running = json!([{"name": "f", "phase": "Failed"}, {"name": "a", "phase": "Running"}]);
    let early = look(&job, running);
    assert!(early.verdict.is_none(), "one still runs");
    assert_eq!(names(&early.release), ["f"]);
    let leaving = json!([{"name": "f", "phase": "Failed"}, {"name": "a", "phase": "Running", "deleting": true}]);
    let ended = look(&job, leaving);
    assert_eq!(names(&ended.release), ["f", "a"]);
    assert_eq!(
        shown(&ended.status),
        json!({"ready": 0, "terminating": 1, "uncountedTerminatedPods": {"failed": ["f", "a"]},
            "conditions": ["FailureTarget=True BackoffLimitExceeded"]})
    );
    job.status = Some(ended.status.clone());
    let verdict = ended.verdict.as_ref();
    let (status, over) = conclude(&job, &[], verdict, false, at(101)).unwrap();
    assert!(!over, "one is still on its way out");
    assert_eq!(status.failed, Some(2));
    job.status = Some(status);
    let last = look(&job, json!([]));
    job.status = Some(last.status);
    let (status, over) = conclude(&job, &[], last.verdict.as_ref(), false, at(102)).unwrap();
    assert!(over);
    assert_eq!(
        shown(&status)["conditions"],
        json!([
            "FailureTarget=True BackoffLimitExceeded",
            "Failed=True BackoffLimitExceeded"
        ])
    );
}

#[test]
fn suspending_and_resuming_are_said_once() {
    let mut job = job(json!({"completions": 1, "suspend": true}), json!({}));
    let first = look(&job, json!([]));
    assert_eq!(first.notes, [("Suspended", "Job suspended")]);
    assert!(first.status.start_time.is_none());
    job.status = Some(first.status);
    assert!(look(&job, json!([])).notes.is_empty());
    job.spec.as_mut().unwrap().suspend = Some(false);
    let resumed = look(&job, json!([]));
    assert_eq!(resumed.notes, [("Resumed", "Job resumed")]);
    assert_eq!(resumed.status.start_time, Some(Time(at(100))));
    assert_eq!(
        shown(&resumed.status)["conditions"],
        json!(["Suspended=False JobResumed"])
    );
}

#[test]
fn indexes_say_themselves_that_they_are_counted() {
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4, "backoffLimitPerIndex": 0});
    let job = job(spec, json!({"completedIndexes": "0", "succeeded": 1}));
    let all = json!([{"name": "b", "index": 2, "phase": "Succeeded"}, {"name": "a", "index": 1, "phase": "Succeeded"},
        {"name": "c", "index": 3, "phase": "Failed"}]);
    let settled = look(&job, all);
    assert_eq!(names(&settled.release), ["a", "b", "c"]);
    assert_eq!(
        shown(&settled.status),
        json!({"succeeded": 3, "completedIndexes": "0-2", "failedIndexes": "3", "ready": 0, "terminating": 0,
            "uncountedTerminatedPods": {"failed": ["c"]}, "conditions": ["FailureTarget=True FailedIndexes"]})
    );
}

#[test]
fn ignored_failures_are_released_and_not_counted() {
    let rules = json!([{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}]);
    let job = job(
        json!({"completions": 1, "backoffLimit": 0, "podFailurePolicy": {"rules": rules}}),
        json!({}),
    );
    let settled = look(&job, json!([{"name": "a", "phase": "Failed", "code": 7}]));
    assert_eq!(names(&settled.release), ["a"]);
    assert_eq!(shown(&settled.status)["uncountedTerminatedPods"], json!({}));
}

#[test]
fn no_more_uids_than_fit_are_entered_at_a_time() {
    let job = job(json!({"completions": 1000, "parallelism": 1000}), json!({}));
    let all = (0..600).map(|n| json!({"name": format!("p{n}"), "phase": "Succeeded"}));
    let settled = look(&job, Value::Array(all.collect()));
    assert!(settled.more);
    assert_eq!(settled.release.len(), 500);
}
