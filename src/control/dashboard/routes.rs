//! What is answered at which path, and what every answer says to the browser besides.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{StatusCode, Uri};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{Api, assets, gate, watches};

/// What an answer may do in a browser that is no page: nothing.
const NOTHING: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";
/// The same for every answer.
static ALWAYS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

#[derive(Clone)]
struct Door {
    api: Api,
    shutdown: CancellationToken,
}

/// All routes. `shutdown` ends answers that would go on.
pub fn router(api: Api, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/assets/{name}", get(asset))
        .route("/watch", get(watch))
        .fallback(pass)
        .layer(middleware::from_fn(guard))
        .with_state(Door { api, shutdown })
}

/// Lets in whom the gate lets in, and tells the browser to be strict.
async fn guard(request: Request, next: Next) -> Response {
    let Some(host) = gate::host(request.headers()).map(str::to_owned) else {
        let why = "the dashboard is called 127.0.0.1 or localhost, and answers to no other name";
        return refusal(StatusCode::MISDIRECTED_REQUEST, why);
    };
    if !gate::is_ours(request.headers(), &host) {
        return refusal(StatusCode::FORBIDDEN, "the request comes from another site");
    }
    let is_page = request.uri().path() == "/";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = match is_page {
        true => HeaderValue::try_from(page_policy(&host)).ok(),
        false => None,
    };
    let policy = policy.unwrap_or(HeaderValue::from_static(NOTHING));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// What the page may do: run our modules, and talk to us. Not every browser counts the
/// WebSocket of the same host as 'self'.
fn page_policy(host: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}

fn refusal(code: StatusCode, why: &'static str) -> Response {
    (code, why).into_response()
}

async fn page() -> Response {
    asset(Path("index.html".to_owned())).await
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = assets::find(&name) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such file");
    };
    let mut response = Response::new(Body::from(asset.bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    // Another version of the server brings another page at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `/watch?path=…&path=…`: many watches in one answer.
async fn watch(
    State(door): State<Door>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let paths = query.iter().filter(|(name, _)| name == "path");
    let paths: Option<Vec<_>> = paths.map(|(_, path)| gate::watchable(path)).collect();
    match paths {
        Some(paths) if (1..=watches::MOST).contains(&paths.len()) => {
            let authorization = headers.get(AUTHORIZATION);
            watches::answer(
                &door.api,
                authorization,
                paths,
                watches::BEAT,
                door.shutdown,
            )
        }
        _ => refusal(
            StatusCode::BAD_REQUEST,
            "each `path` must be a watch of the API, and there are 1 to 32 of them",
        ),
    }
}

/// Hands a request for the API on, as it is.
async fn pass(State(door): State<Door>, mut request: Request) -> Response {
    if !gate::passes(request.uri().path()) {
        return refusal(StatusCode::NOT_FOUND, "there is nothing at this path");
    }
    // Whatever form it came in: inside this process there is but one server.
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let Ok(response) = door.api.oneshot(request).await;
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use http::Method;
    use http::header::{HOST, ORIGIN};

    use super::*;

    /// An API that says what it was asked.
    fn echo() -> Api {
        async fn told(request: Request) -> String {
            let token = request.headers().get(AUTHORIZATION);
            let token = token.and_then(|value| value.to_str().ok()).unwrap_or("-");
            format!("{} {} {token}", request.method(), request.uri())
        }
        Api::new(Router::<()>::new().fallback(told))
    }

    async fn ask(method: Method, uri: &str, headers: &[(HeaderName, &str)]) -> (Response, u16) {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().expect("uri");
        let host = HeaderValue::from_static("127.0.0.1:10270");
        request.headers_mut().insert(HOST, host);
        for (name, value) in headers {
            let value = value.parse().expect("value");
            request.headers_mut().insert(name, value);
        }
        let Ok(response) = router(echo(), CancellationToken::new())
            .oneshot(request)
            .await;
        let code = response.status().as_u16();
        (response, code)
    }

    async fn text(response: Response) -> String {
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn the_page_runs_nothing_but_its_own_files() {
        let (response, code) = ask(Method::GET, "/", &[]).await;
        assert_eq!(code, 200);
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str();
        let policy = policy.expect("text").to_owned();
        for wanted in [
            "default-src 'none'",
            "script-src 'self'",
            "ws://127.0.0.1:10270",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(wanted), "{wanted}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!response.headers().contains_key(http::header::SET_COOKIE));
        assert!(text(response).await.contains("<title>"));
    }

    #[tokio::test]
    async fn the_api_is_asked_with_the_pages_own_token() {
        let token = [(AUTHORIZATION, "Bearer t")];
        let (response, _) = ask(Method::GET, "/api/v1/pods?limit=1", &token).await;
        assert_eq!(response.headers()[CONTENT_SECURITY_POLICY], NOTHING);
        assert_eq!(text(response).await, "GET /api/v1/pods?limit=1 Bearer t");
        let path = "/apis/apps/v1/namespaces/a/deployments/w";
        let (response, _) = ask(Method::DELETE, path, &[]).await;
        assert_eq!(text(response).await, format!("DELETE {path} -"));
    }

    #[tokio::test]
    async fn what_is_not_ours_is_refused() {
        for (uri, headers, wanted) in [
            ("/", vec![(HOST, "evil.example")], 421),
            ("/api/v1/pods", vec![(ORIGIN, "http://evil.example")], 403),
            (
                "/api/v1/pods",
                vec![(ORIGIN, "http://127.0.0.1:10270")],
                200,
            ),
            ("/api/v1/nodes/n/proxy/", vec![], 404),
            ("/metrics", vec![], 404),
            ("/assets/..%2flib.rs", vec![], 404),
            ("/assets/none.js", vec![], 404),
            ("/watch", vec![], 400),
            ("/watch?path=/api/v1/pods", vec![], 400),
            ("/watch?path=/api/v1/pods%3Fwatch=true", vec![], 200),
        ] {
            let (_, code) = ask(Method::GET, uri, &headers).await;
            assert_eq!(code, wanted, "{uri} {headers:?}");
        }
    }
}
