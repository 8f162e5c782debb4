//! Sizes step by step: rollouts and scalings as upstream's documentation tells them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::rollout::{new_size, roll, stop_old};
use super::scaling::{is_due, scale};
use super::sets::{Set, Sets};
use crate::shared::Record;

fn deployment(replicas: i32, surge: Value, lack: Value) -> Deployment {
    serde_json::from_value(
        json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas,
        "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": lack}}}}),
    )
    .unwrap()
}

/// `noted` is what desired-replicas and max-replicas say.
fn set(name: &str, size: i32, available: i32, noted: Option<(i32, i32)>) -> Set {
    let mut set = json!({"metadata": {"name": name, "creationTimestamp":
            format!("2026-01-01T00:00:0{}Z", name.len())},
        "spec": {"replicas": size, "selector": {}}, "status": {"replicas": size,
            "availableReplicas": available}});
    if let Some((desired, most)) = noted {
        set["metadata"]["annotations"] = json!({
            "deployment.kubernetes.io/desired-replicas": desired.to_string(),
            "deployment.kubernetes.io/max-replicas": most.to_string()});
    }
    Arc::new(serde_json::from_value(set).unwrap())
}

fn sets(new: Option<Set>, old: &[Set]) -> Sets {
    let old = old.to_vec();
    Sets { new, old }
}

fn said(scales: &[super::scaling::Scale]) -> Vec<(&str, i32)> {
    scales
        .iter()
        .map(|scale| (scale.set.meta().name, scale.to))
        .collect()
}

#[test]
fn a_new_set_begins_with_what_the_surge_leaves() {
    let d = deployment(3, json!("25%"), json!("25%"));
    assert_eq!(new_size(&d, &Sets::default(), 0), 3);
    assert_eq!(new_size(&d, &sets(None, &[set("o", 3, 3, None)]), 0), 1);
    let d = deployment(10, json!(0), json!(1));
    assert_eq!(new_size(&d, &sets(None, &[set("o", 10, 10, None)]), 0), 0);
}

#[test]
fn a_rollout_stays_between_its_limits() {
    let d = deployment(3, json!(1), json!(0));
    let step = |new: (i32, i32), old: (i32, i32)| {
        let all = sets(
            Some(set("nn", new.0, new.1, None)),
            &[set("o", old.0, old.1, None)],
        );
        said(&roll(&d, &all))
            .into_iter()
            .map(|(n, to)| (n.to_owned(), to))
            .collect::<Vec<_>>()
    };
    let is = |name: &str, to| vec![(name.to_owned(), to)];
    assert_eq!(step((1, 0), (3, 3)), []);
    assert_eq!(step((1, 1), (3, 3)), is("o", 2));
    assert_eq!(step((1, 1), (2, 2)), is("nn", 2));
    assert_eq!(step((2, 1), (2, 2)), []);
    assert_eq!(step((2, 2), (2, 2)), is("o", 1));
    assert_eq!(step((3, 2), (1, 1)), []);
    assert_eq!(step((3, 3), (1, 1)), is("o", 0));
    assert_eq!(step((3, 3), (0, 0)), []);
    assert_eq!(step((5, 3), (0, 0)), is("nn", 3));
}

#[test]
fn what_does_not_work_goes_first() {
    let d = deployment(10, json!(0), json!(2));
    // Eight must remain; the eldest has two that do not work.
    let all = sets(
        Some(set("nnn", 0, 0, None)),
        &[set("o", 4, 2, None), set("oo", 6, 6, None)],
    );
    assert_eq!(said(&roll(&d, &all)), [("o", 2)]);
    // All old ones are broken: they may all go but for what the limit of the step says.
    let d = deployment(3, json!(1), json!(1));
    let all = sets(Some(set("nn", 1, 0, None)), &[set("o", 3, 0, None)]);
    assert_eq!(said(&roll(&d, &all)), [("o", 2)]);
}

#[test]
fn recreating_stops_all_old_sets() {
    let all = sets(None, &[set("o", 2, 2, None), set("oo", 0, 0, None)]);
    assert_eq!(said(&stop_old(&all)), [("o", 0)]);
}

#[test]
fn one_active_set_gets_all() {
    let d = deployment(7, json!(1), json!(0));
    let all = sets(Some(set("nn", 0, 0, None)), &[set("o", 3, 3, Some((3, 4)))]);
    assert!(is_due(&d, &all));
    assert_eq!(said(&scale(&d, &all)), [("o", 7)]);
    let none = sets(Some(set("nn", 0, 0, None)), &[set("o", 0, 0, None)]);
    assert!(!is_due(&d, &none));
    assert_eq!(said(&scale(&d, &none)), [("nn", 7)]);
    let none = sets(None, &[set("o", 0, 0, None), set("oo", 0, 0, None)]);
    assert_eq!(said(&scale(&d, &none)), [("oo", 7)]);
    let saturated = sets(Some(set("nn", 7, 7, Some((7, 8)))), &[set("o", 1, 1, None)]);
    assert_eq!(said(&scale(&d, &saturated)), [("o", 0)]);
}

#[test]
fn several_active_sets_share_in_proportion() {
    // The documentation's example: 10 wanted, surge 3, 8 old and 5 new; then 15 wanted.
    let d = deployment(15, json!(3), json!(2));
    let noted = Some((10, 13));
    let all = sets(Some(set("nn", 5, 0, noted)), &[set("o", 8, 8, noted)]);
    assert!(is_due(&d, &all));
    assert_eq!(said(&scale(&d, &all)), [("o", 11), ("nn", 7)]);
    // Down again, and to nothing.
    let d = deployment(10, json!(3), json!(2));
    let noted = Some((15, 18));
    let all = sets(Some(set("nn", 7, 0, noted)), &[set("o", 11, 8, noted)]);
    assert_eq!(said(&scale(&d, &all)), [("o", 8), ("nn", 5)]);
    let d = deployment(0, json!(3), json!(2));
    assert_eq!(said(&scale(&d, &all)), [("o", 0), ("nn", 0)]);
    // Only the surge is new: nobody grows, but it is noted.
    let d = deployment(15, json!(3), json!(2));
    assert_eq!(said(&scale(&d, &all)), [("o", 11), ("nn", 7)]);
}
