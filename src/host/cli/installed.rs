//! What a class's bundle put on this computer: which class, whose key, which base image.
//!
//! Programs, lessons and the base image of the class are used where there are no others, or
//! where the class's own are meant; `class install` writes the record last, when all is there.

use std::path::PathBuf;

use cadet_bundle::PublicKey;
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Result};
use crate::machine;
use crate::world::World;

/// The class that was installed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// Its title.
    pub class: String,
    /// Whose bundle it was.
    pub key: PublicKey,
    /// Version of the cadet in it.
    pub cadet: String,
    /// Name of its base image in the catalogue.
    pub image: String,
    /// What the base is made of: the teacher's catalogue may differ from ours.
    pub recipe: String,
    /// Its lessons, in the order they are taught.
    pub lessons: Vec<String>,
    /// SHA-256 of the bundle's manifest.
    pub manifest: String,
}

/// Reads the record, if a bundle was installed.
///
/// # Errors
/// HOST_STATE_CORRUPT, HOST_NOT_READABLE.
pub fn read(world: &World) -> Result<Option<Installed>> {
    let file = world.home.class_record();
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(machine::io("read", &file, &e)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        CliError::new(
            "HOST_STATE_CORRUPT",
            "what is known of your class cannot be read",
        )
        .why(format!("{}: {e}", file.display()))
        .fix(format!(
            "rm {}      then install the bundle again",
            file.display()
        ))
    })
}

/// Keeps the record.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn write(world: &World, record: &Installed) -> Result<()> {
    machine::private_dir(&world.home.class())?;
    let mut text = serde_json::to_vec_pretty(record).map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "the record of the class cannot be made")
            .why(e.to_string())
    })?;
    text.push(b'\n');
    machine::write_private(&world.home.class_record(), &text)
}

/// A program of the class, if it has one of that name.
pub fn program(world: &World, name: &str) -> Option<PathBuf> {
    let name = cadet_bundle::Platform::here().program(name);
    Some(world.home.class_programs().join(name)).filter(|file| file.is_file())
}
