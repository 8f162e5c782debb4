//! Commands "in a container": real processes of the machine the test runs on. A terminal is played: its size is printed whenever it changes.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

use cadet_kubelet::runtime::{
    Attached, ExecRequest, Input, Output, Result, RuntimeError, Terminal,
};

#[derive(Clone)]
struct Process {
    output: mpsc::WeakSender<Result<Output>>,
    code: watch::Receiver<Option<i64>>,
}

/// All processes ever started, by the id given out.
#[derive(Default, Clone)]
pub struct Processes(Arc<Mutex<HashMap<String, Process>>>);

impl Processes {
    pub fn start(&self, request: &ExecRequest) -> Result<(String, Attached)> {
        let refused = |message: String| RuntimeError::Refused {
            status: 400,
            message,
        };
        let Some((program, arguments)) = request.command.split_first() else {
            return Err(refused("No exec command specified".into()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(if request.streams.stdin {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| refused(format!("exec: {program:?}: {error}")))?;
        let (output, parts) = mpsc::channel(4);
        let (code, ended) = watch::channel(None);
        let stdout = pump(child.stdout.take(), Output::Stdout, output.clone());
        let kind = if request.streams.tty {
            Output::Stdout
        } else {
            Output::Stderr
        };
        let stderr = pump(child.stderr.take(), kind, output.clone());
        let input = child.stdin.take().map(|input| Box::pin(input) as Input);
        let process = Process {
            output: output.downgrade(),
            code: ended,
        };
        tokio::spawn(async move {
            tokio::join!(stdout, stderr);
            let ended = child.wait().await.ok().and_then(|status| status.code());
            code.send_replace(Some(i64::from(ended.unwrap_or(-1))));
            drop(output);
        });
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("exec{}", table.len() + 1);
        table.insert(id.clone(), process);
        let output = futures::stream::unfold(parts, async |mut parts| {
            let part = parts.recv().await?;
            Some((part, parts))
        });
        Ok((
            id,
            Attached {
                output: output.boxed(),
                input,
            },
        ))
    }

    fn find(&self, id: &str) -> Result<Process> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(id).cloned().ok_or(RuntimeError::Refused {
            status: 404,
            message: format!("No such exec instance: {id}"),
        })
    }

    pub async fn exit_code(&self, id: &str) -> Result<i64> {
        let mut code = self.find(id)?.code;
        let code = code.wait_for(Option::is_some).await;
        Ok(code.ok().and_then(|code| *code).unwrap_or(-1))
    }

    pub async fn resize(&self, terminal: &Terminal, width: u16, height: u16) -> Result<()> {
        let Terminal::Exec(id) = terminal else {
            return Ok(());
        };
        if let Some(output) = self.find(id)?.output.upgrade() {
            let text = Bytes::from(format!("resized to {width}x{height}\r\n"));
            // A process that has ended has no terminal.
            let _ = output.send(Ok(Output::Stdout(text))).await;
        }
        Ok(())
    }
}

async fn pump(
    from: Option<impl AsyncRead + Unpin>,
    kind: fn(Bytes) -> Output,
    to: mpsc::Sender<Result<Output>>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let part = Bytes::copy_from_slice(&buffer[..count]);
        if to.send(Ok(kind(part))).await.is_err() {
            return;
        }
    }
}
