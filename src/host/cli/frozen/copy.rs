//! A new machine as the copy of a template: its own disk and memory, then its own name, keys,
//! time and dice, before anything in it listens.

use std::time::Duration;

use cadet_api::keeper::{Ask, Card, Identity};
use cadet_state::Profile;
use cadet_vm::config::segment_mac;
use cadet_vm::frozen::Files;
use cadet_vm::{Emulator, Machine, Memory, StopDeadlines, VmError};

use super::template::{self, Template};
use super::{config, told};
use crate::error::Result;
use crate::nodes::Node;
use crate::{Context, keeper};

/// For names, keys and the start of services; under emulation on a busy computer.
const BECOME: Duration = Duration::from_secs(60);

/// Starts the copy; its disk, an overlay on the template's, is there. The error is why it cannot
/// be used, in one line: the machine then is gone, and what it wrote to its disk is nothing.
///
/// # Errors
/// What would keep it from booting as well: a taken port, no memory.
pub async fn start(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    emulator: &Emulator,
    template: &Template,
    identity: Identity,
) -> Result<Result<(), String>> {
    if let Some(why) = template::obstacle(template) {
        template::distrust(template)?;
        return Ok(Err(why));
    }
    let mut config = config(cx, profile, node, emulator)?;
    config.memory = Memory::Copied(template.files.memory());
    let (state, memory) = (template.files.state(), template.files.memory());
    let files = Files {
        state: &state,
        memory: Some(&memory),
    };
    let vm = match Machine::thaw(config, emulator, &files, &template.note).await {
        Ok(vm) => vm,
        Err(error) if super::suspend::is_in_the_way(&error) => return Err(error.into()),
        Err(error) => {
            if is_its_fault(&error) {
                // Every start would try it in vain, and none make another.
                template::distrust(template)?;
            }
            return Ok(Err(told(&error)));
        }
    };
    if let Err(error) = take_on(cx, node, &vm, identity).await {
        vm.destroy(StopDeadlines::default()).await?;
        return Ok(Err(told(&error)));
    }
    Ok(Ok(()))
}

/// True for what will be no better the next time.
fn is_its_fault(error: &VmError) -> bool {
    matches!(
        error,
        VmError::NotUsable(_) | VmError::Migration(_) | VmError::Died(_)
    )
}

async fn take_on(
    cx: &Context,
    node: &Node,
    vm: &Machine,
    mut identity: Identity,
) -> Result<(), VmError> {
    let socket = node.files(&cx.world.files(&cx.name)).keeper();
    identity.card = Some(Card {
        from: segment_mac(template::CARD),
        to: segment_mac(node.number),
    });
    vm.resume().await?;
    // Now, not when the identity was put together.
    identity.wake = keeper::wake();
    let told = keeper::ask(&socket, Ask::Become(Box::new(identity)), BECOME).await;
    let told = told.map_err(VmError::NotUsable)?;
    if told.configured {
        Ok(())
    } else {
        let why = "the copy says that it is nobody";
        Err(VmError::NotUsable(why.into()))
    }
}
