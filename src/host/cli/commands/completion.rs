//! `cadet completion`: the script with which a shell asks this program what may come next.

use std::path::Path;

use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::complete::VARIABLE;
use crate::error::{CliError, Result};
use crate::ui;

/// Flags of `cadet completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "The shell asks cadet itself at each Tab: names of profiles, nodes, lessons, snapshots and\nsettings are offered as well. The line belongs into the file your shell reads at its start,\nso that it is made anew with every version.\n\nExamples:\n  source <(cadet completion bash)                                  ~/.bashrc\n  source <(cadet completion zsh)                                   ~/.zshrc, after compinit\n  cadet completion fish | source                                   config.fish\n  cadet completion powershell | Out-String | Invoke-Expression     $PROFILE\n  eval (cadet completion elvish | slurp)                           rc.elv"
)]
pub struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: CompletionArgs) -> Result<u8> {
    let broken = |why: String| {
        let what = format!("there is no script for {}", args.shell);
        CliError::new("PROGRAM_INTERNAL", what).why(why)
    };
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string());
    let shell = shell.ok_or_else(|| broken("clap_complete does not know this shell".into()))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "cadet", "cadet", &program(), &mut script)
        .map_err(|e| broken(e.to_string()))?;
    ui::say(String::from_utf8_lossy(&script).trim_end());
    Ok(0)
}

/// How the shell is to call this program: by name, unless it was called by a path now.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let by_path = Path::new(&called).components().count() > 1;
    match std::env::current_exe() {
        Ok(program) if by_path => program.display().to_string(),
        _ => "cadet".into(),
    }
}
