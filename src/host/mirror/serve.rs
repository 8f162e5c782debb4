//! The reading half of the distribution protocol, from what is kept or through to the registry.

mod relay;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use crate::asked::{Asked, Digest, Name, Tag};
use crate::store::{Manifest, Size, Store};
use crate::upstream::{Upstream, UpstreamError};

/// Where the cache tells of itself; no repository can have this path.
pub const STATUS_PATH: &str = "/cadet/mirror";
/// For so long a tag means what it meant, in seconds.
const FRESH: u64 = 600;
/// Largest manifest; registries take 4 MiB at least.
const LARGEST_MANIFEST: usize = 16 << 20;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The cache.
pub struct Mirror {
    store: Store,
    upstream: Upstream,
    /// Blobs that are on their way: who wants the same one waits for it.
    coming: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
}

/// What it did since it began, and what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub pid: u32,
    /// Answers from what was kept.
    pub hits: u64,
    /// Answers the registry gave.
    pub misses: u64,
    /// Tags that were served though the registry could not be asked.
    pub stale: u64,
    pub kept: Size,
}

impl Mirror {
    /// Keeps in `folder` what `upstream` gives.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(folder: &Path, upstream: Upstream) -> io::Result<Self> {
        Ok(Self {
            store: Store::open(folder)?,
            upstream,
            coming: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        })
    }

    /// Serves until `shutdown` is ready and who is being served has been.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = Router::new()
            .route(STATUS_PATH, get(status))
            .fallback(answer)
            .with_state(Arc::new(self));
        axum::serve(listener, router)
            .with_graceful_shutdown(shutdown)
            .await
    }

    /// What it did since it began.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            pid: std::process::id(),
            hits: of(&self.hits),
            misses: of(&self.misses),
            stale: of(&self.stale),
            kept: self.store.size(),
        }
    }

    fn count(&self, what: &AtomicU64) {
        what.fetch_add(1, Ordering::Relaxed);
    }

    async fn tagged(
        &self,
        name: &Name,
        tag: &Tag,
        accept: &HeaderMap,
    ) -> Result<Manifest, UpstreamError> {
        let kept = self.store.tagged(name, tag);
        if let Some((tagged, manifest)) = &kept
            && now()
                .checked_sub(tagged.known)
                .is_some_and(|age| age < FRESH)
        {
            self.count(&self.hits);
            return Ok(manifest.clone());
        }
        match (self.renewed(name, tag, accept).await, kept) {
            (Err(e), Some((_, manifest))) if is_passing(&e) => {
                tracing::info!(error = %e, name = name.as_str(), "serving what is kept");
                self.count(&self.stale);
                Ok(manifest)
            }
            (renewed, _) => renewed,
        }
    }

    /// What the registry says the tag means; fetched only if it is not kept.
    async fn renewed(
        &self,
        name: &Name,
        tag: &Tag,
        accept: &HeaderMap,
    ) -> Result<Manifest, UpstreamError> {
        let rest = format!("manifests/{}", tag.as_str());
        // Docker Hub counts manifests that are got, not those that are only asked for.
        let head = self.upstream.ask(Method::HEAD, name, &rest, accept).await?;
        let digest = head.headers().get(DIGEST).and_then(|d| d.to_str().ok());
        let kept = digest
            .and_then(Digest::parse)
            .and_then(|digest| self.store.manifest(&digest));
        let manifest = match kept {
            Some(manifest) => {
                self.count(&self.hits);
                manifest
            }
            None => self.fetched(name, &rest, accept).await?,
        };
        let noted = self.store.keep_tag(name, tag, &manifest.digest, now());
        noted.unwrap_or_else(|error| tracing::warn!(%error, "a tag was not kept"));
        Ok(manifest)
    }

    async fn by_digest(
        &self,
        name: &Name,
        digest: &Digest,
        accept: &HeaderMap,
    ) -> Result<Manifest, UpstreamError> {
        if let Some(manifest) = self.store.manifest(digest) {
            self.count(&self.hits);
            return Ok(manifest);
        }
        let path = format!("manifests/{digest}");
        let manifest = self.fetched(name, &path, accept).await?;
        match manifest.digest == *digest {
            true => Ok(manifest),
            false => Err(UpstreamError::Status(StatusCode::BAD_GATEWAY)),
        }
    }

    async fn fetched(
        &self,
        name: &Name,
        rest: &str,
        accept: &HeaderMap,
    ) -> Result<Manifest, UpstreamError> {
        self.count(&self.misses);
        let broken = |_| UpstreamError::Status(StatusCode::BAD_GATEWAY);
        let mut answer = self.upstream.ask(Method::GET, name, rest, accept).await?;
        let media_type = answer.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|t| t.to_str().ok());
        let media_type = media_type.unwrap_or("application/json").to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST_MANIFEST {
                return Err(UpstreamError::Status(StatusCode::BAD_GATEWAY));
            }
        }
        let manifest = Manifest {
            digest: Digest::of(&bytes),
            media_type,
            bytes,
        };
        let kept = self.store.keep_manifest(&manifest);
        kept.unwrap_or_else(|error| tracing::warn!(%error, "a manifest was not kept"));
        Ok(manifest)
    }

    /// The right to fetch `digest`.
    fn turn(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.retain(|_, waiting| waiting.strong_count() > 0);
        if let Some(turn) = coming.get(digest).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        coming.insert(digest.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// An answer that says nothing about the image itself.
fn is_passing(e: &UpstreamError) -> bool {
    match e {
        UpstreamError::Unreachable { .. } => true,
        UpstreamError::Status(status) => *status != StatusCode::NOT_FOUND,
    }
}

async fn status(State(mirror): State<Arc<Mirror>>) -> Json<Counts> {
    Json(mirror.counts())
}

async fn answer(
    State(mirror): State<Arc<Mirror>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let head = method == Method::HEAD;
    if method != Method::GET && !head {
        let why = "this is a cache: nothing is written through it";
        return refused(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", why);
    }
    let manifest = match Asked::parse(uri.path()) {
        None => return refused(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path"),
        Some(Asked::Base) => {
            return ([(VERSION, "registry/2.0")], Json(json!({}))).into_response();
        }
        Some(Asked::Blob(name, digest)) => {
            return mirror.blob(&name, &digest, &headers, head).await;
        }
        Some(Asked::Tagged(name, tag)) => mirror.tagged(&name, &tag, &headers).await,
        Some(Asked::Manifest(name, digest)) => mirror.by_digest(&name, &digest, &headers).await,
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(e) => return upstream_refused(&e, "MANIFEST_UNKNOWN"),
    };
    let head_only = [
        (CONTENT_TYPE, manifest.media_type.clone()),
        (CONTENT_LENGTH, manifest.bytes.len().to_string()),
        (DIGEST, manifest.digest.to_string()),
    ];
    match head {
        true => (head_only, Body::empty()).into_response(),
        false => (head_only, manifest.bytes).into_response(),
    }
}

/// What the registry would not give is for Docker to ask for elsewhere.
fn upstream_refused(e: &UpstreamError, unknown: &str) -> Response {
    let why = e.to_string();
    let status = match e {
        UpstreamError::Unreachable { .. } => StatusCode::BAD_GATEWAY,
        UpstreamError::Status(status) => *status,
    };
    match status {
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            refused(StatusCode::NOT_FOUND, unknown, &why)
        }
        StatusCode::TOO_MANY_REQUESTS => refused(status, "TOOMANYREQUESTS", &why),
        _ => refused(StatusCode::BAD_GATEWAY, "UNKNOWN", &why),
    }
}

/// An error as the protocol has it.
fn refused(status: StatusCode, code: &str, why: &str) -> Response {
    let errors = json!({"errors": [{"code": code, "message": why}]});
    (status, Json(errors)).into_response()
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}
