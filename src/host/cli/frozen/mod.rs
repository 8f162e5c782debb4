//! Machines that stand still in files: suspended ones, templates and their copies, snapshots.
//!
//! `cadet_vm::frozen` moves one machine; here is which, when, and what is said of it.

pub mod copy;
pub mod snapshot;
pub mod suspend;
pub mod template;

use std::time::{SystemTime, UNIX_EPOCH};

use cadet_api::keeper::Ask;
use cadet_state::Profile;
use cadet_vm::{Emulator, Machine, MachineConfig, VmError};

use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, keeper, line, machine, programs};

/// Which `cadet-node` runs in machines that are made now.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING.
pub fn program(cx: &Context) -> Result<String> {
    programs::sha256(&programs::cadet_node(&cx.world)?)
}

/// What QEMU is to be told of a machine, as the user it becomes.
///
/// # Errors
/// PROGRAM_INTERNAL before base and ports are known.
pub fn config(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    emulator: &Emulator,
) -> Result<MachineConfig> {
    let mut config = machine::config(&cx.world.files(&cx.name), profile, node)
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "the machine is not described"))?;
    config.run_as = emulator.run_as_for_root(if machine::is_root() { 0 } else { 1 });
    Ok(config)
}

/// Lets a thawed machine go on, and tells it the time before anything in it can trust its clock
/// for long. Where it has no keeper, the line into it does so.
///
/// # Errors
/// Those of QEMU's control socket.
pub async fn go_on(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    vm: &Machine,
) -> Result<(), VmError> {
    vm.resume().await?;
    let files = node.files(&cx.world.files(&cx.name));
    if let Err(why) = keeper::ask(&files.keeper(), Ask::Wake(keeper::wake()), keeper::SOON).await
        && let Err(error) = by_line(cx, profile, node).await
    {
        let what = format!("{}: the clock could not be put right: {why}", node.name);
        cx.ui.warn("clock", &format!("{what}; {}", error.what));
    }
    Ok(())
}

/// date(1) through SSH.
async fn by_line(cx: &Context, profile: &Profile, node: &Node) -> Result<()> {
    let target = line::target_of(cx, profile, node)?;
    let tuning = cadet_tunnel::Tuning::default();
    let tunnel =
        cadet_tunnel::Tunnel::wait_until_ready(target, tuning, keeper::SOON, |_| true).await?;
    let set = line::guest(&tunnel, &format!("sudo date -s @{}", now())).await;
    tunnel.close().await;
    set.map(drop)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

/// An error of the machine's room in one line.
pub fn told(error: &VmError) -> String {
    crate::from_rooms::chain(error)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
