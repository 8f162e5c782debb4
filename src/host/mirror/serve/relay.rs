//! Blobs: from the disk, or from the registry to the client and the disk at once.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{DIGEST, Mirror, refused, upstream_refused};
use crate::asked::{Digest, Name};

/// Bytes read from the disk at a time.
const PIECE: usize = 64 << 10;
/// Pieces between the registry and a client that is slower.
const PIECES: usize = 32;
const TYPE: &str = "application/octet-stream";

impl Mirror {
    pub(super) async fn blob(
        self: &Arc<Self>,
        name: &Name,
        digest: &Digest,
        headers: &HeaderMap,
        head: bool,
    ) -> Response {
        if let Some(path) = self.store.blob(digest) {
            self.count(&self.hits);
            return self.kept(&path, digest, headers, head).await;
        }
        let rest = format!("blobs/{digest}");
        // A client says what it takes of manifests only.
        let none = HeaderMap::new();
        if head {
            let answer = self.upstream.ask(Method::HEAD, name, &rest, &none).await;
            return match answer {
                Ok(answer) => described(digest, answer.content_length(), Body::empty()),
                Err(e) => upstream_refused(&e, "BLOB_UNKNOWN"),
            };
        }
        let turn = self.turn(digest).lock_owned().await;
        if let Some(path) = self.store.blob(digest) {
            self.count(&self.hits);
            return self.kept(&path, digest, headers, head).await;
        }
        self.count(&self.misses);
        let answer = match self.upstream.ask(Method::GET, name, &rest, &none).await {
            Ok(answer) => answer,
            Err(e) => return upstream_refused(&e, "BLOB_UNKNOWN"),
        };
        let length = answer.content_length();
        let (pieces, heard) = mpsc::channel(PIECES);
        // It goes on when the client goes away: somebody will want it again.
        tokio::spawn(relay(self.clone(), answer, digest.clone(), pieces, turn));
        let body = stream::unfold(heard, |mut heard| async move {
            let piece = heard.recv().await?;
            Some((piece, heard))
        });
        described(digest, length, Body::from_stream(body))
    }

    /// A blob from the disk; from the byte a client asks for, if it had some already.
    async fn kept(
        &self,
        path: &Path,
        digest: &Digest,
        headers: &HeaderMap,
        head: bool,
    ) -> Response {
        let opened = open(path, first_byte(headers)).await;
        let (file, from, length) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                return refused(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "UNKNOWN",
                    &format!("a blob that is kept cannot be read: {e}"),
                );
            }
        };
        let body = match head {
            true => Body::empty(),
            false => Body::from_stream(stream::try_unfold(file, piece)),
        };
        let mut response = described(digest, Some(length - from), body);
        if from > 0 && !head {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {from}-{}/{length}", length - 1);
            if let Ok(range) = range.parse() {
                response.headers_mut().insert(CONTENT_RANGE, range);
            }
        }
        response
    }
}

/// A file at its byte `from`, or at its begin if it has no such byte; and its length.
async fn open(path: &Path, from: u64) -> io::Result<(File, u64, u64)> {
    let mut file = File::open(path).await?;
    let length = file.metadata().await?.len();
    let from = if from < length { from } else { 0 };
    file.seek(SeekFrom::Start(from)).await?;
    Ok((file, from, length))
}

async fn piece(mut file: File) -> io::Result<Option<(Bytes, File)>> {
    let mut bytes = BytesMut::with_capacity(PIECE);
    match file.read_buf(&mut bytes).await? {
        0 => Ok(None),
        _ => Ok(Some((bytes.freeze(), file))),
    }
}

/// The first byte of `Range: bytes=N-`; 0 for every other range, which may be ignored
/// (RFC 9110, section 14.2).
fn first_byte(headers: &HeaderMap) -> u64 {
    let range = headers.get(RANGE).and_then(|r| r.to_str().ok());
    let range = range.and_then(|r| r.strip_prefix("bytes="));
    let first = range.and_then(|r| r.strip_suffix('-'));
    first.and_then(|first| first.parse().ok()).unwrap_or(0)
}

fn described(digest: &Digest, length: Option<u64>, body: Body) -> Response {
    let head = [
        (CONTENT_TYPE, TYPE.to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (DIGEST, digest.to_string()),
    ];
    let mut response = (head, body).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

/// Moves a blob to the client and to the disk, and keeps it if its checksum is right.
async fn relay(
    mirror: Arc<Mirror>,
    mut answer: reqwest::Response,
    digest: Digest,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    turn: OwnedMutexGuard<()>,
) {
    let part = mirror.store.part();
    let mut file = match File::create(&part).await {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(%error, "a blob is not kept");
            None
        }
    };
    let mut hash = Sha256::new();
    let whole = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                hash.update(&chunk);
                if let Some(open) = &mut file
                    && let Err(error) = open.write_all(&chunk).await
                {
                    // A full disk is no reason for the client to go without.
                    tracing::warn!(%error, "a blob is not kept");
                    file = None;
                }
                let is_heard = pieces.send(Ok(chunk)).await.is_ok();
                if !is_heard && file.is_none() {
                    break false;
                }
            }
            Ok(None) => break true,
            Err(e) => {
                // Nobody may be left to hear it.
                let _ = pieces.send(Err(io::Error::other(e.to_string()))).await;
                break false;
            }
        }
    };
    let is_right = whole && Digest::from_hash(&hash.finalize()) == digest;
    let kept = match file {
        // The bytes must be on the disk before the name is: power can fail here, and a blob is
        // not looked at again.
        Some(mut file) if is_right => match on_disk(&mut file).await {
            Ok(()) => mirror.store.keep_blob(&digest, &part),
            Err(e) => Err(e),
        },
        _ => Err(io::Error::other("it did not come whole")),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, %digest, "a blob was not kept");
        // There may be none.
        let _ = tokio::fs::remove_file(&part).await;
    }
    drop(turn);
}

/// Waits until all that was written is on the disk. The last write goes on after `write_all`, and
/// `sync_all` keeps its failure to itself: only `flush` tells (tokio, fs/file.rs).
async fn on_disk(file: &mut File) -> io::Result<()> {
    file.flush().await?;
    file.sync_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_ranges_are_honoured() {
        for (range, first) in [
            (Some("bytes=5-"), 5),
            (Some("bytes=5-9"), 0),
            (Some("bytes=-5"), 0),
            (Some("lines=5-"), 0),
            (None, 0),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(range) = range {
                headers.insert(RANGE, range.parse().unwrap());
            }
            assert_eq!(first_byte(&headers), first, "{range:?}");
        }
    }
}
