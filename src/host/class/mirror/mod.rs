//! The class's cache of container images: reads through to one registry (OCI Distribution
//! Specification 1.1, "pull"), keeps what came, and works on when the internet is gone.
//!
//! Blobs and manifests are kept by their digest, which is checked before anything is given a
//! name. Tags are asked for anew after a while; without an answer the last known one counts. A
//! blob that several learners want at once is fetched once, and each gets it while it comes.

mod flight;
mod name;
mod shelf;
mod upstream;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

pub use flight::{Flight, Progress};
pub use name::{Asked, Digest, Reference, Repository};
use shelf::Shelf;
use upstream::Upstream;

/// How long a tag is believed without asking again.
const FRESH: Duration = Duration::from_secs(600);
/// Largest manifest, as in the specification.
const MANIFEST: usize = 4 << 20;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The registry has no such thing.
    #[error("the registry has no {0}")]
    Unknown(String),
    /// The registry cannot be reached, or does not answer as one.
    #[error("the registry {host} cannot be asked: {why}")]
    Upstream { host: String, why: String },
    /// What came is not what its digest says.
    #[error("{0} came with other bytes than its digest says")]
    Altered(String),
    /// The teacher's disk refuses.
    #[error("cannot {act} {}: {source}", path.display())]
    Disk {
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// A manifest as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub bytes: Bytes,
    pub kind: String,
    pub digest: Digest,
}

/// A blob: on the disk, or on its way.
pub enum Blob {
    Here(PathBuf),
    Coming(Flight),
}

/// See the module.
pub struct Mirror {
    shelf: Shelf,
    upstream: Upstream,
    flights: Arc<Mutex<HashMap<Digest, Flight>>>,
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
            shelf: Shelf::new(folder)?,
            upstream: Upstream::new(registry, client),
            flights: Arc::default(),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// A manifest, and whether it had to be fetched.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub async fn manifest(
        &self,
        of: &Repository,
        reference: &Reference,
    ) -> Result<(Manifest, bool), MirrorError> {
        if let Some(known) = self.known(of, reference, true)? {
            return Ok((known, false));
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.known(of, reference, true)? {
            return Ok((known, false));
        }
        match self.upstream.manifest(of, reference, MANIFEST).await {
            Ok(came) => {
                self.shelf.put_manifest(&came)?;
                if let Reference::Tag(tag) = reference {
                    self.shelf.put_tag(of, tag, &came.digest)?;
                }
                Ok((came, true))
            }
            // The registry's word counts; its silence does not.
            Err(e @ MirrorError::Unknown(_)) => Err(e),
            Err(e) => match self.known(of, reference, false)? {
                Some(known) => Ok((known, false)),
                None => Err(e),
            },
        }
    }

    fn known(
        &self,
        of: &Repository,
        reference: &Reference,
        fresh: bool,
    ) -> Result<Option<Manifest>, MirrorError> {
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => self.shelf.tag(of, tag, fresh.then_some(FRESH))?,
        };
        match digest {
            Some(digest) => self.shelf.manifest(&digest),
            None => Ok(None),
        }
    }

    /// A blob, and whether it has to be fetched.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub async fn blob(
        &self,
        of: &Repository,
        digest: &Digest,
    ) -> Result<(Blob, bool), MirrorError> {
        if let Some(path) = self.shelf.blob(digest) {
            return Ok((Blob::Here(path), false));
        }
        if let Some(flight) = self.flight(digest) {
            return Ok((Blob::Coming(flight), false));
        }
        let answer = self.upstream.blob(of, digest).await?;
        // Somebody else may have begun while the registry was asked.
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(digest) {
            return Ok((Blob::Coming(flight.clone()), false));
        }
        if let Some(path) = self.shelf.blob(digest) {
            return Ok((Blob::Here(path), false));
        }
        let (partial, whole) = (self.shelf.partial(digest), self.shelf.path(digest));
        let (flight, fetch) = flight::begin(answer, digest, partial, whole)?;
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
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.get(digest).cloned()
    }
}
