//! A class that is served now, as the teacher's other terminals find it: a file with its port, its
//! key and the teacher's token, which goes when the class ends.

use cadet_class::desk::Desk;
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// What is in the file.
#[derive(Clone, Serialize, Deserialize)]
pub struct Open {
    /// Process that serves it.
    pub pid: u32,
    pub port: u16,
    /// An address of this laptop at which phones reach it.
    pub address: Option<std::net::IpAddr>,
    /// The class's fingerprint.
    pub class: [u8; 32],
    pub teacher: String,
}

impl Open {
    /// The board as this laptop's browser reaches it.
    pub fn board(&self) -> String {
        format!("https://127.0.0.1:{}/board#{}", self.port, self.teacher)
    }

    /// The board as the teacher's phone reaches it.
    pub fn phone(&self) -> Option<String> {
        let address = std::net::SocketAddr::new(self.address?, self.port);
        Some(format!("https://{address}/board#{}", self.teacher))
    }

    /// The class, for questions.
    ///
    /// # Errors
    /// PROGRAM_INTERNAL when encryption cannot be set up.
    pub fn desk(&self) -> Result<Desk> {
        Ok(Desk::new(self.port, self.class, &self.teacher)?)
    }
}

/// Writes the file.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn write(cx: &Context, open: &Open) -> Result<()> {
    let bytes = serde_json::to_vec(open).map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "the class cannot be described").why(e.to_string())
    })?;
    machine::write_private(&cx.world.home.class_open(), &bytes)
}

/// Removes it, if it is this process's own.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn remove(cx: &Context) -> Result<()> {
    if read(cx)?.is_none_or(|open| open.pid != std::process::id()) {
        return Ok(());
    }
    let path = cx.world.home.class_open();
    std::fs::remove_file(&path).map_err(|e| machine::io("remove", &path, &e))
}

/// The class that is served, if its file is there. A crash leaves the file: who uses it finds
/// out.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn read(cx: &Context) -> Result<Option<Open>> {
    let path = cx.world.home.class_open();
    match std::fs::read(&path) {
        // A file that makes no sense is as good as none: the next serve writes it anew.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(machine::io("read", &path, &e)),
    }
}

/// The error where no class is served.
pub fn none() -> CliError {
    CliError::new("CLASS_NOT_SERVED", "no class is served from this laptop")
        .why("the board is there while the class is")
        .fix("cadet class serve")
}
