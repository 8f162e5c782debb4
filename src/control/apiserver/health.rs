//! Health, version and metrics: the paths a probe or a curious person asks.

use axum::Router;
use axum::extract::State;
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

/// Name and outcome of each check of a path, under upstream's names: `etcd` is the store,
/// `informer-sync` the memory that follows it.
fn checks(app: &App, path: &str) -> Vec<(&'static str, bool)> {
    let mut checks = vec![
        ("ping", true),
        ("log", true),
        ("etcd", app.world.store().fault().is_none()),
    ];
    if path == "readyz" {
        checks.push(("informer-sync", !app.following.is_finished()));
        checks.push(("shutdown", !app.stopping.is_cancelled()));
    }
    checks
}

async fn health(State(app): State<App>, request: axum::extract::Request) -> Response {
    let path = request.uri().path().trim_matches('/').to_owned();
    let asked = Parameters::of(request.uri()).ok();
    let all = |name: &str| -> Vec<String> {
        let values = asked.iter().flat_map(|asked| asked.all(name));
        values.map(str::to_owned).collect()
    };
    // Being named is enough, whatever the value.
    let verbose = !all("verbose").is_empty();
    let mut excluded = all("exclude");
    let mut page = String::new();
    let mut bad = false;
    for (name, good) in checks(&app, &path) {
        if excluded.iter().any(|e| e == name) {
            excluded.retain(|e| e != name);
            page.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if good {
            page.push_str(&format!("[+]{name} ok\n"));
        } else {
            bad = true;
            page.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|e| format!("{e:?}")).collect();
        page.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            names.join(", ")
        ));
    }
    if bad {
        page.push_str(&format!("{path} check failed\n"));
        return text(StatusCode::INTERNAL_SERVER_ERROR, page);
    }
    if !verbose {
        return text(StatusCode::OK, "ok".to_owned());
    }
    page.push_str(&format!("{path} check passed\n"));
    text(StatusCode::OK, page)
}

async fn one(State(app): State<App>, request: axum::extract::Request) -> Response {
    let path = request.uri().path().trim_matches('/').to_owned();
    let (path, wanted) = path.split_once('/').unwrap_or((&path, ""));
    match checks(&app, path).iter().find(|(name, _)| *name == wanted) {
        Some((_, true)) => text(StatusCode::OK, "ok".to_owned()),
        Some((name, false)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {name} failed\n"),
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
