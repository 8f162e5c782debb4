//! `cadet mount`: a folder of the laptop in the machine, where pods reach it as a hostPath.

use std::path::{Path, PathBuf};

use cadet_tunnel::exec;
use clap::Args;
use serde_json::json;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::error::{CliError, Result};
use crate::share::Folder;
use crate::{Context, line, machine};

/// Flags of `cadet mount`.
#[derive(Debug, Args)]
#[command(
    after_help = "Files go over the SSH session, one question at a time: right for sources and pages, not for\na database. They belong to root in the machine. Pods use the folder as a hostPath volume;\none that was started before the mount does not see it.\n\nExamples:\n  cadet mount ./site:/mnt/site\n  cadet mount --read-only ~/data:/mnt/data      programs in the cluster cannot change it"
)]
pub struct MountArgs {
    /// Folder here, a colon, and where it is to be in the machine
    #[arg(value_name = "FOLDER:/PATH")]
    what: String,
    /// Allow reading only
    #[arg(short, long)]
    read_only: bool,
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
    let folder = Folder::open(&here, args.read_only).map_err(|e| {
        CliError::new("PROGRAM_USAGE", format!("{} is no folder", here.display()))
            .why(e.to_string())
            .fix("cadet mount FOLDER:/mnt/NAME")
    })?;
    let tunnel = line::connect(cx).await?;
    let broken = |e: std::io::Error| {
        CliError::new("PROGRAM_INTERNAL", "the folder could not be piped").why(e.to_string())
    };
    let (mut asks, asked) = std::io::pipe().map_err(broken)?;
    let (answered, mut answers) = std::io::pipe().map_err(broken)?;
    let asked = pipe::Sender::from_owned_fd(asked.into()).map_err(broken)?;
    let answered = pipe::Receiver::from_owned_fd(answered.into()).map_err(broken)?;
    let (heard, mut first) = watch::channel(false);
    // It ends with the other ends of its pipes.
    tokio::task::spawn_blocking(move || {
        folder.serve(&mut asks, &mut answers, || {
            heard.send_replace(true);
        })
    });
    let at = exec::quote(&there);
    let flag = if args.read_only { "--read-only " } else { "" };
    let command = format!("sudo -n /usr/local/bin/cadet-node share {flag}{at}");
    let mut words = Vec::new();
    let mounted = async {
        if first.wait_for(|heard| *heard).await.is_ok() {
            tell(cx, &here, &there);
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = tunnel.exec_streams(&command, answered, asked, &mut words) => Some(ended),
        () = mounted => None,
        _ = crate::interrupted() => None,
    };
    if let Some(ended) = ended {
        let status = ended?;
        let what = format!("{there} is no longer mounted ({status})");
        return Err(CliError::new("GUEST_SSH", what)
            .why(String::from_utf8_lossy(&words).trim().to_string())
            .fix(machine::again(cx, &format!("mount {}", args.what))));
    }
    // The channel is closed now, and with it the file system ends; this sees to it.
    let script = exec::quote(&format!("at={at}; {GONE}"));
    line::guest(&tunnel, &format!("sudo -n sh -c {script}")).await?;
    tunnel.close().await;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "unmounted": there}));
    } else {
        cx.ui.line(format!("{there} is no longer mounted."));
    }
    Ok(0)
}

fn tell(cx: &Context, here: &Path, there: &str) {
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "mounted", "from": here, "to": there}));
    } else {
        cx.ui.line(format!(
            "{} is {there} in the machine. Ctrl-C ends it.\n  try   {}",
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
