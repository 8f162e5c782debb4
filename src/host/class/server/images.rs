//! Container images for the machines of learners, by the distribution API. Docker knows no token
//! for a mirror, so the door is another one: only addresses from which somebody joined.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use serde_json::json;

use super::answer::peer;
use super::files::{Place, put, respond};
use super::{Class, Notice};
use crate::mirror::{Asked, Blob, Digest, Flight, Manifest, MirrorError, Name};
use crate::range;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Bytes read at once of a blob that is still on its way.
const PIECE: u64 = 32 * 1024;

/// Lets in the computers of those who joined.
pub(super) async fn guard(
    State(class): State<Arc<Class>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = peer(&request);
    let known = class.is_own(peer) || class.inner().guests.contains_key(&peer);
    if class.mirror.is_none() || !known {
        return refused(StatusCode::FORBIDDEN, "DENIED", "join the class first");
    }
    next.run(request).await
}

/// `GET /v2/`: the API is spoken here.
pub(super) async fn base() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], "{}").into_response()
}

/// `GET /v2/NAME/manifests/REFERENCE`, `GET /v2/NAME/blobs/DIGEST`, and `HEAD`.
pub(super) async fn get(
    State(class): State<Arc<Class>>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    let Some(mirror) = class.mirror.clone() else {
        return refused(StatusCode::NOT_FOUND, "UNSUPPORTED", "no images are kept");
    };
    match Asked::parse(&format!("/v2/{path}")) {
        Some(Asked::Tagged(of, tag)) => {
            let found = mirror.tagged(&of, &tag).await;
            manifest_answer(&class, &of, tag.as_str(), found)
        }
        Some(Asked::Manifest(of, digest)) => {
            let found = mirror.by_digest(&of, &digest).await;
            manifest_answer(&class, &of, &digest.to_string(), found)
        }
        Some(Asked::Blob(of, digest)) => match mirror.blob(&of, &digest).await {
            Ok((blob, _)) => blob_answer(&class, blob, &digest, &request),
            Err(e) => failed(&class, &of, &e),
        },
        Some(Asked::Base) | None => {
            refused(StatusCode::NOT_FOUND, "UNSUPPORTED", "images are only read")
        }
    }
}

fn manifest_answer(
    class: &Class,
    of: &Name,
    reference: &str,
    found: Result<(Manifest, bool), MirrorError>,
) -> Response {
    let (manifest, fetched) = match found {
        Ok(found) => found,
        Err(e) => return failed(class, of, &e),
    };
    if fetched {
        let image = format!("{}:{reference}", of.as_str());
        class.tell(Notice::Fetched { image });
    }
    let mut response = manifest.bytes.into_response();
    let headers = response.headers_mut();
    put(headers, header::CONTENT_TYPE, &manifest.media_type);
    put(headers, DIGEST, &manifest.digest.to_string());
    response
}

fn blob_answer(class: &Class, blob: Blob, digest: &Digest, request: &Request) -> Response {
    let mut response = match blob {
        Blob::Here(path) => match range::open(&path) {
            Ok(opened) => respond(class, opened, request),
            Err(e) => refused(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &e.to_string()),
        },
        Blob::Coming(flight) => {
            let Some(place) = Place::take(&class.fair, peer(request)) else {
                return refused(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "later");
            };
            let total = flight.total;
            let mut response = growing(flight, place).into_response();
            let headers = response.headers_mut();
            put(headers, header::CONTENT_TYPE, "application/octet-stream");
            if let Some(total) = total {
                put(headers, header::CONTENT_LENGTH, &total.to_string());
            }
            response
        }
    };
    put(response.headers_mut(), DIGEST, &digest.to_string());
    response
}

/// A blob while it comes. If it does not come to its end, or is not what was asked for, the
/// connection breaks, and the client knows.
fn growing(flight: Flight, place: Place) -> Body {
    let stream = futures::stream::try_unfold(
        (flight, place, 0u64),
        |(mut flight, place, at)| async move {
            let seen = flight
                .progress
                .wait_for(|progress| progress.written > at || progress.ended.is_some())
                .await
                .map_err(std::io::Error::other)?
                .clone();
            if let Some(Some(why)) = seen.ended {
                return Err(std::io::Error::other(why));
            }
            let length = (seen.written - at).min(PIECE);
            if length == 0 {
                return Ok(None);
            }
            // The last piece is held until the whole is known to be right.
            if flight.total == Some(at + length) {
                let ended = flight
                    .progress
                    .wait_for(|progress| progress.ended.is_some());
                let ended = ended.await.map_err(std::io::Error::other)?.ended.clone();
                if let Some(Some(why)) = ended {
                    return Err(std::io::Error::other(why));
                }
            }
            place.turn(length).await;
            let file = flight.file.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
                range::read_at(&file, &mut buffer, at)?;
                Ok::<_, std::io::Error>(buffer)
            });
            let buffer = read.await.map_err(std::io::Error::other)??;
            Ok(Some((Bytes::from(buffer), (flight, place, at + length))))
        },
    );
    Body::from_stream(stream)
}

fn failed(class: &Class, of: &Name, e: &MirrorError) -> Response {
    let (status, code) = match e {
        MirrorError::Unknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        MirrorError::Upstream(_) | MirrorError::Altered(_) => {
            (StatusCode::BAD_GATEWAY, "UNAVAILABLE")
        }
        MirrorError::Busy => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        MirrorError::Full | MirrorError::Disk { .. } => {
            (StatusCode::INSUFFICIENT_STORAGE, "UNAVAILABLE")
        }
    };
    let why = e.to_string();
    let image = of.as_str().to_owned();
    let answer = refused(status, code, &why);
    class.tell(Notice::NotFetched { image, why });
    answer
}

/// An error as the specification has it.
fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
