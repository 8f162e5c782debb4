//! What the kernel counts per control group, version 2 (Documentation/admin-guide/
//! cgroup-v2.rst) and, for older servers, version 1.

use std::path::{Path, PathBuf};

/// What the processes of a container use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time so far, nanoseconds.
    pub cpu_nanos: u64,
    /// Bytes, page cache included.
    pub memory: u64,
    /// Bytes without the part of the page cache that is given up first.
    pub working_set: u64,
    /// Bytes of anonymous memory.
    pub rss: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.cpu_nanos += other.cpu_nanos;
        self.memory += other.memory;
        self.working_set += other.working_set;
        self.rss += other.rss;
        self.page_faults += other.page_faults;
        self.major_page_faults += other.major_page_faults;
        self.pids += other.pids;
    }
}

/// The kernel's counters.
#[derive(Debug, Clone)]
pub struct Cgroups {
    proc: PathBuf,
    root: PathBuf,
}

impl Default for Cgroups {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            root: "/sys/fs/cgroup".into(),
        }
    }
}

impl Cgroups {
    /// What the group of a process uses; `None` if it is gone or not countable.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> Option<Usage> {
        if pid == 0 {
            return None;
        }
        let path = self.proc.join(pid.to_string()).join("cgroup");
        let groups = std::fs::read_to_string(path).ok()?;
        let v2 = groups.lines().find_map(|line| line.strip_prefix("0::"));
        if let Some(dir) = v2.map(|path| below(&self.root, path))
            && dir.join("memory.current").exists()
        {
            return version_2(&dir);
        }
        self.version_1(&groups)
    }

    fn version_1(&self, groups: &str) -> Option<Usage> {
        let dir = |controller: &str| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                let mut each = controllers.split(',');
                each.any(|one| one == controller).then(|| {
                    let together = below(&self.root.join(controllers), path);
                    if together.exists() {
                        together
                    } else {
                        below(&self.root.join(controller), path)
                    }
                })
            })
        };
        let (cpu, memory) = (dir("cpuacct")?, dir("memory")?);
        let stat = std::fs::read_to_string(memory.join("memory.stat")).ok()?;
        let used = number(&memory.join("memory.usage_in_bytes"))?;
        Some(Usage {
            cpu_nanos: number(&cpu.join("cpuacct.usage"))?,
            memory: used,
            working_set: used.saturating_sub(field(&stat, "total_inactive_file")),
            rss: field(&stat, "total_rss"),
            page_faults: field(&stat, "total_pgfault"),
            major_page_faults: field(&stat, "total_pgmajfault"),
            pids: dir("pids")
                .and_then(|dir| number(&dir.join("pids.current")))
                .unwrap_or(0),
        })
    }
}

fn version_2(dir: &Path) -> Option<Usage> {
    let cpu = std::fs::read_to_string(dir.join("cpu.stat")).ok()?;
    let stat = std::fs::read_to_string(dir.join("memory.stat")).ok()?;
    let used = number(&dir.join("memory.current"))?;
    Some(Usage {
        cpu_nanos: field(&cpu, "usage_usec").saturating_mul(1000),
        memory: used,
        working_set: used.saturating_sub(field(&stat, "inactive_file")),
        rss: field(&stat, "anon"),
        page_faults: field(&stat, "pgfault"),
        major_page_faults: field(&stat, "pgmajfault"),
        pids: number(&dir.join("pids.current")).unwrap_or(0),
    })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `name` in lines of names and numbers; 0 if there is none.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> (tempfile::TempDir, Cgroups) {
        let home = tempfile::tempdir().unwrap();
        for (path, text) in list {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let cgroups = Cgroups {
            proc: home.path().join("proc"),
            root: home.path().join("cg"),
        };
        (home, cgroups)
    }

    #[test]
    fn both_versions_are_read() {
        let expected = Usage {
            cpu_nanos: 5_000_000,
            memory: 1000,
            working_set: 900,
            rss: 700,
            page_faults: 3,
            major_page_faults: 1,
            pids: 4,
        };
        let (_home, v2) = files(&[
            ("proc/7/cgroup", "0::/system.slice/docker-a.scope\n"),
            (
                "cg/system.slice/docker-a.scope/cpu.stat",
                "usage_usec 5000\nuser_usec 1\n",
            ),
            ("cg/system.slice/docker-a.scope/memory.current", "1000\n"),
            ("cg/system.slice/docker-a.scope/pids.current", "4\n"),
            (
                "cg/system.slice/docker-a.scope/memory.stat",
                "anon 700\nfile 200\ninactive_file 100\npgfault 3\npgmajfault 1\n",
            ),
        ]);
        assert_eq!(v2.of_process(7), Some(expected));
        assert_eq!(v2.of_process(8), None);
        let (_home, v1) = files(&[
            (
                "proc/7/cgroup",
                "5:pids:/docker/a\n4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n0::/\n",
            ),
            ("cg/pids/docker/a/pids.current", "4\n"),
            ("cg/cpu,cpuacct/docker/a/cpuacct.usage", "5000000\n"),
            ("cg/memory/docker/a/memory.usage_in_bytes", "1000\n"),
            (
                "cg/memory/docker/a/memory.stat",
                "total_inactive_file 100\ntotal_rss 700\ntotal_pgfault 3\ntotal_pgmajfault 1\n",
            ),
        ]);
        assert_eq!(v1.of_process(7), Some(expected));
    }
}
