//! A VFAT volume labelled `CIDATA`, made in memory, the same bytes for the same content.

use std::collections::BTreeSet;
use std::io::{Cursor, Write};

use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
};

use crate::{Result, SeedError};

/// The label cloud-init's NoCloud source looks for, padded as FAT wants it.
const LABEL: [u8; 11] = *b"CIDATA     ";
/// Cluster sizes to choose from. FAT16 has room for 65 524 clusters (the number is from
/// Microsoft's FAT specification), so the largest gives a disk of about 2 GiB.
const CLUSTERS: [u32; 5] = [2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10];
const MOST_CLUSTERS: u64 = 65_524;
/// Fewer clusters than 4 085 would make it FAT12, which not every guest kernel is asked
/// to read; 8 192 of the smallest size are 16 MiB.
const FEWEST_CLUSTERS: u64 = 8_192;

/// One file, in the root or in one folder.
pub struct Entry<'a> {
    path: String,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `path` is relative to the root, with at most one folder.
    pub fn new(path: impl Into<String>, bytes: &'a [u8]) -> Self {
        Self {
            path: path.into(),
            bytes,
        }
    }
}

/// The beginning of FAT's time, always: the disk's bytes depend on nothing but content.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        DateTime {
            date: self.get_current_date(),
            time,
        }
    }
}

/// Makes the disk, sized to its content.
///
/// # Errors
/// [`SeedError::TooLarge`], [`SeedError::Write`], [`SeedError::Disk`].
pub fn disk(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let (cluster, size) = measure(entries)?;
    let failed = |doing| move |source| SeedError::Disk { doing, source };
    let size = usize::try_from(size).map_err(|_| SeedError::TooLarge {
        needed: size,
        limit: usize::MAX as u64,
    })?;
    let mut bytes = vec![0; size];
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat16)
        .bytes_per_cluster(cluster)
        .volume_id(u32::from_be_bytes(*b"CDET"))
        .volume_label(LABEL);
    fatfs::format_volume(Cursor::new(&mut bytes), options).map_err(failed("format"))?;
    let folders: BTreeSet<&str> = entries
        .iter()
        .filter_map(|e| e.path.split_once('/'))
        .map(|(folder, _)| folder)
        .collect();
    let fs = open(&mut bytes)?;
    for folder in &folders {
        let failed = |source| SeedError::Write {
            path: (*folder).into(),
            source,
        };
        fs.root_dir().create_dir(folder).map_err(failed)?;
    }
    fs.unmount().map_err(failed("finish"))?;
    tidy_folders(&mut bytes);

    let fs = open(&mut bytes)?;
    for entry in entries {
        let failed = |source| SeedError::Write {
            path: entry.path.clone(),
            source,
        };
        let mut file = fs.root_dir().create_file(&entry.path).map_err(failed)?;
        file.truncate().map_err(failed)?;
        file.write_all(entry.bytes).map_err(failed)?;
        file.flush().map_err(failed)?;
    }
    fs.unmount().map_err(failed("finish"))?;
    Ok(bytes)
}

fn open(bytes: &mut Vec<u8>) -> Result<FileSystem<Cursor<&mut Vec<u8>>>> {
    let options = FsOptions::new()
        .time_provider(&NoClock)
        .update_accessed_date(false);
    FileSystem::new(Cursor::new(bytes), options).map_err(|source| SeedError::Disk {
        doing: "open",
        source,
    })
}

/// Puts `.` and `..` where they belong in folders that hold nothing else yet.
///
/// fatfs 0.3 gives them long names too, so that they stand in the second and fourth slot
/// instead of the first and second. Linux does not mind, but fsck does.
fn tidy_folders(disk: &mut [u8]) {
    const SLOT: usize = 32;
    const ATTRIBUTES: usize = 11;
    const FOLDER: u8 = 0x10;
    const FIRST_CLUSTER: usize = 26;
    let word = |at: usize| usize::from(u16::from_le_bytes([disk[at], disk[at + 1]]));
    // Fields of the boot sector, by Microsoft's FAT specification.
    let (sector, cluster, reserved) = (word(11), usize::from(disk[13]) * word(11), word(14));
    let (fats, root_slots, fat_sectors) = (usize::from(disk[16]), word(17), word(22));
    let root = (reserved + fats * fat_sectors) * sector;
    let data = root + root_slots * SLOT;
    let starts: Vec<usize> = (0..root_slots)
        .map(|slot| root + slot * SLOT)
        .take_while(|slot| disk[*slot] != 0)
        .filter(|slot| disk[slot + ATTRIBUTES] == FOLDER)
        .map(|slot| data + (word(slot + FIRST_CLUSTER) - 2) * cluster)
        .collect();
    for start in starts {
        let misplaced = disk[start + SLOT..].starts_with(b".          ")
            && disk[start + 3 * SLOT..].starts_with(b"..         ");
        if misplaced {
            disk.copy_within(start + SLOT..start + 2 * SLOT, start);
            disk.copy_within(start + 3 * SLOT..start + 4 * SLOT, start + SLOT);
            disk[start + 2 * SLOT..start + 4 * SLOT].fill(0);
        }
    }
}

/// Cluster size and disk size in bytes.
fn measure(entries: &[Entry<'_>]) -> Result<(u32, u64)> {
    let needed: u64 = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
    for cluster in CLUSTERS {
        let per = u64::from(cluster);
        let content: u64 = entries
            .iter()
            .map(|entry| (entry.bytes.len() as u64).div_ceil(per))
            .sum();
        // A folder takes a cluster, and each name at most 32 entries of 32 bytes.
        let folders = entries.len() as u64 * (1 + 1024u64.div_ceil(per));
        // A little air, so that rounding inside the FAT code cannot matter.
        let clusters = (content + folders + 64).max(FEWEST_CLUSTERS);
        // Boot sector, two FATs of two bytes per cluster, 512 root entries.
        let overhead = 64 * 1024 + clusters * 4;
        if clusters + 1024 < MOST_CLUSTERS {
            let size = (clusters * per + overhead).next_multiple_of(1 << 20);
            // Rounding up to a MiB adds at most 512 clusters.
            return Ok((cluster, size));
        }
    }
    Err(SeedError::TooLarge {
        needed,
        limit: MOST_CLUSTERS * u64::from(CLUSTERS[4]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.img");
        std::fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    /// Tools of the sbin folders are not on every user's path.
    fn run(tool: &str, arguments: &[&str]) -> (bool, String) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let out = Command::new(tool)
            .args(arguments)
            .env("PATH", path)
            .output()
            .unwrap_or_else(|e| panic!("this test needs {tool}: {e}"));
        let text = [out.stdout, out.stderr].concat();
        (
            out.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    #[test]
    fn other_tools_read_it_and_find_no_fault() {
        let big: Vec<u8> = (0..30_000_000u32)
            .map(|i| (i.wrapping_mul(31) >> 7) as u8)
            .collect();
        let bytes = disk(&[
            Entry::new("user-data", b"#cloud-config\n"),
            Entry::new("network-config", b"version: 2\n"),
            Entry::new("lessons/a-rather-long-lesson-name.tar", b"tar"),
            Entry::new("lessons/telescope.tar", b""),
            Entry::new("units/cadet-server.service", b"[Unit]\n"),
            Entry::new("cadet-node", &big),
        ])
        .unwrap();
        let (dir, path) = on_disk(&bytes);
        let (good, text) = run("blkid", &["-p", &path]);
        assert!(
            good && text.contains("LABEL=\"CIDATA\"") && text.contains("TYPE=\"vfat\""),
            "{text}"
        );
        let (good, text) = run("fsck.vfat", &["-n", "-v", &path]);
        assert!(good, "{text}");
        let (good, text) = run("mdir", &["-/", "-b", "-i", &path, "::"]);
        assert!(good, "{text}");
        for name in [
            "user-data",
            "network-config",
            "a-rather-long-lesson-name.tar",
            "cadet-server.service",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
        let out = dir.path().join("out");
        let (good, text) = run(
            "mcopy",
            &["-i", &path, "::cadet-node", out.to_str().unwrap()],
        );
        assert!(good, "{text}");
        assert!(
            std::fs::read(&out).unwrap() == big,
            "the program came back damaged"
        );
    }

    #[test]
    fn it_grows_with_its_content_and_has_an_end() {
        let size = |len: usize| {
            let bytes = vec![1; len];
            disk(&[Entry::new("a", &bytes)]).unwrap().len()
        };
        let (small, large) = (size(10), size(100 << 20));
        assert!(small <= 17 << 20, "{small}");
        assert!((100 << 20..104 << 20).contains(&large), "{large}");
        let (cluster, _) = measure(&[Entry::new("a", &vec![0; 300 << 20])]).unwrap();
        assert_eq!(cluster, 8 << 10);
    }

    #[test]
    fn many_files_fit() {
        let names: Vec<String> = (0..300)
            .map(|n| format!("lessons/lesson-number-{n}.tar"))
            .collect();
        let entries: Vec<Entry> = names.iter().map(|n| Entry::new(n.clone(), b"x")).collect();
        let (_dir, path) = on_disk(&disk(&entries).unwrap());
        let (good, text) = run("fsck.vfat", &["-n", &path]);
        assert!(good && text.contains("302 files"), "{text}");
    }
}
