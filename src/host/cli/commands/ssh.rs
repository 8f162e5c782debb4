//! `cadet ssh`: a shell in the machine, or one command.

use std::io::IsTerminal;

use cadet_tunnel::Tunnel;
use cadet_tunnel::shell::{Request, WindowSize};
use clap::Args;

use crate::Context;
use crate::error::{CliError, Result};
use crate::{line, terminal};

/// Flags of `cadet ssh`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet ssh\n  cadet ssh -- docker ps\n  cadet ssh 'journalctl -u cadet-agent | tail'\n  cadet ssh --node cadet-2"
)]
pub struct SshArgs {
    /// Machine of a profile that has several [default: the first]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Command to run; without one, a shell
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

/// Runs the command or shell; ends with its exit code.
pub async fn run(cx: &Context, args: SshArgs) -> Result<u8> {
    let tunnel = line::connect_to(cx, args.node.as_deref()).await?;
    let code = if args.command.is_empty() && std::io::stdin().is_terminal() {
        shell(&tunnel).await?
    } else {
        let command = if args.command.is_empty() {
            "exec $SHELL".into()
        } else {
            line::command_line(&args.command)
        };
        let status = if std::io::stdin().is_terminal() {
            tunnel
                .exec_streams(
                    &command,
                    tokio::io::empty(),
                    tokio::io::stdout(),
                    tokio::io::stderr(),
                )
                .await?
        } else {
            tunnel
                .exec_streams(
                    &command,
                    tokio::io::stdin(),
                    tokio::io::stdout(),
                    tokio::io::stderr(),
                )
                .await?
        };
        status.shell_code()
    };
    if code == 0 {
        Ok(0)
    } else {
        Err(CliError::exit_like(code))
    }
}

async fn shell(tunnel: &Tunnel) -> Result<u8> {
    let size = || {
        let (rows, columns) = console::Term::stdout().size();
        WindowSize {
            columns: columns.into(),
            rows: rows.into(),
        }
    };
    let (sizes, receiver) = tokio::sync::watch::channel(size());
    let request = Request {
        term: std::env::var("TERM").unwrap_or_else(|_| "xterm-256color".into()),
        command: None,
    };
    let _raw = terminal::Raw::enter()?;
    let resized = async {
        loop {
            terminal::resized().await;
            sizes.send_replace(size());
        }
    };
    tokio::select! {
        status = tunnel.shell(request, receiver, tokio::io::stdin(), tokio::io::stdout()) => Ok(status?.shell_code()),
        () = resized => Ok(0),
    }
}
