//! proxy of pods, Services and nodes: the request goes on, the answer comes back.

use axum::body::Body;
use axum::response::Response;
use cadet_api::status::Status;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, StatusCode, Uri};

use super::{Arrived, backend, tunnel};
use crate::call::ObjectCall;
use crate::respond;

/// Headers about one connection only (RFC 9110, section 7.6.1, and older usage).
static ONE_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
];

pub async fn run(call: &ObjectCall, arrived: Arrived) -> Result<Response, Status> {
    let (prefix, rest) = split(arrived.uri.path());
    let upgrading = tunnel::asked_for(&call.headers);
    let browses = matches!(arrived.method, Method::GET | Method::HEAD);
    if rest.is_empty() && browses && !upgrading {
        // Relative links of a page need the slash (upstream issue 4958).
        return Ok(moved(&format!("{prefix}/"), arrived.uri.query()));
    }
    let peer = backend::peer(call)?;
    let target = with_query(
        if rest.is_empty() { "/" } else { rest },
        arrived.uri.query(),
    );
    let mut request = Request::builder()
        .method(arrived.method.clone())
        .uri(target)
        .body(arrived.body)
        .map_err(|error| Status::bad_request(error.to_string()))?;
    *request.headers_mut() = onward(&call.headers, &arrived.uri, upgrading);
    let client = match upgrading {
        true => Some(tunnel::client_half(arrived.upgrade, &call.headers)?),
        false => None,
    };
    let answer = peer
        .send(request)
        .await
        .map_err(|error| Status::unavailable(format!("error trying to reach service: {error}")))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = client.ok_or_else(|| {
            Status::internal("the proxied server switched protocols without being asked")
        })?;
        return Ok(tunnel::join(client, answer, call.app.stopping.clone()));
    }
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    if let Some(location) = parts.headers.get(LOCATION)
        && let Some(rewritten) = rewrite(location, prefix, &peer.host)
    {
        parts.headers.insert(LOCATION, rewritten);
    }
    // The version is a matter of each connection.
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    Ok(response)
}

/// The path up to and with `/proxy`, and what follows, as the client wrote it.
fn split(path: &str) -> (&str, &str) {
    let mut segments = 0;
    let mut wanted = None;
    let mut inside = false;
    for (at, byte) in path.bytes().enumerate() {
        if byte == b'/' {
            if inside && wanted == Some(segments) {
                return path.split_at(at);
            }
            inside = false;
            continue;
        }
        if !inside {
            inside = true;
            segments += 1;
            if segments == 3 {
                // api / v1 / namespaces / NS / KIND / NAME / proxy, or api / v1 / nodes /
                // NAME / proxy.
                let namespaced = path.get(at..).is_some_and(|p| p.starts_with("namespaces/"));
                wanted = Some(if namespaced { 7 } else { 5 });
            }
        }
    }
    (path, "")
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn moved(path: &str, query: Option<&str>) -> Response {
    let mut response = respond::with_type(StatusCode::MOVED_PERMANENTLY, "text/plain", "");
    if let Ok(location) = HeaderValue::from_str(&with_query(path, query)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Removes what is about one connection, by the book and by the message's own list.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&ONE_HOP) {
        headers.remove(name);
    }
}

/// The client's headers for the proxied server: not his credentials, which are for us.
fn onward(headers: &HeaderMap, uri: &Uri, upgrading: bool) -> HeaderMap {
    let mut kept = headers.clone();
    strip(&mut kept);
    kept.remove(AUTHORIZATION);
    let impersonation: Vec<HeaderName> = kept
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in impersonation {
        kept.remove(name);
    }
    if upgrading {
        for (name, value) in tunnel::handshake(headers) {
            if let Some(name) = name {
                kept.insert(name, value);
            }
        }
    }
    // HTTP/2 names the host in the request's target.
    if !kept.contains_key(HOST)
        && let Some(host) = uri.authority().and_then(|host| host.as_str().parse().ok())
    {
        kept.insert(HOST, host);
    }
    if let Some(host) = kept.get(HOST).cloned() {
        kept.insert("x-forwarded-host", host);
    }
    if let Ok(path) = uri.path().parse() {
        kept.insert("x-forwarded-uri", path);
    }
    kept.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    kept
}

/// A redirect to the proxied server itself leads through the proxy again.
fn rewrite(location: &HeaderValue, prefix: &str, host: &str) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    let path = match text.parse::<Uri>() {
        Ok(uri) if uri.host() == Some(host) => uri
            .path_and_query()
            .map_or("/".to_owned(), ToString::to_string),
        Ok(uri) if uri.host().is_none() && text.starts_with('/') => text.to_owned(),
        _ => return None,
    };
    HeaderValue::from_str(&format!("{prefix}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_proxy_stays_as_it_was_written() {
        let pod = "/api/v1/namespaces/a/pods/x:80/proxy";
        assert_eq!(split(pod), (pod, ""));
        let path = format!("{pod}/a%2Fb//c/");
        assert_eq!(split(&path), (pod, "/a%2Fb//c/"));
        let node = "/api/v1/nodes/n/proxy";
        assert_eq!(split("/api/v1/nodes/n/proxy/"), (node, "/"));
        assert_eq!(split("/"), ("/", ""));
    }

    #[test]
    fn redirects_stay_inside_the_proxy() {
        let to = |text: &'static str| {
            let value = rewrite(&HeaderValue::from_static(text), "/p/proxy", "10.0.0.1");
            value.map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(
            to("/login?next=/").as_deref(),
            Some("/p/proxy/login?next=/")
        );
        assert_eq!(to("http://10.0.0.1:80/x").as_deref(), Some("/p/proxy/x"));
        assert_eq!(to("https://example.com/x"), None);
        assert_eq!(to("relative"), None);
    }

    #[test]
    fn credentials_and_connection_headers_stay_here() {
        let mut sent = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "root"),
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("accept", "text/html"),
            ("host", "api:6443"),
        ] {
            sent.insert(name, HeaderValue::from_static(value));
        }
        let uri = "/api/v1/nodes/n/proxy/x".parse().expect("uri");
        let kept = onward(&sent, &uri, false);
        let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "accept",
            "host",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-uri",
        ];
        assert_eq!(names, expected);
    }
}
