//! exec and attach through Docker.

use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as DockerError;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{AttachContainerOptions, ResizeContainerTTYOptions};
use futures::{Stream, StreamExt as _};

use super::docker::{DockerRuntime, with_causes};
use super::{Attached, ExecRequest, Input, Output, Result, RuntimeError, Streams, Terminal};

/// Docker may close an exec's streams a moment before it knows the exit code.
const SETTLING: Duration = Duration::from_millis(20);
/// How often it is asked again: two seconds in all.
const ATTEMPTS: u32 = 100;
/// Bytes read from an exec at once.
const CAPACITY: usize = 32 * 1024;

impl DockerRuntime {
    pub(super) async fn open_exec(
        &self,
        id: &str,
        request: &ExecRequest,
    ) -> Result<(String, Attached)> {
        let failed = self.failed("run a command in a container");
        let docker = self.client().await?;
        let streams = request.streams;
        let options = CreateExecOptions {
            attach_stdin: Some(streams.stdin),
            attach_stdout: Some(streams.stdout),
            attach_stderr: Some(streams.stderr),
            tty: Some(streams.tty),
            cmd: Some(request.command.clone()),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(id, options).await.map_err(&failed)?;
        let options = StartExecOptions {
            detach: false,
            tty: streams.tty,
            output_capacity: Some(CAPACITY),
        };
        let started = docker.start_exec(&exec.id, Some(options)).await;
        match started.map_err(&failed)? {
            StartExecResults::Attached { output, input } => {
                Ok((exec.id, attached(output, input, streams)))
            }
            StartExecResults::Detached => Err(RuntimeError::Failed {
                act: "run a command in a container",
                reason: "Docker did not attach its streams".into(),
            }),
        }
    }

    pub(super) async fn exit_code_of(&self, exec: &str) -> Result<i64> {
        let failed = self.failed("learn how a command ended");
        for _ in 0..ATTEMPTS {
            let found = self.client().await?.inspect_exec(exec).await;
            let found = found.map_err(&failed)?;
            match found.exit_code {
                Some(code) if found.running != Some(true) => return Ok(code),
                _ => tokio::time::sleep(SETTLING).await,
            }
        }
        Err(RuntimeError::Failed {
            act: "learn how a command ended",
            reason: "its streams are closed but it still runs".into(),
        })
    }

    pub(super) async fn open_attach(&self, id: &str, streams: Streams) -> Result<Attached> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            ..AttachContainerOptions::default()
        };
        let AttachContainerResults { output, input } = self
            .client()
            .await?
            .attach_container(id, Some(options))
            .await
            .map_err(self.failed("attach to a container"))?;
        Ok(attached(output, input, streams))
    }

    pub(super) async fn resize_terminal(
        &self,
        terminal: &Terminal,
        width: u16,
        height: u16,
    ) -> Result<()> {
        let docker = self.client().await?;
        let resized = match terminal {
            Terminal::Exec(id) => {
                docker
                    .resize_exec(id, ResizeExecOptions { height, width })
                    .await
            }
            Terminal::Container(id) => {
                let options = ResizeContainerTTYOptions {
                    h: height.into(),
                    w: width.into(),
                };
                docker.resize_container_tty(id, options).await
            }
        };
        resized.map_err(self.failed("resize a terminal"))
    }
}

fn attached(
    output: impl Stream<Item = std::result::Result<LogOutput, DockerError>> + Send + 'static,
    input: Input,
    streams: Streams,
) -> Attached {
    let output = output.filter_map(|part| {
        futures::future::ready(match part {
            Ok(LogOutput::StdErr { message }) => Some(Ok(Output::Stderr(message))),
            Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => {
                Some(Ok(Output::Stdout(message)))
            }
            Ok(LogOutput::StdIn { .. }) => None,
            Err(error) => Some(Err(RuntimeError::Failed {
                act: "read what a process prints",
                reason: with_causes(&error),
            })),
        })
    });
    Attached {
        output: output.boxed(),
        // Dropped when not wanted, which leaves the connection open for reading.
        input: streams.stdin.then_some(input),
    }
}
