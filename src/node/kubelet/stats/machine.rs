//! What the whole machine uses: /proc and the file systems.

use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Units of CPU time in /proc/stat per second (USER_HZ, the same on every architecture).
const TICKS: u64 = 100;

/// Room in a file system, bytes and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileSystem {
    pub capacity: u64,
    pub available: u64,
    pub used: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

impl FileSystem {
    /// The file system that `path` lies in; nothing known reads as all zeros.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        // The directory may not have been made yet.
        let existing = path.ancestors().find(|path| path.exists());
        let Some(Ok(found)) = existing.map(statvfs) else {
            return Self::default();
        };
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        let capacity = bytes(found.blocks());
        Self {
            capacity,
            available: bytes(found.blocks_available()),
            used: capacity.saturating_sub(bytes(found.blocks_free())),
            inodes: found.files(),
            inodes_free: found.files_free(),
        }
    }
}

/// The machine at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineUsage {
    pub cpu_nanos: u64,
    /// Bytes.
    pub memory_total: u64,
    /// What could be had without swapping, bytes.
    pub memory_available: u64,
    pub memory_free: u64,
    /// Anonymous memory, bytes.
    pub rss: u64,
    /// Where pods write.
    pub node_fs: FileSystem,
    /// Where images and containers lie.
    pub image_fs: FileSystem,
    /// Processes and threads the kernel allows and has.
    pub pids: (u64, u64),
}

impl MachineUsage {
    /// Reads it; what cannot be read is zero.
    #[must_use]
    pub fn read(pods_dir: &Path, image_root: &str) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let meminfo = text("/proc/meminfo");
        let kib = |name: &str| field(&meminfo, name).saturating_mul(1024);
        Self {
            cpu_nanos: cpu_nanos().unwrap_or(0),
            memory_total: kib("MemTotal:"),
            memory_available: kib("MemAvailable:"),
            memory_free: kib("MemFree:"),
            rss: kib("AnonPages:"),
            node_fs: FileSystem::at(pods_dir),
            image_fs: FileSystem::at(Path::new(image_root)),
            pids: (
                most_threads(
                    &text("/proc/sys/kernel/pid_max"),
                    &text("/proc/sys/kernel/threads-max"),
                ),
                threads(&text("/proc/loadavg")),
            ),
        }
    }

    /// Bytes in use without the part of the page cache that is given up first.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        self.memory_total.saturating_sub(self.memory_available)
    }
}

/// CPU time of all processors so far, idle time aside; nanoseconds.
pub(super) fn cpu_nanos() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    busy(stat.lines().next()?)
}

/// Columns of proc_stat(5): user nice system idle iowait irq softirq steal guest …; guest
/// time is part of user time.
fn busy(line: &str) -> Option<u64> {
    let columns = line.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = columns.filter_map(|column| column.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].map(|index| ticks.get(index).copied().unwrap_or(0));
    Some(busy.iter().sum::<u64>() * (1_000_000_000 / TICKS))
}

/// The lesser of what the kernel allows in numbers and in threads: large machines have more
/// numbers than memory for threads, small ones the other way round. 0 if neither is known.
fn most_threads(pid_max: &str, threads_max: &str) -> u64 {
    let limits = [pid_max, threads_max].map(|text| text.trim().parse::<u64>().ok());
    limits.into_iter().flatten().min().unwrap_or(0)
}

/// `0.20 0.18 0.12 1/80 11206` → 80
fn threads(loadavg: &str) -> u64 {
    let counts = loadavg.split_whitespace().nth(3).unwrap_or_default();
    let total = counts.split_once('/').map(|(_, total)| total);
    total.and_then(|total| total.parse().ok()).unwrap_or(0)
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Bytes received and sent by the pod whose pause process is `pid`.
pub(super) fn traffic(pid: u32) -> Option<(u64, u64)> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    interface(&table)
}

fn interface(table: &str) -> Option<(u64, u64)> {
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"))?;
    let mut columns = line.split_whitespace();
    let received = columns.next()?.parse().ok()?;
    let sent = columns.nth(7)?.parse().ok()?;
    Some((received, sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_understood() {
        assert_eq!(busy("cpu  1 2 3 1000 500 4 5 6 0 0"), Some(210_000_000));
        assert_eq!(threads("0.20 0.18 0.12 1/80 11206\n"), 80);
        assert_eq!(most_threads("4194304\n", "7553\n"), 7553);
        assert_eq!(
            (most_threads("32768", ""), most_threads("", "")),
            (32_768, 0)
        );
        let table = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1\n  \
                     eth0: 100 2 0 0 0 0 0 0 200 3 0 0 0 0 0 0\n";
        assert_eq!(interface(table), Some((100, 200)));
        let usage = MachineUsage::read(Path::new("/no/such/folder"), "/");
        assert!(usage.memory_total > usage.memory_available);
        assert!(usage.node_fs.capacity > 0 && usage.pids.0 > usage.pids.1);
    }
}
