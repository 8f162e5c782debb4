//! Files of the bundle: in ranges, in small pieces, each piece in its turn.
//!
//! One piece per transfer is in memory; what is not yet on the line is the kernel's.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Class;
use super::answer::{Refusal, peer};
use crate::fair::{Fair, Turn};
use crate::range::{self, Opened, Part};

/// Bytes read at once.
const PIECE: u64 = 32 * 1024;
/// What a learner who opens too many transfers waits.
const LATER: Duration = Duration::from_secs(2);

/// `GET /class/TOKEN/bundle/NAME`, and `HEAD`.
pub(super) async fn send(
    State(class): State<Arc<Class>>,
    Path((_, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(file) = class.files.iter().find(|file| file.offer.name == name) else {
        return Refusal::Missing.into_response();
    };
    match range::open(&file.path) {
        Ok(opened) => respond(&class, opened, &request),
        // It was there when the class was opened.
        Err(e) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the teacher's laptop cannot read {name}: {e}"),
        )
            .into_response(),
    }
}

/// Sends an open file as the request asks.
pub(super) fn respond(class: &Class, opened: Opened, request: &Request) -> Response {
    let headers = request.headers();
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let unchanged = text(header::IF_RANGE).is_none_or(|tag| tag == opened.tag);
    let asked = text(header::RANGE).filter(|_| unchanged);
    let size = opened.size;
    let (status, from, to) = match range::part(asked, size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Some { from, to } => (StatusCode::PARTIAL_CONTENT, from, to),
        Part::Nothing => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            put(
                response.headers_mut(),
                header::CONTENT_RANGE,
                &format!("bytes */{size}"),
            );
            return response;
        }
    };
    let body = if request.method() == http::Method::HEAD {
        Body::empty()
    } else {
        let Some(place) = Place::take(&class.fair, peer(request)) else {
            return Refusal::TooMany(LATER).into_response();
        };
        pieces(opened.file, from, to, place)
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    put(headers, header::CONTENT_LENGTH, &(to - from).to_string());
    put(headers, header::CONTENT_TYPE, "application/octet-stream");
    put(headers, header::ACCEPT_RANGES, "bytes");
    put(headers, header::ETAG, &opened.tag);
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", to - 1);
        put(headers, header::CONTENT_RANGE, &range);
    }
    response
}

/// Numbers and tags of ours are always headers; what is not would be left out.
pub(super) fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A transfer's place among the others, given up when it ends in whatever way.
pub(super) struct Place {
    fair: Arc<Mutex<Fair>>,
    address: IpAddr,
}

impl Place {
    pub(super) fn take(fair: &Arc<Mutex<Fair>>, address: IpAddr) -> Option<Self> {
        let begun = fair
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .begin(address, Instant::now());
        begun.then(|| Self {
            fair: fair.clone(),
            address,
        })
    }

    /// Waits until `bytes` more may go.
    pub(super) async fn turn(&self, bytes: u64) {
        loop {
            let turn = self
                .fair
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .ask(self.address, bytes, Instant::now());
            match turn {
                Turn::Go => return,
                Turn::Wait(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.fair
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end(self.address);
    }
}

struct Transfer {
    file: Arc<std::fs::File>,
    at: u64,
    end: u64,
    /// Given up with the last piece, before it is sent: whoever has all of a file holds nothing.
    place: Option<Place>,
}

fn pieces(file: std::fs::File, from: u64, to: u64, place: Place) -> Body {
    let transfer = Transfer {
        file: Arc::new(file),
        at: from,
        end: to,
        place: Some(place),
    };
    let stream = futures::stream::try_unfold(transfer, |mut transfer| async move {
        let length = (transfer.end - transfer.at).min(PIECE);
        if length == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        if let Some(place) = &transfer.place {
            place.turn(length).await;
        }
        let (file, at) = (transfer.file.clone(), transfer.at);
        let read = tokio::task::spawn_blocking(move || {
            // A piece is far smaller than any address space.
            let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
            range::read_at(&file, &mut buffer, at)?;
            Ok::<_, std::io::Error>(buffer)
        });
        let buffer = read.await.map_err(std::io::Error::other)??;
        transfer.at += length;
        if transfer.at == transfer.end {
            transfer.place = None;
        }
        Ok(Some((Bytes::from(buffer), transfer)))
    });
    Body::from_stream(stream)
}
