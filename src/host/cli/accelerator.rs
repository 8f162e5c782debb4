//! Which accelerator to use: tried once for each QEMU and kernel, then remembered.
//!
//! Trying a broken KVM takes seconds (QEMU hangs before it gives up), and the answer only
//! changes with QEMU, the kernel or the rights on the device.

use std::path::Path;

use cadet_vm::{Accel, AccelChoice, Emulator, HostOs, accel};
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::error::Result;
use crate::{computer, machine};

#[derive(Serialize, Deserialize)]
struct Remembered {
    key: String,
    choice: AccelChoice,
}

/// The accelerator for `emulator`: the one that is remembered, else the one that works now.
/// That it is not the processor's own is said then, and not at each start.
///
/// # Errors
/// As [`afresh`].
pub fn choose(cx: &Context, emulator: &Emulator) -> Result<Accel> {
    if let Some(accel) = remembered(&cx.world.home.accelerator(), &key(emulator)) {
        return Ok(accel);
    }
    cx.ui.progress("trying the accelerator", None);
    let choice = afresh(cx, emulator)?;
    if let Some(reason) = &choice.reason {
        let text = format!("{reason}; using software emulation (slower)");
        cx.ui.warn("accelerator", &text);
    }
    Ok(choice.accel)
}

/// Tries it, whatever is remembered, and remembers what came of it.
///
/// # Errors
/// If QEMU cannot be run, or the probe or what is remembered not written.
pub fn afresh(cx: &Context, emulator: &Emulator) -> Result<AccelChoice> {
    let key = key(emulator);
    let choice = accel::choose(emulator, HostOs::current(), &std::env::temp_dir())?;
    // A cache that does not exist yet is not made for this: questions leave no trace.
    if cx.world.home.cache().is_dir() {
        remember(&cx.world.home.accelerator(), key, &choice)?;
    }
    Ok(choice)
}

fn remembered(file: &Path, key: &str) -> Option<Accel> {
    let bytes = std::fs::read(file).ok()?;
    let old: Remembered = serde_json::from_slice(&bytes).ok()?;
    (old.key == key).then_some(old.choice.accel)
}

fn remember(file: &Path, key: String, choice: &AccelChoice) -> Result<()> {
    let choice = choice.clone();
    let text = serde_json::to_vec(&Remembered { key, choice }).unwrap_or_default();
    machine::write_private(file, &text)
}

/// What the answer depends on.
fn key(emulator: &Emulator) -> String {
    format!(
        "{} {} {} {}",
        emulator.path.display(),
        emulator.version,
        computer::kernel_release(),
        accel_access()
    )
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

#[cfg(test)]
mod tests {
    use cadet_vm::{Arch, Version};

    use super::*;

    #[test]
    fn what_came_of_a_trial_counts_for_that_qemu_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accelerator.json");
        let mut emulator = Emulator {
            path: "/usr/bin/qemu-system-x86_64".into(),
            version: Version(10, 0, 2),
            arch: Arch::Amd64,
        };
        assert_eq!(remembered(&file, &key(&emulator)), None);
        let choice = AccelChoice {
            accel: Accel::Tcg,
            reason: Some("there is no /dev/kvm".into()),
        };
        remember(&file, key(&emulator), &choice).unwrap();
        assert_eq!(remembered(&file, &key(&emulator)), Some(Accel::Tcg));
        emulator.version = Version(10, 1, 0);
        assert_eq!(remembered(&file, &key(&emulator)), None);
    }
}
