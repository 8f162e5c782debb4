//! Running a program in the guest: streams in, streams out, exit status.

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::hangup::HangUp;
use crate::{Result, Tunnel, TunnelError};

/// How a program in the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code.
    Code(u32),
    /// A signal ended it; the name is without `SIG`.
    Signal(String),
    /// The channel closed without saying.
    Unknown,
}

impl ExitStatus {
    /// True for exit code 0.
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// The code a shell would show: the program's own, 128 + 15 and so on for signals
    /// known to POSIX, 255 (ssh's own failure code) if unknown.
    pub fn shell_code(&self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(*code).unwrap_or(255),
            Self::Signal(name) => match name.as_str() {
                "HUP" => 129,
                "INT" => 130,
                "QUIT" => 131,
                "ABRT" => 134,
                "KILL" => 137,
                "SEGV" => 139,
                "PIPE" => 141,
                "TERM" => 143,
                _ => 255,
            },
            Self::Unknown => 255,
        }
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
            Self::Unknown => write!(f, "no exit status"),
        }
    }
}

/// Everything a program wrote and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit status.
    pub status: ExitStatus,
}

/// Quotes one argument for the guest's shell.
pub fn quote(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// Quotes a whole command line.
pub fn quote_all<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    arguments
        .into_iter()
        .map(quote)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Tunnel {
    /// Runs `command` (a shell line; see [`quote`]) and collects its output.
    ///
    /// # Errors
    /// Connection errors; [`TunnelError::RequestRefused`]; [`TunnelError::SessionLost`]
    /// if the session ends before the program does. A program that fails is no error.
    pub async fn exec(&self, command: &str) -> Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self
            .exec_streams(command, tokio::io::empty(), &mut stdout, &mut stderr)
            .await?;
        Ok(Output {
            stdout,
            stderr,
            status,
        })
    }

    /// Runs `command`, feeding `stdin` until its end and writing what comes back as it
    /// comes. Back-pressure works in both directions.
    ///
    /// # Errors
    /// As [`Tunnel::exec`], and [`TunnelError::LocalIo`] if a local stream fails.
    pub async fn exec_streams(
        &self,
        command: &str,
        stdin: impl AsyncRead + Send + Unpin,
        stdout: impl AsyncWrite + Send + Unpin,
        stderr: impl AsyncWrite + Send + Unpin,
    ) -> Result<ExitStatus> {
        let mut channel = self.open_session().await?;
        channel.exec(true, command).await.map_err(|_| lost())?;
        await_grant(&mut channel, "command").await?;
        converse(channel, stdin, stdout, stderr, std::future::pending()).await
    }
}

pub(crate) fn lost() -> TunnelError {
    TunnelError::SessionLost {
        doing: "running a program",
    }
}

/// Waits for the answer to a request made with `want_reply`.
pub(crate) async fn await_grant(channel: &mut Channel<Msg>, what: &'static str) -> Result<()> {
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                return Err(TunnelError::RequestRefused { what });
            }
            Some(_) => {}
            None => return Err(lost()),
        }
    }
}

/// Moves bytes both ways until the program has ended and its output has arrived.
///
/// `sideline` runs beside (window size changes of a terminal) and is dropped at the end.
pub(crate) async fn converse<S>(
    channel: Channel<Msg>,
    stdin: impl AsyncRead + Send + Unpin,
    mut stdout: impl AsyncWrite + Send + Unpin,
    mut stderr: impl AsyncWrite + Send + Unpin,
    sideline: S,
) -> Result<ExitStatus>
where
    S: Sideline,
{
    let (mut incoming, outgoing) = channel.split();
    // A caller that gives up must not leave the program running unheard.
    let outgoing = HangUp::new(outgoing);
    let feed = feed(stdin, &outgoing);
    let sideline = sideline.run(&outgoing);
    let receive = async {
        let mut status = ExitStatus::Unknown;
        let mut closed = false;
        while let Some(message) = incoming.wait().await {
            match message {
                ChannelMsg::Data { data } => write(&mut stdout, &data, "write output").await?,
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    write(&mut stderr, &data, "write error output").await?;
                }
                ChannelMsg::ExitStatus { exit_status } => status = ExitStatus::Code(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    let name = format!("{signal_name:?}");
                    status = ExitStatus::Signal(match signal_name {
                        russh::Sig::Custom(name) => name,
                        _ => name,
                    });
                }
                ChannelMsg::Close => {
                    closed = true;
                    break;
                }
                _ => {}
            }
        }
        match (&status, closed) {
            (ExitStatus::Unknown, false) => Err(lost()),
            _ => Ok(status),
        }
    };
    tokio::pin!(feed, receive, sideline);
    let mut fed = false;
    let mut aside = false;
    loop {
        tokio::select! {
            status = &mut receive => return status,
            result = &mut feed, if !fed => { result?; fed = true; }
            () = &mut sideline, if !aside => aside = true,
        }
    }
}

/// Work that accompanies a running program.
pub(crate) trait Sideline {
    /// Runs until done or dropped.
    fn run(self, channel: &ChannelWriteHalf<Msg>) -> impl Future<Output = ()> + Send;
}

impl Sideline for std::future::Pending<()> {
    fn run(self, _channel: &ChannelWriteHalf<Msg>) -> impl Future<Output = ()> + Send {
        self
    }
}

async fn write(out: &mut (impl AsyncWrite + Unpin), data: &[u8], doing: &str) -> Result<()> {
    let result = async {
        out.write_all(data).await?;
        out.flush().await
    };
    result.await.map_err(|source| TunnelError::LocalIo {
        doing: doing.into(),
        source,
    })
}

async fn feed(mut stdin: impl AsyncRead + Unpin, outgoing: &ChannelWriteHalf<Msg>) -> Result<()> {
    let mut buffer = bytes::BytesMut::new();
    loop {
        buffer.reserve(32 << 10);
        let read = stdin
            .read_buf(&mut buffer)
            .await
            .map_err(|source| TunnelError::LocalIo {
                doing: "read input for the guest".into(),
                source,
            })?;
        if read == 0 {
            // The program may be gone already; its status tells the story.
            let _ = outgoing.eof().await;
            return Ok(());
        }
        if outgoing.data_bytes(buffer.split().freeze()).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_the_shell() {
        for nasty in [
            "",
            "a b",
            "it's",
            "$(rm -rf /)",
            "`x`",
            "a\nb",
            "*?[",
            "\\",
            "'",
        ] {
            let line = format!("printf %s {}", quote(nasty));
            let out = std::process::Command::new("sh")
                .arg("-c")
                .arg(line)
                .output()
                .unwrap();
            assert_eq!(out.stdout, nasty.as_bytes(), "{nasty:?}");
        }
        assert_eq!(quote_all(["ls", "-l", "a b"]), "'ls' '-l' 'a b'");
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(ExitStatus::Code(7).shell_code(), 7);
        assert_eq!(ExitStatus::Signal("KILL".into()).shell_code(), 137);
        assert_eq!(ExitStatus::Unknown.shell_code(), 255);
        assert!(!ExitStatus::Unknown.success());
    }
}
