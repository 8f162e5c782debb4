//! What can go wrong on the line, one variant per act that failed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why an act of the tunnel failed.
///
/// The variants carry what the CLI needs for an id, an exit code and a fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The key text is not an OpenSSH ed25519 key.
    #[error("the {which} is not a usable OpenSSH ed25519 key: {reason}")]
    BadKey {
        /// "client key" or "host key".
        which: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Making a key pair failed.
    #[error("could not make an ed25519 key pair: {0}")]
    KeyGeneration(String),
    /// TCP to the forwarded SSH port failed; nothing listens or the machine is gone.
    #[error("could not connect to {address}")]
    Connect {
        /// The loopback address that was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TCP was accepted, but no SSH server spoke in time: typical of a booting guest,
    /// whose port the emulator answers before sshd is up.
    #[error("{address} accepted the connection but sent no SSH banner within {:.0} s", waited.as_secs_f64())]
    NoBanner {
        /// The loopback address that was tried.
        address: SocketAddr,
        /// How long we listened.
        waited: Duration,
    },
    /// The SSH handshake failed or took too long.
    #[error("the SSH handshake with {address} failed: {reason}")]
    Handshake {
        /// The loopback address that was tried.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// The server's key is not the one this machine was made with. Never accepted.
    #[error("{address} shows host key {shown}, but this machine was made with {pinned}")]
    HostKeyMismatch {
        /// The address that answered.
        address: SocketAddr,
        /// SHA-256 fingerprint of the key shown.
        shown: String,
        /// SHA-256 fingerprint of the key expected.
        pinned: String,
    },
    /// The server does not accept our client key for this user.
    #[error("{address} refused the key of user {user}")]
    AuthRefused {
        /// The address that answered.
        address: SocketAddr,
        /// The user name we asked for.
        user: String,
    },
    /// The deadline passed; `last` is the last attempt's failure.
    #[error("ssh on {address} was not ready after {:.0} s and {attempts} attempts", waited.as_secs_f64())]
    NotReady {
        /// The address that was tried.
        address: SocketAddr,
        /// Time spent in total.
        waited: Duration,
        /// Number of attempts made.
        attempts: u32,
        /// Why the last attempt failed.
        #[source]
        last: Box<TunnelError>,
    },
    /// The session ended while something was using it.
    #[error("the SSH session ended while {doing}")]
    SessionLost {
        /// What was under way.
        doing: &'static str,
    },
    /// The far end would not open a channel.
    #[error("the guest refused to {doing}: {reason}")]
    ChannelRefused {
        /// What we asked for.
        doing: String,
        /// Why, as a reply code can say it.
        cause: Refusal,
        /// The server's own words.
        reason: String,
    },
    /// The far end would not start the program, the terminal or the shell.
    #[error("the guest refused the request for {what}")]
    RequestRefused {
        /// "command", "terminal" or "shell".
        what: &'static str,
    },
    /// Reading local input or writing local output failed.
    #[error("could not {doing}")]
    LocalIo {
        /// What we were doing.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A listener was asked to bind a non-loopback address.
    #[error("{0} is not a loopback address; the tunnel only listens on this computer")]
    NotLoopback(SocketAddr),
    /// The local port is taken.
    #[error("port {0} is already in use")]
    PortTaken(SocketAddr),
    /// Binding failed for another reason.
    #[error("could not listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An upload ended with an error at the far end.
    #[error("could not write {path} in the guest: {reason}")]
    Upload {
        /// Path in the guest.
        path: String,
        /// The shell's words or exit status.
        reason: String,
    },
    /// What arrived is not what was sent.
    #[error("{path} arrived damaged in the guest (sha256 differs); it was not put in place")]
    UploadDamaged {
        /// Path in the guest.
        path: String,
    },
    /// No background tunnel answers at this socket.
    #[error("no tunnel answers at {path}")]
    NoControl {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The control socket spoke something else than our protocol.
    #[error("the tunnel at {path} gave an answer we do not understand: {reason}")]
    ControlProtocol {
        /// The control socket.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// Another tunnel already serves this control socket.
    #[error("a tunnel is already running at {path}")]
    ControlTaken {
        /// The control socket.
        path: PathBuf,
    },
}

/// Why a channel could not be opened, as far as a reply code can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server's rules forbid it.
    Forbidden,
    /// Nothing listens at the destination.
    ConnectionRefused,
    /// No route to the host, or its name is unknown.
    HostUnreachable,
    /// No route to the network.
    NetworkUnreachable,
    /// The destination did not answer in time.
    TimedOut,
    /// Anything else.
    General,
}

impl Refusal {
    /// Reads the cause out of an SSH reason code (RFC 4254 section 5.1) and the
    /// server's description, for which sshd uses the C library's error texts.
    pub(crate) fn read(code: u32, description: &str) -> Self {
        let text = description.to_ascii_lowercase();
        match code {
            1 => Self::Forbidden,
            2 if text.contains("refused") => Self::ConnectionRefused,
            2 if text.contains("network is unreachable") => Self::NetworkUnreachable,
            2 if text.contains("timed out") => Self::TimedOut,
            2 if [
                "no route",
                "unknown host",
                "name",
                "host is down",
                "no address",
            ]
            .iter()
            .any(|hint| text.contains(hint)) =>
            {
                Self::HostUnreachable
            }
            // sshd says only "Connect failed" for some causes; a refused port is by
            // far the most frequent of them.
            2 => Self::ConnectionRefused,
            _ => Self::General,
        }
    }
}

impl TunnelError {
    /// True if trying again can help: the machine may still be booting or restarting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::NoBanner { .. }
            | Self::Handshake { .. }
            | Self::SessionLost { .. } => true,
            // sshd answers before cloud-init has written authorized_keys.
            Self::AuthRefused { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_follow_sshd_texts() {
        for (code, text, expected) in [
            (1, "open failed", Refusal::Forbidden),
            (2, "Connection refused", Refusal::ConnectionRefused),
            (2, "No route to host", Refusal::HostUnreachable),
            (2, "Name or service not known", Refusal::HostUnreachable),
            (
                2,
                "Temporary failure in name resolution",
                Refusal::HostUnreachable,
            ),
            (2, "Network is unreachable", Refusal::NetworkUnreachable),
            (2, "Connection timed out", Refusal::TimedOut),
            (2, "Connect failed", Refusal::ConnectionRefused),
            (4, "", Refusal::General),
        ] {
            assert_eq!(Refusal::read(code, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn a_wrong_host_key_is_never_retried() {
        let address = "127.0.0.1:22".parse().unwrap();
        let mismatch = TunnelError::HostKeyMismatch {
            address,
            shown: "a".into(),
            pinned: "b".into(),
        };
        assert!(!mismatch.is_transient());
        let booting = TunnelError::NoBanner {
            address,
            waited: Duration::from_secs(1),
        };
        assert!(booting.is_transient());
    }

    #[test]
    fn people_are_told_whole_seconds() {
        let address = "127.0.0.1:22".parse().unwrap();
        let booting = TunnelError::NoBanner {
            address,
            waited: Duration::from_secs(4),
        };
        assert!(booting.to_string().ends_with("no SSH banner within 4 s"));
        let given_up = TunnelError::NotReady {
            address,
            waited: Duration::from_nanos(299_911_202_107),
            attempts: 61,
            last: Box::new(booting),
        };
        assert_eq!(
            given_up.to_string(),
            "ssh on 127.0.0.1:22 was not ready after 300 s and 61 attempts"
        );
    }
}
