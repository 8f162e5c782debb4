//! The programs `cadet` carries into the machine: cadet-node and the lesson apps.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{CliError, Result};
use crate::world::World;
use crate::{kubectl_program, machine};

/// The file of `cadet-node`.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING.
pub fn cadet_node(world: &World) -> Result<PathBuf> {
    if let Some(file) = &world.node_program {
        return existing(file.clone(), "CADET_NODE_BINARY names it");
    }
    existing(beside(world, "cadet-node"), "it is built beside cadet")
}

/// A lesson app's program, built beside `cadet`.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING.
pub fn lesson_app(world: &World, name: &str) -> Result<PathBuf> {
    existing(beside(world, name), "it is built beside cadet")
}

/// A guest's program beside this one, or else of the class that was installed.
fn beside(world: &World, name: &str) -> PathBuf {
    let own = world.programs.join(name);
    if own.is_file() {
        return own;
    }
    let of_class = world.home.class_programs().join(name);
    if of_class.is_file() { of_class } else { own }
}

/// The learner's own kubectl, or else the one that came with a class, or one that was fetched.
pub fn kubectl(world: &World) -> PathBuf {
    on_path("kubectl")
        .or_else(|| kubectl_program::of_class(world))
        .or_else(|| kubectl_program::kept(world))
        .unwrap_or_else(|| "kubectl".into())
}

/// The file that the PATH has for a program.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let name = cadet_bundle::Platform::here().program(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(&name))
        .find(|file| file.is_file())
}

fn existing(file: PathBuf, why: &str) -> Result<PathBuf> {
    if file.is_file() {
        return Ok(file);
    }
    Err(CliError::new(
        "HOST_NODE_PROGRAM_MISSING",
        format!("{} is missing", file.display()),
    )
    .why(why)
    .fix("./scripts/build-guest"))
}

/// SHA-256 of a file in hexadecimal.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn sha256(file: &Path) -> Result<String> {
    let failed = |e: &std::io::Error| machine::io("read", file, e);
    let mut hash = Sha256::new();
    let mut reader = std::fs::File::open(file).map_err(|e| failed(&e))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = std::io::Read::read(&mut reader, &mut buffer).map_err(|e| failed(&e))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
