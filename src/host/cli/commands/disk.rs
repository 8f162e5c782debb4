//! `cadet disk`: the size of the machine's disk, and making it larger while it runs.

use cadet_state::ProfileLock;
use cadet_vm::{overlay, qemu};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::error::{CliError, Result};
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
    Show,
    /// Make it larger; it never shrinks again
    Grow {
        /// The new size, in whole GiB: 40g
        #[arg(value_parser = crate::args::size_mib)]
        size: u64,
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
        DiskCommand::Grow { size } => grow(cx, size).await,
    }
}

async fn show(cx: &Context) -> Result<u8> {
    let profile = machine::profile(cx)?;
    let files = cx.world.files(&cx.name);
    let disk = files.disk();
    let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
    let seen = match disk.exists() {
        true => Some(overlay::info(&img, &disk)?),
        false => None,
    };
    let running = machine::state_of(&files, &profile).await.is_running();
    let inside = match running {
        true => Some(filled(cx).await?),
        false => None,
    };
    if cx.ui.json() {
        cx.ui.object(&json!({
            "sizeGiB": profile.spec.disk_gib, "file": disk,
            "fileBytes": seen.as_ref().map(|s| s.actual_size),
            "insideBytes": inside.map(|(size, _)| size), "usedBytes": inside.map(|(_, used)| used),
        }));
        return Ok(0);
    }
    cx.ui.line(format!(
        "{}   {} GiB, the file takes {}",
        disk.display(),
        profile.spec.disk_gib,
        seen.map_or("nothing yet".into(), |s| gib(s.actual_size))
    ));
    if let Some((size, used)) = inside {
        let (used, size) = (gib(used), gib(size));
        cx.ui.line(format!("  inside  {used} of {size} used"));
    }
    Ok(0)
}

async fn grow(cx: &Context, mib: u64) -> Result<u8> {
    let refused = |what: String| {
        CliError::new("RESOURCE_DISK", what).fix(machine::again(cx, "disk grow 40g"))
    };
    if mib % 1024 != 0 || !(SMALLEST..=LARGEST).contains(&(mib / 1024)) {
        return Err(refused(format!("{mib} MiB is no size for a disk"))
            .why(format!("whole GiB, {SMALLEST} to {LARGEST}")));
    }
    let wanted = mib / 1024;
    machine::running(cx).await?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "disk grow")?;
    let mut profile = machine::running(cx).await?;
    let has = profile.spec.disk_gib;
    if wanted < has {
        return Err(refused(format!("the disk has {has} GiB and cannot shrink"))
            .why("what lies behind the new end would be lost"));
    }
    let bytes = wanted << 30;
    cx.ui.step_started("disk", 1, 1);
    machine::grow_disk(cx, &profile, bytes).await?;
    // QEMU has done it: whatever fails from here on is done again by the same command.
    profile.spec.disk_gib = wanted;
    machine::save(cx, &profile)?;
    cx.ui.progress("growing the file system", None);
    let tunnel = line::connect(cx).await?;
    let script = format!("size={bytes}; {GROW}");
    let script = cadet_tunnel::exec::quote(&script);
    let said = line::guest(&tunnel, &format!("sudo -n sh -c {script}")).await?;
    tunnel.close().await;
    let inside = numbers(&said).map_or(String::new(), |(size, used)| {
        format!(", {} of {} used", gib(used), gib(size))
    });
    cx.ui.step_done(&format!("{wanted} GiB{inside}"), None);
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "sizeGiB": wanted, "was": has}));
    }
    Ok(0)
}

/// Size and used bytes of the root file system.
async fn filled(cx: &Context) -> Result<(u64, u64)> {
    let tunnel = line::connect(cx).await?;
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
