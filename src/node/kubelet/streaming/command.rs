//! exec and attach: a process's streams, its terminal and its outcome.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::pipe::{Connection, Gone, Incoming, Outgoing};
use super::upgrade::CommandWire;
use super::{resize, spdy, websocket};
use crate::runtime::{Attached, Output, Runtime, RuntimeError, Streams, Terminal};

/// How long a client may take to open its streams; upstream's value.
const CREATION: Duration = Duration::from_secs(30);

/// Numbers of the channels inside a WebSocket.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Reads which streams a request asks for, under the kubelet's names: `input`, `output`,
/// `error`, `tty`.
///
/// # Errors
/// Upstream's words if it asks for none.
pub fn streams(query: &[(String, String)]) -> Result<Streams, &'static str> {
    let flag = |name: &str| {
        query
            .iter()
            .any(|(key, value)| key == name && matches!(value.as_str(), "1" | "true"))
    };
    let tty = flag("tty");
    let streams = Streams {
        stdin: flag("input"),
        stdout: flag("output"),
        // A terminal has one output.
        stderr: flag("error") && !tty,
        tty,
    };
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err("you must specify at least 1 of stdin, stdout, stderr");
    }
    Ok(streams)
}

/// The client's side of a process.
pub struct Channels {
    connection: Connection,
    stdin: Option<Incoming>,
    sizes: Option<Incoming>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    error: Outgoing,
    status: bool,
}

/// Opens the channels over an upgraded connection; `None` if the client went away or did
/// not open its streams in time.
pub async fn channels<T>(io: T, wire: CommandWire, streams: Streams) -> Option<Channels>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    match wire {
        CommandWire::WebSocket { layout, status } => {
            Some(over_websocket(io, layout, status, streams).await)
        }
        CommandWire::Spdy { status, resize } => {
            let opened = over_spdy(io, status, resize, streams);
            match tokio::time::timeout(CREATION, opened).await {
                Ok(channels) => channels,
                Err(_) => {
                    tracing::debug!("timed out waiting for client to create streams");
                    None
                }
            }
        }
    }
}

async fn over_websocket<T>(
    io: T,
    layout: websocket::channels::Layout,
    status: bool,
    streams: Streams,
) -> Channels
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut wanted = Vec::new();
    if streams.stdin {
        wanted.push(STDIN);
    }
    if streams.tty {
        wanted.push(RESIZE);
    }
    let mut session = websocket::open(io, layout, &wanted);
    let channels = Channels {
        stdin: session.input(STDIN),
        sizes: session.input(RESIZE),
        stdout: streams.stdout.then(|| session.output(STDOUT)),
        stderr: streams.stderr.then(|| session.output(STDERR)),
        error: session.output(ERROR),
        status,
        connection: session.connection,
    };
    // As upstream: an empty message on the lowest channel says that all is set up. If the
    // client has gone already, the first real message will find that out.
    let lowest = channels.stdout.as_ref().or(channels.stderr.as_ref());
    let _ = lowest.unwrap_or(&channels.error).greet().await;
    channels
}

async fn over_spdy<T>(io: T, status: bool, resize: bool, streams: Streams) -> Option<Channels>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut session = spdy::open(io);
    let wanted = [
        ("error", true),
        ("stdin", streams.stdin),
        ("stdout", streams.stdout),
        ("stderr", streams.stderr),
        ("resize", streams.tty && resize),
    ];
    let mut missing: Vec<&str> = wanted
        .iter()
        .filter_map(|(name, wanted)| wanted.then_some(*name))
        .collect();
    let mut found = HashMap::new();
    while !missing.is_empty() {
        let stream = session.streams.recv().await?;
        match missing
            .iter()
            .position(|name| *name == stream.header("streamtype"))
        {
            Some(at) => {
                found.insert(missing.swap_remove(at), stream);
            }
            None => stream.refuse().await,
        }
    }
    let mut take = |name| found.remove(name);
    let output = |stream: spdy::Stream| stream.output;
    Some(Channels {
        stdin: take("stdin").map(|stream| stream.input),
        sizes: take("resize").map(|stream| stream.input),
        stdout: take("stdout").map(output),
        stderr: take("stderr").map(output),
        error: take("error").map(output)?,
        status,
        connection: session.connection,
    })
}

/// How a process ended.
#[derive(Debug)]
pub enum Outcome {
    /// Its exit code.
    Exit(i64),
    /// It could not be run or watched.
    Failed(RuntimeError),
}

/// Carries everything between the client and a process until the process ends, then asks
/// `outcome` how. Returns early if the client goes away.
pub async fn serve(
    mut channels: Channels,
    attached: Attached,
    runtime: &dyn Runtime,
    terminal: Option<Terminal>,
    outcome: impl Future<Output = Outcome>,
) {
    let closed = channels.connection.closed();
    let input = feed(channels.stdin.take(), attached.input);
    let sizes = follow_sizes(channels.sizes.take(), runtime, terminal);
    let others = async {
        tokio::join!(input, sizes);
        std::future::pending::<()>().await;
    };
    let output = show(
        attached.output,
        channels.stdout.as_ref(),
        channels.stderr.as_ref(),
    );
    let shown = tokio::select! {
        shown = output => shown,
        () = others => return,
        () = closed.cancelled() => Err(Gone),
    };
    let outcome = match shown {
        Err(Gone) => return,
        Ok(Ok(())) => outcome.await,
        Ok(Err(error)) => Outcome::Failed(error),
    };
    tell(channels, outcome).await;
}

/// Tells the client how the process ended, or why there is none, and closes.
pub async fn tell(channels: Channels, outcome: Outcome) {
    let said = async {
        for output in [&channels.stdout, &channels.stderr].into_iter().flatten() {
            output.end().await?;
        }
        channels
            .error
            .send(verdict(&outcome, channels.status))
            .await?;
        channels.error.end().await
    };
    if said.await.is_ok() {
        channels.connection.finish().await;
    }
}

async fn show(
    mut output: futures::stream::BoxStream<'static, Result<Output, RuntimeError>>,
    stdout: Option<&Outgoing>,
    stderr: Option<&Outgoing>,
) -> Result<Result<(), RuntimeError>, Gone> {
    while let Some(part) = output.next().await {
        let (to, bytes) = match part {
            Ok(Output::Stdout(bytes)) => (stdout, bytes),
            Ok(Output::Stderr(bytes)) => (stderr, bytes),
            Err(error) => return Ok(Err(error)),
        };
        if let Some(to) = to {
            to.send(bytes).await?;
        }
    }
    Ok(Ok(()))
}

/// Passes the client's input on, and its end.
async fn feed(from: Option<Incoming>, to: Option<crate::runtime::Input>) {
    let (Some(mut from), Some(mut to)) = (from, to) else {
        return;
    };
    // A process that closed its input is no failure; its output decides.
    let _ = tokio::io::copy_buf(
        &mut tokio::io::BufReader::with_capacity(32 * 1024, &mut from),
        &mut to,
    )
    .await;
    let _ = to.shutdown().await;
}

async fn follow_sizes(from: Option<Incoming>, runtime: &dyn Runtime, terminal: Option<Terminal>) {
    let (Some(mut from), Some(terminal)) = (from, terminal) else {
        return;
    };
    let mut buffer = BytesMut::new();
    while matches!(from.read_buf(&mut buffer).await, Ok(count) if count > 0) {
        if let Some(size) = resize::newest(&mut buffer)
            && let Err(error) = runtime.resize(&terminal, size.width, size.height).await
        {
            tracing::debug!(%error, "cannot resize a terminal");
        }
    }
}

/// The last words on the error channel, in upstream's form.
fn verdict(outcome: &Outcome, status: bool) -> Bytes {
    let status_json = |value: serde_json::Value| Bytes::from(value.to_string());
    match outcome {
        Outcome::Exit(0) if status => status_json(json!({"metadata": {}, "status": "Success"})),
        Outcome::Exit(0) => Bytes::new(),
        Outcome::Exit(code) => {
            let message = format!(
                "command terminated with non-zero exit code: error executing command in \
                 container: exit status {code}"
            );
            if !status {
                return message.into();
            }
            status_json(json!({
                "metadata": {}, "status": "Failure", "message": message,
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }))
        }
        Outcome::Failed(error) => {
            let message = format!("error executing command in container: {error}");
            if !status {
                return message.into();
            }
            status_json(json!({
                "metadata": {}, "status": "Failure",
                "message": format!("Internal error occurred: {message}"),
                "reason": "InternalError", "code": 500,
                "details": {"causes": [{"message": message}]},
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_asked_for_are_read_as_upstream_reads_them() {
        let parse = |text: &[(&str, &str)]| {
            let pairs: Vec<_> = text
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            streams(&pairs)
        };
        let terminal = parse(&[
            ("input", "1"),
            ("output", "1"),
            ("error", "true"),
            ("tty", "1"),
        ]);
        let terminal = terminal.unwrap();
        assert!(terminal.stdin && terminal.stdout && terminal.tty && !terminal.stderr);
        assert!(parse(&[("tty", "1")]).is_err());
        assert!(parse(&[("output", "0")]).is_err());
    }

    #[test]
    fn the_verdict_has_the_form_clients_read() {
        let failed = verdict(&Outcome::Exit(3), true);
        let failed: serde_json::Value = serde_json::from_slice(&failed).unwrap();
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0]["message"], "3");
        assert_eq!(verdict(&Outcome::Exit(0), false), Bytes::new());
        assert!(verdict(&Outcome::Exit(1), false).starts_with(b"command terminated"));
    }
}
