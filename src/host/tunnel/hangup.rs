//! Closing a channel whose user went away without doing so.

use std::ops::Deref;

use russh::ChannelWriteHalf;
use russh::client::Msg;

/// The writing half of a channel; closes the channel when dropped, unless told that it
/// is closed already. Without this the far end would go on sending to nobody.
pub(crate) struct HangUp(Option<ChannelWriteHalf<Msg>>);

impl HangUp {
    pub(crate) fn new(half: ChannelWriteHalf<Msg>) -> Self {
        Self(Some(half))
    }

    /// The far end has closed the channel: nothing is left to do.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Deref for HangUp {
    type Target = ChannelWriteHalf<Msg>;

    fn deref(&self) -> &Self::Target {
        // Only `disarm` and `drop` take it, and both end the borrowable life.
        self.0.as_ref().expect("used after the end")
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        let Some(half) = self.0.take() else { return };
        // Outside a runtime the process is ending, and the session with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A dead session needs no closing.
                let _ = half.close().await;
            });
        }
    }
}
