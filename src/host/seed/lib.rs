//! What a machine is told at birth: cloud-init documents and the disk that carries them.
//!
//! Bytes out, no I/O. The disk is a VFAT volume labelled `CIDATA`, which cloud-init's
//! NoCloud source looks for; `cadet-node` travels on it, so installing needs no network.
//!
//! * [`Machine`] is the seed of a profile.
//! * [`Server`] is what a server gets that somebody had already.
//! * [`Prepare`] is the seed of the one boot that puts a container engine into Ubuntu.
//! * [`document`] holds the typed documents, [`vfat`] the disk.

pub mod document;
mod machine;
mod prepare;
mod server;
pub mod vfat;

pub use machine::{HostKey, Lesson, Machine, NODES_NETWORK, Role, template_recipe};
pub use prepare::{Outcome, Prepare};
pub use server::Server;

/// Why a seed could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// A document could not be written as YAML.
    #[error("could not write {document} as YAML: {reason}")]
    Render {
        /// `user-data`, `meta-data` or `network-config`.
        document: &'static str,
        /// What the serializer said.
        reason: String,
    },
    /// The content does not fit the largest disk we make.
    #[error("the seed holds {needed} bytes; its disk can hold at most {limit}")]
    TooLarge {
        /// Bytes of content.
        needed: u64,
        /// Largest disk in bytes.
        limit: u64,
    },
    /// A file could not be put on the disk.
    #[error("could not put {path} on the seed disk")]
    Write {
        /// Path on the disk.
        path: String,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The disk could not be formatted or finished.
    #[error("could not {doing} the seed disk")]
    Disk {
        /// "format", "open" or "finish".
        doing: &'static str,
        /// What the file system said.
        source: std::io::Error,
    },
    /// A value would not survive in the guest.
    #[error("{what} {value:?} cannot be used in a seed: {reason}")]
    BadValue {
        /// What the value is for.
        what: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Result of everything in this room.
pub type Result<T, E = SeedError> = std::result::Result<T, E>;
