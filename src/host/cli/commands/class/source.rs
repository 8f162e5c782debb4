//! Where a bundle comes from, a disk or a server, and getting pieces out of it.

use std::path::Path;
use std::sync::Arc;

use cadet_bundle::{Bundle, BundleError, Entry, Head, Packing, Piece, unpack};
use cadet_image::fetch::{self, Part};
use cadet_image::{ImageError, Progress, http};
use reqwest::Client;

use super::work;
use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// Enough for the head of most bundles.
const FIRST: usize = 64 << 10;

/// A bundle whose head was read and checked.
pub enum Source {
    /// On a disk.
    Disk(Arc<Bundle>),
    /// On a server that sends ranges.
    Server {
        client: Client,
        url: String,
        head: Box<Head>,
    },
}

impl Source {
    /// Opens a file, a part, or a folder with a bundle in it.
    ///
    /// # Errors
    /// The errors of bundles; PROGRAM_USAGE if nothing is there.
    pub async fn disk(cx: &Context, path: &Path) -> Result<Source> {
        let place = path.to_path_buf();
        let opened = work::long(cx, move |_| Bundle::open(&place)).await?;
        match opened {
            Ok(bundle) => Ok(Source::Disk(Arc::new(bundle))),
            Err(BundleError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Err(
                    CliError::new("PROGRAM_USAGE", format!("there is no {}", path.display()))
                        .why("a bundle is a file, a folder with one in it, or an http(s) address")
                        .fix("cadet class install FILE|DIR|URL"),
                )
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Asks a server for the head of the bundle at `url`.
    ///
    /// # Errors
    /// INET_UNREACHABLE, INET_DOWNLOAD, the errors of bundles.
    pub async fn server(client: Client, url: &str) -> Result<Source> {
        let shown = Path::new(url);
        let mut asked = FIRST;
        let (head, size) = loop {
            let found = http::beginning(&client, url, asked).await;
            let found = found.map_err(|e| broken(url, e))?;
            let needs = Head::length_of(&found.bytes, shown)?;
            if found.bytes.len() >= needs || found.bytes.len() < asked {
                break (Head::parse(&found.bytes, shown)?, found.size);
            }
            asked = needs;
        };
        let needs = head.total();
        match size {
            Some(has) if has < needs => Err(BundleError::Truncated {
                path: shown.to_path_buf(),
                has,
                needs,
            }
            .into()),
            Some(has) if has > needs => Err(BundleError::Surplus {
                path: shown.to_path_buf(),
                extra: has - needs,
            }
            .into()),
            _ => Ok(Source::Server {
                client,
                url: url.to_owned(),
                head: Box::new(head),
            }),
        }
    }

    /// What the bundle says of itself.
    pub fn head(&self) -> &Head {
        match self {
            Source::Disk(bundle) => &bundle.head,
            Source::Server { head, .. } => head,
        }
    }

    /// The bytes that take time with this piece: to unpack, or to fetch.
    pub fn weight(&self, piece: &Piece) -> u64 {
        match self {
            Source::Disk(_) => piece.size,
            Source::Server { .. } => piece.packed_size,
        }
    }

    /// Puts the piece of `entry` to `to`, checked. What is there already stays. `before` of
    /// `total` bytes were done before, for the progress.
    ///
    /// # Errors
    /// BUNDLE_TAMPERED, HOST_DISK_FULL, INET_DOWNLOAD and their like.
    pub async fn piece(
        &self,
        cx: &Context,
        entry: &Entry,
        to: &Path,
        before: u64,
        total: u64,
    ) -> Result<()> {
        let head = self.head();
        let piece = head.manifest.pieces[entry.piece].clone();
        let range = head.range(entry.piece);
        let shown = entry.place.to_string();
        let to = to.to_path_buf();
        match self {
            Source::Disk(bundle) => {
                let bundle = bundle.clone();
                let done = work::long(cx, move |told| {
                    let open = || Ok(bundle.volume.reader(range.clone()));
                    let mut told = |done| told("unpacking", before + done, total);
                    unpack(&piece, &shown, open, &to, &mut told)
                });
                Ok(done.await??)
            }
            Source::Server { client, url, .. } => {
                if is_there(cx, &piece, &to).await? {
                    return Ok(());
                }
                let packed = machine::with_suffix(&to, ".packed");
                let sink = |progress: Progress| match progress {
                    Progress::Phase(text) => cx.ui.progress(&text, None),
                    Progress::Note(text) => cx.ui.warn("bundle", &text),
                    Progress::Bytes { done, .. } => {
                        cx.ui.progress("fetching", Some((before + done, total)));
                    }
                };
                let part = Part {
                    start: range.start,
                    length: range.end - range.start,
                };
                let sum = &piece.packed_sha256;
                let fetched = fetch::fetch_part(client, url, part, sum, &packed, &sink).await;
                fetched.map_err(|e| match e {
                    ImageError::WrongChecksum { .. } => CliError::from(BundleError::Tampered {
                        piece: shown.clone(),
                    }),
                    other => broken(url, other),
                })?;
                work::long(cx, move |_| open_packed(&piece, &shown, &packed, &to)).await??;
                Ok(())
            }
        }
    }
}

/// Whether the piece lies at `path` already.
pub async fn is_there(cx: &Context, piece: &Piece, path: &Path) -> Result<bool> {
    let (piece, path) = (piece.clone(), path.to_path_buf());
    let found = work::long(cx, move |_| cadet_bundle::unpack::is_there(&piece, &path));
    Ok(found.await??)
}

/// Turns a fetched file into the piece.
fn open_packed(piece: &Piece, shown: &str, packed: &Path, to: &Path) -> Result<(), BundleError> {
    if piece.packing == Packing::Plain {
        // Its checksum was compared when it came.
        return std::fs::rename(packed, to).map_err(|source| BundleError::File {
            act: "rename",
            path: to.to_path_buf(),
            source,
        });
    }
    let open = || {
        std::fs::File::open(packed).map_err(|source| BundleError::File {
            act: "open",
            path: packed.to_path_buf(),
            source,
        })
    };
    unpack(piece, shown, open, to, &mut |_| {})?;
    std::fs::remove_file(packed).map_err(|source| BundleError::File {
        act: "remove",
        path: packed.to_path_buf(),
        source,
    })
}

/// An error of the way to the server, with what helps a class.
fn broken(url: &str, e: ImageError) -> CliError {
    match e {
        ImageError::Status { status: 200, .. } => CliError::new(
            "INET_DOWNLOAD",
            "the server sends whole files only, so nothing could be resumed",
        )
        .why(url)
        .fix("cadet class install FILE      from a copy\ncadet class serve      on the teacher's laptop"),
        ImageError::DiskFull { .. } | ImageError::File { .. } => e.into(),
        other => CliError::from(other).fix(format!(
            "cadet class install {url}      goes on where it stopped"
        )),
    }
}
