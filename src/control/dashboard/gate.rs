//! What may pass: who calls us by a name of our own, from a page of our own, for a path of
//! the API that cannot turn against the page. Pure.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::uri::PathAndQuery;

/// Names of the loopback. Any other is somebody else's name that leads here, and a page
/// under it would count as ours (DNS rebinding).
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The name and port by which the browser calls us, `None` if they are not ours. What is
/// returned is safe in a header.
pub fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let named = NAMES.iter().find_map(|name| host.strip_prefix(name))?;
    let port = match named.strip_prefix(':') {
        // A tunnel of the user's own may lead from any port.
        Some(port) => port.parse::<u16>().is_ok_and(|port| port != 0),
        None => named.is_empty(),
    };
    port.then_some(host)
}

/// Whether a request comes from a page of `host`, or from no page at all.
pub fn is_ours(headers: &HeaderMap, host: &str) -> bool {
    match headers.get(ORIGIN) {
        None => true,
        Some(origin) => origin
            .to_str()
            .is_ok_and(|origin| origin.strip_prefix("http://") == Some(host)),
    }
}

/// Whether a path is one of the API that the page may ask for. Pages of proxied pods and
/// Services would be pages of this origin, and could read the token: they do not pass.
pub fn passes(path: &str) -> bool {
    // Names of objects need no escapes, and what is escaped could be anything.
    if path.contains('%') {
        return false;
    }
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let rest: Vec<&str> = match segments.next() {
        Some("version") => return segments.next().is_none(),
        Some("api") => segments.skip(1).collect(),
        Some("apis") => segments.skip(2).collect(),
        _ => return false,
    };
    let object = match rest.as_slice() {
        ["namespaces", _, plural, rest @ ..] if *plural != "status" => rest,
        [_, rest @ ..] => rest,
        [] => rest.as_slice(),
    };
    // Once there was also /api/v1/proxy/…
    object.get(1) != Some(&"proxy") && rest.first() != Some(&"proxy")
}

/// A path and query to be watched.
pub fn watchable(text: &str) -> Option<PathAndQuery> {
    let path: PathAndQuery = text.parse().ok()?;
    let watches = |pair: &str| matches!(pair, "watch=true" | "watch=1");
    let asks = path.query()?.split('&').any(watches);
    (text.starts_with("/api") && asks && passes(path.path())).then_some(path)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(host: &'static str, origin: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn only_names_of_the_loopback_are_ours() {
        for good in ["127.0.0.1:10270", "localhost", "localhost:9", "[::1]:10270"] {
            assert_eq!(host(&headers(good, None)), Some(good));
        }
        for bad in [
            "evil.example:10270",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "localhost:0",
            "localhost:80;x",
            "localhost:",
            "127.0.0.1@evil",
            "",
        ] {
            assert_eq!(host(&headers(bad, None)), None, "{bad}");
        }
        assert_eq!(host(&HeaderMap::new()), None);
    }

    #[test]
    fn other_pages_are_not_answered() {
        let from = |origin| is_ours(&headers("localhost:1", origin), "localhost:1");
        assert!(from(None));
        assert!(from(Some("http://localhost:1")));
        for other in [
            "http://localhost:2",
            "https://localhost:1",
            "http://evil.example",
            "null",
        ] {
            assert!(!from(Some(other)), "{other}");
        }
    }

    #[test]
    fn the_api_passes_and_proxies_do_not() {
        for good in [
            "/version",
            "/api",
            "/apis",
            "/api/v1/pods",
            "/api/v1/namespaces/proxy",
            "/api/v1/namespaces/proxy/pods/proxy/log",
            "/api/v1/namespaces/a/pods/x/exec",
            "/api/v1/nodes/proxy",
            "/apis/apps/v1/namespaces/a/deployments/web/scale",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        ] {
            assert!(passes(good), "{good}");
        }
        for bad in [
            "/",
            "/metrics",
            "/version/x",
            "/openapi/v2",
            "/api/v1/namespaces/a/pods/x/proxy",
            "/api/v1/namespaces/a/pods/x/proxy/page",
            "/api/v1//namespaces/a//services/x:80/proxy/",
            "/api/v1/namespaces/a/services/x/%70roxy/",
            "/api/v1/nodes/n/proxy/logs/",
            "/api/v1/proxy/namespaces/a/pods/x",
        ] {
            assert!(!passes(bad), "{bad}");
        }
    }

    #[test]
    fn only_watches_are_bundled() {
        assert!(watchable("/api/v1/pods?watch=true&resourceVersion=7").is_some());
        for bad in [
            "/api/v1/pods",
            "/api/v1/pods?x=watch=true",
            "/api/v1/nodes/n/proxy/?watch=true",
            "http://evil.example/api/v1/pods?watch=true",
            "/watch?watch=true",
            "",
        ] {
            assert!(watchable(bad).is_none(), "{bad}");
        }
    }
}
