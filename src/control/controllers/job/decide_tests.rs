//! What few words of pods ask for, in few words.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::backoff::Record;
use super::decide::{Act, decide};
use super::tally::Pod;
use super::testing::{at, job, pods};

/// In few words: what is done, how it ends, when to look again.
fn told(job: &Job, all: Value, second: i64) -> String {
    let decision = decide(job, &pods(all), Record::default(), at(second));
    let names = |pods: &[Pod]| {
        let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        names.join(",")
    };
    let act = match &decision.act {
        Act::Nothing => "nothing".to_owned(),
        Act::End(pods) => format!("end {}", names(pods)),
        Act::Remove(pods) => format!("remove {}", names(pods)),
        Act::Create(places) => {
            let places = places
                .iter()
                .map(|place| match (place.index, place.failures) {
                    (None, _) => "pod".to_owned(),
                    (Some(index), None) => index.to_string(),
                    (Some(index), Some((counted, ignored))) => {
                        format!("{index}({counted}+{ignored})")
                    }
                });
            format!("create {}", places.collect::<Vec<_>>().join(","))
        }
    };
    let verdict = decision
        .verdict
        .map_or(String::new(), |v| format!("; {}", v.reason));
    let again = decision
        .again
        .map_or(String::new(), |d| format!("; in {} s", d.as_secs()));
    format!("{act}{verdict}{again}")
}

#[test]
fn pods_are_made_up_to_parallelism_and_completions() {
    let plain = job(json!({"completions": 3, "parallelism": 2}), json!({}));
    assert_eq!(told(&plain, json!([]), 0), "create pod,pod");
    assert_eq!(told(&plain, json!([{"name": "a"}]), 0), "create pod");
    let two_done =
        json!([{"name": "a", "phase": "Succeeded"}, {"name": "b", "phase": "Succeeded"}]);
    assert_eq!(told(&plain, two_done, 0), "create pod");
    let too_many = json!([{"name": "a"}, {"name": "b"}, {"name": "c", "node": "n"}]);
    assert_eq!(told(&plain, too_many, 0), "remove a");
    let queue = job(json!({"parallelism": 2}), json!({}));
    assert_eq!(
        told(
            &queue,
            json!([{"name": "a", "phase": "Succeeded"}, {"name": "b"}]),
            0
        ),
        "nothing"
    );
}

#[test]
fn failures_are_replaced_after_a_pause_up_to_the_limit() {
    let plain = job(json!({"completions": 1, "backoffLimit": 1}), json!({}));
    let failed = |n: usize| {
        let all = (0..n).map(|i| json!({"name": format!("f{i}"), "phase": "Failed", "end": 5}));
        Value::Array(all.collect())
    };
    assert_eq!(told(&plain, failed(1), 6), "nothing; in 9 s");
    assert_eq!(told(&plain, failed(1), 15), "create pod");
    assert_eq!(told(&plain, failed(2), 6), "end ; BackoffLimitExceeded");
    let mut restarting = job(json!({"completions": 1, "backoffLimit": 3}), json!({}));
    let spec = restarting.spec.as_mut().unwrap();
    spec.template.spec.as_mut().unwrap().restart_policy = Some("OnFailure".into());
    let running = |restarts: i32| json!([{"name": "a", "phase": "Running", "restarts": restarts}]);
    assert_eq!(told(&restarting, running(2), 0), "nothing");
    assert_eq!(
        told(&restarting, running(3), 0),
        "end a; BackoffLimitExceeded"
    );
}

#[test]
fn time_runs_out_unless_suspended() {
    let spec = json!({"completions": 1, "activeDeadlineSeconds": 20});
    let status = json!({"startTime": at(0).to_string()});
    let timed = job(spec.clone(), status.clone());
    assert_eq!(told(&timed, json!([{"name": "a"}]), 5), "nothing; in 15 s");
    assert_eq!(
        told(&timed, json!([{"name": "a"}]), 20),
        "end a; DeadlineExceeded"
    );
    let mut spec = spec;
    spec["suspend"] = json!(true);
    let paused = job(spec, status);
    assert_eq!(told(&paused, json!([{"name": "a"}]), 99), "remove a");
    assert_eq!(told(&paused, json!([]), 99), "nothing");
}

#[test]
fn replacements_may_wait_for_the_old_pod_to_end() {
    let leaving = json!([{"name": "a", "phase": "Running", "deleting": true}]);
    let soon = job(json!({"completions": 1}), json!({}));
    assert_eq!(told(&soon, leaving.clone(), 40), "create pod");
    let late = job(
        json!({"completions": 1, "podReplacementPolicy": "Failed"}),
        json!({}),
    );
    assert_eq!(told(&late, leaving, 40), "nothing");
}

#[test]
fn indexes_are_tried_on_their_own() {
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX});
    let fresh = job(spec.clone(), json!({}));
    assert_eq!(told(&fresh, json!([]), 0), "create 0(0+0),1(0+0),2(0+0)");
    let some =
        json!([{"name": "a", "index": 0, "phase": "Failed", "end": 5}, {"name": "b", "index": 1}]);
    assert_eq!(told(&fresh, some.clone(), 6), "create 2(0+0); in 9 s");
    assert_eq!(told(&fresh, some, 16), "create 0(1+0),2(0+0)");
    let ended = json!([{"name": "a", "index": 0, "phase": "Failed", "failures": 1},
        {"name": "b", "index": 1, "phase": "Succeeded"}, {"name": "c", "index": 2, "phase": "Succeeded"}]);
    assert_eq!(told(&fresh, ended.clone(), 6), "end ; FailedIndexes");
    let mut strict = spec;
    strict["maxFailedIndexes"] = json!(0);
    let strict = job(strict, json!({}));
    assert_eq!(told(&strict, ended, 6), "end ; MaxFailedIndexesExceeded");
    let plain = job(
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}),
        json!({}),
    );
    assert_eq!(told(&plain, json!([]), 0), "create 0,1");
}

#[test]
fn rules_end_a_job_before_its_time() {
    let rules = json!([{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
    let strict = job(
        json!({"completions": 2, "backoffLimit": 0, "podFailurePolicy": {"rules": rules}}),
        json!({}),
    );
    let failed = json!([{"name": "a", "phase": "Failed", "code": 42}, {"name": "b"}]);
    assert_eq!(told(&strict, failed, 0), "end b; PodFailurePolicy");
    let disrupted = json!([{"name": "a", "phase": "Failed", "code": 1, "end": 0, "condition": "DisruptionTarget"}]);
    assert_eq!(told(&strict, disrupted, 30), "create pod");
    let early = job(
        json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
            "successPolicy": {"rules": [{"succeededIndexes": "0"}]}}),
        json!({}),
    );
    let leader =
        json!([{"name": "a", "index": 0, "phase": "Succeeded"}, {"name": "b", "index": 1}]);
    assert_eq!(told(&early, leader, 0), "end b; SuccessPolicy");
}

#[test]
fn what_was_said_of_the_end_stays_said() {
    let status = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "m"}]});
    let doomed = job(json!({"completions": 1}), status);
    assert_eq!(
        told(&doomed, json!([{"name": "a", "phase": "Succeeded"}]), 0),
        "end ; DeadlineExceeded"
    );
}
