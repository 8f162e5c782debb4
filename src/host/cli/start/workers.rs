//! Step `workers`: the machines beside the first are made and boot, all at once.
//!
//! Each gets what its agent proves itself with on its seed disk: the first machine, which has the
//! cluster's authority, makes it, and this program carries it over.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use cadet_seed::{NODES_NETWORK, Role};
use cadet_state::{Card, Profile};
use cadet_tunnel::{Tunnel, exec};
use cadet_vm::ports;

use super::arrive::{self, Coming};
use super::{Note, Step, Voyage, host, image, machine as first_machine, seed, template};
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{Context, accelerator, line, machine, ui};

/// See the module.
pub struct Workers;

/// Where the guest's system learns to leave the card between machines alone.
const NETWORK_FILE: &str = "/etc/systemd/network/05-cadet-nodes.network";

#[async_trait]
impl Step for Workers {
    fn name(&self) -> &'static str {
        "workers"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        Ok(told(v, &v.workers))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        // A machine that stands still keeps its memory: it goes on, and its agent puts its
        // clock right.
        for node in &v.workers {
            let state = machine::state_of_node(&v.files, &v.profile, node).await;
            let waits = state.is_paused() || state.is_out_of_space();
            if waits && !node.is_unsettled(&v.profile) {
                machine::hold(v.cx, &v.profile, node, false).await?;
            }
        }
        let off = off(v).await;
        Ok(off
            .is_empty()
            .then(|| Note::there(format!("{} run", nodes::names(&v.workers)))))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let tunnel = v
            .tunnel
            .clone()
            .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "the line is not open"))?;
        if v.profile.card != Card::Present {
            return Err(without_card(v, &tunnel).await);
        }
        let emulator = match v.emulator.clone() {
            Some(emulator) => emulator,
            None => host::emulator()?,
        };
        let accelerator = accelerator::choose(v.cx, &emulator)?;
        let off = off(v).await;
        // Makes their folders.
        machine::save(v.cx, &v.profile)?;
        for node in &off {
            base(v, node).await?;
            choose_port(v, node)?;
            v.cx.ui.progress(&format!("{}: starting", node.name), None);
            let profile = &mut v.profile;
            if let Some(woke) = arrive::wake(v.cx, profile, node, &emulator, accelerator).await? {
                machine::save(v.cx, &v.profile)?;
                v.arrivals.insert(node.number, woke);
                continue;
            }
            template(v, node).await?;
            // Before its disk is there: a copy that is cut off must be known as one, and the
            // template it lies on as used.
            machine::save(v.cx, &v.profile)?;
            v.cx.ui.progress(&format!("{}: seed disk", node.name), None);
            let pki = enroll(&tunnel, &node.name, node.address()).await?;
            let role = Role::Worker { pki: &pki };
            seed::write(v.cx, &v.profile, node, Card::Present, role)?;
            let coming = Coming {
                node,
                emulator: &emulator,
                accel: accelerator,
                card: Card::Present,
                role,
            };
            let arrival = arrive::come(v.cx, &mut v.profile, &coming).await?;
            v.arrivals.insert(node.number, arrival);
        }
        Ok(Note::new(told(v, &off)))
    }

    async fn undo(&self, cx: &Context, profile: &Profile) -> Result<()> {
        let mut first = Ok(());
        for node in nodes::workers(profile) {
            let gone = machine::destroy(cx, profile, &node).await;
            // One that is stuck must not keep the others.
            first = first.and(gone);
        }
        first
    }
}

fn told(v: &Voyage<'_>, which: &[Node]) -> String {
    let sizes: Vec<_> = which
        .iter()
        .filter_map(|node| v.profile.worker(node.number))
        .map(|w| format!("{} cores, {}", w.spec.cpus, ui::mib(w.spec.memory_mib)))
        .collect();
    let arrivals = which.iter().map(|node| v.arrivals.get(&node.number));
    let mut did: Vec<_> = arrivals
        .flatten()
        .map(|a| first_machine::told(*a))
        .collect();
    did.dedup();
    let boot = match (&did[..], which.len()) {
        ([one], 1) => one.as_str(),
        // Not yet, or in several ways.
        (_, 1) => "starts",
        _ => "start",
    };
    let size = match sizes.split_first() {
        Some((one, rest)) if rest.iter().all(|other| other == one) => {
            let each = if rest.is_empty() { "" } else { " each" };
            format!(" on {one}{each}")
        }
        _ => String::new(),
    };
    format!("{} {boot}{size}", nodes::names(which))
}

/// Those that do not run. A process that hangs is ended by starting the machine again.
async fn off(v: &Voyage<'_>) -> Vec<Node> {
    let mut off = Vec::new();
    for node in &v.workers {
        let state = machine::state_of_node(&v.files, &v.profile, node).await;
        if !state.is_running() || node.is_unsettled(&v.profile) {
            off.push(node.clone());
        }
    }
    off
}

/// The base for a new disk is today's; a disk stays on the base it was made on.
async fn base(v: &mut Voyage<'_>, node: &Node) -> Result<()> {
    let gone = || CliError::new("PROGRAM_INTERNAL", "there is no such machine");
    let state = machine::state_of_node(&v.files, &v.profile, node).await;
    if state.has_process() && node.is_unsettled(&v.profile) {
        machine::destroy(v.cx, &v.profile, node).await?;
    } else if state.has_process() {
        let why = state.reason().unwrap_or_default();
        let what = format!("{}: {why}: switching it off first", node.name);
        v.cx.ui.warn("workers", &what);
        machine::destroy(v.cx, &v.profile, node).await?;
    }
    let worker = v.profile.worker(node.number).ok_or_else(gone)?;
    if worker.base.as_ref().is_some_and(image::is_there) {
        return Ok(());
    }
    let wanted = worker.spec.image.clone();
    let (base, _) = image::prepared(v.cx, &wanted).await?;
    let worker = v.profile.worker_mut(node.number).ok_or_else(gone)?;
    worker.base = Some(base);
    Ok(())
}

/// A new disk is copied from a template, if there can be one.
async fn template(v: &mut Voyage<'_>, node: &Node) -> Result<()> {
    let has_disk = node.files(&v.files).disk().exists();
    let is_unsettled = node.is_unsettled(&v.profile);
    if has_disk && !is_unsettled {
        return Ok(());
    }
    if is_unsettled {
        // An interrupted start left a copy that is nobody; its machine was ended above.
        cadet_vm::process::remove(&node.files(&v.files).disk())?;
    }
    let used = if v.args.cold {
        None
    } else {
        template::wanted(v, node).await?.0
    };
    if let Some(worker) = v.profile.worker_mut(node.number) {
        worker.template = used;
    }
    Ok(())
}

/// Keeps the port of the last start if it is free.
fn choose_port(v: &mut Voyage<'_>, node: &Node) -> Result<()> {
    let worker = v
        .profile
        .worker_mut(node.number)
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "there is no such machine"))?;
    if worker
        .ssh
        .is_some_and(|port| ports::check_free(port).is_ok())
    {
        return Ok(());
    }
    worker.ssh = ports::free(1)?.first().copied();
    Ok(())
}

/// Certificates and keys for a worker's agent, made in the first machine.
///
/// # Errors
/// GUEST_SSH, GUEST_INSTALL.
pub(super) async fn enroll(
    tunnel: &Tunnel,
    name: &str,
    address: Ipv4Addr,
) -> Result<BTreeMap<String, String>> {
    let address = address.to_string();
    let command = exec::quote_all([
        "sudo",
        "/usr/local/bin/cadet-node",
        "enroll",
        "--name",
        name,
        "--address",
        &address,
    ]);
    let text = line::guest(tunnel, &command).await?;
    serde_json::from_str(&text).map_err(|e| {
        CliError::new(
            "GUEST_INSTALL",
            "cadet-node printed certificates that cannot be read",
        )
        .why(e.to_string())
        .fix("cadet logs")
    })
}

/// The first machine was made, or at least booted, without a card between machines. Its system
/// is told of the card; with the next boot it comes.
async fn without_card(v: &mut Voyage<'_>, tunnel: &Tunnel) -> CliError {
    let script = format!("cat >{NETWORK_FILE} <<'END'\n{NODES_NETWORK}END\n");
    let command = exec::quote_all(["sudo", "sh", "-c", &script]);
    if let Err(error) = line::guest(tunnel, &command).await {
        return error;
    }
    v.profile.card = Card::Expected;
    if let Err(error) = machine::save(v.cx, &v.profile) {
        return error;
    }
    CliError::new(
        "GUEST_NO_CARD",
        format!(
            "the machine of profile {} runs without the network card that joins machines",
            v.cx.name
        ),
    )
    .why("it was made by an older Cadet; it gets the card at its next boot")
    .fix(format!(
        "{}\n{}",
        machine::again(v.cx, "stop --poweroff"),
        machine::again(v.cx, "start")
    ))
}
