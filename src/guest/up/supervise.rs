//! The root of the tree of processes in the background: keeps server and agent running, and
//! reports to the `up` that started it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::programs::{program, take_lock};
use super::runtime;
use super::tree::{self, Place, Report};
use super::trouble::{Troubles, internal};
use crate::ConfigArg;
use crate::server::stop_signal;

/// Flags of the process at the root of the tree.
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[arg(long, value_name = "PATH")]
    docker_host: PathBuf,
}

/// Runs until SIGTERM or SIGINT, and then until the tree has ended.
///
/// # Errors
/// If another tree runs, or this one cannot start.
pub fn run(args: &SuperviseArgs, data: &Path) -> Result<(), Troubles> {
    runtime()?.block_on(async {
        let place = Place {
            program: program()?,
            data: data.to_owned(),
            config: args.config.config.clone(),
            docker: args.docker_host.clone(),
        };
        let lock = take_lock(data)?;
        let signal =
            stop_signal().map_err(|error| internal("signals cannot be handled", &error))?;
        let (sender, mut reports) = mpsc::unbounded_channel::<Report>();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(crate::settle::run());
        tokio::spawn(async move {
            signal.await;
            stopped.cancel();
        });
        tokio::spawn(async move {
            let mut reader = Some(std::io::stdout());
            while let Some(report) = reports.recv().await {
                let told = reader.as_mut().is_some_and(|out| {
                    writeln!(out, "{}", report.line())
                        .and_then(|()| out.flush())
                        .is_ok()
                });
                // `up` has got what it waited for and is gone.
                if !told {
                    reader = None;
                }
            }
        });
        tree::run(place, lock, sender, stop)
            .await
            .map_err(|error| internal("server and agent could not be kept running", &error).into())
    })
}
