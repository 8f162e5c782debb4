//! The life of a rollout as its conditions tell it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::sets::{Set, Sets};
use super::status::{look_again, note_pause, note_progress, rollout};

fn deployment(replicas: i32) -> Deployment {
    serde_json::from_value(json!({"metadata": {"name": "web", "generation": 1}, "spec": {
        "replicas": replicas, "selector": {}, "template": {}, "progressDeadlineSeconds": 60,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}}))
    .unwrap()
}

fn set(name: &str, size: i32, ready: i32, available: i32) -> Set {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name},
            "spec": {"replicas": size, "selector": {}}, "status": {"replicas": size,
                "readyReplicas": ready, "availableReplicas": available, "terminatingReplicas": 0}}))
        .unwrap(),
    )
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Status, reason, seconds of transition and update of a condition.
fn says(status: &DeploymentStatus, kind: &str) -> Option<(String, String, i64, i64)> {
    let conditions = status.conditions.iter().flatten();
    let mut found = conditions.filter(|c| c.type_ == kind);
    let c = found.next()?;
    let second = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref()
            .map_or(-1, |time| time.0.as_second() - 1_800_000_000)
    };
    Some((
        c.status.clone(),
        c.reason.clone().unwrap_or_default(),
        second(&c.last_transition_time),
        second(&c.last_update_time),
    ))
}

fn saying(
    status: &str,
    reason: &str,
    transition: i64,
    update: i64,
) -> Option<(String, String, i64, i64)> {
    Some((status.into(), reason.into(), transition, update))
}

#[test]
fn from_created_through_progress_to_complete() {
    let mut d = deployment(2);
    let message = "Created new replica set \"web-1\"".to_owned();
    note_progress(&mut d, "True", "NewReplicaSetCreated", message, at(0));
    let sets = |ready, available| Sets {
        new: Some(set("web-1", 2, ready, available)),
        old: vec![],
    };
    let first = rollout(&d, &sets(0, 0), at(1));
    assert_eq!(
        says(&first, "Progressing"),
        saying("True", "ReplicaSetUpdated", 0, 1)
    );
    assert_eq!(
        says(&first, "Available"),
        saying("False", "MinimumReplicasUnavailable", 1, 1)
    );
    assert_eq!(first.unavailable_replicas, Some(2));
    assert_eq!(
        look_again(&d, &first, at(11)),
        Some(Duration::from_secs(51))
    );
    d.status = Some(first);
    let second = rollout(&d, &sets(1, 1), at(5));
    assert_eq!(
        says(&second, "Progressing"),
        saying("True", "ReplicaSetUpdated", 0, 5)
    );
    d.status = Some(second.clone());
    assert_eq!(
        rollout(&d, &sets(1, 1), at(9)),
        second,
        "nothing new is nothing to say"
    );
    let done = rollout(&d, &sets(2, 2), at(12));
    assert_eq!(
        says(&done, "Progressing"),
        saying("True", "NewReplicaSetAvailable", 0, 12)
    );
    assert_eq!(
        says(&done, "Available"),
        saying("True", "MinimumReplicasAvailable", 12, 12)
    );
    assert_eq!(look_again(&d, &done, at(12)), None);
    // A pod that is lost later is no rollout.
    d.status = Some(done);
    let later = rollout(&d, &sets(1, 1), at(500));
    assert_eq!(
        says(&later, "Progressing"),
        saying("True", "NewReplicaSetAvailable", 0, 12)
    );
    assert_eq!(
        says(&later, "Available"),
        saying("False", "MinimumReplicasUnavailable", 500, 500)
    );
}

#[test]
fn what_stands_still_beyond_its_deadline_has_timed_out() {
    let mut d = deployment(2);
    note_progress(&mut d, "True", "NewReplicaSetCreated", String::new(), at(0));
    let sets = Sets {
        new: Some(set("web-2", 1, 0, 0)),
        old: vec![set("web-1", 2, 2, 2)],
    };
    d.status = Some(rollout(&d, &sets, at(1)));
    let still = rollout(&d, &sets, at(61));
    assert_eq!(Some(&still), d.status.as_ref());
    let late = rollout(&d, &sets, at(62));
    assert_eq!(
        says(&late, "Progressing"),
        saying("False", "ProgressDeadlineExceeded", 62, 62)
    );
    let message = late
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "Progressing");
    assert_eq!(
        message.and_then(|c| c.message.as_deref()),
        Some("ReplicaSet \"web-2\" has timed out progressing.")
    );
    assert_eq!(look_again(&d, &late, at(62)), None);
    let spec = d.spec.as_mut().unwrap();
    spec.progress_deadline_seconds = None;
    assert_eq!(says(&rollout(&d, &sets, at(63)), "Progressing"), None);
}

#[test]
fn a_pause_is_said_and_its_end_too() {
    let mut d = deployment(1);
    d.spec.as_mut().unwrap().paused = Some(true);
    note_pause(&mut d, at(0));
    note_pause(&mut d, at(5));
    let status = d.status.clone().unwrap();
    assert_eq!(
        says(&status, "Progressing"),
        saying("Unknown", "DeploymentPaused", 0, 0)
    );
    d.spec.as_mut().unwrap().paused = None;
    note_pause(&mut d, at(9));
    let status = d.status.clone().unwrap();
    assert_eq!(
        says(&status, "Progressing"),
        saying("Unknown", "DeploymentResumed", 0, 9)
    );
}

#[test]
fn why_pods_cannot_be_made_is_passed_on() {
    let d = deployment(1);
    let mut failing = (*set("web-1", 1, 0, 0)).clone();
    let conditions: Value = json!([{"type": "ReplicaFailure", "status": "True",
        "reason": "FailedCreate", "message": "no room", "lastTransitionTime": at(3).to_string()}]);
    failing.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
    let sets = Sets {
        new: Some(Arc::new(failing)),
        old: vec![],
    };
    let status = rollout(&d, &sets, at(9));
    assert_eq!(
        says(&status, "ReplicaFailure"),
        saying("True", "FailedCreate", 3, 3)
    );
    let well = Sets {
        new: Some(set("web-1", 1, 0, 0)),
        old: vec![],
    };
    let mut d = d;
    d.status = Some(status);
    assert_eq!(says(&rollout(&d, &well, at(10)), "ReplicaFailure"), None);
}
