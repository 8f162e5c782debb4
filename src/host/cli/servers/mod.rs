//! Servers that the user has already, in the place of machines that Cadet makes.
//!
//! ```text
//!  flags ─ asked ─▶ record ─ trust ─▶ steps of a start: look → install → …    (start::look …)
//!                                       facts judges     scripts does
//! ```
//! Everything that only needs a line (`ssh`, `logs`, `tunnel`, images, lessons) works as with a
//! machine. What needs QEMU is refused here, for all commands, with what to type instead.

mod address;
mod asked;
pub mod facts;
mod lines;
pub mod scripts;
mod trust;

pub use address::Address;
pub use asked::{asked, run};
pub use lines::{connect, run_there, target};

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cadet_state::{Phase, Profile, Server};
use cadet_tunnel::Names;
use tokio::net::TcpStream;

use crate::args::Command;
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, line, machine};

/// For one server's word that it is there.
const GLANCE: Duration = Duration::from_secs(4);

/// How a server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody answers at its SSH port.
    Answers,
    /// Its services were stopped, or nothing was put there yet.
    Stopped,
    /// Nobody answers; why.
    Silent(String),
}

/// The cluster's names: a server's own resolver is its owner's, and does not know them.
pub fn names() -> Names {
    Names {
        domain: "cluster.local".into(),
        // Where the range of Services begins, and ten (`kube-dns`); each node answers there.
        server: SocketAddr::from((Ipv4Addr::new(10, 96, 0, 10), 53)),
    }
}

/// As the user names it.
pub fn name_of(server: &Server) -> String {
    let address = Address {
        user: server.user.clone(),
        host: server.host.clone(),
        port: server.port,
    };
    address.to_string()
}

/// Looks at a server; answers within seconds.
pub async fn state(server: &Server) -> State {
    if server.stopped || !server.placed {
        return State::Stopped;
    }
    let calling = TcpStream::connect((server.host.as_str(), server.port));
    match tokio::time::timeout(GLANCE, calling).await {
        Ok(Ok(_)) => State::Answers,
        Ok(Err(e)) => State::Silent(e.to_string()),
        Err(_) => State::Silent(format!("no answer within {} s", GLANCE.as_secs())),
    }
}

/// Stops server, agent and pods; the server itself stays on. In a word for the step's line.
///
/// # Errors
/// SERVER_UNREACHABLE, SERVER_HOST_KEY, SERVER_KEY_REFUSED, SERVER_INSTALL.
pub async fn stop(server: &Server) -> Result<&'static str> {
    if !server.placed {
        return Ok("nothing of Cadet is there");
    }
    let tunnel = connect(server).await?;
    let line = scripts::stop(&server.mark);
    run_there(&tunnel, server, "stop the cluster", &line, &[]).await?;
    tunnel.close().await;
    Ok("services and pods stopped; the server stays on")
}

/// Takes everything of the profile's away from a server; what stays is told.
///
/// # Errors
/// SERVER_UNREACHABLE, SERVER_HOST_KEY, SERVER_KEY_REFUSED, SERVER_INSTALL.
pub async fn remove(cx: &Context, server: &Server) -> Result<()> {
    if !server.placed {
        return Ok(());
    }
    let forget = |e: CliError| {
        let fix = e.fix.clone().unwrap_or_default();
        e.fix(format!(
            "{fix}\n{}      forgets it; what is there stays",
            machine::again(cx, "delete --leave-servers")
        ))
    };
    let tunnel = connect(server).await.map_err(forget)?;
    let line = scripts::remove(&server.mark);
    let said = run_there(&tunnel, server, "take the cluster away", &line, &[]).await;
    tunnel.close().await;
    for word in said.map_err(forget)?.lines() {
        cx.ui
            .warn("server", &format!("{}: {word}", name_of(server)));
    }
    Ok(())
}

/// The error for a server that does not answer now.
pub fn silent(cx: &Context, server: &Server, why: &str) -> CliError {
    CliError::new(
        "SERVER_UNREACHABLE",
        format!("{} does not answer", name_of(server)),
    )
    .why(why)
    .fix(format!(
        "{}\nssh {} true",
        machine::again(cx, "status"),
        facts::ssh_words(&name_of(server))
    ))
}

/// The record as it lies beside the profile: a glance that needs no database.
fn glance(cx: &Context) -> Option<Profile> {
    let text = std::fs::read(cx.world.files(&cx.name).record()).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the profile is on servers.
pub fn are_used(cx: &Context) -> bool {
    glance(cx).is_some_and(|profile| profile.server.is_some())
}

/// What comes before a command of a profile on servers: what needs a machine is refused, and for
/// what asks the API its way there is opened. Other profiles are not concerned.
///
/// # Errors
/// SERVER_NO_MACHINE.
pub async fn before(cx: &Context, command: &Command) -> Result<()> {
    let Some(profile) = glance(cx).filter(|profile| profile.server.is_some()) else {
        return Ok(());
    };
    if let Some((act, why, instead)) = needs_machine(command) {
        return Err(no_machine(act, why, &machine::again(cx, instead)));
    }
    let asks = matches!(
        command,
        Command::Status
            | Command::Kubectl(_)
            | Command::Ip(_)
            | Command::Events(_)
            | Command::Top(_)
            | Command::Node(_)
            | Command::Service(_)
            | Command::PortForward(_)
            | Command::Open(_)
            | Command::Dashboard(_)
            | Command::Trace(_)
            | Command::Why(_)
            | Command::Tutorial(_)
    );
    let runs = profile.phase == Phase::Running && profile.server.is_some_and(|s| !s.stopped);
    if !asks || !runs || line::background_status(cx).await.is_some() {
        return Ok(());
    }
    if let Err(e) = line::ensure_background_quietly(cx).await {
        // The command goes on, and tells in its own way what does not answer.
        cx.ui.aside(&format!("{}: {}", e.topic.id, e.what));
    }
    Ok(())
}

/// What a command does that only a machine of Cadet's can undergo, why, and what to type instead.
fn needs_machine(command: &Command) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match command {
        Command::Pause | Command::Unpause => (
            "be held still",
            "only a machine in QEMU stands still with its memory; a server's services can be stopped",
            "stop",
        ),
        Command::Snapshot(_) => (
            "be kept as a snapshot",
            "memory and disk of a server are its own; what the cluster holds can be written down",
            "kubectl -- get all -A -o yaml",
        ),
        Command::Disk(_) => (
            "get another disk",
            "its disk is the server's own; how full it is, it tells itself",
            "ssh -- df -h",
        ),
        Command::Mount(_) => (
            "be lent a folder",
            "pods of a server go on when this computer is gone, and would lose the folder; a copy stays",
            "cp FOLDER node:/srv/",
        ),
        _ => return None,
    })
}

/// The error for what only a machine of Cadet's can undergo.
pub fn no_machine(act: &str, why: &str, instead: &str) -> CliError {
    CliError::new("SERVER_NO_MACHINE", format!("a server cannot {act}"))
        .why(why)
        .fix(instead)
}

/// Notes that a node's services were stopped or started.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE, HOST_STATE_CORRUPT.
pub fn note_stopped(
    cx: &Context,
    profile: &mut Profile,
    node: &Node,
    is_stopped: bool,
) -> Result<()> {
    if let Some(server) = profile.server_mut(node.number) {
        server.stopped = is_stopped;
        machine::save(cx, profile)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(placed: bool, stopped: bool) -> Server {
        serde_json::from_value(serde_json::json!({
            "host": "127.0.0.1", "port": 1, "user": "ann", "key": "/k", "hostKey": "",
            "mark": "m", "placed": placed, "stopped": stopped,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn only_what_is_meant_to_run_is_called() {
        assert_eq!(state(&server(false, false)).await, State::Stopped);
        assert_eq!(state(&server(true, true)).await, State::Stopped);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut there = server(true, false);
        there.port = listener.local_addr().unwrap().port();
        assert_eq!(state(&there).await, State::Answers);
        drop(listener);
        assert!(matches!(state(&there).await, State::Silent(_)));
        assert_eq!(name_of(&there), format!("ann@127.0.0.1:{}", there.port));
    }

    #[test]
    fn what_needs_a_machine_is_told_with_what_to_type_instead() {
        for command in [Command::Pause, Command::Unpause] {
            let (act, why, instead) = needs_machine(&command).unwrap();
            let error = no_machine(act, why, instead);
            assert_eq!(error.topic.id, "SERVER_NO_MACHINE");
            assert_eq!(error.fix.as_deref(), Some("stop"));
        }
        assert!(needs_machine(&Command::Status).is_none());
    }
}
