//! Step `connect`: the SSH session with the pinned host key.

use std::time::Duration;

use async_trait::async_trait;
use cadet_state::Profile;
use cadet_tunnel::{Tuning, Tunnel, TunnelError};

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, clock, line, machine, servers};

/// See the module.
pub struct Connect;

/// A boot under software emulation on a busy computer was measured at 118 s.
const BOOT_DEADLINE: Duration = Duration::from_secs(300);

#[async_trait]
impl Step for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok("wait for ssh, accept only the host key made for this machine".into())
    }

    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> {
        // A session lives as long as the command: there is always one to open.
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let first = Node::first(&v.profile.name);
        let tunnel = open(v.cx, &v.profile, &first, "booting").await?;
        if v.was_running
            && let Some(told) = clock::right(v.cx, &first, &tunnel).await?
        {
            v.cx.ui.warn("clock", &told);
        }
        v.tunnel = Some(tunnel);
        let address = line::target(v.cx, &v.profile)?.address;
        Ok(Note::new(format!("ssh answers on {address}")))
    }
}

/// Opens the line to a machine that boots or runs; `doing` is what is told meanwhile.
///
/// # Errors
/// GUEST_SSH_TIMEOUT, GUEST_HOST_KEY, DRIVER_MACHINE_DIED; those of `servers::connect`.
pub(super) async fn open(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    doing: &str,
) -> Result<Tunnel> {
    if let Some(server) = profile.server(node.number) {
        return servers::connect(server).await;
    }
    let target = line::target_of(cx, profile, node)?;
    let watched = async {
        // The machine's end is an event of its process; asking once a second while a
        // boot of half a minute runs costs nothing.
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let state = machine::state_of_node(&cx.world.files(&cx.name), profile, node).await;
            if !state.is_running() {
                return machine::died(cx, node, &state);
            }
        }
    };
    let connected = Tunnel::wait_until_ready(target, Tuning::default(), BOOT_DEADLINE, |waiting| {
        let seconds = waiting.elapsed.as_secs();
        cx.ui.progress(&format!("{doing}, {seconds} s"), None);
        true
    });
    tokio::select! {
        connected = connected => connected.map_err(|e| match e {
            TunnelError::NotReady { .. } => CliError::from(e)
                .fix(node.start_command(cx))
                .log(node.console_command(cx)),
            other => other.into(),
        }),
        died = watched => Err(died),
    }
}
