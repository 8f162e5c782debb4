//! Counters of one tunnel, cheap enough to be always on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Live counters; shared by every listener of one tunnel.
#[derive(Debug)]
pub struct Stats {
    born: Instant,
    open: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    spilled: AtomicU64,
    sessions: AtomicU64,
}

/// What [`Stats`] said at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Seconds since the tunnel was made.
    pub seconds: u64,
    /// Connections relayed right now.
    pub connections_open: u64,
    /// Connections relayed since the start, open ones included.
    pub connections_total: u64,
    /// Connections the far end or our own rules refused.
    pub connections_refused: u64,
    /// Payload bytes sent into the guest.
    pub bytes_sent: u64,
    /// Payload bytes received from the guest.
    pub bytes_received: u64,
    /// Payload bytes that had to wait in a temporary file for a slow reader.
    pub bytes_spilled: u64,
    /// SSH sessions made; more than one means the tunnel reconnected.
    pub sessions: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            open: AtomicU64::default(),
            total: AtomicU64::default(),
            refused: AtomicU64::default(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            spilled: AtomicU64::default(),
            sessions: AtomicU64::default(),
        }
    }
}

/// Counts one open connection until dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection<'a>(&'a Stats);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Stats {
    /// Reads all counters.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            seconds: self.born.elapsed().as_secs(),
            connections_open: self.open.load(Relaxed),
            connections_total: self.total.load(Relaxed),
            connections_refused: self.refused.load(Relaxed),
            bytes_sent: self.sent.load(Relaxed),
            bytes_received: self.received.load(Relaxed),
            bytes_spilled: self.spilled.load(Relaxed),
            sessions: self.sessions.load(Relaxed),
        }
    }

    pub(crate) fn connection(&self) -> OpenConnection<'_> {
        self.open.fetch_add(1, Relaxed);
        self.total.fetch_add(1, Relaxed);
        OpenConnection(self)
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn spilled(&self, bytes: usize) {
        self.spilled.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn session(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_connections_are_counted_down_when_they_end() {
        let stats = Stats::default();
        let first = stats.connection();
        let second = stats.connection();
        drop(first);
        let seen = stats.snapshot();
        assert_eq!((seen.connections_open, seen.connections_total), (1, 2));
        drop(second);
        assert_eq!(stats.snapshot().connections_open, 0);
    }
}
