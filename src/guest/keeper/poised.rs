//! Server and agent stand ready in a template, each before its first act: to make their sandboxes
//! and start them takes an emulated machine longer than all else that becoming somebody needs.
//!
//! They wait for `node.json` (`--when-configured`), with one thread, without having drawn a random
//! number or opened a socket: what must differ between copies comes after. Copies share where in
//! memory the program lies, as they share that of the kernel and of Docker.

use std::path::Path;
use std::time::{Duration, Instant};

use super::command::try_run;

/// Units and what their processes are told to be. The agent first: it would wait for a server that
/// is about to start.
const UNITS: [(&str, &str); 2] = [
    ("cadet-agent.service", "agent"),
    ("cadet-server.service", "server"),
];
/// For a unit to get so far, and between two looks.
const PATIENCE: Duration = Duration::from_secs(20);
/// See [`PATIENCE`].
const LOOK: Duration = Duration::from_millis(50);

/// Starts both. Where one does not come so far, copies start it themselves.
pub fn stand(root: &Path) {
    for (unit, verb) in UNITS {
        try_run(&["systemctl", "start", "--no-block", unit]);
        let began = Instant::now();
        while !is_waiting(root, verb) {
            if began.elapsed() > PATIENCE {
                tracing::warn!(unit, "it does not stand ready");
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Whether a process that is to be `verb` sleeps.
fn is_waiting(root: &Path, verb: &str) -> bool {
    let Ok(listed) = std::fs::read_dir(root.join("proc")) else {
        return false;
    };
    listed.flatten().any(|process| {
        let text = |name: &str| {
            let read = std::fs::read(process.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&read).into_owned()
        };
        let line = text("cmdline");
        let mut words = line.split('\0');
        let is_ours =
            words.next().is_some_and(|w| w.ends_with("/cadet-node")) && words.next() == Some(verb);
        // proc_pid_stat(5): the state follows the name, which may hold anything.
        is_ours
            && text("stat")
                .rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_sleeps_as_what_it_is_to_be_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |pid: &str, line: &str, stat: &str| {
            let at = dir.path().join("proc").join(pid);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("cmdline"), line).unwrap();
            std::fs::write(at.join("stat"), stat).unwrap();
        };
        assert!(!is_waiting(dir.path(), "agent"));
        put("1", "/sbin/init\0", "1 (systemd) S 0");
        put("2", "(cadet-node)\0", "2 ((cadet-node)) S 1");
        put(
            "3",
            "/usr/local/bin/cadet-node\0keeper\0",
            "3 (cadet-node) S 1",
        );
        let agent = "/usr/local/bin/cadet-node\0agent\0--config\0";
        put("4", agent, "4 (cadet-node) R 1");
        assert!(!is_waiting(dir.path(), "agent"));
        put("4", agent, "4 (cadet-node) S 1");
        assert!(is_waiting(dir.path(), "agent"));
        assert!(!is_waiting(dir.path(), "server"));
    }
}
