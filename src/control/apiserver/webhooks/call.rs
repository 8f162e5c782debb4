//! One call of one webhook: the question there, the verdict back, within its time.

use axum::body::Body;
use bytes::Bytes;
use cadet_api::status::Status;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt, Limited};
use std::sync::Arc;

use super::hook::Hook;
use super::matching::View;
use super::review::{self, BadAnswer, Verdict};
use super::trust;
use crate::admission::Request;
use crate::connect::{DialError, Peer};

/// Largest answer, in bytes. A patch that replaces the largest object the server takes,
/// in base64, fits.
const MAX_ANSWER: usize = 8 << 20;

/// Why a call brought no verdict.
#[derive(Debug)]
pub enum Failed {
    /// The webhook could not be asked or made no sense: its failure policy decides.
    Calling(String),
    /// The request must not be made at all, whatever the policy.
    Refused(Status),
}

impl Failed {
    /// What the client is told where the policy is to fail.
    pub fn into_status(self, hook: &Hook) -> Status {
        match self {
            Failed::Calling(why) => {
                Status::internal(format!("failed calling webhook {:?}: {why}", hook.name))
            }
            Failed::Refused(status) => status,
        }
    }
}

/// Asks a webhook about what it is shown.
pub async fn ask(
    hook: &Hook,
    request: &Request<'_>,
    view: &View,
    mutating: bool,
) -> Result<Verdict, Failed> {
    if request.dry_run && !hook.takes_dry_runs {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failed::Refused(Status::bad_request(why)));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let question = review::question(request, view, hook.review, &uid);
    let calling = |why: String| Failed::Calling(format!("failed to call webhook: {why}"));
    let answered = tokio::time::timeout(hook.timeout, send(hook, request, question)).await;
    let url = url(hook);
    let post = |why: &str| calling(format!("Post {url:?}: {why}"));
    let bytes = match answered {
        Err(_) => return Err(post("context deadline exceeded")),
        Ok(Err(Unanswered::Post(why))) => return Err(post(&why)),
        Ok(Err(Unanswered::Other(why))) => return Err(calling(why)),
        Ok(Ok(bytes)) => bytes,
    };
    review::verdict(&bytes, hook.review, &uid, mutating).map_err(|bad| match bad {
        BadAnswer::Unreadable(why) => calling(why),
        BadAnswer::Invalid(why) => {
            Failed::Calling(format!("received invalid webhook response: {why}"))
        }
    })
}

enum Unanswered {
    /// The request did not get through.
    Post(String),
    /// There was no request, or the answer is an error.
    Other(String),
}

fn url(hook: &Hook) -> String {
    let seconds = hook.timeout.as_secs();
    let (authority, path) = (hook.address.authority(), hook.address.path());
    format!("https://{authority}{path}?timeout={seconds}s")
}

async fn send(hook: &Hook, request: &Request<'_>, question: Vec<u8>) -> Result<Bytes, Unanswered> {
    let tls = match &hook.tls {
        Ok(tls) => Arc::clone(tls),
        Err(why) => {
            return Err(Unanswered::Other(format!(
                "could not get REST client: {why}"
            )));
        }
    };
    let found = hook.address.find(&request.app.world);
    let found = found.map_err(Unanswered::Post)?;
    let peer = Peer {
        host: found.host,
        port: found.port,
        tls: Some(tls),
    };
    let target = format!(
        "{}?timeout={}s",
        hook.address.path(),
        hook.timeout.as_secs()
    );
    let asked = http::Request::post(target)
        .header(HOST, hook.address.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .header(USER_AGENT, "kube-apiserver-admission")
        .body(Body::from(question))
        .map_err(|error| Unanswered::Other(error.to_string()))?;
    let name = hook.address.certified_name();
    let answer = peer.send_as(&name, asked).await.map_err(|error| {
        Unanswered::Post(match &error {
            DialError::Tls { source, .. } => trust::words(source),
            other => other.to_string(),
        })
    })?;
    let code = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let bytes = body
        .map_err(|error| Unanswered::Other(error.to_string()))?
        .to_bytes();
    if code.is_success() {
        return Ok(bytes);
    }
    Err(Unanswered::Other(refused(code, &bytes)))
}

/// What an answer that is no review means, as Kubernetes clients word it.
fn refused(code: http::StatusCode, body: &[u8]) -> String {
    match code.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => String::from_utf8_lossy(body).trim().to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        500 => format!(
            "an error on the server ({:?}) has prevented the request from succeeding",
            String::from_utf8_lossy(body.get(..1024).unwrap_or(body)).trim()
        ),
        503 => "the server is currently unable to handle the request".to_owned(),
        other => format!(
            "the server responded with the status code {other} but did not return more information"
        ),
    }
}
