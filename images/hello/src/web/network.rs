//! Other services seen from this pod: names looked up, pages fetched.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::uri::Scheme;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::{Shared, say};

/// How long another service may take, name and answer together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the largest answer that is passed on.
const LARGEST: usize = 1 << 20;
/// The longest name DNS knows (RFC 1035, 2.3.4), with a dot at its end.
const LONGEST_NAME: usize = 254;

/// `?url=http://backend:8080/`.
#[derive(Debug, Deserialize)]
pub struct Page {
    url: Option<String>,
}

/// `?name=backend`.
#[derive(Debug, Deserialize)]
pub struct Name {
    name: Option<String>,
}

/// Why a page was not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("say which page: /fetch?url=http://backend:8080/")]
    Unnamed,
    #[error("{url} is no address like http://backend:8080/: {why}")]
    Address { url: String, why: String },
    #[error("{url} cannot be reached: {source}")]
    Connect { url: String, source: io::Error },
    #[error("{url} did not answer within {} s", PATIENCE.as_secs())]
    Silent { url: String },
    #[error("{url} broke off: {source}")]
    Http { url: String, source: hyper::Error },
    #[error("the answer of {url} cannot be passed on: {why}")]
    Body { url: String, why: String },
}

impl FetchError {
    fn status(&self) -> StatusCode {
        match self {
            FetchError::Unnamed | FetchError::Address { .. } => StatusCode::BAD_REQUEST,
            FetchError::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
            FetchError::Connect { .. } | FetchError::Http { .. } | FetchError::Body { .. } => {
                StatusCode::BAD_GATEWAY
            }
        }
    }
}

/// Passes on what another service answers, status and all.
pub async fn fetch(State(app): Shared, Query(page): Query<Page>) -> Response {
    let outcome = match page.url.filter(|url| !url.is_empty()) {
        None => Err(FetchError::Unnamed),
        Some(url) => match tokio::time::timeout(PATIENCE, get(&url, &app.config.version)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::Silent { url }),
        },
    };
    match outcome {
        Ok(answer) => answer,
        Err(error) => say(error.status(), format!("{error}\n")),
    }
}

async fn get(url: &str, version: &str) -> Result<Response, FetchError> {
    let (uri, host, port) = address(url)?;
    let connect = |source| FetchError::Connect {
        url: url.to_owned(),
        source,
    };
    let broken = |source| FetchError::Http {
        url: url.to_owned(),
        source,
    };
    let unusable = |why: String| FetchError::Body {
        url: url.to_owned(),
        why,
    };
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Its end, good or bad, is seen by the request as well.
    let _running = Abort(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let target = uri.path_and_query().map_or("/", |whole| whole.as_str());
    let authority = uri.authority().map_or("", |whole| whole.as_str());
    let request = axum::http::Request::get(target)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, format!("hello/{version}"))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unusable(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST)
        .collect()
        .await
        .map_err(|error| unusable(error.to_string()))?
        .to_bytes();
    let kind = head.headers.get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok((head.status, [(header::CONTENT_TYPE, kind)], body).into_response())
}

/// Ends a task with the request it belongs to.
struct Abort(tokio::task::JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What to ask and whom.
fn address(url: &str) -> Result<(Uri, String, u16), FetchError> {
    let wrong = |why: String| FetchError::Address {
        url: url.to_owned(),
        why,
    };
    let uri: Uri = url
        .parse()
        .map_err(|error: axum::http::uri::InvalidUri| wrong(error.to_string()))?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(wrong("it does not begin with http://".into()));
    }
    let host = uri.host().unwrap_or_default();
    // The resolver wants IPv6 addresses without their brackets.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    if host.is_empty() {
        return Err(wrong("it names no host".into()));
    }
    let port = uri.port_u16().unwrap_or(80);
    Ok((uri, host, port))
}

/// The addresses the resolver of this pod gives for a name.
pub async fn lookup(Query(name): Query<Name>) -> Response {
    let Some(name) = name.name.filter(|name| !name.is_empty()) else {
        return say(
            StatusCode::BAD_REQUEST,
            "say which name: /lookup?name=backend\n",
        );
    };
    if name.len() > LONGEST_NAME {
        return say(StatusCode::BAD_REQUEST, "no name is that long\n");
    }
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await {
        Ok(Ok(found)) => {
            let mut lines: Vec<_> = found.map(|address| format!("{}\n", address.ip())).collect();
            lines.sort_unstable();
            lines.dedup();
            say(StatusCode::OK, lines.concat())
        }
        Ok(Err(error)) => say(StatusCode::NOT_FOUND, format!("{name}: {error}\n")),
        Err(_) => say(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "{name}: the resolver did not answer within {} s\n",
                PATIENCE.as_secs()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_services_are_understood() {
        let parts = |url: &str| {
            let (uri, host, port) = address(url).unwrap();
            (uri.path().to_owned(), host, port)
        };
        assert_eq!(
            parts("http://backend.shop:8080/a?b=c"),
            ("/a".into(), "backend.shop".into(), 8080)
        );
        assert_eq!(parts("http://web"), ("/".into(), "web".into(), 80));
        assert_eq!(parts("http://[::1]:81/"), ("/".into(), "::1".into(), 81));
        for wrong in [
            "backend",
            "backend:80",
            "https://x/",
            "/path",
            "http://",
            "ftp://x",
            "a b",
        ] {
            let error = address(wrong).unwrap_err();
            assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
