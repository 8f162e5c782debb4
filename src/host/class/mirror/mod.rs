//! The class's cache of container images: reads through to one registry, keeps what came, and works
//! on when the internet is gone.
//!
//! Names, the folder and the way to the registry are those of the laptop's own cache
//! (`cadet-mirror`). What a class adds is `flight`: a blob that thirty learners want at once is
//! fetched once, and each gets it while it comes, at the class's pace and through its doors.

mod flight;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_mirror::store::Store;
use cadet_mirror::upstream::{Upstream, UpstreamError};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::Response;

pub use cadet_mirror::asked::{Asked, Digest, Name, Tag};
pub use cadet_mirror::store::Manifest;
pub use flight::{Flight, Progress};

/// Blobs that may be on their way at once: Docker fetches three of one image, and a class mostly
/// wants the same ones.
const FLIGHTS: usize = 32;
/// For so long a tag is believed without asking again, in seconds.
const FRESH: u64 = 600;
/// Largest manifest, as in the specification.
const MANIFEST: usize = 4 << 20;
/// How long a manifest may take to come.
const ANSWER: Duration = Duration::from_secs(30);
/// Kinds of manifests, new and old.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The registry has no such thing.
    #[error("the registry has no {0}")]
    Unknown(String),
    /// The registry cannot be reached, or does not answer as one.
    #[error("the registry cannot be asked: {0}")]
    Upstream(String),
    /// What came is not what its digest says.
    #[error("{0} came with other bytes than its digest says")]
    Altered(String),
    /// Too much is on its way already.
    #[error("the class fetches as much as it may at once; ask again in a moment")]
    Busy,
    /// What the class may keep is used up.
    #[error("it does not fit into the space for images, which cadet class serve --images sets")]
    Full,
    /// The teacher's disk refuses.
    #[error("cannot {act} {}: {source}", path.display())]
    Disk {
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// A blob: on the disk, or on its way.
pub enum Blob {
    Here(PathBuf),
    Coming(Flight),
}

/// See the module.
pub struct Mirror {
    store: Store,
    /// What the laptop's own cache keeps of the same registry, to be read.
    beside: Option<Store>,
    folder: PathBuf,
    upstream: Upstream,
    flights: Arc<Mutex<HashMap<Digest, Flight>>>,
    /// Most bytes that it keeps.
    most: u64,
    /// One manifest at a time is asked for: thirty learners begin the same lesson.
    asking: tokio::sync::Mutex<()>,
}

impl Mirror {
    /// Keeps images in `folder` and reads through to `registry`, such as
    /// `https://registry-1.docker.io`.
    ///
    /// # Errors
    /// [`MirrorError::Disk`] when the folder cannot be made.
    pub fn new(
        folder: PathBuf,
        registry: &str,
        client: reqwest::Client,
    ) -> Result<Self, MirrorError> {
        Ok(Self {
            store: Store::open(&folder).map_err(disk("make", &folder))?,
            beside: None,
            folder,
            upstream: Upstream::new(registry, client),
            flights: Arc::default(),
            most: u64::MAX,
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// Also reads what another cache of the same registry keeps in `folder`.
    #[must_use]
    pub fn beside(mut self, folder: &Path) -> Self {
        self.beside = Some(Store::of_another(folder));
        self
    }

    /// Keeps at most so many bytes. What is kept already stays; nothing more comes then.
    #[must_use]
    pub fn within(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// Bytes it has now.
    pub fn taken(&self) -> u64 {
        self.store.taken()
    }

    /// What is left for another one, beside what is kept and what those on their way will take.
    fn left(&self, flights: &HashMap<Digest, Flight>) -> Result<u64, MirrorError> {
        if flights.len() >= FLIGHTS {
            return Err(MirrorError::Busy);
        }
        let promised = flights.values().map(|flight| {
            let written = flight.progress.borrow().written;
            flight.total.unwrap_or(written)
        });
        let taken = self.taken().saturating_add(promised.sum());
        match self.most.saturating_sub(taken) {
            0 => Err(MirrorError::Full),
            left => Ok(left),
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Digest, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stores(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(&self.store).chain(&self.beside)
    }

    /// What a tag meant when one of the caches last asked, and since when that is known.
    fn known(&self, of: &Name, tag: &Tag) -> Option<(u64, Manifest)> {
        let all = self.stores().filter_map(|store| store.tagged(of, tag));
        let newest = all.max_by_key(|(tagged, _)| tagged.known);
        newest.map(|(tagged, manifest)| (tagged.known, manifest))
    }

    /// What a tag means, and whether it had to be fetched.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub async fn tagged(&self, of: &Name, tag: &Tag) -> Result<(Manifest, bool), MirrorError> {
        if let Some(known) = self.fresh(of, tag) {
            return Ok((known, false));
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.fresh(of, tag) {
            return Ok((known, false));
        }
        let known = self.known(of, tag).map(|(_, manifest)| manifest);
        let renewed = self.renewed(of, tag, known.as_ref()).await;
        match renewed {
            // The registry's word counts; its silence does not, nor does a disk without room.
            Err(e @ (MirrorError::Upstream(_) | MirrorError::Disk { .. } | MirrorError::Full)) => {
                match known {
                    Some(known) => Ok((known, false)),
                    None => Err(e),
                }
            }
            renewed => renewed,
        }
    }

    /// A manifest, and whether it had to be fetched.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub async fn by_digest(
        &self,
        of: &Name,
        digest: &Digest,
    ) -> Result<(Manifest, bool), MirrorError> {
        let kept = || self.stores().find_map(|store| store.manifest(digest));
        if let Some(known) = kept() {
            return Ok((known, false));
        }
        let _one = self.asking.lock().await;
        if let Some(known) = kept() {
            return Ok((known, false));
        }
        let came = self.fetched(of, &digest.to_string()).await?;
        if came.digest != *digest {
            return Err(MirrorError::Altered(digest.to_string()));
        }
        self.keep(&came)?;
        Ok((came, true))
    }

    /// What a tag meant when it was asked for lately.
    fn fresh(&self, of: &Name, tag: &Tag) -> Option<Manifest> {
        let (since, manifest) = self.known(of, tag)?;
        let age = now().checked_sub(since)?;
        (age < FRESH).then_some(manifest)
    }

    /// What the registry says that a tag means now, given what it meant.
    async fn renewed(
        &self,
        of: &Name,
        tag: &Tag,
        known: Option<&Manifest>,
    ) -> Result<(Manifest, bool), MirrorError> {
        if let Some(known) = known {
            // Docker Hub counts manifests that are got, not those that are only asked for.
            let rest = format!("manifests/{}", tag.as_str());
            let head = self.ask(Method::HEAD, of, &rest).await?;
            let same = head.headers().get(DIGEST).and_then(|d| d.to_str().ok());
            if same.and_then(Digest::parse).as_ref() == Some(&known.digest) {
                // It may have been another's: the tag is noted where its manifest is.
                self.keep(known)?;
                self.note(of, tag, &known.digest)?;
                return Ok((known.clone(), false));
            }
        }
        let came = self.fetched(of, tag.as_str()).await?;
        self.keep(&came)?;
        self.note(of, tag, &came.digest)?;
        Ok((came, true))
    }

    async fn fetched(&self, of: &Name, reference: &str) -> Result<Manifest, MirrorError> {
        let rest = format!("manifests/{reference}");
        let asked = async {
            let mut answer = self.ask(Method::GET, of, &rest).await?;
            let kind = answer.headers().get(CONTENT_TYPE);
            let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
            let media_type = kind.to_owned();
            let mut bytes = Vec::new();
            let broken = |e: reqwest::Error| MirrorError::Upstream(e.to_string());
            while let Some(chunk) = answer.chunk().await.map_err(broken)? {
                if bytes.len() + chunk.len() > MANIFEST {
                    return Err(MirrorError::Upstream("its answer is too long".into()));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(Manifest {
                digest: Digest::of(&bytes),
                media_type,
                bytes,
            })
        };
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(MirrorError::Upstream("no answer in time".into())),
        }
    }

    async fn ask(&self, method: Method, of: &Name, rest: &str) -> Result<Response, MirrorError> {
        let accept = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(KINDS))]);
        let answer = self.upstream.ask(method, of, rest, &accept).await;
        answer.map_err(|e| match e {
            // Docker Hub says 401 of repositories that do not exist.
            UpstreamError::Status(
                StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
            ) => MirrorError::Unknown(of.as_str().to_owned()),
            other => MirrorError::Upstream(other.to_string()),
        })
    }

    fn keep(&self, manifest: &Manifest) -> Result<(), MirrorError> {
        let length = manifest.bytes.len() as u64;
        let is_new = self.store.manifest(&manifest.digest).is_none();
        if is_new && self.taken().saturating_add(length) > self.most {
            return Err(MirrorError::Full);
        }
        let kept = self.store.keep_manifest(manifest);
        kept.map_err(disk("write", &self.folder))
    }

    fn note(&self, of: &Name, tag: &Tag, digest: &Digest) -> Result<(), MirrorError> {
        let noted = self.store.keep_tag(of, tag, digest, now());
        noted.map_err(disk("write", &self.folder))
    }

    /// A blob, and whether it has to be fetched.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub async fn blob(&self, of: &Name, digest: &Digest) -> Result<(Blob, bool), MirrorError> {
        if let Some(path) = self.stores().find_map(|store| store.blob(digest)) {
            return Ok((Blob::Here(path), false));
        }
        if let Some(flight) = self.flight(digest) {
            return Ok((Blob::Coming(flight), false));
        }
        // Whoever cannot be given it costs the registry nothing.
        self.left(&self.flights())?;
        let rest = format!("blobs/{digest}");
        let answer = self.ask(Method::GET, of, &rest).await?;
        // Somebody else may have begun while the registry was asked.
        let mut flights = self.flights();
        if let Some(flight) = flights.get(digest) {
            return Ok((Blob::Coming(flight.clone()), false));
        }
        if let Some(path) = self.store.blob(digest) {
            return Ok((Blob::Here(path), false));
        }
        let left = self.left(&flights)?;
        if answer.content_length().is_some_and(|length| length > left) {
            return Err(MirrorError::Full);
        }
        let (flight, fetch) = flight::begin(answer, digest, &self.store, left)?;
        flights.insert(digest.clone(), flight.clone());
        drop(flights);
        let (all, digest) = (self.flights.clone(), digest.clone());
        tokio::spawn(async move {
            fetch.run().await;
            let mut flights = all.lock().unwrap_or_else(PoisonError::into_inner);
            flights.remove(&digest);
        });
        Ok((Blob::Coming(flight), true))
    }

    fn flight(&self, digest: &Digest) -> Option<Flight> {
        self.flights().get(digest).cloned()
    }
}

fn disk(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> MirrorError {
    let path = path.to_path_buf();
    move |source| MirrorError::Disk { act, path, source }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}
