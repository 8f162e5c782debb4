//! What goes wrong in a class, named by the act that failed.

use std::net::SocketAddr;

/// Why nobody answered at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nothing came back at all: another network, a firewall, or a Wi-Fi that keeps its clients
    /// apart.
    Timeout,
    /// The computer is there, but nothing listens.
    Refused,
    /// This computer has no way there.
    NoRoute,
    /// The line broke off.
    Broken,
}

/// One failed act.
#[derive(Debug, thiserror::Error)]
pub enum ClassError {
    /// The text is no join code.
    #[error("this is no join code: {0}")]
    Code(&'static str),
    /// The text is no code of `cadet doctor --class`.
    #[error("this is no code of cadet doctor --class: {0}")]
    Checkup(&'static str),
    /// A key could not be made or read.
    #[error("the key of {whose} cannot be used: {why}")]
    Key { whose: &'static str, why: String },
    /// TLS could not be set up.
    #[error("encryption cannot be set up: {0}")]
    Tls(String),
    /// Nobody answers for the class.
    #[error("no answer from {address}: {why}")]
    Silent {
        address: SocketAddr,
        silence: Silence,
        why: String,
    },
    /// Somebody answers who is not the teacher of this code.
    #[error("what answers at {address} is not the class of this code")]
    Stranger { address: SocketAddr },
    /// The teacher's certificate is over, or not yet valid, by this computer's clock.
    #[error("the class's certificate is valid from {from} to {until}; this computer says {now}")]
    Date {
        from: String,
        until: String,
        now: String,
    },
    /// The class answers, but not with what was asked for.
    #[error("the class says: {message}")]
    Refused {
        status: u16,
        id: String,
        message: String,
    },
    /// The answer is not in the language of this version.
    #[error("the class's answer cannot be understood: {0}")]
    Answer(String),
    /// A file that is to be served cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// The class's rows cannot be read or written.
    #[error("the class's records cannot be {act}: {why}")]
    Ledger { act: &'static str, why: String },
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Result of this room.
pub type Result<T, E = ClassError> = std::result::Result<T, E>;
