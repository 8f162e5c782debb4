//! Growing, shrinking and rolling, in order.

use serde_json::{Value, json};

use super::plan::{Revisions, Step, plan, status};
use super::testing::{at, pods, set};

const REVISIONS: Revisions<'static> = Revisions {
    current: "old",
    update: "new",
};

fn told(spec: Value, all: Value) -> String {
    told_at(spec, all, 100)
}

fn told_at(spec: Value, all: Value, second: i64) -> String {
    let plan = plan(&set(spec, json!({})), &pods(&all), REVISIONS, at(second));
    let steps = plan.steps.iter().filter_map(|step| match step {
        Step::Create { ordinal, old } => {
            Some(format!("+{ordinal}{}", if *old { " old" } else { "" }))
        }
        Step::Delete(pod) => Some(format!("-{}", pod.name)),
        Step::Check { .. } => None,
    });
    steps.collect::<Vec<_>>().join(", ")
}

fn p(ordinal: i32) -> Value {
    json!({"name": format!("web-{ordinal}")})
}

fn with(ordinal: i32, more: Value) -> Value {
    let mut pod = p(ordinal);
    for (key, value) in more.as_object().unwrap() {
        pod[key] = value.clone();
    }
    pod
}

#[test]
fn ordered_sets_grow_one_by_one_from_below() {
    let three = || json!({"replicas": 3});
    assert_eq!(told(three(), json!([])), "+0");
    assert_eq!(told(three(), json!([p(0)])), "+1");
    assert_eq!(told(three(), json!([with(0, json!({"ready": false}))])), "");
    assert_eq!(
        told(three(), json!([with(0, json!({"deleting": true})), p(1)])),
        ""
    );
    assert_eq!(told(three(), json!([p(1), p(2)])), "+0");
    assert_eq!(
        told(three(), json!([with(0, json!({"phase": "Failed"})), p(1)])),
        "-web-0"
    );
    let later = json!({"replicas": 2, "ordinals": {"start": 4}});
    assert_eq!(told(later.clone(), json!([])), "+4");
    assert_eq!(told(later, json!([p(0), p(4), p(5)])), "-web-0");
}

#[test]
fn parallel_sets_do_everything_at_once() {
    let parallel = |replicas: i32| json!({"replicas": replicas, "podManagementPolicy": "Parallel"});
    assert_eq!(
        told(parallel(3), json!([with(1, json!({"ready": false}))])),
        "+0, +2"
    );
    assert_eq!(
        told(parallel(1), json!([p(0), p(1), p(2)])),
        "-web-2, -web-1"
    );
}

#[test]
fn ordered_sets_shrink_from_above_when_all_is_well() {
    let one = || json!({"replicas": 1});
    assert_eq!(told(one(), json!([p(0), p(1), p(2)])), "-web-2");
    assert_eq!(
        told(
            one(),
            json!([p(0), p(1), with(2, json!({"deleting": true}))])
        ),
        ""
    );
    assert_eq!(
        told(one(), json!([with(0, json!({"ready": false})), p(1)])),
        ""
    );
    let sick = |n: i32| with(n, json!({"ready": false}));
    assert_eq!(
        told(one(), json!([p(0), p(1), sick(2)])),
        "-web-2",
        "it is the lowest sick one"
    );
    assert_eq!(told(one(), json!([p(0), sick(1), sick(2)])), "", "web-1 is");
    assert_eq!(told(json!({"replicas": 0}), json!([p(0)])), "-web-0");
}

#[test]
fn pods_must_have_been_ready_for_a_while() {
    let slow = || json!({"replicas": 2, "minReadySeconds": 10});
    let young = || json!([with(0, json!({"since": 95}))]);
    assert_eq!(told(slow(), young()), "");
    assert_eq!(told_at(slow(), young(), 105), "+1");
    let plan = plan(&set(slow(), json!({})), &pods(&young()), REVISIONS, at(100));
    assert_eq!(plan.again, Some(5));
}

fn old(ordinal: i32) -> Value {
    with(ordinal, json!({"revision": "old"}))
}

fn rolling(more: Value) -> Value {
    json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": more}})
}

#[test]
fn a_rollout_goes_down_one_by_one_to_the_partition() {
    let all = || rolling(json!({"partition": 0}));
    assert_eq!(told(all(), json!([old(0), old(1), old(2)])), "-web-2");
    assert_eq!(told(all(), json!([old(0), old(1)])), "+2");
    assert_eq!(
        told(
            all(),
            json!([old(0), old(1), with(2, json!({"ready": false}))])
        ),
        ""
    );
    assert_eq!(told(all(), json!([old(0), old(1), p(2)])), "-web-1");
    let two = || rolling(json!({"partition": 2}));
    assert_eq!(told(two(), json!([old(0), old(1), p(2)])), "");
    assert_eq!(told(two(), json!([old(0), p(2)])), "+1 old");
    let by_hand = json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}});
    assert_eq!(told(by_hand.clone(), json!([old(0), old(1)])), "");
    assert_eq!(told(by_hand, json!([old(0)])), "+1");
}

#[test]
fn several_may_be_unavailable_at_a_time() {
    let two = || rolling(json!({"partition": 0, "maxUnavailable": 2}));
    assert_eq!(
        told(two(), json!([old(0), old(1), old(2)])),
        "-web-2, -web-1"
    );
    let mut parallel = two();
    parallel["podManagementPolicy"] = json!("Parallel");
    let sick = with(0, json!({"revision": "old", "ready": false}));
    assert_eq!(
        told(parallel.clone(), json!([sick, old(1), old(2)])),
        "-web-0, -web-2"
    );
    let going = with(2, json!({"revision": "old", "deleting": true}));
    assert_eq!(told(parallel, json!([old(0), old(1), going])), "-web-1");
}

#[test]
fn a_set_on_its_way_out_is_left_alone() {
    let mut set = set(json!({"replicas": 3}), json!({}));
    set.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert!(plan(&set, &[], REVISIONS, at(1)).steps.is_empty());
}

#[test]
fn the_status_counts_and_the_end_of_a_rollout_is_noticed() {
    let set = set(json!({"replicas": 3}), json!({}));
    let all = json!([
        old(0),
        with(1, json!({"ready": false})),
        with(2, json!({"deleting": true}))
    ]);
    let shown = |all: &Value| {
        let status = status(&set, &pods(all), REVISIONS, 0, at(100));
        serde_json::to_value(status).unwrap()
    };
    assert_eq!(
        shown(&all),
        json!({"observedGeneration": 3, "replicas": 3, "readyReplicas": 2, "availableReplicas": 2,
            "currentReplicas": 1, "updatedReplicas": 1, "currentRevision": "old", "updateRevision": "new",
            "collisionCount": 0})
    );
    let done = shown(&json!([p(0), p(1), p(2)]));
    assert_eq!(done["currentRevision"], "new");
    assert_eq!(done["currentReplicas"], 3);
}
