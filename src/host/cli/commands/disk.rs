//! `cadet disk`: the size of the machines' disks, and making them larger while they run.

use cadet_state::{Profile, ProfileLock};
use cadet_vm::{overlay, qemu};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{Context, line, machine};

/// Flags of `cadet disk`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "The size is a virtual one: the file on this computer takes what the cluster writes.\n\nExamples:\n  cadet disk show\n  cadet disk grow 40g      while the machine runs, nothing is restarted"
)]
pub struct DiskArgs {
    #[command(subcommand)]
    command: DiskCommand,
}

/// What to do with the disk.
#[derive(Debug, Subcommand)]
enum DiskCommand {
    /// Show its sizes
    #[command(after_help = "Examples:\n  cadet disk show\n  cadet disk show -o json")]
    Show,
    /// Make it larger; it never shrinks again
    #[command(
        after_help = "Examples:\n  cadet disk grow 40g\n  cadet disk grow 40g --node cadet-2"
    )]
    Grow {
        /// The new size, in whole GiB: 40g
        #[arg(value_parser = crate::args::size_mib)]
        size: u64,
        /// Machine of a profile that has several [default: all of them]
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
}

/// Sizes there can be, in GiB, as for new disks.
const SMALLEST: u64 = 4;
const LARGEST: u64 = 1024;

/// Tells the partition, if there is one, and the file system in it that there is more room.
/// The kernel hears of the new size a moment after QEMU did, so this looks until it has.
/// growpart(1) ends with 1 where there is nothing to do.
const GROW: &str = r#"set -eu
root=$(readlink -f "$(findmnt -n -o SOURCE /)")
parent=$(lsblk -n -d -o PKNAME "$root")
disk=${parent:+/dev/$parent}; disk=${disk:-$root}
for i in $(seq 1 100); do
    [ "$(blockdev --getsize64 "$disk")" -ge "$size" ] && break
    sleep 0.1
done
[ "$(blockdev --getsize64 "$disk")" -ge "$size" ] || { echo "the kernel did not notice" >&2; exit 1; }
if [ -n "$parent" ]; then
    growpart "$disk" "$(cat "/sys/class/block/${root##*/}/partition")" >&2 || [ $? -eq 1 ]
fi
resize2fs "$root" >&2
df -B1 --output=size,used / | tail -n 1"#;

/// Does it.
pub async fn run(cx: &Context, args: DiskArgs) -> Result<u8> {
    match args.command {
        DiskCommand::Show => show(cx).await,
        DiskCommand::Grow { size, node } => grow(cx, size, node.as_deref()).await,
    }
}

async fn show(cx: &Context) -> Result<u8> {
    let profile = machine::profile(cx)?;
    let files = cx.world.files(&cx.name);
    let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
    for node in nodes::all(&profile) {
        let Some(gib_asked) = node.kept(&profile).map(|kept| kept.spec.disk_gib) else {
            continue;
        };
        let disk = node.files(&files).disk();
        let seen = match disk.exists() {
            true => Some(overlay::info(&img, &disk)?),
            false => None,
        };
        let state = machine::state_of_node(&files, &profile, &node).await;
        let inside = match state.is_running() {
            true => Some(filled(cx, &node).await?),
            false => None,
        };
        if cx.ui.json() {
            cx.ui.object(&json!({
                "node": node.name, "sizeGiB": gib_asked, "file": disk,
                "fileBytes": seen.as_ref().map(|s| s.actual_size),
                "insideBytes": inside.map(|(size, _)| size), "usedBytes": inside.map(|(_, used)| used),
            }));
            continue;
        }
        cx.ui.line(format!(
            "{}   {gib_asked} GiB, the file takes {}",
            disk.display(),
            seen.map_or("nothing yet".into(), |s| gib(s.actual_size))
        ));
        if let Some((size, used)) = inside {
            let (used, size) = (gib(used), gib(size));
            cx.ui.line(format!("  inside  {used} of {size} used"));
        }
    }
    Ok(0)
}

async fn grow(cx: &Context, mib: u64, only: Option<&str>) -> Result<u8> {
    let refused = |what: String| {
        CliError::new("RESOURCE_DISK", what).fix(machine::again(cx, "disk grow 40g"))
    };
    if !mib.is_multiple_of(1024) || !(SMALLEST..=LARGEST).contains(&(mib / 1024)) {
        return Err(refused(format!("{mib} MiB is no size for a disk"))
            .why(format!("whole GiB, {SMALLEST} to {LARGEST}")));
    }
    let wanted = mib / 1024;
    machine::running(cx).await?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "disk grow")?;
    let mut profile = machine::running(cx).await?;
    let which = match only {
        Some(name) => vec![nodes::find(cx, &profile, name)?],
        None => nodes::all(&profile),
    };
    // All are looked at before any is touched.
    let mut was = Vec::new();
    for node in &which {
        machine::must_run(cx, &profile, node).await?;
        let has = node.kept(&profile).map_or(0, |kept| kept.spec.disk_gib);
        if wanted < has {
            let disk = match which.len() {
                1 => "the disk".to_owned(),
                _ => format!("the disk of {}", node.name),
            };
            return Err(refused(format!("{disk} has {has} GiB and cannot shrink"))
                .why("what lies behind the new end would be lost"));
        }
        was.push(has);
    }
    for (index, node) in which.iter().enumerate() {
        cx.ui.step_started("disk", index + 1, which.len());
        let inside = grow_one(cx, &mut profile, node, wanted).await?;
        let name = match which.len() {
            1 => String::new(),
            _ => format!("{}: ", node.name),
        };
        cx.ui
            .step_done(&format!("{name}{wanted} GiB{inside}"), None);
    }
    if cx.ui.json() {
        let names: Vec<_> = which.iter().map(|node| &node.name).collect();
        cx.ui.object(&json!({
            "type": "done", "sizeGiB": wanted, "was": was.first(), "nodes": names}));
    }
    Ok(0)
}

/// Makes one machine's disk larger, and what is in it; says how full that is.
async fn grow_one(cx: &Context, profile: &mut Profile, node: &Node, wanted: u64) -> Result<String> {
    let bytes = wanted << 30;
    machine::grow_disk(cx, profile, node, bytes).await?;
    // QEMU has done it: whatever fails from here on is done again by the same command.
    match profile.worker_mut(node.number) {
        Some(worker) => worker.spec.disk_gib = wanted,
        None => profile.spec.disk_gib = wanted,
    }
    machine::save(cx, profile)?;
    cx.ui.progress("growing the file system", None);
    let tunnel = line::connect_to(cx, Some(&node.name)).await?;
    let script = format!("size={bytes}; {GROW}");
    let script = cadet_tunnel::exec::quote(&script);
    let said = line::guest(&tunnel, &format!("sudo -n sh -c {script}")).await?;
    tunnel.close().await;
    Ok(numbers(&said).map_or(String::new(), |(size, used)| {
        format!(", {} of {} used", gib(used), gib(size))
    }))
}

/// Size and used bytes of a machine's root file system.
async fn filled(cx: &Context, node: &Node) -> Result<(u64, u64)> {
    let tunnel = line::connect_to(cx, Some(&node.name)).await?;
    let said = line::guest(&tunnel, "df -B1 --output=size,used / | tail -n 1").await?;
    tunnel.close().await;
    numbers(&said).ok_or_else(|| {
        CliError::new("GUEST_SSH", "the machine did not tell how full its disk is").why(said)
    })
}

fn numbers(said: &str) -> Option<(u64, u64)> {
    let mut words = said.split_whitespace().map(|word| word.parse().ok());
    Some((words.next()??, words.next()??))
}

fn gib(bytes: u64) -> String {
    crate::ui::mib(bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_df_says_is_read() {
        assert_eq!(
            numbers(" 21474836480 1073741824\n"),
            Some((20 << 30, 1 << 30))
        );
        assert_eq!(numbers("df: no such file"), None);
        assert_eq!(numbers(""), None);
    }

    #[test]
    fn the_script_is_one_a_shell_understands() {
        let check = std::process::Command::new("sh")
            .args(["-n", "-c", GROW])
            .status();
        assert!(check.unwrap().success());
    }
}
