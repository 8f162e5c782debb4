//! Whether the machine runs short of memory, disk or processes: upstream's hard thresholds, and the
//! conditions of the Node that follow. Pure.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::stats::{FileSystem, MachineUsage};

/// `memory.available<100Mi`
pub const MEMORY_FLOOR: u64 = 100 << 20;
/// `nodefs.available<10%`
pub const NODE_FS_PERCENT: u64 = 10;
/// `imagefs.available<15%`
pub const IMAGE_FS_PERCENT: u64 = 15;
/// `nodefs.inodesFree<5%`, `imagefs.inodesFree<5%`
pub const INODES_PERCENT: u64 = 5;
/// `pid.available<10%`. Upstream leaves this one to the administrator and clouds set it so;
/// here nobody administers, and a fork bomb must not be the end of a learner's machine.
pub const PIDS_PERCENT: u64 = 10;
/// A condition stands for this long after its cause is gone
/// (`evictionPressureTransitionPeriod`).
const TRANSITION: SignedDuration = SignedDuration::from_mins(5);

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Memory,
    Disk,
    Inodes,
    Pids,
}

impl Resource {
    /// The word of events and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Disk => "ephemeral-storage",
            Resource::Inodes => "inodes",
            Resource::Pids => "pids",
        }
    }

    /// Whether it is room in a file system.
    #[must_use]
    pub fn is_storage(self) -> bool {
        matches!(self, Resource::Disk | Resource::Inodes)
    }
}

/// A threshold that is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub resource: Resource,
    /// Bytes, inodes or processes.
    pub threshold: u64,
    pub available: u64,
}

/// What is short now, memory first as upstream ranks it.
#[must_use]
pub fn shortages(usage: &MachineUsage) -> Vec<Shortage> {
    let mut all = Vec::new();
    let mut check = |resource, available, threshold| {
        if available < threshold {
            all.push(Shortage {
                resource,
                threshold,
                available,
            });
        }
    };
    if usage.memory_total > 0 {
        check(Resource::Memory, usage.memory_available, MEMORY_FLOOR);
    }
    let percent = |whole: u64, percent: u64| whole / 100 * percent;
    let mut disk = |found: &FileSystem, share| {
        check(
            Resource::Disk,
            found.available,
            percent(found.capacity, share),
        );
        // Some file systems count no inodes.
        check(
            Resource::Inodes,
            found.inodes_free,
            percent(found.inodes, INODES_PERCENT),
        );
    };
    disk(&usage.node_fs, NODE_FS_PERCENT);
    // One file system is judged once, by the lower demand, as upstream does.
    if usage.image_fs.capacity != usage.node_fs.capacity
        || usage.image_fs.inodes != usage.node_fs.inodes
    {
        disk(&usage.image_fs, IMAGE_FS_PERCENT);
    }
    let (most, running) = usage.pids;
    let free = most.saturating_sub(running);
    check(Resource::Pids, free, percent(most, PIDS_PERCENT));
    all
}

/// Since when nothing has been short any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    memory: Option<Timestamp>,
    disk: Option<Timestamp>,
    pids: Option<Timestamp>,
}

impl Pressure {
    /// Takes note of what is short at `now`.
    pub fn observe(&mut self, shortages: &[Shortage], now: Timestamp) {
        for shortage in shortages {
            match shortage.resource {
                Resource::Memory => self.memory = Some(now),
                Resource::Disk | Resource::Inodes => self.disk = Some(now),
                Resource::Pids => self.pids = Some(now),
            }
        }
    }

    /// Whether the Node says `MemoryPressure`.
    #[must_use]
    pub fn memory(&self, now: Timestamp) -> bool {
        lasts(self.memory, now)
    }

    /// Whether the Node says `DiskPressure`.
    #[must_use]
    pub fn disk(&self, now: Timestamp) -> bool {
        lasts(self.disk, now)
    }

    /// Whether the Node says `PIDPressure`.
    #[must_use]
    pub fn pids(&self, now: Timestamp) -> bool {
        lasts(self.pids, now)
    }

    /// The conditions that hold, by their names.
    #[must_use]
    pub fn conditions(&self, now: Timestamp) -> Vec<&'static str> {
        let all = [
            ("MemoryPressure", self.memory(now)),
            ("DiskPressure", self.disk(now)),
            ("PIDPressure", self.pids(now)),
        ];
        let held = all.into_iter().filter(|(_, holds)| *holds);
        held.map(|(name, _)| name).collect()
    }
}

fn lasts(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_some_and(|last| now.duration_since(last) < TRANSITION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(memory: u64, disk: u64) -> MachineUsage {
        let fs = FileSystem {
            capacity: 1000,
            available: disk,
            inodes: 0,
            ..FileSystem::default()
        };
        MachineUsage {
            memory_total: 1 << 30,
            memory_available: memory,
            node_fs: fs,
            image_fs: fs,
            ..MachineUsage::default()
        }
    }

    #[test]
    fn thresholds_are_upstreams() {
        assert!(shortages(&usage(100 << 20, 100)).is_empty());
        let short = shortages(&usage((100 << 20) - 1, 99));
        assert_eq!(short[0].resource, Resource::Memory);
        assert_eq!(
            short[1],
            Shortage {
                resource: Resource::Disk,
                threshold: 100,
                available: 99
            }
        );
        let mut apart = usage(1 << 30, 500);
        apart.image_fs.capacity = 2000;
        apart.image_fs.available = 299;
        assert_eq!(shortages(&apart)[0].threshold, 300);
        assert!(
            shortages(&MachineUsage::default()).is_empty(),
            "nothing is known"
        );
        let mut forked = usage(1 << 30, 500);
        forked.pids = (10_000, 9_000);
        assert!(shortages(&forked).is_empty());
        forked.pids = (10_000, 9_001);
        assert_eq!(
            shortages(&forked),
            [Shortage {
                resource: Resource::Pids,
                threshold: 1000,
                available: 999
            }]
        );
    }

    #[test]
    fn a_condition_outlives_its_cause_by_five_minutes() {
        let now: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let mut pressure = Pressure::default();
        pressure.observe(&shortages(&usage(1, 500)), now);
        assert!(pressure.memory(now) && !pressure.disk(now));
        assert!(pressure.memory(now + SignedDuration::from_secs(299)));
        assert!(!pressure.memory(now + SignedDuration::from_secs(300)));
        assert_eq!(pressure.conditions(now), ["MemoryPressure"]);
    }
}
