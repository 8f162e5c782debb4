//! Who was killed for want of memory, by the kernel's own account.
//!
//! Docker's `OOMKilled` comes from an event that containerd sends beside the one of the end:
//! on a busy machine it comes late, or never, because the control group is gone by the time
//! its counter is read. The kernel's log is written before the process ends.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

/// One record each read, never waits where O_NONBLOCK is set (Documentation/ABI/testing/dev-kmsg).
const LOG: &str = "/dev/kmsg";
/// Longest record the kernel hands out, bytes (`PRINTK_MESSAGE_MAX` is 2048).
const RECORD: usize = 8192;
/// Verdicts that are remembered; ended containers are looked at again and again.
const REMEMBERED: usize = 4096;

static KNOWN: LazyLock<Mutex<HashMap<String, bool>>> = LazyLock::new(Mutex::default);

/// Whether the kernel has killed a process of the container with this id for its memory limit.
/// False where the log cannot be read, and where it has moved on.
pub(super) fn killed(id: &str) -> bool {
    let mut known = KNOWN.lock().unwrap_or_else(|broken| broken.into_inner());
    if let Some(verdict) = known.get(id) {
        return *verdict;
    }
    if known.len() >= REMEMBERED {
        known.clear();
    }
    let verdict = is_told(Path::new(LOG), id);
    known.insert(id.to_owned(), verdict);
    verdict
}

fn is_told(log: &Path, id: &str) -> bool {
    let mut options = OpenOptions::new();
    let opened = options
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(log);
    let Ok(mut log) = opened else {
        return false;
    };
    let mut record = [0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(length) => {
                if names(&String::from_utf8_lossy(&record[..length]), id) {
                    return true;
                }
            }
            // Overwritten while it was read: the next one is there.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPIPE) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The end of the log, or no right to it.
            Err(_) => return false,
        }
    }
}

/// Whether a record says that a process of this container was chosen: since Linux 5.0 one line
/// names the victim's control group, which carries Docker's id (mm/oom_kill.c, `dump_oom_summary`).
fn names(record: &str, id: &str) -> bool {
    let mut lines = record.lines();
    lines.any(|line| {
        let victim = line.split("oom-kill:").nth(1);
        let group = victim.and_then(|words| words.split("task_memcg=").nth(1));
        group.is_some_and(|group| group.split(',').next().unwrap_or(group).contains(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "44daa1cabe072bc952c821628a5f5b4193e59da4a2e7a975ec19e6e536b98990";

    #[test]
    fn the_victims_group_is_named_not_the_one_that_asked() {
        let told = |victim: &str| {
            format!(
                "6,1234,2836423342,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\
                 cpuset={ID},mems_allowed=0,oom_memcg=/docker/{ID},task_memcg={victim},\
                 task=tail,pid=3940,uid=0\n"
            )
        };
        assert!(names(&told(&format!("/docker/{ID}")), ID));
        assert!(names(
            &told(&format!("/system.slice/docker-{ID}.scope")),
            ID
        ));
        assert!(!names(&told("/docker/another"), ID));
        assert!(!names("6,1,2,-;tail invoked oom-killer: order=0\n", ID));
    }

    #[test]
    fn a_log_that_cannot_be_read_tells_nothing() {
        assert!(!is_told(Path::new("/nonexistent/kmsg"), ID));
    }
}
