//! The API server as a value: its world, its settings, and the way every request takes.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use cadet_api::status::Status;
use cadet_store::Store;
use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::rbac::Rbac;
use crate::access::token::{self, Keys};
use crate::access::{self, Attributes, User};
use crate::addresses::Addresses;
use crate::admission::Ledger;
use crate::call::Call;
use crate::inflight::InFlight;
use crate::journal::{self, Journal, Trail};
use crate::metrics::{Asked, Metrics};
use crate::object::BadRecord;
use crate::ports::NodePorts;
use crate::query::Parameters;
use crate::target::{Reference, Target};
use crate::usage::Usage;
use crate::webhooks::Hooks;
use crate::world::World;
use crate::{
    bootstrap, connect, definitions, documents, endpoints, expiry, freshness, handlers, health,
    openid, quota_status, respond, story,
};

/// What the server must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Range of Service cluster IPs, IPv4, e.g. `10.96.0.0/12`.
    pub service_cidr: String,
    /// Where nodes and pods reach this server; written into the `kubernetes` Endpoints.
    pub advertise: SocketAddr,
    /// How kubelets are reached (for logs): trust and client certificate. Without it such
    /// requests are refused with a 503.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    /// Signs and verifies tokens of service accounts. Without it there are none.
    pub token_keys: Option<Arc<Keys>>,
    /// The authority clients are to trust, PEM; handed out with tokens.
    pub authority: String,
    /// Whether agents are asked what is used, for `metrics.k8s.io`.
    pub metrics: bool,
    /// How many changes a watch can resume over.
    pub watch_window: usize,
    /// How many changes a watch may fall behind before it is cut.
    pub watch_buffer: usize,
    /// How often a watch that wants bookmarks gets one.
    pub bookmark_every: Duration,
    /// Longest a client may take for the TLS handshake, and for the head of each request;
    /// the first must come in that time too, whatever the protocol.
    pub head_timeout: Duration,
    /// How many requests are answered at once, and how long one more waits for its turn.
    pub in_flight: (usize, Duration),
}

impl Config {
    /// The usual sizes: a window of 10 000 changes, buffers of 1 000, a bookmark a minute,
    /// upstream's patience.
    pub fn new(service_cidr: impl Into<String>, advertise: SocketAddr) -> Config {
        Config {
            service_cidr: service_cidr.into(),
            advertise,
            kubelet_tls: None,
            token_keys: None,
            authority: String::new(),
            metrics: true,
            watch_window: 10_000,
            watch_buffer: 1_000,
            bookmark_every: Duration::from_secs(60),
            head_timeout: Duration::from_secs(32),
            // Upstream's two limits together, and the longest wait in its queues.
            in_flight: (600, Duration::from_secs(15)),
        }
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("load the cluster's objects: {0}")]
    Load(#[from] BadRecord),
    #[error("service range {cidr:?}: {reason}")]
    ServiceRange { cidr: String, reason: String },
    #[error("make {what}: {status}")]
    Bootstrap { what: String, status: Status },
}

/// Longest an ordinary request may take; upstream's limit. Watches and logs are exempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest until a proxied server or an agent begins to answer.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);

/// What all clones of an [`App`] share.
pub struct Inner {
    pub(crate) config: Config,
    pub(crate) world: Arc<World>,
    pub(crate) rbac: Rbac,
    pub(crate) addresses: Addresses,
    pub(crate) node_ports: NodePorts,
    pub(crate) ledger: Ledger,
    pub(crate) hooks: Hooks,
    pub(crate) usage: Usage,
    pub(crate) metrics: Metrics,
    pub(crate) journal: Journal,
    pub(crate) in_flight: InFlight,
    pub(crate) stopping: CancellationToken,
    /// Ends only by a panic, a defect that health tells.
    pub(crate) following: JoinHandle<()>,
}

/// The API server. Cheap to clone; all clones are one server.
#[derive(Clone)]
pub struct App(Arc<Inner>);

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Loads everything from the store, starts following it, and makes what every cluster
    /// has (the first namespaces, the `kubernetes` Service). Needs a tokio runtime.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<App, StartError> {
        let addresses =
            Addresses::new(&config.service_cidr).map_err(|reason| StartError::ServiceRange {
                cidr: config.service_cidr.clone(),
                reason,
            })?;
        let world = World::load(store, config.watch_window, config.watch_buffer)?;
        let world = Arc::new(world);
        let following = tokio::spawn(World::follow(Arc::downgrade(&world)));
        let (limit, patience) = config.in_flight;
        let journal = Journal::new(config.watch_window);
        let app = App(Arc::new(Inner {
            config,
            world,
            rbac: Rbac::default(),
            addresses,
            node_ports: NodePorts::default(),
            ledger: Ledger::default(),
            hooks: Hooks::default(),
            usage: Usage::default(),
            metrics: Metrics::default(),
            journal,
            in_flight: InFlight::new(limit, patience),
            stopping: CancellationToken::new(),
            following,
        }));
        bootstrap::run(&app).await?;
        if !app.world.is_shared() {
            let (app, stopping) = (app.clone(), app.stopping.clone());
            tokio::spawn(async move { app.run_loops(stopping).await });
        }
        Ok(app)
    }

    /// The background work that one server does for all, until `shutdown`. A server alone
    /// on its store does it by itself; of several the elected one calls this.
    pub async fn run_loops(&self, shutdown: CancellationToken) {
        tokio::join!(
            expiry::run(self.clone(), shutdown.clone()),
            definitions::run(self.clone(), shutdown.clone()),
            quota_status::run(self.clone(), shutdown),
        );
    }

    /// Whether other servers serve the same cluster from the same store.
    pub fn is_shared(&self) -> bool {
        self.world.is_shared()
    }

    /// Where others serve too: keeps this server among the endpoints of `kubernetes`, takes
    /// those away that are gone, and itself at `shutdown`.
    pub async fn keep_among_endpoints(&self, shutdown: CancellationToken) {
        endpoints::run(self, shutdown).await;
    }

    /// The routes, for a caller who has put an `Arc` of a [`User`] into the request's
    /// extensions; without one the request is anonymous.
    pub fn router(&self) -> Router {
        Router::new()
            .merge(health::routes())
            .merge(documents::routes())
            .merge(openid::routes())
            .merge(journal::routes())
            .merge(story::routes())
            .fallback(resources)
            .layer(axum::middleware::from_fn_with_state(self.clone(), guard))
            .with_state(self.clone())
    }

    /// Ends all watches and the background work. Reads and writes still work afterwards.
    pub fn stop(&self) {
        self.stopping.cancel();
    }
}

/// Who asks: the connection's certificate, a bearer token, nobody; perhaps in the name of
/// somebody else.
fn identify(app: &App, request: &Request) -> Result<Arc<User>, Status> {
    let shown = request.extensions().get::<Arc<User>>().cloned();
    let mut user = shown.unwrap_or_else(|| Arc::new(User::anonymous()));
    if user.is_anonymous()
        && let Some(value) = request.headers().get(http::header::AUTHORIZATION)
    {
        let token = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer "));
        let known = match (token, &app.config.token_keys) {
            (Some(token), Some(keys)) => {
                token::authenticate(&app.world, keys, token.trim(), &[]).map(|(user, _)| user)
            }
            _ => None,
        };
        user = Arc::new(known.ok_or_else(Status::unauthorized)?);
    }
    let headers = request.headers();
    match access::impersonated(&app.world, &app.rbac, &user, headers)? {
        Some(other) => Ok(Arc::new(other)),
        None => Ok(user),
    }
}

/// Whether a request comes without a certificate and without a token.
fn is_nobody(request: &Request) -> bool {
    let shown = request.extensions().get::<Arc<User>>();
    shown.is_none_or(|user| user.is_anonymous())
        && !request.headers().contains_key(http::header::AUTHORIZATION)
}

/// What each request passes before it is routed: no panic gets out, nobody gets in who may
/// not, everything is counted.
async fn guard(
    State(app): State<App>,
    mut request: Request,
    next: axum::middleware::Next,
) -> Response {
    if let Err(status) = access::move_token(request.headers_mut()) {
        return respond::status(&status);
    }
    let mut target = Target::of(request.uri().path(), app.world.kinds());
    let parameters = match Parameters::of(request.uri()) {
        Ok(parameters) => parameters,
        Err(status) => return respond::status(&status),
    };
    // Who shows no name at all does not make us ask the store.
    let newest = match is_nobody(&request) {
        true => Ok(()),
        false => freshness::ensure(&app, request.method(), &target, &parameters).await,
    };
    if matches!(target, Target::Unknown { .. }) && app.world.is_shared() {
        // Perhaps another server has just taken in its definition.
        target = Target::of(request.uri().path(), app.world.kinds());
    }
    let verb = target.verb(request.method(), parameters.flag("watch"));
    let user = match identify(&app, &request) {
        Ok(user) => user,
        Err(status) => return respond::status(&status),
    };
    let path = request.uri().path().to_owned();
    let (asked, began) = (Asked::of(verb, &target), Instant::now());
    let trail = Trail::of(&request, &user, &target, &parameters, asked);
    let attributes = Attributes {
        user: &user,
        verb,
        target: &target,
        path: &path,
        field_selector: parameters.get("fieldSelector"),
    };
    let response = match access::authorize(&app.world, &app.rbac, &attributes) {
        Err(status) => respond::status(&status),
        Ok(()) => {
            let call = Call {
                app: app.clone(),
                user: Arc::clone(&user),
                target,
                parameters,
                verb,
            };
            // Whoever answers for us has limits of his own.
            let limit = match &call.target {
                Target::Object(Reference {
                    subresource: Some(subresource),
                    ..
                }) if connect::leads_elsewhere(subresource) => ELSEWHERE_TIMEOUT,
                _ => REQUEST_TIMEOUT,
            };
            let stays = limit == ELSEWHERE_TIMEOUT || verb == "watch";
            let place = match stays || !matches!(call.target, Target::Object(_)) {
                true => Ok(None),
                false => app.in_flight.enter(&user).await,
            };
            match place {
                Err(status) => respond::status(&status),
                Ok(_place) => {
                    let answering = answer(request, &path, call, next, limit);
                    journal::follow(trail.clone(), answering).await
                }
            }
        }
    };
    tracing::debug!(user = %user.name, verb, %path, code = response.status().as_u16(), "request");
    let code = response.status().as_u16();
    app.metrics.count(asked, code, began.elapsed());
    if let Some(trail) = trail {
        trail.answered(&app, code);
    }
    match newest {
        // Old news beat none, but whoever reads them is told.
        Err(error) if matches!(verb, "get" | "list" | "watch") => {
            let why = format!("the answer may be out of date: {error}");
            respond::warn(response, &[why])
        }
        _ => response,
    }
}

/// The answer to a request that was let in, within its time.
async fn answer(
    mut request: Request,
    path: &str,
    call: Call,
    next: axum::middleware::Next,
    limit: Duration,
) -> Response {
    let verb = call.verb;
    request.extensions_mut().insert(call);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            tracing::error!(path, verb, "a handler panicked");
            let why = "the server hit a defect of its own; its log says where";
            respond::status(&Status::internal(why))
        }
        Err(_) => respond::status(&Status::timeout("request did not complete within 60s")),
    }
}

/// Everything that is an object or a collection.
async fn resources(request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(call) = parts.extensions.remove::<Call>() else {
        return respond::status(&Status::internal("the request was not authorized"));
    };
    match handlers::dispatch(call, parts, body).await {
        Ok(response) => response,
        Err(status) => respond::status(&status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use cadet_store::{LocalStore, MemoryDisk, Options};
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_defect_in_a_handler_is_a_500_and_the_server_goes_on() {
        let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
        let config = Config::new("10.96.0.0/12", "127.0.0.1:6443".parse().expect("address"));
        let app = App::start(config, Arc::new(store)).await.expect("start");
        async fn defect() -> Response {
            panic!("a defect")
        }
        let router: Router = Router::new()
            .route("/version", get(defect))
            .layer(axum::middleware::from_fn_with_state(app.clone(), guard));
        for _ in 0..2 {
            let request = Request::get("/version").body(axum::body::Body::empty());
            let response = router.clone().oneshot(request.expect("request")).await;
            assert_eq!(response.map(|r| r.status().as_u16()), Ok(500));
        }
        let page = app.metrics.page(&app.world);
        let line = page.lines().find(|line| line.contains("code=\"500\""));
        assert!(line.is_some_and(|line| line.ends_with(" 2")), "{page}");
    }
}
