//! Step `machine`: the disk, the accelerator, the ports, QEMU.

use async_trait::async_trait;
use cadet_seed::Role;
use cadet_state::{Card, Ports, Profile, Wire};
use cadet_vm::config::segment_group;
use cadet_vm::{Accel, Machine as Vm, VmError, overlay, ports, qemu};

use super::arrive::{self, Arrival, Coming};
use super::{Note, Step, Voyage, seed};
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{Context, accelerator, computer, frozen, line, machine, ui};

/// See the module.
pub struct Machine;

/// Space a young cluster needs on the laptop, in bytes.
const SPACE: u64 = 2 << 30;

#[async_trait]
impl Step for Machine {
    fn name(&self) -> &'static str {
        "machine"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        let spec = &v.profile.spec;
        Ok(format!(
            "QEMU with {} cores, {}, a disk of {} GiB that grows",
            spec.cpus,
            ui::mib(spec.memory_mib),
            spec.disk_gib
        ))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        let state = machine::state_of(&v.files, &v.profile).await;
        if first(v).is_unsettled(&v.profile) {
            // A copy that an interrupted start left behind, and that nobody can reach.
            machine::destroy(v.cx, &v.profile, &first(v)).await?;
            return Ok(None);
        }
        if state.is_running() {
            v.was_running = true;
            return Ok(Some(Note::there("runs")));
        }
        if state.is_paused() || state.is_out_of_space() {
            machine::hold(v.cx, &v.profile, &first(v), false).await?;
            v.was_running = true;
            return Ok(Some(Note::there("goes on after a pause")));
        }
        if state.has_process() {
            v.cx.ui.warn(
                "machine",
                &format!(
                    "{}: switching it off first",
                    state.reason().unwrap_or_default()
                ),
            );
            machine::destroy(v.cx, &v.profile, &first(v)).await?;
        }
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let first = first(v);
        choose_ports(v).await?;
        choose_wire(v).await?;
        let emulator = match v.emulator.clone() {
            Some(emulator) => emulator,
            None => return Err(CliError::new("PROGRAM_INTERNAL", "QEMU was not looked for")),
        };
        let accel = accelerator::choose(v.cx, &emulator)?;
        let arrival = bring_up(v, &first, &emulator, accel).await?;
        v.arrivals.insert(first.number, arrival);
        let spec = &v.profile.spec;
        let how = if accel == Accel::Tcg {
            String::new()
        } else {
            format!(" with {}", accel.name())
        };
        let did = told(arrival);
        Ok(Note::new(format!(
            "{did}{how} on {} cores, {}",
            spec.cpus,
            ui::mib(spec.memory_mib)
        )))
    }

    async fn undo(&self, cx: &Context, profile: &Profile) -> Result<()> {
        line::stop_background(cx).await?;
        machine::destroy(cx, profile, &Node::first(&profile.name)).await
    }
}

/// Wakes the first machine, or copies or boots it.
async fn bring_up(
    v: &mut Voyage<'_>,
    first: &Node,
    emulator: &cadet_vm::Emulator,
    accel: Accel,
) -> Result<Arrival> {
    if let Some(woke) = arrive::wake(v.cx, &mut v.profile, first, emulator, accel).await? {
        machine::save(v.cx, &v.profile)?;
        return Ok(woke);
    }
    let is_refused = v.args.cold && first.is_unsettled(&v.profile);
    if is_refused {
        cadet_vm::process::remove(&v.files.disk())?;
        v.profile.template = None;
    }
    if is_refused || !v.was_seeded {
        // The seed step left alone what a machine that wakes has read already.
        let key = seed::write(v.cx, &v.profile, first, v.profile.card, Role::First)?;
        v.profile.host_key = Some(key);
    }
    let coming = Coming {
        node: first,
        emulator,
        accel,
        card: v.profile.card,
        role: Role::First,
    };
    arrive::come(v.cx, &mut v.profile, &coming).await
}

/// What a machine did to run.
pub(super) fn told(arrival: Arrival) -> String {
    match arrival {
        Arrival::Booted => "boots".into(),
        Arrival::Woke { slept, .. } => format!("awake after {}", ui::duration(slept)),
        Arrival::Copied => "copied from the template, runs".into(),
    }
}

/// Notes what a machine is started with.
pub(super) fn set_accelerator(profile: &mut Profile, node: &Node, accel: Accel) {
    let name = Some(accel.name().into());
    match profile.worker_mut(node.number) {
        Some(worker) => worker.accelerator = name,
        None => profile.accelerator = name,
    }
}

fn first(v: &Voyage<'_>) -> Node {
    Node::first(&v.profile.name)
}

/// Starts QEMU; an accelerator that fails after its trial gives way to emulation.
///
/// # Errors
/// DRIVER_START_FAILED, NET_PORT_TAKEN, HOST_DISK_FULL …
pub(super) async fn boot(
    cx: &Context,
    profile: &mut Profile,
    node: &Node,
    emulator: &cadet_vm::Emulator,
    first: Accel,
) -> Result<()> {
    let mut accelerator = first;
    loop {
        set_accelerator(profile, node, accelerator);
        machine::save(cx, profile)?;
        let config = frozen::config(cx, profile, node, emulator)?;
        match Vm::start(config, emulator).await {
            Ok(_) => return Ok(()),
            Err(VmError::AlreadyRunning { .. }) => return Ok(()),
            Err(VmError::Died(death)) if accelerator != Accel::Tcg => {
                cx.ui.warn(
                    "accelerator",
                    &format!("{death}; using software emulation (slower)"),
                );
                accelerator = Accel::Tcg;
            }
            Err(e) => return Err(CliError::from(e).log(node.console_command(cx))),
        }
    }
}

/// The overlay on the base: made once, checked when it is there.
///
/// # Errors
/// HOST_DISK_FULL, IMAGE_CORRUPT.
pub(super) fn disk(cx: &Context, profile: &Profile, node: &Node) -> Result<()> {
    let kept = node
        .kept(profile)
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "there is no such machine"))?;
    let base = kept
        .base
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "no image was chosen"))?;
    let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
    let disk = node.files(&cx.world.files(&cx.name)).disk();
    if disk.exists() {
        overlay::check(&img, &disk)?;
        return Ok(());
    }
    // A copy lies on its template's disk, which lies on the base.
    let below = kept.template.map_or(&base.disk, |used| &used.disk);
    if let Some(free) = computer::free_bytes(&disk).filter(|free| *free < SPACE) {
        return Err(machine::disk_full(
            &disk.display().to_string(),
            &format!(
                "{:.1} GB are free, a young cluster needs {:.1} GB",
                gb(free),
                gb(SPACE)
            ),
        ));
    }
    Ok(overlay::create(
        &img,
        below,
        &disk,
        kept.spec.disk_gib << 30,
    )?)
}

#[allow(clippy::cast_precision_loss)] // for people
fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Keeps the ports of the last start if they are free, so that kubeconfigs and a running
/// tunnel stay right.
async fn choose_ports(v: &mut Voyage<'_>) -> Result<()> {
    if let Some(old) = v.profile.ports {
        if ports::check_free(old.ssh).is_ok() && ports::check_free(old.api).is_ok() {
            return Ok(());
        }
        v.cx.ui.warn(
            "machine",
            "a port of the last start is taken by another program; using new ones",
        );
        line::stop_background(v.cx).await?;
    }
    let free = ports::free(2)?;
    let [ssh, api] = free[..] else {
        return Err(CliError::new(
            "PROGRAM_INTERNAL",
            "two ports were asked for",
        ));
    };
    v.profile.ports = Some(Ports { ssh, api });
    Ok(())
}

/// The group and port of the network between machines, kept for as long as they are free or a
/// machine of this profile uses them.
async fn choose_wire(v: &mut Voyage<'_>) -> Result<()> {
    if v.profile.card != Card::Present {
        return Ok(());
    }
    if let Some(wire) = v.profile.wire {
        for worker in nodes::workers(&v.profile) {
            let state = machine::state_of_node(&v.files, &v.profile, &worker).await;
            if state.has_process() {
                return Ok(());
            }
        }
        if ports::is_segment_free(wire.group, wire.port) {
            return Ok(());
        }
    }
    let (dir, created) = (v.files.dir().display().to_string(), v.profile.created);
    v.profile.wire = Some(Wire {
        group: segment_group(&format!("{dir} {created}")),
        port: ports::free_datagram()?,
    });
    Ok(())
}
