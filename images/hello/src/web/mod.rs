//! Routes, the request log, and what all handlers share.

mod configuration;
mod files;
mod greeting;
mod health;
mod html;
mod network;
mod work;

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::Stop;
use crate::access_log::{AccessLog, Entry};
use crate::config::Config;

/// Requests that burn CPU at one time; the others wait, as they would for processors.
const BURNERS: usize = 32;

/// What every handler may need.
pub struct App {
    config: Config,
    log: AccessLog,
    stop: Arc<Stop>,
    /// What `/healthz` and `/readyz` answer; lessons turn them off.
    healthy: AtomicBool,
    ready: AtomicBool,
    burners: Semaphore,
}

/// The app as handlers get it.
type Shared = State<Arc<App>>;

impl App {
    pub fn new(config: Config, log: AccessLog, stop: Arc<Stop>) -> Arc<Self> {
        Arc::new(Self {
            config,
            log,
            stop,
            healthy: AtomicBool::new(true),
            ready: AtomicBool::new(true),
            burners: Semaphore::new(BURNERS),
        })
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow() != crate::State::Runs
    }
}

/// Serves until the program is to stop and open requests have been answered.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    mut stopping: watch::Receiver<crate::State>,
) -> io::Result<()> {
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move { crate::stopped(&mut stopping).await })
        .into_future()
        .await
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(greeting::greet))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/health", post(health::set_health))
        .route("/ready", post(health::set_ready))
        .route("/env", get(configuration::env))
        .route("/headers", get(configuration::headers))
        .route("/file", get(files::read).post(files::write))
        .route("/fetch", get(network::fetch))
        .route("/lookup", get(network::lookup))
        .route("/burn", get(work::burn))
        .route("/exit", get(work::exit))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(files::LARGEST))
        .layer(from_fn_with_state(app.clone(), log))
        .with_state(app)
}

async fn nothing_here() -> Response {
    const PATHS: &str = "There is nothing here. There is: / /healthz /readyz /env /headers \
                         /file?path= /fetch?url= /lookup?name= /burn?ms= /exit?code= and, \
                         by POST, /ready?state=off /health?state=off /file?path=\n";
    say(StatusCode::NOT_FOUND, PATHS)
}

/// A plain answer.
fn say(status: StatusCode, text: impl Into<String>) -> Response {
    (status, text.into()).into_response()
}

async fn log(
    State(app): Shared,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let target = request.uri().clone();
    let version = request.version();
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let status = response.status();
    // Probes come every few seconds; only their failures are news.
    let quiet = matches!(target.path(), "/healthz" | "/readyz") && status == StatusCode::OK;
    if !quiet {
        let target = target
            .path_and_query()
            .map_or(target.path(), |whole| whole.as_str());
        app.log.write(&Entry {
            client: client.ip(),
            method: method.as_str(),
            target,
            version: &format!("{version:?}"),
            status: status.as_u16(),
            bytes: response.body().size_hint().exact(),
        });
    }
    response
}
