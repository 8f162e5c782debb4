//! Documents about the API: discovery in three forms, OpenAPI v3, and an empty v2.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use cadet_api::status::Status;
use cadet_api::{discovery, openapi, resource};
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::descriptions;
use crate::negotiate::{self, DiscoveryForm};
use crate::respond;

/// Bytes of the hash in an ETag.
const HASH_BYTES: usize = 16;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(root))
        .route("/api", get(core_group))
        .route("/apis", get(named_groups))
        .route("/api/{version}", get(core_version))
        .route("/apis/{group}", get(named_group))
        .route("/apis/{group}/{version}", get(named_version))
        .route("/openapi/v2", get(openapi_v2))
        .route("/openapi/v3", get(openapi_index))
        .route("/openapi/v3/{*path}", get(openapi_document))
}

async fn root(State(app): State<App>) -> Response {
    let rows = app.world.kinds().rows();
    let mut paths: Vec<String> = vec!["/api".into(), "/apis".into()];
    for (group, versions) in resource::groups(&rows) {
        for version in versions {
            paths.push(match group {
                "" => format!("/api/{version}"),
                group => format!("/apis/{group}/{version}"),
            });
        }
    }
    for path in [
        "/.well-known/openid-configuration",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ] {
        paths.push(path.to_owned());
    }
    respond::json(StatusCode::OK, json!({"paths": paths}).to_string())
}

async fn core_group(State(app): State<App>, headers: HeaderMap) -> Response {
    let address = app.config.advertise.to_string();
    let rows = app.world.kinds().rows();
    let aggregated = |version: &str| discovery::aggregated_core(&rows, version);
    groups(&headers, aggregated, || {
        discovery::api_versions(&rows, &address)
    })
}

async fn named_groups(State(app): State<App>, headers: HeaderMap) -> Response {
    let rows = app.world.kinds().rows();
    let aggregated = |version: &str| discovery::aggregated_groups(&rows, version);
    groups(&headers, aggregated, || discovery::group_list(&rows))
}

fn groups(
    headers: &HeaderMap,
    aggregated: impl Fn(&str) -> Value,
    legacy: impl Fn() -> Value,
) -> Response {
    let (media, document) = match negotiate::discovery_form(headers) {
        Err(status) => return respond::status(&status),
        Ok(DiscoveryForm::Legacy) => ("application/json", legacy()),
        Ok(DiscoveryForm::Aggregated("v2beta1")) => {
            (discovery::AGGREGATED_V2BETA1, aggregated("v2beta1"))
        }
        Ok(DiscoveryForm::Aggregated(_)) => (discovery::AGGREGATED_V2, aggregated("v2")),
    };
    tagged(headers, media, document.to_string())
}

async fn core_version(
    State(app): State<App>,
    headers: HeaderMap,
    Path(version): Path<String>,
) -> Response {
    resources(&app, &headers, "", &version)
}

async fn named_version(
    State(app): State<App>,
    headers: HeaderMap,
    Path((group, version)): Path<(String, String)>,
) -> Response {
    resources(&app, &headers, &group, &version)
}

fn resources(app: &App, headers: &HeaderMap, group: &str, version: &str) -> Response {
    match discovery::resource_list(&app.world.kinds().rows(), group, version) {
        Some(document) => plain(headers, &document),
        None => respond::status(&Status::no_such_path()),
    }
}

async fn named_group(
    State(app): State<App>,
    headers: HeaderMap,
    Path(group): Path<String>,
) -> Response {
    match discovery::group(&app.world.kinds().rows(), &group) {
        Some(document) => plain(&headers, &document),
        None => respond::status(&Status::no_such_path()),
    }
}

/// kubectl needs this path to exist and is content with an empty protobuf message, which
/// has no bytes (true of kubectl 1.27 to 1.36). It asks for nothing in it that v3 lacks.
async fn openapi_v2() -> Response {
    let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    respond::with_type(StatusCode::OK, media, "")
}

async fn openapi_index(State(app): State<App>, headers: HeaderMap) -> Response {
    plain(&headers, &openapi::index(&app.world.kinds().rows()))
}

async fn openapi_document(
    State(app): State<App>,
    headers: HeaderMap,
    Path(path): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let rows = app.world.kinds().rows();
    let parts: Vec<&str> = path.split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return respond::status(&Status::no_such_path()),
    };
    let words = descriptions::unpack();
    let Some(document) = openapi::document(&rows, group, version, &words) else {
        return respond::status(&Status::no_such_path());
    };
    let mut response = plain(&headers, &document);
    // What lies under its hash never changes: kubectl keeps it on disk and asks no more.
    if asked.hash.is_some() && asked.hash == openapi::hash(&rows, group, version) {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(CACHE_CONTROL, forever);
    }
    response
}

#[derive(serde::Deserialize)]
struct Asked {
    hash: Option<String>,
}

fn plain(headers: &HeaderMap, document: &Value) -> Response {
    if let Err(status) = negotiate::json_only(headers) {
        return respond::status(&status);
    }
    tagged(headers, "application/json", document.to_string())
}

/// An answer that a client need not fetch twice.
fn tagged(headers: &HeaderMap, media: &'static str, body: String) -> Response {
    let tag = format!("\"{}\"", hash(&body));
    let same = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match same {
        true => {
            let mut empty = Response::new(axum::body::Body::empty());
            *empty.status_mut() = StatusCode::NOT_MODIFIED;
            empty
        }
        false => respond::with_type(StatusCode::OK, media, body),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(HASH_BYTES)
        .map(|byte| format!("{byte:02X}"))
        .collect()
}
