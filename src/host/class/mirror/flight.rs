//! A blob on its way: written to the disk once, read by everybody who waits while it grows.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use cadet_mirror::asked::Digest;
use cadet_mirror::store::Store;
use reqwest::Response;
use ring::digest::{Context, SHA256};
use tokio::sync::watch;

use super::{MirrorError, disk};

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub written: u64,
    /// Set at the end: None if it is whole, else what went wrong.
    pub ended: Option<Option<String>>,
}

/// A blob on its way, for one who waits.
#[derive(Clone)]
pub struct Flight {
    /// The growing file; the handle stays good when the file gets its name, or goes.
    pub file: Arc<File>,
    /// Its size, if the registry says it.
    pub total: Option<u64>,
    pub progress: watch::Receiver<Progress>,
}

/// The work of fetching.
pub(super) struct Fetch {
    answer: Response,
    digest: Digest,
    partial: PathBuf,
    store: Store,
    out: Arc<File>,
    /// Bytes it may have.
    room: u64,
    progress: watch::Sender<Progress>,
}

/// Opens the file; nothing is fetched before [`Fetch::run`].
pub(super) fn begin(
    answer: Response,
    digest: &Digest,
    store: &Store,
    room: u64,
) -> Result<(Flight, Fetch), MirrorError> {
    let partial = store.part();
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&partial);
    let out = Arc::new(opened.map_err(disk("write", &partial))?);
    let (progress, receiver) = watch::channel(Progress::default());
    let flight = Flight {
        file: out.clone(),
        total: answer.content_length(),
        progress: receiver,
    };
    let fetch = Fetch {
        answer,
        digest: digest.clone(),
        partial,
        store: store.clone(),
        out,
        room,
        progress,
    };
    Ok((flight, fetch))
}

impl Fetch {
    /// Fetches to the end; those who wait are told how it went.
    pub(super) async fn run(mut self) {
        let outcome = self.receive().await;
        let trouble = match outcome {
            Ok(()) => None,
            Err(why) => {
                // If even that fails, the next start clears it away.
                let _ = std::fs::remove_file(&self.partial);
                Some(why)
            }
        };
        self.progress
            .send_modify(|progress| progress.ended = Some(trouble));
    }

    async fn receive(&mut self) -> Result<(), String> {
        let mut hash = Context::new(&SHA256);
        let mut left = self.room;
        while let Some(chunk) = self.answer.chunk().await.map_err(|e| e.to_string())? {
            hash.update(&chunk);
            let length = chunk.len() as u64;
            // Registries need not say beforehand how much comes.
            left = left
                .checked_sub(length)
                .ok_or_else(|| MirrorError::Full.to_string())?;
            let out = self.out.clone();
            let written = tokio::task::spawn_blocking(move || (&*out).write_all(&chunk));
            written
                .await
                .map_err(|e| e.to_string())?
                .map_err(|e| e.to_string())?;
            self.progress
                .send_modify(|progress| progress.written += length);
        }
        let found = Digest::from_hash(hash.finish().as_ref());
        if found != self.digest {
            return Err(MirrorError::Altered(self.digest.to_string()).to_string());
        }
        let (out, store) = (self.out.clone(), self.store.clone());
        let (digest, partial) = (self.digest.clone(), self.partial.clone());
        // A large blob takes a slow disk seconds, in which the class must answer.
        let kept = tokio::task::spawn_blocking(move || {
            out.sync_all()?;
            store.keep_blob(&digest, &partial)
        });
        kept.await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())
    }
}
