//! What all answers have in common: headers that keep a page to itself, and refusals in words.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Class;
use crate::message::Refused;
use crate::roll::No;

/// How long a request's body may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is at the other end; put into every request by `listen`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

/// Where a request came from.
pub(super) fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    // Requests that no connection brought are the process's own.
    peer.map_or(std::net::Ipv4Addr::LOCALHOST.into(), |peer| peer.0)
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is not this class's.
    NotThisClass,
    /// The token is not the teacher's.
    NotTheTeacher,
    /// The signature does not fit the key.
    Signature,
    TooMany(Duration),
    TooLong,
    TooSlow,
    Malformed(&'static str),
    /// There is no such file, or nothing at this path.
    Missing,
    No(No),
}

impl From<No> for Refusal {
    fn from(no: No) -> Self {
        Self::No(no)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut last = None;
        let (status, id, message) = match self {
            Self::NotThisClass => (
                StatusCode::NOT_FOUND,
                "not-this-class",
                "this code is of another class, or of one that is over",
            ),
            Self::NotTheTeacher => (
                StatusCode::UNAUTHORIZED,
                "teacher",
                "this is for the teacher",
            ),
            Self::Signature => (
                StatusCode::FORBIDDEN,
                "signature",
                "this request is not signed by the learner it names",
            ),
            Self::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many",
                "too many requests come from this address",
            ),
            Self::TooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "malformed",
                "the request is too long",
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "malformed",
                "the request did not come to its end",
            ),
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, "malformed", why),
            Self::Missing => (StatusCode::NOT_FOUND, "missing", "there is nothing here"),
            Self::No(No::NotJoined) => (
                StatusCode::FORBIDDEN,
                "not-joined",
                "this learner has not joined the class",
            ),
            Self::No(No::Number(number)) => {
                last = Some(number);
                (
                    StatusCode::CONFLICT,
                    "number",
                    "this request was made before one that has been taken",
                )
            }
            Self::No(No::Full) => (
                StatusCode::FORBIDDEN,
                "full",
                "the class has as many learners as it can have",
            ),
            Self::No(No::Closed) => (
                StatusCode::FORBIDDEN,
                "closed",
                "the teacher lets nobody new in",
            ),
            Self::No(No::Malformed(why)) => (StatusCode::BAD_REQUEST, "malformed", why),
        };
        let refused = Refused {
            id: id.to_owned(),
            message: message.to_owned(),
            last,
        };
        let mut response = json(status, &refused);
        if let Self::TooMany(wait) = self {
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

/// Nothing is at this path.
pub(super) async fn missing() -> Refusal {
    Refusal::Missing
}

/// A body of at most `longest` bytes, in time.
pub(super) async fn whole(body: Body, longest: usize) -> Result<Bytes, Refusal> {
    let read = axum::body::to_bytes(body, longest);
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refusal::TooLong),
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// Around every request: not too many, and the headers that every answer has.
pub(super) async fn every(
    State(class): State<Arc<Class>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = peer(&request);
    // The teacher's own browser is not to be crowded out.
    let allowed = if class.is_own(peer) {
        Ok(())
    } else {
        class.inner().requests.take(peer, Instant::now())
    };
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(wait) => Refusal::TooMany(wait).into_response(),
    };
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Compares without telling by its time how much is right.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"token", b"token"));
        for other in [&b"toke"[..], b"tokens", b"Token", b""] {
            assert!(!same(b"token", other));
        }
    }
}
