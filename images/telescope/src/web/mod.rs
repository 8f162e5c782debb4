//! Routes, the request log and the headers every answer carries.

mod actions;
mod answer;
mod feed;
mod html;
mod pages;
mod visitor;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tracing::info;

use crate::config::Config;
use crate::database::Database;

/// Largest form in bytes: the longest comment, encoded, with room to spare.
const MAX_FORM: usize = 64 << 10;

/// Nothing from elsewhere, no scripts at all, forms only to ourselves.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What every page needs.
pub struct App {
    config: Config,
    database: Database,
}

/// All routes over one database.
pub fn router(config: Config, database: Database) -> Router {
    Router::new()
        .route("/", get(pages::best))
        .route("/new", get(pages::new))
        .route("/submit", get(pages::submit))
        .route("/posts", post(actions::share))
        .route("/posts/{id}", get(pages::post))
        .route("/posts/{id}/vote", post(actions::vote))
        .route("/posts/{id}/comments", post(actions::comment))
        .route("/feed.atom", get(feed::feed))
        .route("/style.css", get(style))
        .route("/telescope.svg", get(picture))
        .route("/favicon.ico", get(picture))
        .route("/healthz", get(healthz))
        .route("/readyz", get(pages::readyz))
        .fallback(pages::nothing_here)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn(headers_and_log))
        .with_state(Arc::new(App { config, database }))
}

/// Alive as long as the process answers; the database is `/readyz`'s business, since
/// restarting us would not bring it back.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn style() -> impl IntoResponse {
    fixed("text/css; charset=utf-8", include_str!("style.css"))
}

async fn picture() -> impl IntoResponse {
    fixed("image/svg+xml", include_str!("telescope.svg"))
}

fn fixed(kind: &'static str, body: &'static str) -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "max-age=60"),
        ],
        body,
    )
}

async fn headers_and_log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let status = response.status();
    // Probes come every few seconds; only their failures are news.
    if !(matches!(path.as_str(), "/healthz" | "/readyz") && status == StatusCode::OK) {
        info!(
            "{method} {path:?} {} {} ms",
            status.as_u16(),
            started.elapsed().as_millis()
        );
    }
    response
}
