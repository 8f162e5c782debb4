//! Making a bundle: the same files and the same key give the same bytes.
//!
//! Entries are sorted, pieces follow in the order of their first entry, nothing carries a time
//! or an owner, compression runs in one thread at one level, and ed25519 signatures are
//! determined by key and message (RFC 8032).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::digest::{self, Hashed, Moved, pump};
use crate::error::{BundleError, Result};
use crate::head::Head;
use crate::key::TeacherKey;
use crate::manifest::{Entry, Manifest, Packing, Piece, Place};
use crate::parts::{self, Parts};

/// Level 19 takes ten times as long to save another fifth of the programs, which are a fifth
/// of a bundle.
const LEVEL: i32 = 12;
/// How much of a file is tried before it is compressed, in how many samples.
const SAMPLE: usize = 128 << 10;
const SAMPLES: u64 = 16;

/// One file that goes in.
#[derive(Debug, Clone)]
pub struct Source {
    pub place: Place,
    pub file: PathBuf,
}

/// What a bundle is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the teacher calls the class.
    pub class: String,
    /// Version of this cadet.
    pub cadet: String,
    /// Name of the base image.
    pub image: String,
    /// Lessons in the order they are taught.
    pub lessons: Vec<String>,
    pub sources: Vec<Source>,
}

/// A bundle that was written.
#[derive(Debug)]
pub struct Written {
    /// The file, or its parts.
    pub files: Vec<PathBuf>,
    pub head: Head,
}

/// Where the packed bytes of a piece come from.
struct Packed {
    piece: Piece,
    file: PathBuf,
}

/// Writes a bundle to `to`, or to parts of at most `limit` bytes. `work` is a folder for
/// intermediate files, which the caller removes. `told` hears what is being done, with the
/// bytes done and the bytes there are.
///
/// # Errors
/// [`BundleError::Occupied`], [`BundleError::Changed`], [`BundleError::Name`],
/// [`BundleError::Manifest`], [`BundleError::DiskFull`], [`BundleError::File`].
pub fn write(
    plan: Plan,
    key: &TeacherKey,
    work: &Path,
    to: &Path,
    limit: Option<u64>,
    told: &mut dyn FnMut(&str, u64, u64),
) -> Result<Written> {
    parts::free(to)?;
    let mut sources = plan.sources;
    for source in &sources {
        source.place.clone().checked()?;
    }
    sources.sort_by_key(|source| source.place.to_string());
    let mut packed: Vec<Packed> = Vec::new();
    let mut by_sum = BTreeMap::new();
    let mut entries = Vec::new();
    for source in sources {
        let (size, sha256) = digest::of_file(&source.file)?;
        let piece = match by_sum.get(&sha256) {
            Some(piece) => *piece,
            None => {
                let shown = source.place.to_string();
                let mut told = |done| told(&shown, done, size);
                packed.push(pack(&source.file, size, &sha256, work, &mut told)?);
                by_sum.insert(sha256, packed.len() - 1);
                packed.len() - 1
            }
        };
        entries.push(Entry {
            place: source.place,
            piece,
        });
    }
    let manifest = Manifest {
        class: plan.class,
        cadet: plan.cadet,
        image: plan.image,
        lessons: plan.lessons,
        entries,
        pieces: packed.iter().map(|p| p.piece.clone()).collect(),
    };
    let bytes = Head::write(&manifest, key)?;
    let head = Head {
        manifest,
        key: key.public(),
        length: bytes.len() as u64,
    };
    let mut out = Parts::new(to, limit);
    if let Err(e) = out.write_all(&bytes) {
        return Err(BundleError::file("write", out.now(), e));
    }
    let total = head.total();
    let mut before = head.length;
    for packed in packed {
        let mut moved = |done| told("writing", before + done, total);
        copy(&packed, &mut out, &mut moved)?;
        before += packed.piece.packed_size;
    }
    Ok(Written {
        files: out.finish()?,
        head,
    })
}

/// Compresses a file if that makes it smaller.
fn pack(
    file: &Path,
    size: u64,
    sha256: &str,
    work: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<Packed> {
    let plain = Packed {
        piece: Piece {
            size,
            sha256: sha256.to_owned(),
            packing: Packing::Plain,
            packed_size: size,
            packed_sha256: sha256.to_owned(),
        },
        file: file.to_path_buf(),
    };
    if !shrinks(file, size).map_err(|e| BundleError::file("read", file, e))? {
        return Ok(plain);
    }
    let to = work.join(format!("{sha256}.zst"));
    let writing = |e| BundleError::file("write", &to, e);
    let mut from = open(file)?;
    let out = Hashed::new(File::create(&to).map_err(writing)?);
    let mut reader = Hashed::new(&mut from);
    let mut encoder = zstd::stream::write::Encoder::new(out, LEVEL).map_err(writing)?;
    pump(&mut reader, &mut encoder, told).map_err(|e| match e {
        Moved::Reading(e) => BundleError::file("read", file, e),
        Moved::Writing(e) => BundleError::file("write", &to, e),
    })?;
    let out = encoder.finish().map_err(writing)?;
    unchanged(file, reader.end(), size, sha256)?;
    let (packed_size, packed_sha256) = out.end();
    if packed_size >= size {
        return Ok(plain);
    }
    Ok(Packed {
        piece: Piece {
            size,
            sha256: sha256.to_owned(),
            packing: Packing::Zstd,
            packed_size,
            packed_sha256,
        },
        file: to,
    })
}

/// Whether compressing is worth it: samples of the file become smaller by a thirtieth. A
/// compressed disk image does not, and would take minutes to try.
fn shrinks(file: &Path, size: u64) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let (mut before, mut after) = (0, 0);
    let mut sample = Vec::with_capacity(SAMPLE);
    for n in 0..SAMPLES {
        let at = size / SAMPLES * n;
        file.seek(SeekFrom::Start(at))?;
        sample.clear();
        (&file).take(SAMPLE as u64).read_to_end(&mut sample)?;
        before += sample.len();
        after += zstd::bulk::compress(&sample, 1)?.len();
        if at + SAMPLE as u64 >= size {
            break;
        }
    }
    Ok(after + before / 30 < before)
}

/// Appends the packed bytes of a piece.
fn copy(packed: &Packed, out: &mut Parts, told: &mut dyn FnMut(u64)) -> Result<()> {
    let mut from = open(&packed.file)?;
    let mut reader = Hashed::new(&mut from);
    if let Err(e) = pump(&mut reader, out, told) {
        return Err(match e {
            Moved::Reading(e) => BundleError::file("read", &packed.file, e),
            Moved::Writing(e) => BundleError::file("write", out.now(), e),
        });
    }
    let piece = &packed.piece;
    unchanged(
        &packed.file,
        reader.end(),
        piece.packed_size,
        &piece.packed_sha256,
    )
}

fn unchanged(file: &Path, found: (u64, String), size: u64, sha256: &str) -> Result<()> {
    if found.0 == size && found.1 == sha256 {
        return Ok(());
    }
    Err(BundleError::Changed {
        path: file.to_path_buf(),
    })
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| BundleError::file("open", path, e))
}
