//! Memory file systems for secrets and `medium: Memory`.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount as mount_fs, umount2};

/// Mounts an empty memory file system at `dir`, unless one is there. `size` in bytes;
/// without it the kernel allows half the machine's memory.
pub(crate) fn mount(dir: &Path, size: Option<i64>) -> io::Result<()> {
    if mounted_below(&read_mounts()?, dir)
        .iter()
        .any(|at| at == dir)
    {
        return Ok(());
    }
    let options = match size.filter(|size| *size > 0) {
        Some(size) => format!("mode=0777,size={size}"),
        None => "mode=0777".to_owned(),
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_fs(
        Some("tmpfs"),
        dir,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .map_err(io::Error::from)
}

/// Unmounts everything at or below `dir`.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
    // Innermost first.
    for at in mounted_below(&read_mounts()?, dir).iter().rev() {
        umount2(at, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

fn read_mounts() -> io::Result<String> {
    std::fs::read_to_string("/proc/self/mountinfo")
}

/// Mount points at or below `dir`, in the order they were mounted.
fn mounted_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|at| at.starts_with(dir))
        .collect()
}

/// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut out = text.to_owned();
    for (code, plain) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(code, plain);
    }
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_directory_count() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/vda1 rw\n\
                      30 21 0:40 / /pods/u1/volumes/a\\040b rw - tmpfs tmpfs rw\n\
                      31 21 0:41 / /pods/u10/volumes/c rw - tmpfs tmpfs rw\n";
        let below = mounted_below(mounts, Path::new("/pods/u1"));
        assert_eq!(below, [PathBuf::from("/pods/u1/volumes/a b")]);
        assert!(mounted_below(&read_mounts().unwrap(), Path::new("/no/such")).is_empty());
    }
}
