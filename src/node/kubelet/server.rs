//! The kubelet's own HTTPS server: logs, exec and its kin, health, the list of pods. Only the API server
//! and administrators get in, by client certificate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State as Extract};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::core::v1::Pod;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect;
use crate::local_volumes;
use crate::logs::{LogError, LogRequest, open};
use crate::pods::PodTable;
use crate::pressure;
use crate::runtime::{Runtime, RuntimeError};
use crate::stats::Stats;

/// Longest a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Common name of the API server's certificate towards kubelets.
const APISERVER: &str = "kube-apiserver-kubelet-client";
/// Group whose members may do everything.
const ADMINS: &str = "system:masters";

/// Certificates of the server, PEM.
#[derive(Clone)]
pub struct ServerTls {
    /// Authority client certificates must come from.
    pub client_ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the kubelet's certificates are unusable: {0}")]
    Certificates(String),
    #[error("could not listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// What all requests share.
#[derive(Clone)]
pub struct Context {
    pub runtime: Arc<dyn Runtime>,
    pub table: PodTable,
    /// Connections that are no HTTP any more.
    pub streams: TaskTracker,
    /// Cuts them.
    pub stopping: CancellationToken,
    pub stats: Arc<Stats>,
}

/// A server ready to run.
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    context: Context,
}

impl Server {
    /// Reads the certificates and binds `address`.
    ///
    /// # Errors
    /// If either fails.
    pub async fn bind(
        address: SocketAddr,
        tls: &ServerTls,
        runtime: Arc<dyn Runtime>,
        table: PodTable,
    ) -> Result<Self, ServerError> {
        let config =
            tls_config(tls).map_err(|error| ServerError::Certificates(error.to_string()))?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServerError::Listen { address, source })?;
        Ok(Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            context: Context {
                runtime,
                table,
                streams: TaskTracker::new(),
                stopping: CancellationToken::new(),
                stats: Arc::new(Stats::new("", PathBuf::from("/"))),
            },
        })
    }

    /// Lets the server tell what this node uses.
    #[must_use]
    pub fn with_stats(mut self, stats: Arc<Stats>) -> Self {
        self.context.stats = stats;
        self
    }

    /// The address bound.
    ///
    /// # Errors
    /// Never in practice; the socket is asked.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the shutdown; open streams are cut then.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let router = router(self.context.clone());
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, self.acceptor.clone(), router.clone());
                    let shutdown = shutdown.clone();
                    connections.spawn(async move {
                        tokio::select! {
                            () = connection => {}
                            () = shutdown.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    // Usually too many open files: pausing lets some close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        self.context.stopping.cancel();
        for open in [connections, self.context.streams] {
            open.close();
            open.wait().await;
        }
    }
}

fn tls_config(tls: &ServerTls) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.client_ca) {
        roots.add(certificate?)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = CertificateDer::pem_slice_iter(&tls.certificate).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let allowed = tls
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .is_some_and(|certificate| may_enter(certificate));
    let router = if allowed {
        router
    } else {
        Router::new().fallback(forbidden)
    };
    let service = TowerToHyperService::new(router);
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(tls), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn forbidden() -> Response {
    (
        StatusCode::FORBIDDEN,
        "Forbidden: only the API server and administrators may ask\n",
    )
        .into_response()
}

/// Whether the certificate (already verified) belongs to the API server or an admin.
fn may_enter(certificate: &[u8]) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return false;
    };
    let subject = parsed.subject();
    subject
        .iter_common_name()
        .any(|name| name.as_str().is_ok_and(|name| name == APISERVER))
        || subject
            .iter_organization()
            .any(|name| name.as_str().is_ok_and(|name| name == ADMINS))
}

fn router(context: Context) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/healthz/{check}", get(async || "ok"))
        .route("/configz", get(configz))
        .route("/stats/summary", get(summary))
        .route("/metrics/resource", get(metrics))
        .route("/pods", get(pods))
        .route("/volumes/{folder}", delete(local_volumes::remove))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .route(
            "/exec/{namespace}/{pod}/{container}",
            upgrading(connect::exec),
        )
        .route(
            "/attach/{namespace}/{pod}/{container}",
            upgrading(connect::attach),
        )
        .route(
            "/portForward/{namespace}/{pod}",
            upgrading(connect::port_forward),
        )
        .with_state(context)
}

/// Clients of SPDY ask with POST, those of WebSocket with GET.
fn upgrading<H, T>(handler: H) -> MethodRouter<Context>
where
    H: Handler<T, Context>,
    T: 'static,
{
    get(handler.clone()).post(handler)
}

async fn pods(Extract(context): Extract<Context>) -> Response {
    let items: Vec<Arc<Pod>> = context.table.pods();
    let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
    axum::Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
        .into_response()
}

async fn summary(Extract(context): Extract<Context>) -> Response {
    let asked = context
        .stats
        .summary(context.runtime.as_ref(), &context.table);
    match asked.await {
        Ok(summary) => axum::Json(summary).into_response(),
        Err(error) => failed(&error),
    }
}

async fn metrics(Extract(context): Extract<Context>) -> Response {
    let asked = context
        .stats
        .metrics(context.runtime.as_ref(), &context.table);
    match asked.await {
        Ok(text) => (
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &RuntimeError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

/// The settings upstream's kubelet would show for what is fixed here.
async fn configz() -> Response {
    let percent = |number: u64| format!("{number}%");
    axum::Json(json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "maxPods": crate::machine::MAX_PODS,
        "nodeStatusUpdateFrequency": "10s",
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": crate::lease::SECONDS,
        "imageGCHighThresholdPercent": 85,
        "imageGCLowThresholdPercent": 80,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": percent(pressure::NODE_FS_PERCENT),
            "nodefs.inodesFree": percent(pressure::INODES_PERCENT),
            "imagefs.available": percent(pressure::IMAGE_FS_PERCENT),
            "imagefs.inodesFree": percent(pressure::INODES_PERCENT),
        },
        "evictionPressureTransitionPeriod": "5m0s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 5,
        "enableServer": true,
        "authorization": {"mode": "AlwaysAllow"},
        "authentication": {"anonymous": {"enabled": false}},
    }}))
    .into_response()
}

async fn logs(
    Extract(context): Extract<Context>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let opened = async {
        let request = LogRequest::parse(&namespace, &pod, &container, &query)?;
        open(context.runtime.as_ref(), &context.table, &request).await
    };
    match opened.await {
        Ok(stream) => ([(CONTENT_TYPE, "text/plain")], Body::from_stream(stream)).into_response(),
        Err(error) => {
            let code = match error {
                LogError::NoPod { .. } => StatusCode::NOT_FOUND,
                LogError::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::BAD_REQUEST,
            };
            (code, error.to_string()).into_response()
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
