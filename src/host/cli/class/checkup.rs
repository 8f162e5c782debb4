//! `cadet doctor --class`: what was found, as a code to read out, and the code as words.

use cadet_class::checkup::{Checkup, Fault, Processor, System};
use serde_json::json;

use crate::error::Result;
use crate::{Context, computer, ui};

/// Memory below which a machine for lessons is tight, in MiB.
const TIGHT: u64 = 4096;

/// What the doctor has seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    faults: Vec<Fault>,
    accelerated: bool,
}

impl Seen {
    /// One finding of the doctor.
    pub fn note(&mut self, subject: &str, good: bool, bad: bool) {
        if subject == "accelerator" {
            self.accelerated = good;
        }
        if bad && let Some(fault) = fault(subject) {
            self.faults.push(fault);
        }
    }
}

/// The doctor's subjects that stand in the way of a class. Whether the image host is reached does
/// not matter: the class brings its own.
fn fault(subject: &str) -> Option<Fault> {
    Some(match subject {
        "qemu" => Fault::Qemu,
        "accelerator" => Fault::Accelerator,
        "memory" => Fault::Memory,
        "disk" => Fault::Disk,
        "programs" => Fault::Programs,
        "kubectl" => Fault::Kubectl,
        "kubeconfig" => Fault::Kubeconfig,
        "state" => Fault::State,
        _ => return None,
    })
}

/// Prints the code of this computer; exit code 1 if something stands in the way of a class.
pub fn print(cx: &Context, seen: Seen) -> u8 {
    let disk = computer::free_bytes(cx.world.home.data());
    let found = Checkup {
        system: match std::env::consts::OS {
            "linux" => System::Linux,
            "macos" => System::MacOs,
            "windows" => System::Windows,
            _ => System::Other,
        },
        processor: match std::env::consts::ARCH {
            "x86_64" => Processor::X86,
            "aarch64" => Processor::Arm,
            _ => Processor::Other,
        },
        accelerated: seen.accelerated,
        memory_mib: computer::memory_mib(),
        disk_gib: disk.map(|bytes| bytes >> 30),
        processors: u8::try_from(computer::cores()).unwrap_or(u8::MAX),
        faults: seen.faults,
    };
    let code = found.code();
    let ready = found.faults.is_empty();
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "checkup", "code": code, "ready": ready}));
        return u8::from(!ready);
    }
    cx.ui.line("");
    cx.ui.line(format!("Code for your teacher:  {code}"));
    cx.ui.line(if ready {
        "It says that this laptop is ready for the class, and what it has; nothing else."
    } else {
        "It says what is marked ✗ above, and what this laptop has; nothing else."
    });
    u8::from(!ready)
}

/// Says what a code means; exit code 1 if something stands in the way.
///
/// # Errors
/// PROGRAM_USAGE for a text that is no code.
pub fn tell(cx: &Context, code: &str) -> Result<u8> {
    let found = Checkup::parse(code)?;
    if cx.ui.json() {
        let faults: Vec<&str> = found.faults.iter().map(|fault| name(*fault)).collect();
        cx.ui.object(
            &json!({"type": "checkup", "faults": faults, "system": system(found.system),
            "accelerated": found.accelerated, "memoryMiB": found.memory_mib,
            "diskGiB": found.disk_gib, "processors": found.processors}),
        );
    } else {
        for line in lines(&found) {
            cx.ui.line(line);
        }
    }
    Ok(u8::from(!found.faults.is_empty()))
}

fn lines(found: &Checkup) -> Vec<String> {
    let memory = found.memory_mib.map_or("128 GiB or more".into(), ui::mib);
    let disk = match found.disk_gib {
        Some(gib) => format!("{gib} GiB"),
        None => "255 GiB or more".into(),
    };
    let processor = match found.processor {
        Processor::X86 => "x86_64",
        Processor::Arm => "arm64",
        Processor::Other => "a processor without a guest",
    };
    let mut lines = vec![format!(
        "{} on {processor}, {} processors, {memory} of memory, {disk} of disk free",
        system(found.system),
        found.processors
    )];
    if !found.accelerated {
        lines.push("! accelerator  software emulation, about ten times slower: plan more time, or pair this learner with another".into());
    }
    if found.memory_mib.is_some_and(|mib| mib < TIGHT) && !found.faults.contains(&Fault::Memory) {
        lines.push("! memory       tight: close browsers, start with --memory 1g".into());
    }
    for fault in &found.faults {
        lines.push(format!("✗ {:<12} {}", name(*fault), advice(*fault)));
    }
    if found.faults.is_empty() {
        lines.push("Nothing stands in the way.".into());
    }
    lines
}

fn system(system: System) -> &'static str {
    match system {
        System::Linux => "Linux",
        System::MacOs => "macOS",
        System::Windows => "Windows",
        System::Other => "another system",
    }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Qemu => "qemu",
        Fault::Accelerator => "accelerator",
        Fault::Memory => "memory",
        Fault::Disk => "disk",
        Fault::Programs => "programs",
        Fault::Kubectl => "kubectl",
        Fault::Kubeconfig => "kubeconfig",
        Fault::State => "state",
    }
}

fn advice(fault: Fault) -> &'static str {
    match fault {
        Fault::Qemu => "QEMU is missing or too old; it is not in the bundle: install it at home",
        Fault::Accelerator => {
            "virtualisation cannot be used: switched off in the firmware, or not permitted to this user"
        }
        Fault::Memory => "less than 2 GiB: this laptop can watch, not run the machine",
        Fault::Disk => "less than 4 GiB free: make room at home",
        Fault::Programs => "cadet-node is not beside cadet; the bundle brings it",
        Fault::Kubectl => "no kubectl; the bundle brings one",
        Fault::Kubeconfig => {
            "the kubeconfig file cannot be read or written: KUBECONFIG=~/class.yaml helps"
        }
        Fault::State => "Cadet's records are damaged: cadet doctor --fix",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_words_and_a_subject_of_the_doctor() {
        for wanted in Fault::ALL {
            assert_eq!(fault(name(wanted)), Some(wanted));
            assert!(advice(wanted).len() > 20);
        }
        assert_eq!(fault("images"), None);
    }

    #[test]
    fn a_slow_laptop_is_told_of_though_nothing_is_wrong() {
        let mut seen = Seen::default();
        seen.note("accelerator", false, false);
        seen.note("disk", false, true);
        let found = Checkup {
            system: System::Linux,
            processor: Processor::X86,
            accelerated: seen.accelerated,
            memory_mib: Some(3072),
            disk_gib: Some(2),
            processors: 2,
            faults: seen.faults,
        };
        let text = lines(&found).join("\n");
        assert!(
            text.contains("! accelerator") && text.contains("! memory"),
            "{text}"
        );
        assert!(text.contains("✗ disk"), "{text}");
    }
}
