//! Many watches in one answer: browsers keep six connections to a server, and a page that
//! shows a cluster follows more kinds than that.
//!
//! Each line is the number of a watch, a blank and the API's own event as it came. A watch
//! that is refused tells an `ERROR` event with the API's Status, one that ends an `END`.
//! Empty lines say that the connection lives.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::response::Response;
use bytes::{BufMut as _, BytesMut};
use futures::stream::{self, SelectAll, Stream, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::Api;

/// Most watches of one answer.
pub const MOST: usize = 32;
/// How often a silent connection says that it lives.
pub const BEAT: Duration = Duration::from_secs(10);
/// Longest refusal that is read.
const REFUSAL: usize = 64 * 1024;

/// Follows all `paths` for whom the authorization names, until `shutdown`; says that it lives
/// every `beat`.
pub fn answer(
    api: &Api,
    authorization: Option<&HeaderValue>,
    paths: Vec<PathAndQuery>,
    beat: Duration,
    shutdown: CancellationToken,
) -> Response {
    let mut all = SelectAll::new();
    for (number, path) in paths.into_iter().enumerate() {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from(path);
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        all.push(one(api.clone(), number, request).boxed());
    }
    all.push(beats(beat).boxed());
    let lines = all.take_until(shutdown.cancelled_owned());
    let mut response = Response::new(Body::from_stream(lines.map(Ok::<_, std::io::Error>)));
    let plain = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The lines of one watch, to its end.
fn one(api: Api, number: usize, request: Request<Body>) -> impl Stream<Item = Bytes> {
    let begin = async move {
        let Ok(response) = api.oneshot(request).await;
        if response.status().is_success() {
            let lines = Lines {
                number,
                body: response.into_body().into_data_stream(),
                rest: BytesMut::new(),
            };
            return stream::unfold(Some(lines), Lines::next).boxed();
        }
        let code = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), REFUSAL).await;
        let event = json!({"type": "ERROR", "object": status(code, &body.unwrap_or_default())});
        stream::iter([line(number, event.to_string().as_bytes())]).boxed()
    };
    stream::once(begin).flatten()
}

/// The Status in a refusal, or one made of it.
fn status(code: u16, body: &[u8]) -> Value {
    let told = serde_json::from_slice::<Value>(body).ok();
    told.filter(|status| status["kind"] == "Status")
        .unwrap_or_else(|| {
            let message = String::from_utf8_lossy(body);
            json!({"kind": "Status", "code": code, "message": message.trim()})
        })
}

fn line(number: usize, event: &[u8]) -> Bytes {
    let mut line = BytesMut::new();
    put(&mut line, number, event);
    line.freeze()
}

fn put(lines: &mut BytesMut, number: usize, event: &[u8]) {
    lines.put_slice(number.to_string().as_bytes());
    lines.put_u8(b' ');
    lines.put_slice(event);
    lines.put_u8(b'\n');
}

fn beats(every: Duration) -> impl Stream<Item = Bytes> {
    let mut clock = tokio::time::interval_at(Instant::now() + every, every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(clock, |mut clock| async move {
        clock.tick().await;
        Some((Bytes::from_static(b"\n"), clock))
    })
}

/// A body on its way to numbered lines.
struct Lines {
    number: usize,
    body: BodyDataStream,
    /// A line that is not whole yet.
    rest: BytesMut,
}

impl Lines {
    /// As many lines as have come, and what goes on; at the end the `END`.
    async fn next(lines: Option<Lines>) -> Option<(Bytes, Option<Lines>)> {
        let mut lines = lines?;
        loop {
            if let Some(end) = lines.rest.iter().rposition(|byte| *byte == b'\n') {
                let whole = lines.rest.split_to(end + 1);
                let mut out = BytesMut::with_capacity(whole.len() + 64);
                for event in whole[..].split(|byte: &u8| *byte == b'\n') {
                    if !event.is_empty() {
                        put(&mut out, lines.number, event);
                    }
                }
                return Some((out.freeze(), Some(lines)));
            }
            match lines.body.next().await {
                Some(Ok(chunk)) => lines.rest.extend_from_slice(&chunk),
                // What was cut off is no event; whoever reads begins again where it stood.
                Some(Err(_)) | None => {
                    return Some((line(lines.number, br#"{"type":"END"}"#), None));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;

    async fn lines_of(router: Router, paths: &[&str], count: usize) -> Vec<String> {
        let paths = paths.iter().map(|path| path.parse().expect("a path"));
        let token = HeaderValue::from_static("Bearer t");
        let stop = CancellationToken::new();
        let response = answer(&Api::new(router), Some(&token), paths.collect(), BEAT, stop);
        let mut body = response.into_body().into_data_stream();
        let mut text = String::new();
        while text.lines().count() < count {
            let chunk = body.next().await.expect("more").expect("a chunk");
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[tokio::test]
    async fn watches_come_numbered_and_whole_whatever_the_chunks() {
        let chunks = |all: &'static [&'static str]| {
            let chunks = stream::iter(all).map(|chunk| Ok::<_, std::io::Error>(*chunk));
            Body::from_stream(chunks)
        };
        let pods =
            move || async move { chunks(&["{\"a\"", ":1}\n{\"a\":2}\n{\"a", "\":3}\n", "{cut"]) };
        let nodes = move || async move { chunks(&["{\"n\":1}\n"]) };
        let router = Router::new()
            .route("/api/v1/pods", get(pods))
            .route("/api/v1/nodes", get(nodes));
        let paths = ["/api/v1/pods?watch=true", "/api/v1/nodes?watch=true"];
        assert_eq!(
            lines_of(router, &paths, 6).await,
            [
                r#"0 {"a":1}"#,
                r#"0 {"a":2}"#,
                r#"0 {"a":3}"#,
                r#"0 {"type":"END"}"#,
                r#"1 {"n":1}"#,
                r#"1 {"type":"END"}"#,
            ]
        );
    }

    #[tokio::test]
    async fn a_refusal_is_an_event_and_the_token_is_shown() {
        let asked = |headers: http::HeaderMap| async move {
            assert_eq!(headers[AUTHORIZATION], "Bearer t");
            let status = "{\"kind\":\"Status\",\n\"code\":403,\"message\":\"no\"}";
            (http::StatusCode::FORBIDDEN, status)
        };
        let gone = || async { (http::StatusCode::BAD_GATEWAY, "gone\n") };
        let router = Router::new()
            .route("/api/v1/pods", get(asked))
            .route("/api/v1/nodes", get(gone));
        let lines = lines_of(
            router,
            &["/api/v1/pods?watch=1", "/api/v1/nodes?watch=1"],
            2,
        )
        .await;
        let event = |line: &str| serde_json::from_str::<Value>(&line[2..]).expect("an event");
        let (first, second) = (event(&lines[0]), event(&lines[1]));
        assert_eq!(first["type"], "ERROR");
        assert_eq!(first["object"]["message"], "no");
        assert_eq!(second["object"]["code"], 502);
        assert_eq!(second["object"]["message"], "gone");
    }

    #[tokio::test]
    async fn silence_is_broken_and_an_end_is_an_end() {
        let never =
            || async { Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()) };
        let router = Router::new().route("/api/v1/pods", get(never));
        let stop = CancellationToken::new();
        let paths = vec!["/api/v1/pods?watch=1".parse().expect("a path")];
        let beat = Duration::from_millis(5);
        let response = answer(&Api::new(router), None, paths, beat, stop.clone());
        let mut body = response.into_body().into_data_stream();
        let beat = body.next().await.expect("a beat").expect("a chunk");
        assert_eq!(beat, "\n");
        stop.cancel();
        // A beat or two may have been on its way.
        while body.next().await.is_some() {}
    }
}
