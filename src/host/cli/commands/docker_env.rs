//! `cadet docker-env`: the environment in which the laptop's own `docker` works in the machine.
//!
//! Docker is reached through the SSH session: a Unix socket of the profile's folder, which
//! only its owner may open, leads to the engine's. No port is opened anywhere.

use std::path::Path;

use cadet_tunnel::exec;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::error::{CliError, Result};
use crate::{Context, line, machine};

/// What other tools set, and what would win over `DOCKER_HOST` or spoil it (docker(1)).
const IN_THE_WAY: [&str; 3] = ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];

/// Flags of `cadet docker-env`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eval \"$(cadet docker-env)\"                  bash, zsh\n  cadet docker-env | source                   fish\n  & cadet docker-env | Invoke-Expression      PowerShell\n  eval \"$(cadet docker-env --unset)\"          back to the Docker of before\n\nThe tunnel carries it, and is started if none runs. Images built this way are in the\ncluster at once; pods use them with imagePullPolicy Never or IfNotPresent."
)]
pub struct DockerEnvArgs {
    /// Whose syntax to print [default: the shell of SHELL]
    #[arg(long, value_enum, value_name = "SHELL")]
    shell: Option<Shell>,
    /// Print how to take it back
    #[arg(short, long)]
    unset: bool,
}

/// A shell by the way it sets variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Cmd,
}

/// Prints it.
pub async fn run(cx: &Context, args: DockerEnvArgs) -> Result<u8> {
    let named = std::env::var("SHELL").ok();
    let shell = args.shell.unwrap_or_else(|| Shell::of(named.as_deref()));
    if args.unset {
        if cx.ui.json() {
            cx.ui
                .object(&json!({"type": "dockerEnv", "set": {}, "unset": ["DOCKER_HOST"]}));
        } else {
            cx.ui.line(shell.unset("DOCKER_HOST"));
        }
        return Ok(0);
    }
    machine::running(cx).await?;
    let (_, note) = line::ensure_background_quietly(cx).await?;
    let running = line::background_status(cx).await;
    let socket = running.and_then(|running| running.doors.docker);
    let socket = socket.ok_or_else(|| {
        CliError::new("NET_TUNNEL", "the tunnel that runs does not lead to Docker")
            .why("an older Cadet started it, or its socket could not be made; its log tells")
            .fix(format!(
                "{}\n{}",
                machine::again(cx, "tunnel --stop"),
                machine::again(cx, "docker-env")
            ))
            .log(cx.world.files(&cx.name).tunnel_log().display().to_string())
    })?;
    let host = host(&socket);
    let set = |name: &&&str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let in_the_way: Vec<&str> = IN_THE_WAY.iter().filter(set).copied().collect();
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "dockerEnv", "set": {"DOCKER_HOST": host}, "unset": in_the_way, "note": note,
        }));
        return Ok(0);
    }
    for name in in_the_way {
        cx.ui.line(shell.unset(name));
    }
    cx.ui.line(shell.set("DOCKER_HOST", &host));
    // What is printed is run: everything else must be a comment.
    if let Some(note) = note {
        cx.ui.line(shell.comment(&note));
    }
    let again = machine::again(cx, "docker-env");
    cx.ui.line(shell.comment(&shell.how(&again)));
    Ok(0)
}

/// The engine's address as Docker's clients take it.
fn host(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

impl Shell {
    /// The shell a path names; bash, whose syntax most others share, if none is known.
    fn of(path: Option<&str>) -> Self {
        let name = path.and_then(|path| path.rsplit('/').next());
        match name {
            Some("zsh") => Self::Zsh,
            Some("fish") => Self::Fish,
            Some("pwsh" | "powershell") => Self::Powershell,
            None if cfg!(windows) => Self::Powershell,
            _ => Self::Bash,
        }
    }

    fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Bash | Self::Zsh => format!("export {name}={};", exec::quote(value)),
            Self::Fish => {
                let value = value.replace('\\', r"\\").replace('\'', r"\'");
                format!("set -gx {name} '{value}';")
            }
            Self::Powershell => format!("$Env:{name} = '{}'", value.replace('\'', "''")),
            Self::Cmd => format!("SET \"{name}={value}\""),
        }
    }

    fn unset(self, name: &str) -> String {
        match self {
            Self::Bash | Self::Zsh => format!("unset {name};"),
            Self::Fish => format!("set -e {name};"),
            Self::Powershell => {
                format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue")
            }
            Self::Cmd => format!("SET {name}="),
        }
    }

    fn comment(self, text: &str) -> String {
        match self {
            Self::Cmd => format!("REM {text}"),
            _ => format!("# {text}"),
        }
    }

    /// How to run what is printed.
    fn how(self, again: &str) -> String {
        match self {
            Self::Bash | Self::Zsh => format!("eval \"$({again})\""),
            Self::Fish => format!("{again} | source"),
            Self::Powershell => format!("& {again} | Invoke-Expression"),
            Self::Cmd => {
                format!("@FOR /f \"tokens=*\" %i IN ('{again} --shell cmd') DO @%i")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_has_its_own_words() {
        let value = "unix:///home/a b/it's/docker.sock";
        for (shell, set, unset) in [
            (
                Shell::Bash,
                r"export DOCKER_HOST='unix:///home/a b/it'\''s/docker.sock';",
                "unset DOCKER_HOST;",
            ),
            (
                Shell::Zsh,
                r"export DOCKER_HOST='unix:///home/a b/it'\''s/docker.sock';",
                "unset DOCKER_HOST;",
            ),
            (
                Shell::Fish,
                r"set -gx DOCKER_HOST 'unix:///home/a b/it\'s/docker.sock';",
                "set -e DOCKER_HOST;",
            ),
            (
                Shell::Powershell,
                "$Env:DOCKER_HOST = 'unix:///home/a b/it''s/docker.sock'",
                "Remove-Item Env:DOCKER_HOST -ErrorAction SilentlyContinue",
            ),
            (
                Shell::Cmd,
                "SET \"DOCKER_HOST=unix:///home/a b/it's/docker.sock\"",
                "SET DOCKER_HOST=",
            ),
        ] {
            assert_eq!(shell.set("DOCKER_HOST", value), set);
            assert_eq!(shell.unset("DOCKER_HOST"), unset);
        }
    }

    #[test]
    fn a_real_shell_reads_the_value_back() {
        let nasty = r#"unix:///a b/'"$(exit 1)`\x/docker.sock"#;
        let script = format!(
            "{}\n{}\nprintf %s \"$DOCKER_HOST\"",
            Shell::Bash.set("DOCKER_HOST", nasty),
            Shell::Bash.comment(&Shell::Bash.how("cadet docker-env")),
        );
        let out = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), nasty);
    }

    #[test]
    fn the_shell_is_known_by_its_path() {
        for (path, shell) in [
            (Some("/bin/bash"), Shell::Bash),
            (Some("/usr/bin/zsh"), Shell::Zsh),
            (Some("/opt/homebrew/bin/fish"), Shell::Fish),
            (Some("/usr/bin/pwsh"), Shell::Powershell),
            (Some("/bin/dash"), Shell::Bash),
            (Some(""), Shell::Bash),
        ] {
            assert_eq!(Shell::of(path), shell, "{path:?}");
        }
    }
}
