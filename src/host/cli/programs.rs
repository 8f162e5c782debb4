//! The programs `cadet` carries into the machine: cadet-node and the lesson apps.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{CliError, Result};
use crate::machine;
use crate::world::World;

/// The file of `cadet-node`.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING.
pub fn cadet_node(world: &World) -> Result<PathBuf> {
    if let Some(file) = &world.node_program {
        return existing(file.clone(), "CADET_NODE_BINARY names it");
    }
    existing(
        world.programs.join("cadet-node"),
        "it is built beside cadet",
    )
}

/// A lesson app's program, built beside `cadet`.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING.
pub fn lesson_app(world: &World, name: &str) -> Result<PathBuf> {
    existing(world.programs.join(name), "it is built beside cadet")
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
