//! Downloading one large file: resumed after a cut, verified before use, never half there.
//!
//! The bytes grow in `NAME.partial`; `NAME` appears by a rename once the checksum is right.
//! A partial file is kept when the network failed and removed when its bytes are wrong or
//! the disk is full. A lock file makes a second download of the same name wait.
//! A part of a large file is downloaded in the same way, by its range.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checksum;
use crate::error::ImageError;
use crate::http;
use crate::progress::{Progress, Sink};

/// Fruitless attempts in a row before giving up. Any progress starts the count anew.
const ATTEMPTS: u32 = 5;
/// First pause between attempts; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Bytes between two progress reports.
const REPORT_EVERY: u64 = 256 * 1024;

/// The bytes of a file on a server that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub start: u64,
    pub length: u64,
}

/// Downloads `url` to `to`. Does nothing if `to` already has the checksum `sha256` (hexadecimal).
///
/// # Errors
/// [`ImageError::WrongChecksum`] and [`ImageError::DiskFull`] leave nothing behind;
/// [`ImageError::Cut`], [`ImageError::Unreachable`] and [`ImageError::Untrusted`] leave what came
/// so far for the next call; [`ImageError::Status`], [`ImageError::File`].
pub async fn fetch(
    client: &Client,
    url: &str,
    sha256: &str,
    to: &Path,
    sink: Sink<'_>,
) -> Result<(), ImageError> {
    download(client, url, None, sha256, to, sink).await
}

/// Downloads one part of the file at `url`; `sha256` is that of the part.
///
/// # Errors
/// As [`fetch`]; [`ImageError::Status`] 200 if the server sends no parts, 416 if the file on it
/// is shorter.
pub async fn fetch_part(
    client: &Client,
    url: &str,
    part: Part,
    sha256: &str,
    to: &Path,
    sink: Sink<'_>,
) -> Result<(), ImageError> {
    download(client, url, Some(part), sha256, to, sink).await
}

async fn download(
    client: &Client,
    url: &str,
    part: Option<Part>,
    sha256: &str,
    to: &Path,
    sink: Sink<'_>,
) -> Result<(), ImageError> {
    let _lock = lock(&beside(to, "lock"), sink).await?;
    if to.exists() {
        sink(Progress::Phase("checking the file at hand".into()));
        if hash(to).await? == sha256 {
            return Ok(());
        }
        remove(to)?;
    }
    let partial = beside(to, "partial");
    let origin = beside(to, "origin");
    let mut fruitless = 0;
    let mut restarted = false;
    loop {
        let mut transfer = Transfer::open(url, part, sha256, &partial, &origin)?;
        let before = transfer.done;
        let resumed = before > 0;
        let outcome = transfer.run(client, sink).await;
        let done = transfer.done;
        match outcome {
            Ok(()) => {
                let found = transfer.finish()?;
                if found == sha256 {
                    return publish(&partial, &origin, to);
                }
                discard(&partial, &origin)?;
                // The file on the server may have changed between the two halves.
                if resumed && !restarted {
                    restarted = true;
                    sink(Progress::Note("the parts do not fit, starting anew".into()));
                    continue;
                }
                return Err(ImageError::WrongChecksum {
                    url: url.to_owned(),
                    expected: sha256.to_owned(),
                    found,
                });
            }
            Err(error @ ImageError::DiskFull { .. }) => {
                drop(transfer);
                discard(&partial, &origin)?;
                return Err(error);
            }
            Err(error) if !is_passing(&error) => return Err(error),
            Err(error) => {
                fruitless = if done > before { 1 } else { fruitless + 1 };
                if fruitless >= ATTEMPTS {
                    return Err(error);
                }
                sink(Progress::Note(format!("trying again: {error}")));
                tokio::time::sleep(FIRST_PAUSE * 2u32.pow(fruitless - 1)).await;
            }
        }
    }
}

/// Looks up the checksum of `url` in a SHA256SUMS file on the server.
///
/// # Errors
/// [`ImageError::NoChecksum`], and those of [`http::text`].
pub async fn announced(client: &Client, checksums: &str, url: &str) -> Result<String, ImageError> {
    const LIMIT: usize = 1 << 20;
    let sums = http::text(client, checksums, LIMIT).await?;
    let file = url.rsplit('/').next().unwrap_or(url);
    checksum::find(&sums, file).ok_or_else(|| ImageError::NoChecksum {
        checksums: checksums.to_owned(),
        file: file.to_owned(),
    })
}

/// Worth another attempt without anybody's help.
fn is_passing(error: &ImageError) -> bool {
    match error {
        ImageError::Cut { .. } | ImageError::Unreachable { .. } => true,
        ImageError::Status { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

/// What a partial file is part of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Origin {
    url: String,
    sha256: String,
    #[serde(default)]
    part: Option<Part>,
    /// ETag or Last-Modified of the first answer, for `If-Range`.
    validator: Option<String>,
}

struct Transfer<'a> {
    file: File,
    partial: &'a Path,
    origin_path: &'a Path,
    origin: Origin,
    hasher: Sha256,
    done: u64,
}

impl<'a> Transfer<'a> {
    /// Opens the partial file, continuing it if it belongs to the same download.
    fn open(
        url: &str,
        part: Option<Part>,
        sha256: &str,
        partial: &'a Path,
        origin_path: &'a Path,
    ) -> Result<Transfer<'a>, ImageError> {
        let mut origin = Origin {
            url: url.to_owned(),
            sha256: sha256.to_owned(),
            part,
            validator: None,
        };
        let old = std::fs::read(origin_path).ok();
        let old = old.and_then(|bytes| serde_json::from_slice::<Origin>(&bytes).ok());
        let mut hasher = Sha256::new();
        let mut done = 0;
        match old {
            Some(old)
                if old.url == url
                    && old.sha256 == sha256
                    && old.part == part
                    && partial.exists() =>
            {
                done = checksum::feed_file(&mut hasher, partial)?;
                origin.validator = old.validator;
            }
            _ => remove(partial)?,
        }
        let opened = File::options().create(true).append(true).open(partial);
        let file = opened.map_err(|e| ImageError::file("open", partial, e))?;
        Ok(Transfer {
            file,
            partial,
            origin_path,
            origin,
            hasher,
            done,
        })
    }

    /// One request, from where we are to the end.
    async fn run(&mut self, client: &Client, sink: Sink<'_>) -> Result<(), ImageError> {
        let part = self.origin.part;
        if part.is_some_and(|part| self.done >= part.length) {
            // Killed between the last byte and the end; the checksum tells the rest.
            return Ok(());
        }
        let first = part.map_or(0, |part| part.start) + self.done;
        let mut request = client.get(&self.origin.url);
        if let Some(part) = part {
            let last = part.start + part.length - 1;
            request = request.header(RANGE, format!("bytes={first}-{last}"));
        } else if self.done > 0 {
            request = request.header(RANGE, format!("bytes={first}-"));
        }
        if self.done > 0
            && let Some(validator) = &self.origin.validator
        {
            request = request.header(IF_RANGE, validator);
        }
        let sent = request.send().await;
        let mut answer = sent.map_err(|e| http::classify(&self.origin.url, &e))?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&answer) == Some(first) => {}
            // The server has no ranges, or the file changed: all of it is not what is wanted.
            StatusCode::OK if part.is_some() => {
                self.rewind()?;
                return Err(ImageError::Status {
                    url: self.origin.url.clone(),
                    status: 200,
                });
            }
            // The whole file: the server has no ranges, or the file changed.
            StatusCode::OK => self.rewind()?,
            // Nothing is left to send: either we have all of it, or the file changed;
            // the checksum tells.
            StatusCode::RANGE_NOT_SATISFIABLE if self.done > 0 && part.is_none() => {
                return Ok(());
            }
            StatusCode::PARTIAL_CONTENT => {
                self.rewind()?;
                return Err(self.cut("the server sent another range than asked".into()));
            }
            status => {
                return Err(ImageError::Status {
                    url: self.origin.url.clone(),
                    status: status.as_u16(),
                });
            }
        }
        let total = answer.content_length().map(|rest| rest + self.done);
        self.remember(&answer)?;
        self.receive(&mut answer, total, sink).await
    }

    async fn receive(
        &mut self,
        answer: &mut Response,
        total: Option<u64>,
        sink: Sink<'_>,
    ) -> Result<(), ImageError> {
        let mut reported = None;
        loop {
            if reported.is_none_or(|at| self.done - at >= REPORT_EVERY) {
                let done = self.done;
                sink(Progress::Bytes { done, total });
                reported = Some(done);
            }
            let chunk = answer.chunk().await;
            let Some(chunk) = chunk.map_err(|e| self.cut(http::reason(&e)))? else {
                break;
            };
            let after = self.done + chunk.len() as u64;
            if self.origin.part.is_some_and(|part| after > part.length) {
                return Err(self.cut("the server sent more than was asked for".into()));
            }
            let written = self.file.write_all(&chunk);
            written.map_err(|e| ImageError::file("write", self.partial, e))?;
            self.hasher.update(&chunk);
            self.done = after;
        }
        if let Some(total) = total.filter(|&t| t != self.done) {
            return Err(self.cut(format!("{total} bytes were announced")));
        }
        let done = self.done;
        sink(Progress::Bytes { done, total });
        Ok(())
    }

    /// Forces the bytes to the disk and returns their hash.
    fn finish(self) -> Result<String, ImageError> {
        let synced = self.file.sync_all();
        synced.map_err(|e| ImageError::file("write", self.partial, e))?;
        Ok(checksum::hex(&self.hasher.finalize()))
    }

    fn rewind(&mut self) -> Result<(), ImageError> {
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| ImageError::file("empty", self.partial, e))?;
        self.hasher = Sha256::new();
        self.done = 0;
        Ok(())
    }

    fn remember(&mut self, answer: &Response) -> Result<(), ImageError> {
        let text = |name| answer.headers().get(name).and_then(|v| v.to_str().ok());
        // If-Range takes strong validators only.
        let etag = text(ETAG).filter(|e| !e.starts_with("W/"));
        self.origin.validator = etag.or_else(|| text(LAST_MODIFIED)).map(str::to_owned);
        // The type has string fields only, so it cannot fail to serialize.
        let bytes = serde_json::to_vec(&self.origin).unwrap_or_default();
        std::fs::write(self.origin_path, bytes)
            .map_err(|e| ImageError::file("write", self.origin_path, e))
    }

    fn cut(&self, why: String) -> ImageError {
        ImageError::Cut {
            url: self.origin.url.clone(),
            done: self.done,
            why,
        }
    }
}

/// The first byte of the range a server sends: `bytes 100-199/200`.
fn range_start(answer: &Response) -> Option<u64> {
    let value = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    value
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

fn publish(partial: &Path, origin: &Path, to: &Path) -> Result<(), ImageError> {
    std::fs::rename(partial, to).map_err(|e| ImageError::file("rename", to, e))?;
    sync_folder(to)?;
    remove(origin)
}

/// Makes a rename durable; only unix can open folders.
pub(crate) fn sync_folder(of: &Path) -> Result<(), ImageError> {
    let Some(folder) = of.parent().filter(|_| cfg!(unix)) else {
        return Ok(());
    };
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| ImageError::file("sync", folder, e))
}

fn discard(partial: &Path, origin: &Path) -> Result<(), ImageError> {
    remove(partial)?;
    remove(origin)
}

pub(crate) fn remove(path: &Path) -> Result<(), ImageError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(ImageError::file("remove", path, e))
        }
        _ => Ok(()),
    }
}

/// `NAME.suffix` beside `NAME`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

async fn hash(path: &Path) -> Result<String, ImageError> {
    let path = path.to_path_buf();
    let shown = path.clone();
    let joined = tokio::task::spawn_blocking(move || checksum::of_file(&path)).await;
    joined.map_err(|e| ImageError::file("read", shown, std::io::Error::other(e)))?
}

/// Takes a file lock, waiting for whoever has it. The system releases it when a holder dies.
///
/// # Errors
/// [`ImageError::File`], [`ImageError::DiskFull`].
pub async fn lock(path: &Path, sink: Sink<'_>) -> Result<File, ImageError> {
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = opened.map_err(|e| ImageError::file("open", path, e))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                if !told {
                    sink(Progress::Phase("waiting for another cadet".into()));
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(std::fs::TryLockError::Error(e)) => {
                return Err(ImageError::file("lock", path, e));
            }
        }
    }
}
