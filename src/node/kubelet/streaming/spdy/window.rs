//! How much may be sent on a stream before the peer asks for more (draft, section 2.6.8).
//!
//! The SPDY library of Go clients, kubectl's among them, knows no windows: it never says
//! that it wants more. So windows bind only once a peer has shown that it keeps them;
//! until then TCP alone slows the sender.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::streaming::pipe::Gone;

/// First window of a stream and of the whole connection, in bytes.
pub const INITIAL: i64 = 64 * 1024;

#[derive(Debug, Default)]
struct State {
    left: i64,
    /// The stream was reset.
    reset: bool,
    /// We have said our last on it.
    closed: bool,
}

/// The window of one stream.
#[derive(Debug)]
pub struct SendWindow {
    state: Mutex<State>,
    changed: Notify,
    /// The peer keeps windows.
    binding: Arc<AtomicBool>,
}

impl SendWindow {
    pub fn new(size: i64, binding: Arc<AtomicBool>) -> SendWindow {
        SendWindow {
            state: Mutex::new(State {
                left: size,
                ..State::default()
            }),
            changed: Notify::new(),
            binding,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and takes up to `wanted` bytes of it.
    pub async fn take(&self, wanted: usize) -> Result<usize, Gone> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if state.reset {
                    return Err(Gone);
                }
                let taken = if self.binding.load(Ordering::Relaxed) {
                    wanted.min(usize::try_from(state.left).unwrap_or(0))
                } else {
                    wanted
                };
                if taken > 0 {
                    state.left -= taken as i64;
                    return Ok(taken);
                }
            }
            changed.await;
        }
    }

    /// The peer has room for more, or (negative) has shrunk the window.
    pub fn grow(&self, more: i64) {
        let mut state = self.state();
        state.left = state.left.saturating_add(more);
        drop(state);
        self.changed.notify_one();
    }

    /// The peer wants nothing of this stream any more.
    pub fn reset(&self) {
        self.state().reset = true;
        self.changed.notify_one();
    }

    /// We have ended the stream.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Nothing will be sent any more.
    pub fn is_over(&self) -> bool {
        let state = self.state();
        state.reset || state.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn windows_bind_only_peers_that_keep_them() {
        let binding = Arc::new(AtomicBool::new(false));
        let window = Arc::new(SendWindow::new(10, binding.clone()));
        assert_eq!(window.take(30).await, Ok(30));
        binding.store(true, Ordering::Relaxed);
        let waiting = tokio::spawn({
            let window = window.clone();
            async move { window.take(30).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        window.grow(25);
        assert_eq!(waiting.await.unwrap(), Ok(5));
        window.reset();
        assert_eq!(window.take(1).await, Err(Gone));
    }
}
