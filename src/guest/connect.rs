//! The agent's way to the API server: one HTTP/2 connection carries all its requests and watches,
//! as those of upstream's agents do. A second is opened only when the first is full.
//!
//! With HTTP/1.1, as `kube` speaks it, each watch has a connection of its own: a handshake, which
//! is long under emulation, and some 40 KiB at both ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

use crate::Failure;

/// Requests that one connection carries at once. The server takes 250; what is above waits, and
/// watches never end.
const MOST: usize = 200;
/// A silent connection is asked so often whether it still stands, and given up so much later, as
/// upstream's client does (`HTTP2_READ_IDLE_TIMEOUT_SECONDS`, `HTTP2_PING_TIMEOUT_SECONDS`).
const PING: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(15);

type Connector = HttpsConnector<HttpConnector>;
/// hyper's own pool, which over HTTP/2 is one connection.
type Way = Pool<Connector, Body>;

/// Makes clients of one server, each with connections of its own.
pub struct Connect {
    settings: kube::Config,
    connector: Connector,
}

impl Connect {
    /// Connects when first used.
    ///
    /// # Errors
    /// If the kubeconfig, its certificates or keys are unusable.
    pub async fn new(kubeconfig: Kubeconfig) -> Result<Self, Failure> {
        let options = KubeConfigOptions::default();
        let settings = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let mut tls = settings.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let mut tcp = HttpConnector::new();
        // The scheme is https.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(settings.connect_timeout);
        let connector = HttpsConnector::from((tcp, tls));
        Ok(Self {
            settings,
            connector,
        })
    }

    /// One client.
    ///
    /// # Errors
    /// If a token or a header is unusable.
    pub fn client(&self) -> Result<kube::Client, kube::Error> {
        let lines = Lines {
            connector: self.connector.clone(),
            lines: Arc::default(),
        };
        let settings = &self.settings;
        let retries = settings.default_retry;
        let service = ServiceBuilder::new()
            .layer(settings.base_uri_layer())
            .option_layer(retries.then(|| RetryLayer::new(RetryPolicy::server_retry())))
            .option_layer(settings.auth_layer()?)
            .layer(settings.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(lines);
        Ok(kube::Client::new(
            service,
            settings.default_namespace.clone(),
        ))
    }
}

/// The connections of one client.
#[derive(Clone)]
struct Lines {
    connector: Connector,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// One connection, made anew when it breaks.
struct Line {
    pool: Way,
    /// As many as there are requests on their way, and one.
    places: Arc<()>,
}

impl Lines {
    /// The first connection with room.
    fn pick(&self) -> (Way, Arc<()>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lines
            .iter()
            .position(|line| Arc::strong_count(&line.places) <= MOST);
        let free = free.unwrap_or_else(|| {
            lines.push(Line {
                pool: self.pool(),
                places: Arc::default(),
            });
            lines.len() - 1
        });
        let line = &lines[free];
        (line.pool.clone(), Arc::clone(&line.places))
    }

    fn pool(&self) -> Way {
        Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_only(true)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PATIENCE)
            .build(self.connector.clone())
    }
}

impl Service<Request<Body>> for Lines {
    type Response = Response<Held>;
    type Error = PoolError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Held>, PoolError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (pool, place) = self.pick();
        Box::pin(async move {
            let response = pool.request(request).await?;
            Ok(response.map(|body| Held {
                body,
                _place: place,
            }))
        })
    }
}

/// What is answered; keeps its place on the connection until it has ended.
struct Held {
    body: Incoming,
    _place: Arc<()>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
