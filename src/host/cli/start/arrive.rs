//! How a machine comes to run: it wakes where it was suspended, it is the copy of a template, or
//! it boots.
//!
//! ```text
//! suspended? ──► wake ───────────────► Woke
//!      │ no        └─ cannot ─► boot     a line says why
//! copy wanted? ─► copy, become ───────► Copied
//!      │ no        └─ cannot ─► boot     a line says why
//!     boot ───────────────────────────► Booted
//! ```

use std::time::Duration;

use cadet_api::keeper::Identity;
use cadet_seed::Role;
use cadet_state::{Card, Profile};
use cadet_vm::{Accel, Emulator};

use super::{machine as steps, seed};
use crate::error::{CliError, Result};
use crate::frozen::suspend::{self, Woken};
use crate::frozen::{copy, program, template};
use crate::nodes::Node;
use crate::{Context, keeper, line, machine};

/// How it came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Its system started.
    Booted,
    /// It goes on where it was.
    Woke {
        /// How long it stood still.
        slept: Duration,
        /// Whether this program's `cadet-node` runs in it.
        current: bool,
    },
    /// It is the copy of a template.
    Copied,
}

/// Everything that is needed to bring a machine up.
pub struct Coming<'a> {
    pub node: &'a Node,
    pub emulator: &'a Emulator,
    pub accel: Accel,
    pub card: Card,
    pub role: Role<'a>,
}

/// Goes on where the machine was suspended, if it was.
///
/// # Errors
/// NET_PORT_TAKEN, RESOURCE_MEMORY …: what would keep it from booting as well.
pub async fn wake(
    cx: &Context,
    profile: &mut Profile,
    node: &Node,
    emulator: &Emulator,
    accel: Accel,
) -> Result<Option<Arrival>> {
    steps::set_accelerator(profile, node, accel);
    Ok(match suspend::wake(cx, profile, node, emulator).await? {
        Woken::NotSuspended => None,
        Woken::Up {
            program: its,
            slept,
        } => Some(Arrival::Woke {
            slept,
            current: its == program(cx)?,
        }),
        Woken::Lost(why) => {
            let what = format!(
                "{} cannot be woken: {why}; booting from its disk",
                node.name
            );
            cx.ui.warn("machine", &what);
            None
        }
    })
}

/// Brings up a machine that was not woken; seed disk, ports and base are there.
///
/// # Errors
/// DRIVER_START_FAILED, NET_PORT_TAKEN, HOST_DISK_FULL …
pub async fn come(cx: &Context, profile: &mut Profile, coming: &Coming<'_>) -> Result<Arrival> {
    let node = coming.node;
    if node.is_unsettled(profile) {
        // Whatever lies there is of a copy that never was a machine.
        cadet_vm::process::remove(&node.files(&cx.world.files(&cx.name)).disk())?;
        match copied(cx, profile, coming).await? {
            Ok(()) => return Ok(Arrival::Copied),
            Err(why) => {
                let what = format!("{}: {why}; booting instead (slower)", node.name);
                cx.ui.warn("template", &what);
            }
        }
        cadet_vm::process::remove(&node.files(&cx.world.files(&cx.name)).disk())?;
        set_template(profile, node, None);
        machine::save(cx, profile)?;
        // Its cards are its own now.
        seed::write(cx, profile, node, coming.card, coming.role)?;
    }
    steps::disk(cx, profile, node)?;
    steps::boot(cx, profile, node, coming.emulator, coming.accel).await?;
    Ok(Arrival::Booted)
}

async fn copied(
    cx: &Context,
    profile: &mut Profile,
    coming: &Coming<'_>,
) -> Result<Result<(), String>> {
    let node = coming.node;
    let used = node.kept(profile).and_then(|kept| kept.template.cloned());
    let Some(mut used) = used else {
        return Ok(Err("no template is noted".into()));
    };
    let Some(template) = template::read(&cx.world.home, &used.key) else {
        return Ok(Err("the template is gone".into()));
    };
    steps::set_accelerator(profile, node, coming.accel);
    steps::disk(cx, profile, node)?;
    let identity = identity(cx, node, coming)?;
    let started = copy::start(cx, profile, node, coming.emulator, &template, identity).await?;
    if started.is_ok() {
        used.settled = true;
        set_template(profile, node, Some(used));
        machine::save(cx, profile)?;
        template::touch(&template);
    }
    Ok(started)
}

fn set_template(profile: &mut Profile, node: &Node, used: Option<cadet_state::TemplateUse>) {
    match profile.worker_mut(node.number) {
        Some(worker) => worker.template = used,
        None => profile.template = used,
    }
}

/// What makes the copy this machine; the same as on its seed disk, for later boots.
fn identity(cx: &Context, node: &Node, coming: &Coming<'_>) -> Result<Identity> {
    let keys = line::keys(cx, node)?;
    let pki = match coming.role {
        Role::Worker { pki } => pki.clone(),
        Role::First => std::collections::BTreeMap::new(),
        Role::Template => {
            return Err(CliError::new(
                "PROGRAM_INTERNAL",
                "a template is no machine",
            ));
        }
    };
    Ok(Identity {
        wake: keeper::wake(),
        hostname: node.name.clone(),
        user: line::USER.into(),
        authorized_key: keys.client.public,
        host_key_private: keys.host.private,
        host_key_public: keys.host.public,
        node_config: seed::node_json(cx, node, coming.card)?,
        pki,
        card: None,
    })
}
