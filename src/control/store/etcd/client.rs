//! The connection to etcd: one endpoint at a time, the next when it fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, IntoRequest, Status, Streaming};
use tonic_prost::ProstCodec;

use super::wire::{
    CompactionRequest, CompactionResponse, RangeRequest, RangeResponse, StatusRequest,
    StatusResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

/// Longest until a connection stands.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest until a call is answered; etcd itself gives a proposal 7 seconds.
const CALL: Duration = Duration::from_secs(10);
/// A silent connection is asked so often whether it still stands, and given up as long after.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Room for a list page or a burst of events on its way; the usual 64 KiB would stall them.
const WINDOW: u32 = 4 << 20;

/// How to prove who one is, and whom to believe, all PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authority that vouches for etcd.
    pub authority: String,
    /// Our certificate and its key, if etcd asks for one.
    pub identity: Option<(String, String)>,
}

impl std::fmt::Debug for Tls {
    // The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No endpoint was reached: etcd does not know of the call.
    #[error("{0}")]
    Unreachable(String),
    /// The call was sent, and what became of it is not known.
    #[error("{0}")]
    Unanswered(String),
    /// etcd refused the call and did nothing.
    #[error("{reason}")]
    Refused { code: Code, reason: String },
}

/// See the module's opening.
#[derive(Debug)]
pub struct Client {
    channels: Vec<Channel>,
    /// Which of them is used; the sum of all changes so far.
    current: AtomicUsize,
}

impl Client {
    /// Connects when first used. Needs a tokio runtime.
    pub fn new(endpoints: &[String], tls: Option<&Tls>) -> Result<Client, String> {
        if endpoints.is_empty() {
            return Err("no endpoint is given".to_owned());
        }
        let channels = endpoints
            .iter()
            .map(|endpoint| channel(endpoint, tls).map_err(|e| format!("{endpoint}: {e}")))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Client {
            channels,
            current: AtomicUsize::new(0),
        })
    }

    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, CallError> {
        self.call("/etcdserverpb.KV/Range", request).await
    }

    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, CallError> {
        self.call("/etcdserverpb.KV/Txn", request).await
    }

    pub async fn compact(&self, revision: u64) -> Result<(), CallError> {
        let request = CompactionRequest {
            revision: revision.cast_signed(),
        };
        self.call::<_, CompactionResponse>("/etcdserverpb.KV/Compact", request)
            .await
            .map(|_| ())
    }

    /// The version of the etcd that answers.
    pub async fn version(&self) -> Result<String, CallError> {
        self.call::<_, StatusResponse>("/etcdserverpb.Maintenance/Status", StatusRequest {})
            .await
            .map(|status| status.version)
    }

    /// Opens a watch. A member that has lost its leader ends it rather than keep silent.
    pub async fn watch(&self, create: WatchCreateRequest) -> Result<Watching, CallError> {
        let first = WatchRequest {
            create: Some(create),
        };
        // The stream of requests stays open for as long as the watch: its end would end it.
        let mut request = tonic::Request::new(Requests { first: Some(first) });
        request
            .metadata_mut()
            .insert("hasleader", MetadataValue::from_static("true"));
        let (used, mut grpc) = self.pick();
        let opened = async {
            grpc.ready().await.map_err(broken)?;
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            let answer = grpc.streaming(request, path, codec).await.map_err(failed)?;
            Ok(answer.into_inner())
        };
        match tokio::time::timeout(CALL, opened).await {
            Ok(Ok(stream)) => Ok(Watching(stream)),
            Ok(Err(error)) => {
                self.leave(used);
                Err(error)
            }
            Err(_) => {
                self.leave(used);
                Err(silent())
            }
        }
    }

    /// The endpoint in use, for [`Client::leave`].
    pub fn endpoint(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// One call. An endpoint that cannot be reached is passed over for the others.
    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, CallError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut tried = 0;
        loop {
            let (used, mut grpc) = self.pick();
            let answered = async {
                grpc.ready().await.map_err(broken)?;
                let codec = ProstCodec::<Q, A>::default();
                let path = PathAndQuery::from_static(path);
                let answer = grpc.unary(request.clone().into_request(), path, codec);
                answer
                    .await
                    .map_err(failed)
                    .map(tonic::Response::into_inner)
            };
            let error = match tokio::time::timeout(CALL, answered).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => silent(),
            };
            tried += 1;
            match error {
                CallError::Refused { .. } => return Err(error),
                CallError::Unreachable(_) if tried < self.channels.len() => self.leave(used),
                CallError::Unreachable(_) | CallError::Unanswered(_) => {
                    self.leave(used);
                    return Err(error);
                }
            }
        }
    }

    fn pick(&self) -> (usize, Grpc<Channel>) {
        let used = self.endpoint();
        let channel = self.channels[used % self.channels.len()].clone();
        let grpc = Grpc::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        (used, grpc)
    }

    /// Moves on from an endpoint, unless somebody else has already.
    pub fn leave(&self, used: usize) {
        let next = used.wrapping_add(1);
        // An error only says that it is somebody else who has.
        let _ = self
            .current
            .compare_exchange(used, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// An open watch.
pub struct Watching(Streaming<WatchResponse>);

impl Watching {
    /// The next answer; an error ends the watch.
    pub async fn next(&mut self) -> Result<WatchResponse, CallError> {
        match self.0.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(CallError::Unanswered("etcd ended the watch".to_owned())),
            Err(status) => Err(failed(status)),
        }
    }
}

/// One request, and then nothing for ever.
struct Requests {
    first: Option<WatchRequest>,
}

impl tonic::codegen::tokio_stream::Stream for Requests {
    type Item = WatchRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<WatchRequest>> {
        match self.first.take() {
            Some(first) => std::task::Poll::Ready(Some(first)),
            // Nobody need be woken: the stream is dropped with the watch.
            None => std::task::Poll::Pending,
        }
    }
}

fn channel(endpoint: &str, tls: Option<&Tls>) -> Result<Channel, tonic::transport::Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{endpoint}"))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW);
    if let Some(tls) = tls {
        let mut config =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authority));
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(config)?;
    }
    Ok(endpoint.connect_lazy())
}

fn silent() -> CallError {
    CallError::Unanswered("etcdserver: request timed out".to_owned())
}

/// The channel was not ready, so nothing was sent.
fn broken(error: tonic::transport::Error) -> CallError {
    CallError::Unreachable(causes(&error))
}

fn failed(status: Status) -> CallError {
    match status.code() {
        // Before anything was sent; a failure later could have been after.
        Code::Unavailable if never_connected(&status) => CallError::Unreachable(causes(&status)),
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => CallError::Refused {
            code: status.code(),
            reason: status.message().to_owned(),
        },
        _ => CallError::Unanswered(causes(&status)),
    }
}

fn never_connected(status: &Status) -> bool {
    let mut next = std::error::Error::source(status);
    while let Some(cause) = next {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// What went wrong, with its causes, in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
