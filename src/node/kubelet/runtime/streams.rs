//! A process with its streams attached, as engines hand it out.

use std::pin::Pin;

use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::Result;

/// Which streams of a process are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The process has a terminal, and then no stderr of its own.
    pub tty: bool,
}

/// A command to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    pub streams: Streams,
}

/// A part of what a process printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// The standard input of a process; shutting it down is its end of file.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// The streams of a process.
pub struct Attached {
    /// Ends when the process does.
    pub output: BoxStream<'static, Result<Output>>,
    /// `None` if it was not asked for.
    pub input: Option<Input>,
}

/// Something with a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terminal {
    /// An exec, by its id.
    Exec(String),
    /// A container's main process.
    Container(String),
}
