//! Building answers: JSON documents, Statuses, warnings.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cadet_api::status::Status;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};

/// A complete answer in JSON.
pub fn json(code: StatusCode, body: impl Into<Bytes>) -> Response {
    with_type(code, "application/json", body)
}

/// A complete answer of any media type. Nothing the API says may be cached on the way.
pub fn with_type(code: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A Status with its own code; a success without one is a 200.
pub fn status(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::OK);
    let mut response = json(code, status.to_json());
    let wait = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    if wait > 0 {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// Most characters of all warnings of an answer, and of each once that is too much;
/// upstream's numbers. Clients give up on longer heads.
const WARNINGS_MAX: usize = 4 * 1024;
const WARNING_MAX: usize = 256;

/// Adds one `Warning` header per sentence; kubectl prints them to the user.
pub fn warn(mut response: Response, warnings: &[String]) -> Response {
    let all: usize = warnings.iter().map(|warning| warning.len()).sum();
    let most = if all > WARNINGS_MAX { WARNING_MAX } else { all };
    let mut left = WARNINGS_MAX;
    for warning in warnings {
        let end = warning
            .char_indices()
            .nth(most)
            .map_or(warning.len(), |(at, _)| at);
        let warning = &warning[..end];
        let Some(rest) = left.checked_sub(warning.len()) else {
            break;
        };
        left = rest;
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{}\"", quote(warning))) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// The inside of a quoted string of a header. Control characters become spaces, and what
/// is not ASCII a question mark: header values are bytes without an encoding.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => out.push(' '),
            c if c.is_ascii() => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_cannot_break_out_of_its_header() {
        let response = warn(
            json(StatusCode::OK, "{}"),
            &[
                "unknown field \"a\\b\"\r\nSet-Cookie: x".to_owned(),
                "zweite größe".to_owned(),
            ],
        );
        let all: Vec<_> = response
            .headers()
            .get_all(WARNING)
            .iter()
            .map(|v| v.to_str().expect("ascii"))
            .collect();
        assert_eq!(
            all,
            [
                "299 - \"unknown field \\\"a\\\\b\\\"  Set-Cookie: x\"",
                "299 - \"zweite gr??e\""
            ]
        );
    }

    #[test]
    fn many_warnings_are_cut_short() {
        let many = vec!["x".repeat(1000); 50];
        let response = warn(json(StatusCode::OK, "{}"), &many);
        let all = response.headers().get_all(WARNING);
        assert_eq!(all.iter().count(), 16);
        assert!(all.iter().all(|value| value.len() < 300));
    }

    #[test]
    fn retry_hints_reach_the_header() {
        let response = status(&Status::too_many_requests(3));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "3");
    }
}
