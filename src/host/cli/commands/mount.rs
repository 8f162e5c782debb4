//! `cadet mount`: a folder of the laptop in the machine, where pods reach it as a hostPath.

use std::path::{Path, PathBuf};

use cadet_tunnel::{Tunnel, exec};
use clap::Args;
use serde_json::json;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::share::Folder;
use crate::{Context, line, machine};

/// Flags of `cadet mount`.
#[derive(Debug, Args)]
#[command(
    after_help = "Files go over the SSH session, one question at a time: right for sources and pages, not for\na database. They belong to root in the machine. Pods use the folder as a hostPath volume;\none that was started before the mount does not see it.\n\nExamples:\n  cadet mount ./site:/mnt/site\n  cadet mount --read-only ~/data:/mnt/data      programs in the cluster cannot change it"
)]
pub struct MountArgs {
    /// Folder here, a colon, and where it is to be in the machine
    #[arg(value_name = "FOLDER:/PATH", value_hint = clap::ValueHint::DirPath)]
    what: String,
    /// Allow reading only
    #[arg(short, long)]
    read_only: bool,
    /// Machine of a profile that has several [default: all that run]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// Folders the machine lives by; to cover one is to lose it.
const NEEDED: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sbin", "/sys",
    "/tmp", "/usr", "/var",
];

/// Waits until nothing is mounted there any more; what does not go by itself is cut off.
const GONE: &str = "for i in $(seq 1 50); do mountpoint -q \"$at\" || exit 0; sleep 0.1; done; \
                    umount -l \"$at\"";

/// Mounts it and answers until somebody ends it.
pub async fn run(cx: &Context, args: MountArgs) -> Result<u8> {
    let (here, there) = parse(&args.what)?;
    let open = || {
        Folder::open(&here, args.read_only).map_err(|e| {
            CliError::new("PROGRAM_USAGE", format!("{} is no folder", here.display()))
                .why(e.to_string())
                .fix("cadet mount FOLDER:/mnt/NAME")
        })
    };
    open()?;
    // A pod may come to any machine, so each has the folder.
    let lines = line::connect_all(cx, args.node.as_deref()).await?;
    let at = exec::quote(&there);
    let flag = if args.read_only { "--read-only " } else { "" };
    let command = format!("sudo -n /usr/local/bin/cadet-node share {flag}{at}");
    let mut lending = JoinSet::new();
    let mut asked = Vec::new();
    for (_, tunnel) in &lines {
        let (heard, first) = watch::channel(false);
        asked.push(first);
        lending.spawn(lend(tunnel.clone(), open()?, command.clone(), heard));
    }
    let mounted = async {
        let mut all = true;
        for first in &mut asked {
            all &= first.wait_for(|heard| *heard).await.is_ok();
        }
        if all {
            tell(cx, &here, &there, &lines);
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = lending.join_next() => ended,
        () = mounted => None,
        _ = crate::interrupted() => None,
    };
    // The channels are closed with this, and with them the file systems end; what follows sees
    // to it.
    lending.shutdown().await;
    let script = exec::quote(&format!("at={at}; {GONE}"));
    let script = format!("sudo -n sh -c {script}");
    let mut gone = Ok(());
    for (_, tunnel) in &lines {
        let one = line::guest(tunnel, &script).await;
        tunnel.close().await;
        // A machine that is lost must not keep the folder in the others.
        gone = gone.and(one.map(|_| ()));
    }
    if let Some(ended) = ended {
        let (status, words) = ended.map_err(|e| broken(e.into()))??;
        let what = format!("{there} is no longer mounted ({status})");
        return Err(CliError::new("GUEST_SSH", what)
            .why(String::from_utf8_lossy(&words).trim().to_string())
            .fix(machine::again(cx, &format!("mount {}", args.what))));
    }
    gone?;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "unmounted": there}));
    } else {
        cx.ui.line(format!("{there} is no longer mounted."));
    }
    Ok(0)
}

/// Answers one machine's questions until its end of the line is closed: how the program there
/// ended, and what it said. `heard` tells of the first question.
async fn lend(
    tunnel: Tunnel,
    folder: Folder,
    command: String,
    heard: watch::Sender<bool>,
) -> Result<(exec::ExitStatus, Vec<u8>)> {
    let (mut asks, asked) = std::io::pipe().map_err(broken)?;
    let (answered, mut answers) = std::io::pipe().map_err(broken)?;
    let asked = pipe::Sender::from_owned_fd(asked.into()).map_err(broken)?;
    let answered = pipe::Receiver::from_owned_fd(answered.into()).map_err(broken)?;
    // It ends with the other ends of its pipes.
    tokio::task::spawn_blocking(move || {
        folder.serve(&mut asks, &mut answers, || {
            heard.send_replace(true);
        })
    });
    let mut words = Vec::new();
    let status = tunnel
        .exec_streams(&command, answered, asked, &mut words)
        .await?;
    Ok((status, words))
}

fn broken(e: std::io::Error) -> CliError {
    CliError::new("PROGRAM_INTERNAL", "the folder could not be piped").why(e.to_string())
}

fn tell(cx: &Context, here: &Path, there: &str, lines: &[(Node, Tunnel)]) {
    let nodes: Vec<_> = lines.iter().map(|(node, _)| node.name.as_str()).collect();
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "mounted", "from": here, "to": there, "nodes": nodes}));
    } else {
        let place = match nodes[..] {
            [_] => "the machine".to_owned(),
            _ => nodes.join(", "),
        };
        cx.ui.line(format!(
            "{} is {there} in {place}. Ctrl-C ends it.\n  try   {}",
            here.display(),
            machine::again(cx, &format!("ssh -- ls -l {there}"))
        ));
    }
}

/// The two ends of `FOLDER:/PATH`.
fn parse(text: &str) -> Result<(PathBuf, String)> {
    let usage = |why: &str| {
        CliError::new("PROGRAM_USAGE", format!("{text:?} is not FOLDER:/PATH"))
            .why(why)
            .fix("cadet mount ./site:/mnt/site")
    };
    let Some((here, there)) = text.rsplit_once(':') else {
        return Err(usage("a colon stands between the folder and its place"));
    };
    let there = there.trim_end_matches('/');
    let plain = there
        .split('/')
        .skip(1)
        .all(|name| !matches!(name, "" | "." | ".."));
    if here.is_empty() || !there.starts_with('/') || !plain {
        return Err(usage(
            "the folder is here, and its place in the machine begins with /",
        ));
    }
    if NEEDED.contains(&there) {
        return Err(usage("the machine lives by what is there; take /mnt/NAME"));
    }
    Ok((here.into(), there.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_a_place_that_covers_nothing_needed() {
        let (here, there) = parse("./a:b:/mnt/x/").unwrap();
        assert_eq!((here, there.as_str()), (PathBuf::from("./a:b"), "/mnt/x"));
        for bad in [
            "",
            "a",
            ":/mnt/x",
            "a:mnt",
            "a:/",
            "a:/etc",
            "a:/etc/",
            "a:/mnt/../etc",
            "a:/mnt//x",
        ] {
            assert_eq!(parse(bad).unwrap_err().topic.id, "PROGRAM_USAGE", "{bad}");
        }
    }
}
