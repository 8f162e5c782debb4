//! Certificate signing requests: nodes' own are approved, approved ones are signed by the
//! cluster's authority, and old ones are cleared away.
//!
//! ```text
//! asked ─▶ approved (by a person, or here for a node) ─▶ signed or failed ─▶ cleared away
//!     └──▶ denied ───────────────────────────────────────────────────────────┘
//! ```

mod authority;
mod request;
mod signers;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use authority::{Authority, Unusable};
use request::{Request, unwrap};

use crate::errors::{Error, again, overtaken};

/// How long a request stays when it was answered, and when nobody looked at it; upstream's.
const ANSWERED: i64 = 3600;
const UNANSWERED: i64 = 24 * 3600;

struct Context {
    client: Client,
    authority: Arc<Authority>,
}

/// Answers requests until `shutdown`.
pub async fn run(client: Client, authority: Arc<Authority>, shutdown: CancellationToken) {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    Controller::new(requests, watcher::Config::default())
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(reconcile, again, Arc::new(Context { client, authority }))
        .for_each(|_| async {})
        .await;
}

async fn reconcile(
    asked: Arc<CertificateSigningRequest>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let requests: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    let name = asked.name_any();
    let left = seconds_left(&asked, Timestamp::now());
    if left <= 0 {
        return match requests.delete(&name, &only(&asked)).await {
            Ok(_) => {
                debug!(request = %name, "certificate signing request cleared away");
                Ok(Action::await_change())
            }
            Err(error) if overtaken(&error) => Ok(Action::await_change()),
            Err(source) => Err(Error::Delete {
                what: what(&name),
                source,
            }),
        };
    }
    let written = match answer(&asked, &context).await? {
        Some(Answer::Verdict(changed)) => Some(
            requests
                .replace_subresource("approval", &name, &PostParams::default(), &changed)
                .await,
        ),
        Some(Answer::Certificate(changed)) => Some(
            requests
                .replace_status(&name, &PostParams::default(), &changed)
                .await,
        ),
        None => None,
    };
    match written {
        Some(Err(error)) if !overtaken(&error) => Err(Error::Write {
            what: what(&name),
            source: error,
        }),
        // The change wakes us again.
        Some(_) => Ok(Action::await_change()),
        None => Ok(Action::requeue(Duration::from_secs(left.unsigned_abs()))),
    }
}

fn what(name: &str) -> String {
    format!("certificate signing request {name}")
}

/// Only this request, not a younger one of its name.
fn only(asked: &CertificateSigningRequest) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: asked.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

/// The request as it should be.
enum Answer {
    Verdict(CertificateSigningRequest),
    Certificate(CertificateSigningRequest),
}

async fn answer(
    asked: &CertificateSigningRequest,
    context: &Context,
) -> Result<Option<Answer>, Error> {
    let signed = asked.status.as_ref().and_then(|s| s.certificate.as_ref());
    if signed.is_some_and(|certificate| !certificate.0.is_empty())
        || condition(asked, "Failed").is_some()
        || condition(asked, "Denied").is_some()
    {
        return Ok(None);
    }
    // A request that cannot be read is nobody's to answer, as upstream.
    let read = |error: String| debug!(request = %asked.name_any(), "unable to parse csr: {error}");
    let der = match unwrap(&asked.spec.request.0) {
        Ok(der) => der,
        Err(error) => {
            read(error);
            return Ok(None);
        }
    };
    let request = match Request::parse(&der) {
        Ok(request) => request,
        Err(error) => {
            read(error);
            return Ok(None);
        }
    };
    if condition(asked, "Approved").is_none() {
        let verdict = approve(asked, &request, &context.client).await?;
        return Ok(verdict.map(Answer::Verdict));
    }
    Ok(sign(asked, &request, &context.authority).map(Answer::Certificate))
}

/// The request with its certificate, or with the reason why there is none.
fn sign(
    asked: &CertificateSigningRequest,
    request: &Request<'_>,
    authority: &Authority,
) -> Option<CertificateSigningRequest> {
    let usages = asked.spec.usages.as_deref().unwrap_or_default();
    let mut changed = asked.clone();
    match signers::check(&asked.spec.signer_name, request, usages)? {
        Err(why) => {
            add(&mut changed, "Failed", "SignerValidationFailure", &why);
        }
        Ok(()) => {
            let seconds = asked.spec.expiration_seconds;
            match authority.sign(request, usages, seconds, OffsetDateTime::now_utc()) {
                Ok(certificate) => {
                    let status = changed.status.get_or_insert_default();
                    status.certificate = Some(ByteString(certificate.into_bytes()));
                    info!(request = %asked.name_any(), "certificate signed");
                }
                Err(error) => {
                    tracing::error!(request = %asked.name_any(), %error, "error auto signing csr");
                    return None;
                }
            }
        }
    }
    Some(changed)
}

/// A node's request for its own client certificate is approved if who asks may have it:
/// `selfnodeclient` renews, `nodeclient` joins (TLS bootstrapping).
async fn approve(
    asked: &CertificateSigningRequest,
    request: &Request<'_>,
    client: &Client,
) -> Result<Option<CertificateSigningRequest>, Error> {
    let usages = asked.spec.usages.as_deref().unwrap_or_default();
    if asked.spec.signer_name != signers::KUBELET_CLIENT
        || signers::kubelet_client(request, usages).is_err()
    {
        return Ok(None);
    }
    let own = asked.spec.username.as_deref() == Some(request.common_name());
    let subresources = [
        (
            own,
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ),
        (
            true,
            "nodeclient",
            "Auto approving kubelet client certificate after SubjectAccessReview.",
        ),
    ];
    for (fits, subresource, words) in subresources {
        if fits && may(asked, subresource, client).await? {
            let mut changed = asked.clone();
            add(&mut changed, "Approved", "AutoApproved", words);
            return Ok(Some(changed));
        }
    }
    Ok(None)
}

async fn may(
    asked: &CertificateSigningRequest,
    subresource: &str,
    client: &Client,
) -> Result<bool, Error> {
    let spec = &asked.spec;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                subresource: Some(subresource.to_owned()),
                verb: Some("create".to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answered = reviews
        .create(&PostParams::default(), &review)
        .await
        .map_err(|source| Error::Write {
            what: "a subject access review".to_owned(),
            source,
        })?;
    Ok(answered.status.is_some_and(|status| status.allowed))
}

fn condition<'a>(
    asked: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = asked.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == "True")
}

fn add(asked: &mut CertificateSigningRequest, kind: &str, reason: &str, message: &str) {
    let now = Some(Time(Timestamp::now()));
    let conditions = asked
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: now.clone(),
        last_transition_time: now,
    });
}

/// How long the request may stay.
fn seconds_left(asked: &CertificateSigningRequest, now: Timestamp) -> i64 {
    let status = asked.status.as_ref();
    let signed = status.and_then(|s| s.certificate.as_ref()).is_some();
    let conditions = status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let born = asked.metadata.creation_timestamp.as_ref();
    let since =
        |at: Option<&Time>, span: i64| at.map(|at| at.0.as_second() + span - now.as_second());
    // Approved but unsigned (the signer is somebody else's) it stays, as upstream.
    let answered = conditions
        .iter()
        .filter(|c| c.status == "True" && (c.type_ != "Approved" || signed))
        .filter_map(|c| since(c.last_update_time.as_ref(), ANSWERED));
    let unanswered = since(born, UNANSWERED).filter(|_| conditions.is_empty());
    answered.chain(unanswered).min().unwrap_or(UNANSWERED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_stay_as_long_as_upstreams() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let left = |status: serde_json::Value| {
            let asked = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T12:00:00Z"},
                "spec": {"request": "", "signerName": "a/b"}, "status": status});
            seconds_left(&serde_json::from_value(asked).unwrap(), now)
        };
        let verdict =
            |kind: &str, at: &str| json!({"type": kind, "status": "True", "lastUpdateTime": at});
        assert_eq!(left(json!({})), 12 * 3600);
        let denied = verdict("Denied", "2026-01-01T23:30:00Z");
        assert_eq!(left(json!({"conditions": [denied]})), 1800);
        let approved = verdict("Approved", "2026-01-01T22:30:00Z");
        assert_eq!(left(json!({"conditions": [approved]})), UNANSWERED);
        let signed = json!({"conditions": [approved], "certificate": "eA=="});
        assert_eq!(left(signed), -1800);
        let failed = verdict("Failed", "2026-01-01T23:59:00Z");
        assert_eq!(left(json!({"conditions": [approved, failed]})), 3540);
    }
}
