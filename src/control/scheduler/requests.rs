//! What the scheduler asks of the API, written by hand: answers are not read but for their
//! code, and thousands of them come in a second.

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::Error;
use crate::filter::Bindings;
use crate::storage::{Claim, SELECTED_NODE};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A pod, as requests about it need it.
#[derive(Debug, Clone)]
pub struct Target {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Target {
    fn path(&self, subresource: &str) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        format!("/api/v1/namespaces/{namespace}/pods/{name}{subresource}")
    }

    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Sends one request; the answer is not looked at.
///
/// # Errors
/// Anything but success.
pub async fn send(
    client: &Client,
    method: Method,
    path: String,
    kind: &'static str,
    body: &Value,
) -> Result<(), Error> {
    send_bytes(client, method, path, kind, serde_json::to_vec(body)?).await
}

/// As [`send`], with a body written before.
///
/// # Errors
/// Anything but success.
pub async fn send_bytes(
    client: &Client,
    method: Method,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
) -> Result<(), Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, kind)
        .body(body)?;
    let _: IgnoredAny = client.request(request).await?;
    Ok(())
}

/// Gives the pod its node; this very pod, not a new one of the same name.
///
/// # Errors
/// If the API does not take it.
pub async fn bind(client: &Client, pod: &Target, node: &str) -> Result<(), Error> {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    send(client, Method::POST, pod.path("/binding"), JSON, &body).await
}

/// What a pod's status shall say about its scheduling.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Reason and message of PodScheduled being False.
    pub condition: Option<(&'static str, String)>,
    /// It was not False before: its time begins now.
    pub turns: bool,
    /// The node kept for it; "" for none any more.
    pub nominated: Option<String>,
}

/// Writes into a pod's status.
///
/// # Errors
/// If the API does not take it.
pub async fn say(client: &Client, pod: &Target, said: &Said) -> Result<(), Error> {
    let now = cadet_api::clock::rfc3339(OffsetDateTime::now_utc());
    let body = json!({"metadata": {"uid": pod.uid}, "status": status_of(said, &now)});
    send(client, Method::PATCH, pod.path("/status"), STRATEGIC, &body).await
}

/// The part of a status that is to be merged.
fn status_of(said: &Said, now: &str) -> Value {
    let mut status = json!({});
    if let Some((reason, message)) = &said.condition {
        // Strategic merge: only the condition of this type is touched, and of it what is named.
        let mut condition = json!({"type": "PodScheduled", "status": "False",
            "reason": reason, "message": message});
        if said.turns {
            condition["lastTransitionTime"] = json!(now);
        }
        status["conditions"] = json!([condition]);
    }
    if let Some(node) = &said.nominated {
        status["nominatedNodeName"] = match node.as_str() {
            "" => Value::Null,
            node => json!(node),
        };
    }
    status
}

/// Lets a pod go, with its grace, for a more important one.
///
/// # Errors
/// If the API does not take it; that the pod is gone is none.
pub async fn evict(client: &Client, victim: &Target) -> Result<(), Error> {
    let now = cadet_api::clock::rfc3339(OffsetDateTime::now_utc());
    let words = format!(
        "{}: preempting to accommodate a higher priority pod",
        crate::NAME
    );
    let condition = json!({"type": "DisruptionTarget", "status": "True",
        "reason": "PreemptionByScheduler", "message": words, "lastTransitionTime": now});
    let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}});
    let said = send(
        client,
        Method::PATCH,
        victim.path("/status"),
        STRATEGIC,
        &patch,
    );
    let gone = |error: Error| match error.code() {
        // Gone, or another one has its name.
        Some(404 | 409) => Ok(()),
        _ => Err(error),
    };
    if let Err(error) = said.await {
        return gone(error);
    }
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"uid": victim.uid}});
    let deleted = send(client, Method::DELETE, victim.path(""), JSON, &options);
    deleted.await.or_else(gone)
}

/// Gives claims their volumes, or tells whoever makes volumes for which node.
///
/// # Errors
/// If the API does not take one of them.
pub async fn bind_claims(
    client: &Client,
    claims: &[Claim],
    bindings: &Bindings,
    node: &str,
) -> Result<(), Error> {
    for claim in claims {
        let name = claim.full_name();
        if let Some((_, volume)) = bindings.matched.iter().find(|(c, _)| *c == name) {
            let body = json!({
                "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": claim.namespace, "name": claim.name, "uid": claim.uid}},
            });
            let path = format!("/api/v1/persistentvolumes/{volume}");
            send(client, Method::PATCH, path, MERGE, &body).await?;
        } else {
            let body = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            let path = format!(
                "/api/v1/namespaces/{}/persistentvolumeclaims/{}",
                claim.namespace, claim.name
            );
            send(client, Method::PATCH, path, MERGE, &body).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_it_only_says_something_else() {
        let mut said = Said {
            condition: Some(("Unschedulable", "no room".to_owned())),
            turns: true,
            nominated: None,
        };
        let now = "2026-11-28T00:00:00Z";
        assert_eq!(
            status_of(&said, now),
            json!({"conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": "no room", "lastTransitionTime": now}]})
        );
        said.turns = false;
        let again = status_of(&said, now);
        assert_eq!(again["conditions"][0].get("lastTransitionTime"), None);
        said = Said {
            nominated: Some(String::new()),
            ..Said::default()
        };
        assert_eq!(status_of(&said, now), json!({"nominatedNodeName": null}));
    }
}
