//! `cadet-node up` and `down`: a whole cluster on a plain Linux server, as one command.
//!
//! ```text
//!  up: machine → config → authority → server → node → kubectl
//!  down: agent, server → pods → network          --purge: mounts, files, kubectl as well
//! ```
//! Each step looks at the world and does what is not done yet, so both can be repeated at
//! any time. What `up` must know again later is in `up.json` in the data folder; a folder
//! with such a file is ours as a whole.

mod check;
mod down;
mod facts;
mod kubeconfig;
mod programs;
mod ready;
mod record;
mod settings;
mod steps;
mod supervise;
mod systemd;
mod tree;
mod trouble;
mod voice;

use crate::Failure;
use trouble::{Trouble, Troubles, internal};

pub use down::{DownArgs, run as down};
pub use steps::{UpArgs, run as up};
pub use supervise::{SuperviseArgs, run as supervise};

/// One thread: see [`tree::run`].
fn runtime() -> Result<tokio::runtime::Runtime, Troubles> {
    // ring is the only provider compiled in; a second call would be harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| internal("threads could not be started", &error).into())
}

fn needs_root(verb: &str) -> Result<(), Trouble> {
    // SAFETY: a plain system call without memory.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(());
    }
    Err(Trouble::new(
        "HOST_NOT_ROOT",
        37,
        format!("`cadet-node {verb}` needs root"),
    )
    .why("it makes network links, sets rules of the kernel and mounts volumes for pods")
    .fix(format!("sudo cadet-node {verb}")))
}

/// So that a [`Troubles`] goes wherever a failure does.
pub fn exit_code(failure: &Failure) -> Option<u8> {
    failure.downcast_ref::<Troubles>().map(Troubles::exit)
}
