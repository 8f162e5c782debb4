//! What a saved machine depends on: it is loaded into the same machine of the same QEMU on the
//! same kind of processor, or not at all.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::argv;
use crate::config::{HostOs, MachineConfig};
use crate::error::VmError;
use crate::qemu::Emulator;

/// All of it. Two keys that are equal fit each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// QEMU's version.
    pub qemu: String,
    /// The machine, as the guest sees it.
    pub shape: Vec<String>,
    /// The processor of this computer, if the guest sees it as it is.
    pub processor: Option<String>,
}

impl Key {
    /// The key of a machine as it would be started now.
    pub fn of(machine: &MachineConfig, emulator: &Emulator) -> Key {
        Key {
            qemu: emulator.version.to_string(),
            shape: argv::shape(machine, HostOs::current()),
            // Emulated processors are the same everywhere.
            processor: (machine.accel != Accel::Tcg).then(processor),
        }
    }

    /// Writes it beside a machine that was started with it.
    ///
    /// # Errors
    /// [`VmError::File`], [`VmError::DiskFull`].
    pub fn write(&self, path: &Path) -> Result<(), VmError> {
        let text = serde_json::to_vec(self)
            .map_err(|e| VmError::file("write", path, std::io::Error::other(e)))?;
        std::fs::write(path, text).map_err(|e| VmError::file("write", path, e))
    }

    /// What a running machine was started with; `None` if nobody noted it, or not whole.
    pub fn read(path: &Path) -> Option<Key> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Why what was saved with this key cannot be loaded under `now`, in one line; `None` if it
    /// can.
    pub fn obstacle(&self, now: &Key) -> Option<String> {
        if self.qemu != now.qemu {
            return Some(format!(
                "it was QEMU {} then, it is {} now",
                self.qemu, now.qemu
            ));
        }
        if self.shape != now.shape {
            let (then, now) = difference(&self.shape, &now.shape);
            return Some(format!("the machine was `{then}` then, it is `{now}` now"));
        }
        if self.processor != now.processor {
            return Some("this computer's processor is another one now".into());
        }
        None
    }
}

/// The first words that differ, with the option they belong to.
fn difference(then: &[String], now: &[String]) -> (String, String) {
    let at = then.iter().zip(now).take_while(|(a, b)| a == b).count();
    let phrase = |words: &[String]| {
        let Some(word) = words.get(at) else {
            return "nothing more".to_owned();
        };
        let flag = at.checked_sub(1).and_then(|before| words.get(before));
        match flag.filter(|flag| flag.starts_with('-') && !word.starts_with('-')) {
            Some(flag) => format!("{flag} {word}"),
            None => word.clone(),
        }
    };
    (phrase(then), phrase(now))
}

/// What tells one processor from another: model and features.
#[cfg(target_os = "linux")]
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    first_processor(&text)
}

/// Of the first processor in proc(5)'s list, what does not change by itself.
#[cfg(any(target_os = "linux", test))]
fn first_processor(cpuinfo: &str) -> String {
    const SAME: [&str; 9] = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "flags",
        "Features",
        "CPU implementer",
        "CPU part",
        "CPU variant",
    ];
    let lines = cpuinfo.lines().take_while(|line| !line.trim().is_empty());
    let kept = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        SAME.contains(&name)
            .then(|| format!("{name}={}", value.trim()))
    });
    kept.collect::<Vec<_>>().join(";")
}

#[cfg(target_os = "macos")]
fn processor() -> String {
    let ran = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "machdep.cpu.brand_string"])
        .output();
    ran.map_or_else(
        |_| "unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn processor() -> String {
    "unknown".into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Arch;
    use crate::config::samples;
    use crate::qemu::Version;

    fn key(change: impl FnOnce(&mut MachineConfig)) -> Key {
        let mut machine = samples::machine(Path::new("/s"));
        change(&mut machine);
        let emulator = Emulator {
            path: "/usr/bin/qemu-system-x86_64".into(),
            version: Version(10, 0, 2),
            arch: Arch::Amd64,
        };
        Key::of(&machine, &emulator)
    }

    #[test]
    fn ports_and_places_may_change() {
        let then = key(|_| {});
        let now = key(|m| {
            m.forwards[0].host_port = 9;
            m.disks[0].path = "/elsewhere".into();
        });
        assert_eq!(then.obstacle(&now), None);
    }

    #[test]
    fn what_changed_is_told() {
        let then = key(|_| {});
        let now = key(|m| m.memory_mib = 2048);
        let told = then.obstacle(&now).unwrap();
        assert!(
            told.contains("-m 1024M") && told.contains("-m 2048M"),
            "{told}"
        );

        let mut now = then.clone();
        now.qemu = "10.1.0".into();
        let told = then.obstacle(&now).unwrap();
        assert!(told.contains("10.0.2") && told.contains("10.1.0"), "{told}");

        let mut now = then.clone();
        now.processor = Some("another".into());
        assert!(then.obstacle(&now).unwrap().contains("processor"));

        let mut now = then.clone();
        now.shape.truncate(3);
        assert!(then.obstacle(&now).unwrap().contains("nothing more"));
    }

    #[test]
    fn only_what_the_guest_sees_of_the_processor_counts() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\n\
                    cpu MHz\t\t: 2100.1\nflags\t\t: fpu vme\n\nprocessor\t: 1\nmodel\t: 9\n";
        assert_eq!(
            first_processor(text),
            "vendor_id=GenuineIntel;model=85;flags=fpu vme"
        );
        let hardware = key(|m| m.accel = Accel::Kvm);
        assert!(hardware.processor.is_some());
        assert!(key(|_| {}).processor.is_none());
    }
}
