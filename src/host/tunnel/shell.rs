//! A terminal in the guest. Raw mode and the real terminal belong to the caller.

use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::exec::{self, ExitStatus, Sideline};
use crate::{Result, Tunnel};

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

/// What to run in the terminal.
#[derive(Debug, Clone)]
pub struct Request {
    /// Value of `TERM`, e.g. `xterm-256color`.
    pub term: String,
    /// A shell line; `None` is the user's login shell.
    pub command: Option<String>,
}

impl Tunnel {
    /// Runs a shell or command in a pseudo-terminal until it ends.
    ///
    /// `size` tells the present size and every change. The future may be dropped to
    /// hang up. If `stdin` is the process's own, a read stays pending in a helper
    /// thread after the shell has ended: leave through `std::process::exit`.
    ///
    /// # Errors
    /// As [`Tunnel::exec_streams`].
    pub async fn shell(
        &self,
        request: Request,
        mut size: watch::Receiver<WindowSize>,
        stdin: impl AsyncRead + Send + Unpin,
        stdout: impl AsyncWrite + Send + Unpin,
    ) -> Result<ExitStatus> {
        let mut channel = self.open_session().await?;
        let now = *size.borrow_and_update();
        channel
            .request_pty(true, &request.term, now.columns, now.rows, 0, 0, &[])
            .await
            .map_err(|_| exec::lost())?;
        exec::await_grant(&mut channel, "terminal").await?;
        match &request.command {
            Some(command) => channel.exec(true, command.as_str()).await,
            None => channel.request_shell(true).await,
        }
        .map_err(|_| exec::lost())?;
        exec::await_grant(&mut channel, "shell").await?;
        exec::converse(channel, stdin, stdout, tokio::io::sink(), Resizes(size)).await
    }
}

/// Passes size changes on.
struct Resizes(watch::Receiver<WindowSize>);

impl Sideline for Resizes {
    async fn run(mut self, channel: &ChannelWriteHalf<Msg>) {
        while self.0.changed().await.is_ok() {
            let size = *self.0.borrow_and_update();
            if channel
                .window_change(size.columns, size.rows, 0, 0)
                .await
                .is_err()
            {
                return;
            }
        }
    }
}
