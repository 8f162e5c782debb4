//! What people are told: events, and the pod's PodScheduled condition.

use cadet_api::event::{self, Report};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::warn;

use crate::NAME;

/// Tells that a pod got its node.
pub async fn scheduled(client: &Client, pod: &Pod, node: &str) {
    let full = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let message = format!("Successfully assigned {full} to {node}");
    tell(client, pod, "Normal", "Scheduled", &message).await;
}

/// Tells why a pod waits, once per reason. False if the API could not be told.
pub async fn unschedulable(client: &Client, pod: &Pod, why: &str) -> bool {
    if already_said(pod, why) {
        return true;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let now = cadet_api::clock::rfc3339(OffsetDateTime::now_utc());
    let patch = json!({
        // Strategic merge: only the condition of this type is touched.
        "metadata": {"uid": pod.uid()},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": why, "lastTransitionTime": now}]},
    });
    let sent = pods
        .patch_status(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Strategic(patch),
        )
        .await;
    match sent {
        Ok(_) => {
            tell(client, pod, "Warning", "FailedScheduling", why).await;
            true
        }
        // Deleted or replaced meanwhile: there is nobody left to tell.
        Err(kube::Error::Api(s)) if matches!(s.code, 404 | 409 | 422) => true,
        Err(error) => {
            warn!(pod = %pod.name_any(), %error, "condition not written");
            false
        }
    }
}

fn already_said(pod: &Pod, why: &str) -> bool {
    pod.status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|c| {
            c.type_ == "PodScheduled" && c.status == "False" && c.message.as_deref() == Some(why)
        })
}

/// Writes an event. Events are news, not state: a lost one is logged, not retried.
async fn tell(client: &Client, pod: &Pod, kind: &str, reason: &str, message: &str) {
    let object = reference(pod);
    let report = Report {
        kind,
        reason,
        message,
        component: NAME,
        host: "",
    };
    let event = event::new(&object, report, OffsetDateTime::now_utc());
    let event: Event = match serde_json::from_value(event) {
        Ok(event) => event,
        Err(error) => {
            warn!(%error, "event not built");
            return;
        }
    };
    let events: Api<Event> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        // The namespace is being emptied.
        Err(kube::Error::Api(s)) if matches!(s.code, 403 | 404) => {}
        Err(error) => warn!(pod = %pod.name_any(), reason, %error, "event not written"),
    }
}

fn reference(pod: &Pod) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": pod.name_any(), "namespace": pod.namespace(), "uid": pod.uid(),
        "resourceVersion": pod.resource_version()}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once() {
        let pod: Pod = serde_json::from_value(json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}}))
        .unwrap();
        assert!(already_said(&pod, "0/1 nodes"));
        assert!(!already_said(&pod, "0/2 nodes"));
        assert!(!already_said(&Pod::default(), "0/1 nodes"));
    }
}
