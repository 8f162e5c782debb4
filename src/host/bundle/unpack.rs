//! Taking a piece out of a bundle: checked before it is decoded, checked again before it is used.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::{self, Hashed, Moved, pump};
use crate::error::{BundleError, Result};
use crate::manifest::{Packing, Piece};

/// Writes the bytes of `piece` to `to`. `shown` names it in errors; `open` gives its packed
/// bytes from the beginning, once for checking and once for decoding: the decoder never sees
/// what was not signed. `to` appears whole or not at all; what is there with the right checksum
/// stays. `told` hears the bytes written so far.
///
/// # Errors
/// [`BundleError::Tampered`], [`BundleError::DiskFull`], [`BundleError::File`]: none leaves
/// anything of the piece behind.
pub fn unpack<R: Read>(
    piece: &Piece,
    shown: &str,
    open: impl Fn() -> Result<R>,
    to: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<()> {
    if is_there(piece, to)? {
        told(piece.size);
        return Ok(());
    }
    if piece.packing == Packing::Zstd {
        check(piece, shown, open()?)?;
    }
    let partial = beside(to);
    let done = write(piece, shown, open()?, &partial, told);
    if done.is_err() {
        // The error is the one to tell; a leftover is overwritten by the next try.
        let _ = std::fs::remove_file(&partial);
    }
    done?;
    std::fs::rename(&partial, to).map_err(|e| BundleError::file("rename", to, e))
}

/// Whether `path` holds exactly this piece. Reads it all.
///
/// # Errors
/// [`BundleError::File`].
pub fn is_there(piece: &Piece, path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(BundleError::file("read", path, e)),
        Ok(about) if about.len() != piece.size => Ok(false),
        Ok(_) => Ok(digest::of_file(path)?.1 == piece.sha256),
    }
}

/// Compares the packed bytes with what was signed.
fn check(piece: &Piece, shown: &str, from: impl Read) -> Result<()> {
    let mut reader = Hashed::new(from.take(piece.packed_size));
    let mut nowhere = io::sink();
    pump(&mut reader, &mut nowhere, &mut |_| {}).map_err(|e| match e {
        Moved::Reading(e) | Moved::Writing(e) => BundleError::file("read", shown, e),
    })?;
    let same = reader.end() == (piece.packed_size, piece.packed_sha256.clone());
    if same { Ok(()) } else { Err(tampered(shown)) }
}

fn write(
    piece: &Piece,
    shown: &str,
    from: impl Read,
    partial: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<()> {
    let writing = |e| BundleError::file("write", partial, e);
    let file = File::create(partial).map_err(writing)?;
    let mut out = Hashed::new(file);
    let packed = from.take(piece.packed_size);
    let moved = match piece.packing {
        // One byte more than there should be shows that there are too many.
        Packing::Zstd => zstd::stream::read::Decoder::new(packed)
            .map_err(Moved::Reading)
            .and_then(|decoder| pump(&mut decoder.take(piece.size + 1), &mut out, told)),
        Packing::Plain => {
            let mut packed = packed;
            pump(&mut packed, &mut out, told)
        }
    };
    match moved {
        Ok(_) => {}
        Err(Moved::Writing(e)) => return Err(writing(e)),
        Err(Moved::Reading(_)) if piece.packing == Packing::Zstd => return Err(tampered(shown)),
        Err(Moved::Reading(e)) => return Err(BundleError::file("read", shown, e)),
    }
    out.flush().map_err(writing)?;
    let found = out.end();
    if found != (piece.size, piece.sha256.clone()) {
        return Err(tampered(shown));
    }
    let synced = File::options()
        .write(true)
        .open(partial)
        .and_then(|file| file.sync_all());
    synced.map_err(writing)
}

fn tampered(shown: &str) -> BundleError {
    BundleError::Tampered {
        piece: shown.to_owned(),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
