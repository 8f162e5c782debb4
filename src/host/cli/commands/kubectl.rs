//! `cadet kubectl`: a kubectl that fits, pointed at this profile.

use std::process::Command;

use clap::Args;

use crate::error::{CliError, Result};
use crate::{Context, kubectl_program, machine, reach};

/// Flags of `cadet kubectl`.
#[derive(Debug, Args)]
#[command(
    after_help = "The kubectl on your PATH is used if it is v1.27 or later; else one is fetched, checked and\nkept in the cache.\n\nExamples:\n  cadet kubectl -- get pods -o wide\n  cadet -p class kubectl -- get nodes"
)]
pub struct KubectlArgs {
    /// What kubectl is given
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    args: Vec<String>,
}

/// Runs kubectl and ends with its exit code.
pub async fn run(cx: &Context, args: KubectlArgs) -> Result<u8> {
    machine::profile(cx)?;
    reach::credentials(cx)?;
    let file = cx.world.files(&cx.name).kubeconfig();
    let program = kubectl_program::ensure(cx).await?;
    let status = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args(&args.args)
            .env("KUBECONFIG", &file)
            .status()
    })
    .await
    .map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "waiting for kubectl failed").why(e.to_string())
    })?;
    let failed = |e: std::io::Error| {
        CliError::new("HOST_KUBECTL_MISSING", "kubectl could not be run").why(e.to_string())
    };
    let status = status.map_err(failed)?;
    if status.success() {
        return Ok(0);
    }
    let code = status.code().and_then(|c| u8::try_from(c).ok());
    Err(CliError::exit_like(code.unwrap_or(1)))
}
