//! One request, from the rule to the endpoint and back.
//!
//! Headers, upgrades, trailers and time limits are the library's (axum-reverse-proxy: kept up,
//! made of the hyper and axum that are here anyway, and its client is ours to choose). Which
//! endpoint, what is believed of a client, and what is said on failure is decided here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum_reverse_proxy::{HostBehaviour, ProxyError, ProxyPolicy, ReverseProxy};
use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::backends::Protocol;
use crate::listen::Scheme;
use crate::pages;
use crate::state::{State, Verdict};
use crate::upload::Upload;

/// Longest for a connection to an endpoint, and for the head of its answer after the request
/// has last moved: what ingress-nginx waits.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// How long connections to endpoints are kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// What only we may say of a client: it could claim to be anybody.
const OURS: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-real-ip",
];

type HttpClient = Client<HttpConnector, Body>;

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    pub peer: SocketAddr,
    pub scheme: Scheme,
    /// The port it came to.
    pub port: u16,
}

/// See the file's head. Cheap to clone.
#[derive(Clone)]
pub struct Proxy {
    state: Arc<State>,
    http1: HttpClient,
    h2c: HttpClient,
}

impl Proxy {
    pub fn new(state: Arc<State>) -> Proxy {
        let client = |h2c: bool| {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(CONNECT));
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .http2_only(h2c)
                .build(connector)
        };
        Proxy {
            state,
            http1: client(false),
            h2c: client(true),
        }
    }

    /// Answers a request, with an endpoint's answer or with a page that says why not.
    pub async fn answer(&self, mut request: Request<Body>, visitor: Visitor) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if request.method() == Method::CONNECT || !path.starts_with('/') {
            return pages::bad_request();
        }
        let host = host(&request);
        let (route, choice) = match self.state.decide(&host, &path) {
            Verdict::Go(route, choice) => (route, choice),
            Verdict::Dead(route, missing) => return pages::dead(&route, &missing),
            Verdict::Resource(route) => return pages::resource(&route),
            Verdict::NoRule => return pages::no_rule(&host, &path),
            Verdict::NotYet => return pages::not_yet(),
        };
        introduce(&mut request, visitor);
        let client = match choice.protocol {
            Protocol::Http1 => &self.http1,
            Protocol::H2c => &self.h2c,
        };
        let policy = ProxyPolicy::new()
            .with_host_behaviour(HostBehaviour::Preserve)
            .with_public_scheme(visitor.scheme.name())
            .with_websocket_connect_timeout(ANSWER);
        let (parts, body) = request.into_parts();
        let upload = Upload::new(body);
        let mut failed = pages::bad_request();
        for endpoint in &choice.endpoints {
            let request = Request::from_parts(parts.clone(), upload.body());
            let target = format!("http://{endpoint}");
            let proxy = ReverseProxy::new_with_client("", target, client.clone())
                .with_policy(policy.clone());
            let answered = tokio::select! {
                answered = proxy.proxy_request(request) => answered,
                // The library's own limit would cut off whoever sends for longer than that.
                () = upload.stalled(ANSWER) => {
                    let (code, endpoint) = (StatusCode::GATEWAY_TIMEOUT, endpoint.to_string());
                    let why = format!("it was silent for {} seconds", ANSWER.as_secs());
                    return pages::no_answer(code, &route, &endpoint, &why);
                }
            };
            let answered = match answered {
                Ok(answered) => answered,
                Err(never) => match never {},
            };
            let Some(error) = answered.extensions().get::<ProxyError>() else {
                return answered;
            };
            let (code, endpoint) = (answered.status(), endpoint.to_string());
            failed = pages::no_answer(code, &route, &endpoint, error.message());
            // Nobody has seen anything of it yet, so that it is still the first time.
            if !(error.is_connect() && upload.is_untouched()) {
                break;
            }
        }
        failed
    }
}

/// The host a request is for, without its port.
fn host(request: &Request<Body>) -> String {
    let header = || {
        request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
    };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(header).unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    // An IPv6 address stands in brackets.
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name.to_owned(),
        _ => host.to_owned(),
    }
}

/// Says who the client is; the library adds address, host and scheme to an empty page.
fn introduce(request: &mut Request<Body>, visitor: Visitor) {
    let headers = request.headers_mut();
    for name in OURS {
        headers.remove(name);
    }
    let port = HeaderValue::from(visitor.port);
    headers.insert(HeaderName::from_static("x-forwarded-port"), port);
    let peer = SocketAddr::new(visitor.peer.ip().to_canonical(), visitor.peer.port());
    if let Ok(address) = HeaderValue::from_str(&peer.ip().to_string()) {
        headers.insert(HeaderName::from_static("x-real-ip"), address);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_told_without_its_port() {
        let of = |uri: &str, header: &str| {
            let request = Request::get(uri).header(HOST, header);
            host(&request.body(Body::empty()).unwrap())
        };
        assert_eq!(of("/", "shop.example"), "shop.example");
        assert_eq!(of("/", "shop.example:8080"), "shop.example");
        assert_eq!(of("/", "[fd00::1]:8080"), "[fd00::1]");
        assert_eq!(of("/", "[fd00::1]"), "[fd00::1]");
        assert_eq!(of("https://h2.example:443/", "other"), "h2.example");
        assert_eq!(of("/", ""), "");
    }
}
