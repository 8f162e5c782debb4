//! Step `install`: cadet-node runs in the machine, in this program's version.
//!
//! cloud-init puts it there from the seed disk at first boot. A machine made by an
//! older Cadet gets the new program over the line.

use std::time::Duration;

use async_trait::async_trait;
use cadet_tunnel::Tunnel;
use cadet_tunnel::upload::Destination;

use super::{Arrival, Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, line, machine, programs};

/// See the module.
pub struct Install;

/// Time for cloud-init to copy the program and for systemd to start it.
const DEADLINE: Duration = Duration::from_secs(180);

/// Number of the first machine.
const FIRST: u8 = 1;
const PROGRAM: &str = "/usr/local/bin/cadet-node";

#[async_trait]
impl Step for Install {
    fn name(&self) -> &'static str {
        "install"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok(format!(
            "cadet-node {} as cadet-server and cadet-agent",
            env!("CARGO_PKG_VERSION")
        ))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        match v.arrivals.get(&FIRST) {
            Some(Arrival::Woke { current: true, .. }) => return Ok(Some(Note::there(told()))),
            // A template holds this very program, and its keeper has started it; that it answers
            // is seen by the next step.
            Some(Arrival::Copied) => return Ok(Some(Note::new(told()))),
            _ => {}
        }
        if !v.was_running {
            return Ok(None);
        }
        let tunnel = tunnel(v)?;
        let same = is_current(v.cx, &Node::first(&v.profile.name), tunnel).await?;
        Ok(same.then(|| Note::there(told())))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let tunnel = tunnel(v)?.clone();
        let first = Node::first(&v.profile.name);
        let replaced = ensure(v.cx, &first, &tunnel, false).await?;
        Ok(Note::new(if replaced {
            format!("{}, replaced an older one", told())
        } else {
            told()
        }))
    }
}

fn told() -> String {
    format!(
        "cadet-node {} runs in the machine",
        env!("CARGO_PKG_VERSION")
    )
}

fn tunnel<'a>(v: &'a Voyage<'_>) -> Result<&'a Tunnel> {
    v.tunnel
        .as_ref()
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "the line is not open"))
}

/// What runs in a machine, as systemd knows it.
fn units(node: &Node) -> &'static str {
    if node.is_first() {
        "cadet-server cadet-agent"
    } else {
        "cadet-agent"
    }
}

/// Whether this program's cadet-node runs in a machine that has been up for a while.
///
/// # Errors
/// GUEST_SSH.
pub(super) async fn is_current(cx: &Context, node: &Node, tunnel: &Tunnel) -> Result<bool> {
    let ours = programs::sha256(&programs::cadet_node(&cx.world)?)?;
    let quick = tunnel
        .exec(&format!(
            "sha256sum {PROGRAM} && systemctl is-active --quiet {}",
            units(node)
        ))
        .await?;
    Ok(quick.status.success() && String::from_utf8_lossy(&quick.stdout).starts_with(&ours))
}

/// Waits until cadet-node runs in a machine, and replaces it if it is not this program's, unless
/// that is `known`; returns whether it was replaced.
///
/// # Errors
/// GUEST_INSTALL, GUEST_SSH.
pub(super) async fn ensure(
    cx: &Context,
    node: &Node,
    tunnel: &Tunnel,
    known: bool,
) -> Result<bool> {
    let program = programs::cadet_node(&cx.world)?;
    cx.ui.progress("waiting for cadet-node", None);
    let work = async {
        wait(cx, node, tunnel).await?;
        if known {
            return Ok(false);
        }
        let ours = programs::sha256(&program)?;
        let theirs = line::guest(tunnel, &format!("sha256sum {PROGRAM}")).await?;
        if theirs.starts_with(&ours) {
            return Ok(false);
        }
        cx.ui.progress("replacing an older cadet-node", None);
        let to = Destination {
            path: PROGRAM,
            mode: 0o755,
            as_root: true,
        };
        tunnel.upload(&program, to).await?;
        line::guest(tunnel, &format!("sudo systemctl restart {}", units(node))).await?;
        wait(cx, node, tunnel).await?;
        Ok::<_, CliError>(true)
    };
    tokio::time::timeout(DEADLINE, work)
        .await
        .map_err(|_| failed(cx, node, "it took too long"))?
}

/// Returns once the units are active. `is-active` does not wait, and cloud-init gives no event
/// to an outside client, so the guest's own shell asks itself, four times a second, and only
/// while a first boot is under way.
async fn wait(cx: &Context, node: &Node, tunnel: &Tunnel) -> Result<()> {
    let units = units(node);
    let output = tunnel
        .exec(&format!(
            "for i in $(seq 1 720); do \
             systemctl is-active --quiet {units} && exit 0; sleep 0.25; done; \
             systemctl --no-pager status {units} 2>&1 | tail -n 20; exit 1"
        ))
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(failed(cx, node, said.trim()))
}

fn failed(cx: &Context, node: &Node, why: &str) -> CliError {
    let which = if node.is_first() {
        "the machine".to_owned()
    } else {
        node.name.clone()
    };
    let logs = if node.is_first() {
        machine::again(cx, "logs")
    } else {
        machine::again(cx, &format!("logs --node {}", node.name))
    };
    CliError::new(
        "GUEST_INSTALL",
        format!("cadet-node did not come up inside {which}"),
    )
    .why(why)
    .fix(node.start_command(cx))
    .log(format!("{logs}\n{}", node.console_command(cx)))
}
