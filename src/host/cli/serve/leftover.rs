//! When a tunnel has nothing left to lead into: its cluster was deleted.
//!
//! `cadet delete` asks the tunnel to end. Where nobody could ask (a home that was removed by
//! hand, a delete that was killed), the end of the session is the moment to look whether the
//! machine may ever come back. A machine whose files were removed may run on without them:
//! nothing tells that, so a glance at one file a minute does.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cadet_state::{Phase, Profile, ProfilePaths};
use cadet_tunnel::Tunnel;

/// First pause between two looks while there is no session.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause, and the one while a session is up: a tunnel is no reason to keep the laptop
/// awake.
const LONGEST: Duration = Duration::from_secs(60);

/// Returns when the profile made at `created` is no more. While its machine is only off, the
/// tunnel is told where it will be when it starts again.
pub async fn until_gone(files: &ProfilePaths, created: u64, tunnel: &Tunnel) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = tunnel.down() => {}
            () = tokio::time::sleep(LONGEST) => {}
        }
        match look(files, created) {
            Seen::Gone => return,
            Seen::There { ssh: Some(port) } if port != tunnel.address().port() => {
                tunnel.retarget(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
            Seen::There { .. } => {}
        }
        if tunnel.is_up().await {
            pause = FIRST;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST),
            () = tunnel.next_session() => pause = FIRST,
        }
    }
}

/// What is left of a profile.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It is there; the port its machine's SSH server will have, if known.
    There { ssh: Option<u16> },
    /// It is gone, or another one has its name.
    Gone,
}

/// Reads the copy of the record beside the machine: the database belongs to the commands
/// that change it, and whoever removes the folder removes the machine.
fn look(files: &ProfilePaths, created: u64) -> Seen {
    let unknown = Seen::There { ssh: None };
    let record = match std::fs::read(files.record()) {
        Ok(record) => record,
        Err(error) if error.kind() == ErrorKind::NotFound => return Seen::Gone,
        // Whatever it is, it does not say that the machine is gone.
        Err(_) => return unknown,
    };
    let Ok(profile) = serde_json::from_slice::<Profile>(&record) else {
        return unknown;
    };
    let is_server = profile.server.is_some();
    let has_disk = is_server || files.disk().try_exists().unwrap_or(true);
    if profile.created != created || profile.phase == Phase::Deleting || !has_disk {
        return Seen::Gone;
    }
    Seen::There {
        // A server stays where it is.
        ssh: profile.ports.map(|p| p.ssh).filter(|_| !is_server),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cadet_state::{Home, ProfileName};
    use cadet_tunnel::{Target, Tuning};
    use serde_json::json;

    use super::*;

    fn files(home: &Path) -> ProfilePaths {
        let files = Home::new(home, home.join("cache")).profile(&ProfileName::parse("c").unwrap());
        std::fs::create_dir_all(files.dir()).unwrap();
        std::fs::write(files.disk(), "a disk").unwrap();
        record(&files, 1, "stopped");
        files
    }

    fn record(files: &ProfilePaths, created: u64, phase: &str) {
        let profile = json!({
            "name": "c", "created": created, "phase": phase, "ports": {"ssh": 4022, "api": 4043},
            "spec": {"cpus": 1, "memoryMib": 1024, "diskGib": 8, "image": "debian-13"},
        });
        std::fs::write(files.record(), profile.to_string()).unwrap();
    }

    #[test]
    fn a_machine_that_is_off_is_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let there = Seen::There { ssh: Some(4022) };
        assert_eq!(look(&files, 1), there);
        // Another command writes at this moment, or the disk is damaged: nobody knows.
        std::fs::write(files.record(), "{").unwrap();
        assert_eq!(look(&files, 1), Seen::There { ssh: None });
    }

    #[test]
    fn deleted_and_made_anew_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        record(&files, 2, "running");
        assert_eq!(look(&files, 1), Seen::Gone);
        record(&files, 1, "deleting");
        assert_eq!(look(&files, 1), Seen::Gone);
        record(&files, 1, "running");
        std::fs::remove_file(files.disk()).unwrap();
        assert_eq!(look(&files, 1), Seen::Gone);
        std::fs::remove_dir_all(files.dir()).unwrap();
        assert_eq!(look(&files, 1), Seen::Gone);
    }

    #[test]
    fn a_server_has_no_disk_here_and_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        std::fs::remove_file(files.disk()).unwrap();
        let profile = json!({
            "name": "c", "created": 1, "phase": "running", "ports": {"ssh": 0, "api": 4043},
            "spec": {"cpus": 1, "memoryMib": 1024, "diskGib": 8, "image": "server"},
            "server": {"host": "box", "port": 22, "user": "ann", "key": "/k",
                "hostKey": "ssh-ed25519 AAAA", "mark": "c 1"},
        });
        std::fs::write(files.record(), profile.to_string()).unwrap();
        assert_eq!(look(&files, 1), Seen::There { ssh: None });
        assert_eq!(look(&files, 2), Seen::Gone);
    }

    #[tokio::test]
    async fn a_tunnel_without_session_waits_for_its_machine_and_ends_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let target = Target {
            address: "127.0.0.1:9".parse().unwrap(),
            user: "cadet".into(),
            client_key: String::new(),
            host_key: String::new(),
        };
        let tunnel = Tunnel::lazy(target, Tuning::default());
        let gone = until_gone(&files, 1, &tunnel);
        tokio::pin!(gone);
        tokio::select! {
            biased;
            () = &mut gone => panic!("its machine is only off"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(tunnel.address().port(), 4022);
        std::fs::remove_dir_all(files.dir()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), gone).await;
        assert!(ended.is_ok(), "it waits for a machine that is gone");
    }
}
