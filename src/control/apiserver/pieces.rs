//! Long answers, written piece by piece: a list of thousands never exists as one buffer, and
//! is compressed on its way to who asks for that.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

use crate::object::Object;
use crate::respond;

/// Bytes of a piece: a few TLS records, and little enough to stay in a processor's cache.
const PIECE: usize = 64 * 1024;
/// Bytes from which an answer is compressed, as upstream (its `APIResponseCompression`).
const GZIP_FROM: usize = 128 * 1024;
/// Upstream's level: what is gained beyond it costs more time than it saves.
const GZIP_LEVEL: Compression = Compression::fast();

/// A JSON list: `head`, which ends inside its `items`, and the objects.
pub fn list(headers: &HeaderMap, head: String, objects: Vec<Arc<Object>>) -> Response {
    let commas = objects.len().saturating_sub(1);
    let items: usize = objects.iter().map(|object| object.item_len()).sum();
    let length = head.len() + items + commas + TAIL.len();
    let mut pieces = Items {
        head: head.into_bytes(),
        objects: objects.into_iter(),
        first: true,
        done: false,
    };
    if length <= PIECE {
        return respond::json(StatusCode::OK, pieces.next().unwrap_or_default());
    }
    answer(headers, StatusCode::OK, length, pieces)
}

/// A JSON document that exists already.
pub fn whole(headers: &HeaderMap, code: StatusCode, body: Bytes) -> Response {
    if body.len() < GZIP_FROM || !accepts_gzip(headers) {
        return respond::json(code, body);
    }
    let length = body.len();
    let pieces = (0..length)
        .step_by(PIECE)
        .map(move |at| body.slice(at..length.min(at + PIECE)));
    answer(headers, code, length, pieces)
}

fn answer(
    headers: &HeaderMap,
    code: StatusCode,
    length: usize,
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> Response {
    let mut response = respond::json(code, Bytes::new());
    if length >= GZIP_FROM && accepts_gzip(headers) {
        let encoding = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, encoding);
        let vary = HeaderValue::from_static("Accept-Encoding");
        response.headers_mut().insert(VARY, vary);
        *response.body_mut() = Body::from_stream(stream::iter(Zipped {
            pieces,
            encoder: Some(GzEncoder::new(Vec::new(), GZIP_LEVEL)),
        }));
    } else {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
        *response.body_mut() = Body::from_stream(stream::iter(pieces.map(io::Result::Ok)));
    }
    response
}

/// Whether the client asks for gzip, in the plain form that all of them use.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let asked = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    asked.is_some_and(|asked| asked.split(',').any(|coding| coding.trim() == "gzip"))
}

const TAIL: &[u8] = b"]}";

/// The text of a list, a piece at a time.
struct Items {
    head: Vec<u8>,
    objects: std::vec::IntoIter<Arc<Object>>,
    first: bool,
    done: bool,
}

impl Iterator for Items {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        while out.len() < PIECE {
            let Some(object) = self.objects.next() else {
                out.extend_from_slice(TAIL);
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            out.reserve(object.item_len());
            object.write_item(&mut out);
        }
        Some(out.into())
    }
}

/// The same bytes, compressed.
struct Zipped<I> {
    pieces: I,
    /// `None` after the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I: Iterator<Item = Bytes>> Iterator for Zipped<I> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let encoder = self.encoder.as_mut()?;
            let Some(piece) = self.pieces.next() else {
                return Some(self.encoder.take()?.finish().map(Bytes::from));
            };
            if let Err(error) = encoder.write_all(&piece) {
                self.encoder = None;
                return Some(Err(error));
            }
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Some(Ok(ready.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;
    use crate::object::{key_of, to_stored};
    use cadet_api::resource;
    use cadet_store::Entry;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use std::io::Read;

    fn objects(count: usize) -> Vec<Arc<Object>> {
        let pods = resource::find("", "v1", "pods").expect("pods");
        let object = |n: usize| {
            let name = format!("pod-{n}");
            let value = json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"n": n}});
            let entry = Entry {
                key: key_of(pods, "a", &name).into(),
                value: to_stored(pods, &value),
                created: 1,
                modified: n as u64,
            };
            Arc::new(Object::from_entry(&entry, &Kinds::default()).expect("readable"))
        };
        (0..count).map(object).collect()
    }

    async fn body_of(response: Response) -> Vec<u8> {
        let body = response.into_body().collect().await.expect("a body");
        body.to_bytes().to_vec()
    }

    fn gzip() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
        headers
    }

    #[tokio::test]
    async fn lists_of_every_length_come_whole_and_as_long_as_announced() {
        for count in [0, 1, 2, 700, 2_000] {
            let head = "{\"items\":[".to_owned();
            let response = list(&HeaderMap::new(), head, objects(count));
            let announced = response.headers().get(CONTENT_LENGTH).cloned();
            let body = body_of(response).await;
            if let Some(announced) = announced {
                assert_eq!(announced, HeaderValue::from(body.len()));
            }
            let read: Value = serde_json::from_slice(&body).expect("json");
            let items = read["items"].as_array().expect("items");
            assert_eq!(items.len(), count);
            for (n, item) in items.iter().enumerate() {
                assert_eq!(item["spec"]["n"], n);
            }
        }
    }

    #[tokio::test]
    async fn long_answers_are_compressed_for_who_asks() {
        let head = || "{\"items\":[".to_owned();
        let plain = body_of(list(&HeaderMap::new(), head(), objects(2_000))).await;
        let long = list(&gzip(), head(), objects(2_000));
        let made = whole(&gzip(), StatusCode::OK, plain.clone().into());
        for response in [long, made] {
            assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
            assert_eq!(response.headers().get(CONTENT_LENGTH), None);
            let packed = body_of(response).await;
            assert!(packed.len() * 4 < plain.len());
            let mut read = vec![];
            let mut decoder = flate2::read::GzDecoder::new(packed.as_slice());
            decoder.read_to_end(&mut read).expect("gzip");
            assert!(read == plain);
        }
        for short in [
            list(&gzip(), head(), objects(3)),
            whole(&gzip(), StatusCode::OK, "{}".into()),
            whole(&HeaderMap::new(), StatusCode::OK, plain.into()),
        ] {
            assert_eq!(short.headers().get(CONTENT_ENCODING), None);
        }
    }
}
