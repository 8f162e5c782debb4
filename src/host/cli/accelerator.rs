//! Which accelerator to use: tried once for each QEMU and kernel, then remembered.
//!
//! Trying a broken KVM takes seconds (QEMU hangs before it gives up), and the answer only
//! changes with QEMU, the kernel or the rights on the device.

use cadet_vm::{AccelChoice, Emulator, HostOs, accel};
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::error::Result;
use crate::{computer, machine};

#[derive(Serialize, Deserialize)]
struct Remembered {
    key: String,
    choice: AccelChoice,
}

/// The accelerator for `emulator`; `afresh` tries again whatever is remembered.
///
/// # Errors
/// If QEMU cannot be run or the probe not written.
pub fn choose(cx: &Context, emulator: &Emulator, afresh: bool) -> Result<AccelChoice> {
    let file = cx.world.home.accelerator();
    let key = format!(
        "{} {} {} {}",
        emulator.path.display(),
        emulator.version,
        computer::kernel_release(),
        accel_access()
    );
    if !afresh
        && let Ok(bytes) = std::fs::read(&file)
        && let Ok(old) = serde_json::from_slice::<Remembered>(&bytes)
        && old.key == key
    {
        return Ok(old.choice);
    }
    let choice = accel::choose(emulator, HostOs::current(), &std::env::temp_dir())?;
    // A cache that does not exist yet is not made for this: questions leave no trace.
    if cx.world.home.cache().is_dir() {
        let text = serde_json::to_vec(&Remembered {
            key,
            choice: choice.clone(),
        })
        .unwrap_or_default();
        machine::write_private(&file, &text)?;
    }
    Ok(choice)
}

/// A group membership that came or went changes the answer too.
fn accel_access() -> &'static str {
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => "open",
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => "denied",
        Err(_) => "none",
    }
}
