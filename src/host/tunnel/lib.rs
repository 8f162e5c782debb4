//! The line into the machine: one SSH session and everything that travels on it.
//!
//! ```text
//!  browser ─ socks5 ─┐
//!  kubectl ─ forward ┤   Tunnel ── one russh session ── sshd in the guest ── pods, API
//!  cadet ─ exec,     │   (pinned host key, multiplexed, reconnects)
//!          shell,    │
//!          upload ───┘
//! ```
//!
//! * [`keys`] makes the two ed25519 key pairs (client, guest host key).
//! * [`scan`] asks a server that somebody else made for its host key.
//! * [`Tunnel`] owns the session; it reconnects when the machine restarts.
//! * [`exec`], [`shell`], [`upload`] run programs and move files.
//! * [`socks5`] and [`forward`] listen on loopback and relay TCP ([`relay`]);
//!   [`socket`] does the same from one Unix socket to another.
//! * [`Names`] are those that a cluster's DNS is asked for, where the machine's resolver is not ours.
//! * [`control`] lets another process ask a background tunnel for [`stats`] or stop it.
//!
//! russh is used here and nowhere else. Nothing in this room prints.

#[cfg(unix)]
pub mod control;
mod error;
pub mod exec;
pub mod forward;
mod hangup;
pub mod keys;
mod link;
mod listen;
mod local;
mod names;
mod relay;
pub mod scan;
mod session;
pub mod shell;
#[cfg(unix)]
pub mod socket;
pub mod socks5;
mod spill;
pub mod stats;
pub mod upload;

pub use error::TunnelError;
pub use link::{Tunnel, Waiting};
pub use names::Names;
pub use session::{Cipher, Target, Tuning};

/// Result of everything in this room.
pub type Result<T, E = TunnelError> = std::result::Result<T, E>;
