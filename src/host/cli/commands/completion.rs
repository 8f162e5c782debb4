//! `cadet completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Result;

/// Flags of `cadet completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  cadet completion bash > ~/.local/share/bash-completion/completions/cadet"
)]
pub struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: CompletionArgs) -> Result<u8> {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "cadet",
        &mut std::io::stdout(),
    );
    Ok(0)
}
