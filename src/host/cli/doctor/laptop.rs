//! Memory, space, ports and the clock of a laptop, judged.

use super::Finding;
use crate::error::CliError;
use crate::{machine, ui};

/// The laptop's own programs and the smallest machine need about so much, in MiB.
const ENOUGH_MEMORY: u64 = 2048;
/// A machine of 2 GiB next to less than this makes a laptop swap, in MiB.
const ENOUGH_FREE_MEMORY: u64 = 1024;
/// Image and a young cluster, in bytes.
const ENOUGH_DISK: u64 = 4 << 30;
/// 2026-01-01, in seconds since 1970: no laptop that runs this program is older.
const AFTER: u64 = 1_767_225_600;
/// So much may a file be newer than the clock, in seconds: other computers write files too.
const AHEAD: u64 = 86_400;

/// `free` is what programs can still have; both in MiB.
pub fn memory(total: Option<u64>, free: Option<u64>, cores: u64) -> Finding {
    let Some(total) = total else {
        return Finding::note("the system does not tell how much there is");
    };
    let smaller = "cadet start --memory 768m";
    if total < ENOUGH_MEMORY {
        return Finding::Bad(
            CliError::new(
                "RESOURCE_MEMORY",
                format!("this computer has {}", ui::mib(total)),
            )
            .why("a machine of 768 MiB and the laptop's own programs need about 2 GiB")
            .fix(smaller),
        );
    }
    match free {
        Some(free) if free < ENOUGH_FREE_MEMORY => Finding::note_with(
            format!(
                "only {} of {} are free; other programs will become slow",
                ui::mib(free),
                ui::mib(total)
            ),
            smaller,
        ),
        _ => Finding::Good(format!("{}, {cores} processors", ui::mib(total))),
    }
}

/// The accelerator that was chosen, and why it is not the processor's own.
pub fn accelerator(name: &str, reason: Option<&str>) -> Finding {
    let Some(reason) = reason else {
        return Finding::Good(format!("{name} works"));
    };
    let text = format!("{reason}; Cadet uses software emulation, about ten times slower");
    if reason.contains("permission") {
        return Finding::note_with(
            text,
            "sudo usermod -aG kvm \"$USER\"      then sign in again",
        );
    }
    if reason.contains("there is no /dev/kvm") {
        let look = "grep -cE 'vmx|svm' /proc/cpuinfo      0: this processor, or this virtual machine, cannot; else switch virtualisation on in the firmware's menu";
        return Finding::note_with(text, look);
    }
    Finding::note(text)
}

/// Bytes free for the Cadet home at `place`.
pub fn disk(free: Option<u64>, place: &str) -> Finding {
    match free {
        Some(free) if free < ENOUGH_DISK => Finding::Bad(machine::disk_full(
            place,
            &format!(
                "{} MiB are free; image and machine need about 4 GiB",
                free >> 20
            ),
        )),
        Some(free) => Finding::Good(format!("{} GiB free for {place}", free >> 30)),
        None => Finding::note(format!("cannot tell how much is free for {place}")),
    }
}

/// A port Cadet would like to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    /// What it is for, such as "the tunnel's SOCKS proxy".
    pub purpose: String,
    /// True if another program has it.
    pub taken: bool,
}

/// Ports of 127.0.0.1. None of them is needed: Cadet takes others, and says so.
pub fn ports(ports: &[Port]) -> Finding {
    if ports.is_empty() {
        return Finding::Good("those it wants are held by Cadet itself".into());
    }
    let taken: Vec<_> = ports.iter().filter(|port| port.taken).collect();
    let Some(first) = taken.first() else {
        let all: Vec<_> = ports.iter().map(|p| p.number.to_string()).collect();
        return Finding::Good(format!("free on 127.0.0.1: {}", all.join(", ")));
    };
    let list: Vec<_> = taken
        .iter()
        .map(|port| format!("{} ({})", port.number, port.purpose))
        .collect();
    Finding::note_with(
        format!(
            "taken by other programs: {}; Cadet uses free ones instead",
            list.join(", ")
        ),
        format!(
            "ss -ltnp 'sport = :{}'      shows whose it is",
            first.number
        ),
    )
}

/// The laptop's clock, and the time of the newest file Cadet wrote; in seconds since 1970.
pub fn clock(now: u64, newest: Option<u64>) -> Finding {
    let wrong = |what: String| {
        Finding::Bad(
            CliError::new("HOST_CLOCK", what)
                .why("certificates count as not valid yet or as expired, and downloads are refused")
                .fix("timedatectl status"),
        )
    };
    if now < AFTER {
        return wrong("this computer's clock is years behind".into());
    }
    match newest {
        Some(newest) if newest > now + AHEAD => {
            let days = (newest - now) / 86_400;
            wrong(format!(
                "this computer's clock is {days} days behind what Cadet wrote earlier"
            ))
        }
        _ => Finding::Good("plausible".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(finding: &Finding) -> &'static str {
        match finding {
            Finding::Good(_) => "good",
            Finding::Note { .. } => "note",
            Finding::Bad(e) => e.topic.id,
        }
    }

    #[test]
    fn small_and_busy_laptops() {
        assert_eq!(id(&memory(Some(1024), Some(900), 1)), "RESOURCE_MEMORY");
        assert_eq!(id(&memory(Some(8192), Some(300), 4)), "note");
        assert_eq!(id(&memory(Some(8192), Some(6000), 4)), "good");
        assert_eq!(id(&memory(Some(8192), None, 4)), "good");
        assert_eq!(id(&memory(None, None, 4)), "note");
    }

    #[test]
    fn an_accelerator_that_is_not_there_comes_with_the_way_to_it() {
        assert!(matches!(accelerator("kvm", None), Finding::Good(_)));
        for (reason, way) in [
            (
                "no permission to open /dev/kvm: add your user to the group kvm",
                Some("usermod"),
            ),
            (
                "there is no /dev/kvm: virtualisation is off in the firmware",
                Some("firmware"),
            ),
            (
                "/dev/kvm opens but cannot run a guest here: KVM internal error",
                None,
            ),
        ] {
            let Finding::Note { text, fix } = accelerator("tcg", Some(reason)) else {
                panic!("{reason}: the work goes on all the same");
            };
            assert!(
                text.starts_with(reason) && text.contains("slower"),
                "{text}"
            );
            assert_eq!(fix.is_some(), way.is_some());
            assert!(way.is_none_or(|way| fix.is_some_and(|fix| fix.contains(way))));
        }
    }

    #[test]
    fn full_disks() {
        assert_eq!(id(&disk(Some(1 << 30), "/h")), "HOST_DISK_FULL");
        assert_eq!(id(&disk(Some(40 << 30), "/h")), "good");
        assert_eq!(id(&disk(None, "/h")), "note");
    }

    #[test]
    fn ports_of_others_are_named_with_their_purpose() {
        let port = |number, taken| Port {
            number,
            purpose: "the tunnel".into(),
            taken,
        };
        assert_eq!(id(&ports(&[port(8082, false)])), "good");
        let found = ports(&[port(8082, true), port(6443, false)]);
        let Finding::Note { text, fix } = found else {
            panic!("{found:?}");
        };
        assert!(text.contains("8082 (the tunnel)") && !text.contains("6443"));
        assert!(fix.unwrap().contains(":8082"));
    }

    #[test]
    fn clocks_without_a_battery_and_clocks_put_back() {
        assert_eq!(id(&clock(0, None)), "HOST_CLOCK");
        assert_eq!(id(&clock(AFTER + 10, Some(AFTER))), "good");
        assert_eq!(id(&clock(AFTER, Some(AFTER + 3600))), "good");
        assert_eq!(id(&clock(AFTER, Some(AFTER + 365 * 86_400))), "HOST_CLOCK");
    }
}
