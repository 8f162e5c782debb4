//! Everything Cadet keeps on the laptop: names on disk, profile records, locks.
//!
//! Only the command line opens this room. `names` is the one place that spells
//! file names; `record` is what is remembered of a profile; `store` keeps records
//! in sled, with a readable copy beside each profile; `lessons` keeps learners' progress
//! there as well; `settings` is what the user chose for all of them; `lock` lets one command
//! at a time change a profile; `users` tells whose disks lie on what is in a cache. `class` is the book of a class that this laptop teaches,
//! `membership` what it remembers of one it joined.

mod class;
mod lessons;
mod lock;
mod membership;
mod names;
mod record;
mod settings;
mod store;
mod users;

pub use class::ClassBook;
pub use lock::{LessonLock, ProfileLock, TemplateLock};
pub use names::{Home, ProfileName, ProfilePaths, SnapshotPaths, TemplatePaths};
pub use record::{Base, Card, Phase, Ports, Profile, Server, Spec, TemplateUse, Wire, Worker};
pub use settings::Settings;
pub use store::{Recovered, Store};
pub use users::{User, Users};

use std::path::PathBuf;

/// What went wrong while keeping state, named by the act that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile name cannot be used as a host name and folder name.
    #[error("profile name {name:?} cannot be used: {reason}")]
    BadName { name: String, reason: &'static str },
    /// The name cannot be the name of a lesson.
    #[error("{name:?} cannot be the name of a lesson")]
    BadLesson { name: String },
    /// A folder of the Cadet home could not be made or used.
    #[error("cannot create {path}: {source}")]
    Create {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Reading a file of the Cadet home failed.
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Writing a file of the Cadet home failed.
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Removing a file or folder of the Cadet home failed.
    #[error("cannot remove {path}: {source}")]
    Remove {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The record database does not open or does not decode.
    #[error("the state database {path} is damaged: {detail}")]
    Corrupt { path: PathBuf, detail: String },
    /// Another process kept the record database open for longer than the deadline.
    #[error("the state database {path} is in use by another cadet command")]
    Busy { path: PathBuf },
    /// Another command is changing this profile.
    #[error("another cadet command ({holder}) is working on profile {profile}")]
    Locked { profile: String, holder: String },
    /// Another command makes or removes templates.
    #[error("another cadet command ({holder}) is working on templates")]
    TemplatesBusy { holder: String },
    /// A lesson is open with this profile.
    #[error("a lesson is open with profile {profile} ({holder})")]
    LessonOpen { profile: String, holder: String },
}

/// Result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;
