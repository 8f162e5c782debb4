//! Health, version and metrics: the paths a probe or a curious person asks.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::query::Parameters;
use crate::respond;

/// The Kubernetes minor version whose API we speak. kubectl compares it with its own; the
/// kubectl of some SDKs even picks which program to run by it.
const MAJOR: &str = "1";
const MINOR: &str = "36";

/// What `/version` calls the server.
pub fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.0+cadet.{}", env!("CARGO_PKG_VERSION"))
}

pub fn routes() -> Router<App> {
    Router::new()
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/livez", get(health))
        .route("/readyz", get(health))
        .route("/healthz/{check}", get(one))
        .route("/livez/{check}", get(one))
        .route("/readyz/{check}", get(one))
}

async fn version() -> Response {
    let platform = format!("{}/{}", std::env::consts::OS, go_arch());
    let document = json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform,
    });
    respond::json(StatusCode::OK, document.to_string())
}

/// The processor by the name Go and image registries use.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Name and outcome of each check.
fn checks(app: &App) -> [(&'static str, bool); 4] {
    // Upstream's name for it where it is upstream's store.
    let store = if app.is_shared() { "etcd" } else { "store" };
    [
        ("ping", true),
        (store, app.world.store().fault().is_none()),
        ("world", !app.following.is_finished()),
        ("shutdown", !app.stopping.is_cancelled()),
    ]
}

async fn health(State(app): State<App>, request: axum::extract::Request) -> Response {
    let checks = checks(&app);
    let bad = checks.iter().any(|(_, good)| !good);
    let verbose = Parameters::of(request.uri()).is_ok_and(|p| p.flag("verbose"));
    let path = request.uri().path().trim_matches('/').to_owned();
    let mut page = String::new();
    if verbose || bad {
        for (name, good) in checks {
            page.push_str(&match good {
                true => format!("[+]{name} ok\n"),
                false => format!("[-]{name} failed\n"),
            });
        }
        page.push_str(&format!(
            "{path} check {}\n",
            if bad { "failed" } else { "passed" }
        ));
    } else {
        page.push_str("ok");
    }
    let code = if bad {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    text(code, page)
}

async fn one(State(app): State<App>, Path(wanted): Path<String>) -> Response {
    match checks(&app).iter().find(|(name, _)| *name == wanted) {
        Some((_, true)) => text(StatusCode::OK, "ok".to_owned()),
        Some((name, false)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("[-]{name} failed\n"),
        ),
        None => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

async fn metrics(State(app): State<App>) -> Response {
    respond::with_type(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        app.metrics.page(&app.world),
    )
}

fn text(code: StatusCode, page: String) -> Response {
    respond::with_type(code, "text/plain; charset=utf-8", page)
}
