//! A browser that sees the cluster: found, given a throw-away profile whose proxy is the
//! tunnel, started, and cleaned up after.
//!
//! * [`find`] looks for Chrome, Chromium, Edge and Firefox; its world is an argument.
//! * [`command`] is the pure part: profile files and arguments for a browser.
//! * [`launch`] starts it and knows when its profile may go.
//!
//! The learner's own browser profile is never touched.

pub mod command;
pub mod find;
pub mod launch;

pub use command::{Page, Plan};
pub use find::{Browser, Family, World};
pub use launch::{Running, launch};

use std::io;
use std::path::PathBuf;

/// Why no browser could be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrowserError {
    /// Nothing was found; the list says where we looked.
    #[error("no Chrome, Chromium, Edge or Firefox was found")]
    NotFound {
        /// Every path that was tried.
        looked: Vec<PathBuf>,
    },
    /// The program the user named is not there or not one we know.
    #[error("{path} cannot be used as a browser: {reason}")]
    Unusable {
        /// The path given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is not one we hand to a browser.
    #[error("{url:?} is not an http or https address")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The throw-away profile could not be made.
    #[error("could not make a browser profile in {path}")]
    Profile {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The browser did not start.
    #[error("could not start {path}")]
    Start {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Result of everything in this room.
pub type Result<T, E = BrowserError> = std::result::Result<T, E>;
