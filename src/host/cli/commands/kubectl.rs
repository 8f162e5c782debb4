//! `cadet kubectl`: the kubectl on the PATH, pointed at this profile.

use std::process::Command;

use clap::Args;

use crate::Context;
use crate::error::{CliError, Result};
use crate::{machine, programs};

/// Flags of `cadet kubectl`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet kubectl -- get pods -o wide\n  cadet -p class kubectl -- get nodes"
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
    let file = cx.world.files(&cx.name).kubeconfig();
    if !file.exists() {
        return Err(CliError::new(
            "GUEST_NOT_RUNNING",
            format!("profile {} has no credentials yet", cx.name),
        )
        .why("they are fetched by the last steps of `cadet start`")
        .fix(format!("cadet -p {} start", cx.name)));
    }
    let kubectl = programs::kubectl(&cx.world);
    let status = tokio::task::spawn_blocking(move || {
        Command::new(kubectl)
            .args(&args.args)
            .env("KUBECONFIG", &file)
            .status()
    })
    .await
    .map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "waiting for kubectl failed").why(e.to_string())
    })?;
    match status {
        Ok(status) if status.success() => Ok(0),
        Ok(status) => Err(CliError::exit_like(
            status
                .code()
                .and_then(|c| u8::try_from(c).ok())
                .unwrap_or(1),
        )),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(missing()),
        Err(e) => Err(missing().why(e.to_string())),
    }
}

/// The error for a laptop without kubectl.
pub fn missing() -> CliError {
    let fix = match std::env::consts::OS {
        "macos" => "brew install kubernetes-cli",
        _ => "sudo apt-get install kubernetes-client      (Debian 13, Ubuntu 24.04 and later)",
    };
    CliError::new("HOST_KUBECTL_MISSING", "there is no kubectl on your PATH")
        .why("kubectl is the learner's own tool; Cadet does not replace it")
        .fix(fix)
}
