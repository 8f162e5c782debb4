//! OpenID discovery for tokens of service accounts: who signs them and with which key, for
//! others who are shown such a token (KEP-1393).

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use cadet_api::status::Status;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::{Value, json};

use crate::access::token::ISSUER;
use crate::app::App;
use crate::respond;

const KEYS: &str = "/openid/v1/jwks";
/// How long the documents may be kept; upstream's figure.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=3600");

pub fn routes() -> Router<App> {
    Router::new()
        .route("/.well-known/openid-configuration", get(configuration))
        .route(KEYS, get(keys))
}

async fn configuration(State(app): State<App>) -> Response {
    if app.config.token_keys.is_none() {
        return respond::status(&Status::no_such_path());
    }
    let here = app.config.advertise;
    let document = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("https://{here}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    answer("application/json", &document)
}

async fn keys(State(app): State<App>) -> Response {
    match &app.config.token_keys {
        Some(keys) => answer("application/jwk-set+json", &keys.jwks()),
        None => respond::status(&Status::no_such_path()),
    }
}

fn answer(media: &'static str, document: &Value) -> Response {
    let mut response = respond::with_type(StatusCode::OK, media, document.to_string());
    response.headers_mut().insert(CACHE_CONTROL, KEEP);
    response
}
