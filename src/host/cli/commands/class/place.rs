//! Putting the pieces of a bundle where `start` and lessons look for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use cadet_bundle::{BundleError, Entry, Place};
use cadet_image::{Base, Cache, ImageError, Manifest, cache};

use crate::error::{CliError, Result};
use crate::machine;

/// Where the pieces lie, by the entry they are for.
pub type Pieces = BTreeMap<Place, PathBuf>;

/// Reads what the bundle says of its base image, and checks that it means these pieces.
///
/// # Errors
/// BUNDLE_INVALID, HOST_NOT_READABLE.
pub fn base_manifest(
    json: &Path,
    arch: &str,
    image: &str,
    sums: &BTreeMap<Place, String>,
) -> Result<Manifest> {
    let text = std::fs::read(json).map_err(|e| machine::io("read", json, &e))?;
    let invalid = |why: String| CliError::from(BundleError::Manifest(why));
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|e| invalid(format!("its base image is not described: {e}")))?;
    if manifest.image != image || manifest.arch.name() != arch {
        return Err(invalid("its base image is another one than it says".into()));
    }
    for file in [cache::DISK, cache::KERNEL, cache::INITRD] {
        let place = base_place(arch, file);
        let facts = manifest.files.get(file).map(|facts| &facts.sha256);
        if facts.is_none() || facts != sums.get(&place) {
            return Err(invalid(format!("{place} is not the file it should be")));
        }
    }
    if manifest.files.len() != 3 {
        return Err(invalid("its base image has files of no use".into()));
    }
    Ok(manifest)
}

/// The place of a file of a base.
pub fn base_place(arch: &str, file: &str) -> Place {
    Place::Base {
        arch: arch.into(),
        file: file.into(),
    }
}

/// The same base, if it is in the cache and whole. Reads it all.
///
/// # Errors
/// Those of the cache.
pub fn base_there(store: &Cache, wanted: &Manifest) -> Result<Option<Base>, ImageError> {
    let found = store.list()?.into_iter().flatten().find(|base| {
        let has = &base.manifest;
        has.image == wanted.image
            && has.arch == wanted.arch
            && has.recipe == wanted.recipe
            && has.files == wanted.files
            && base.verify().is_ok()
    });
    Ok(found)
}

/// Moves the base image into the cache, for whose lock the caller has waited.
///
/// # Errors
/// BUNDLE_INVALID if a piece is missing; those of the cache.
pub fn base(store: &Cache, manifest: &Manifest, pieces: &Pieces) -> Result<Base> {
    let arch = manifest.arch.name();
    let space = store.workspace(&manifest.image, manifest.arch)?;
    for file in [cache::DISK, cache::KERNEL, cache::INITRD] {
        put(pieces, &base_place(arch, file), &space.path(file))?;
    }
    Ok(store.install(&space, manifest.clone())?)
}

/// Makes the folder of programs and lessons anew: beside the old one, then in its place.
///
/// # Errors
/// BUNDLE_INVALID for a lesson that is none, HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn programs(to: &Path, entries: &[Entry], pieces: &Pieces) -> Result<()> {
    let (fresh, old) = (
        machine::with_suffix(to, ".new"),
        machine::with_suffix(to, ".old"),
    );
    machine::remove_dir(&fresh)?;
    let lessons = fresh.join("tutorials");
    make(&lessons)?;
    for entry in entries {
        match &entry.place {
            Place::Base { .. } => {}
            Place::Guest { program, .. } | Place::Host { program, .. } => {
                let file = fresh.join(program);
                if file.exists() {
                    let why = format!("it has two programs called {program}");
                    return Err(BundleError::Manifest(why).into());
                }
                put(pieces, &entry.place, &file)?;
                executable(&file)?;
            }
            Place::Lesson { folder } => {
                let archive = piece(pieces, &entry.place)?;
                let from = File::open(archive).map_err(|e| machine::io("open", archive, &e))?;
                cadet_bundle::lesson::unpack(folder, from, &lessons.join(folder))?;
            }
        }
    }
    machine::remove_dir(&old)?;
    if to.exists() {
        std::fs::rename(to, &old).map_err(|e| machine::io("rename", to, &e))?;
    }
    std::fs::rename(&fresh, to).map_err(|e| machine::io("rename", to, &e))?;
    machine::remove_dir(&old)
}

fn piece<'a>(pieces: &'a Pieces, place: &Place) -> Result<&'a PathBuf> {
    pieces
        .get(place)
        .ok_or_else(|| BundleError::Manifest(format!("{place} is missing")).into())
}

/// Links or copies the piece of `place` to `to`: several places may have the same piece.
fn put(pieces: &Pieces, place: &Place, to: &Path) -> Result<()> {
    let from = piece(pieces, place)?;
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    // Another disk, or one without links.
    std::fs::copy(from, to)
        .map(|_| ())
        .map_err(|e| machine::io("write", to, &e))
}

fn make(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| machine::io("create", path, &e))
}

#[cfg(unix)]
fn executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file, mode).map_err(|e| machine::io("change", file, &e))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<()> {
    Ok(())
}
