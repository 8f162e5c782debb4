//! Rules for the status of what makes and scales pods: counts that fit together.

use serde_json::Value;

use super::selector::not_negative;
use super::{job_status, pod_status};
use crate::field::Error;
use crate::json::int_at;
use crate::resource::Resource;

/// What is wrong with a status that somebody wants to write.
pub(super) fn update(res: &Resource, new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    match res.id() {
        ("apps", "Deployment") => {
            let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
            counts(e, new, &parts, "readyReplicas");
            not_negative(e, new, &["status.unavailableReplicas"]);
            collisions(e, new, old);
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
            counts(e, new, &parts, "readyReplicas");
        }
        ("apps", "StatefulSet") => {
            let parts = [
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ];
            counts(e, new, &parts, "status.readyReplicas");
            collisions(e, new, old);
        }
        ("apps", "DaemonSet") => {
            not_negative(
                e,
                new,
                &[
                    "status.currentNumberScheduled",
                    "status.numberMisscheduled",
                    "status.desiredNumberScheduled",
                    "status.numberReady",
                    "status.observedGeneration",
                    "status.updatedNumberScheduled",
                    "status.numberAvailable",
                    "status.numberUnavailable",
                ],
            );
            collisions(e, new, old);
        }
        ("batch", "Job") => return job_status::update(new, old),
        ("", "Pod") => return pod_status::update(new, old),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            not_negative(
                e,
                new,
                &["status.currentReplicas", "status.desiredReplicas"],
            );
        }
        ("policy", "PodDisruptionBudget") => {
            not_negative(
                e,
                new,
                &[
                    "status.disruptionsAllowed",
                    "status.currentHealthy",
                    "status.desiredHealthy",
                    "status.expectedPods",
                ],
            );
        }
        _ => {}
    }
    errors
}

/// No part of the pods is more than all, and no more are available than ready. `ready` is
/// what the kind's message calls the latter.
fn counts(e: &mut Vec<Error>, new: &Value, parts: &[&str], ready: &str) {
    let count = |key: &str| int_at(new, &format!("/status/{key}")).unwrap_or(0);
    not_negative(e, new, &["status.observedGeneration", "status.replicas"]);
    for part in parts {
        not_negative(e, new, &[&format!("status.{part}")]);
    }
    for part in parts {
        if count(part) > count("replicas") {
            e.push(Error::invalid(
                &format!("status.{part}"),
                count(part),
                "cannot be greater than status.replicas",
            ));
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        e.push(Error::invalid(
            "status.availableReplicas",
            count("availableReplicas"),
            format!("cannot be greater than {ready}"),
        ));
    }
}

fn collisions(e: &mut Vec<Error>, new: &Value, old: &Value) {
    not_negative(e, new, &["status.collisionCount"]);
    let count = |o| int_at(o, "/status/collisionCount").unwrap_or(0);
    if count(new) < count(old) {
        e.push(Error::invalid(
            "status.collisionCount",
            count(new),
            "cannot be decremented",
        ));
    }
}
