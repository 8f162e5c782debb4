//! Why a machine ended: from exit status, QEMU's stderr and the console log to one reason.
//!
//! Pure functions over text. Every reason carries the line it was read from; where the
//! evidence is thin the reason says so instead of guessing.

use std::path::Path;

/// How much of each log is read, in bytes from the end.
const TAIL_BYTES: u64 = 64 * 1024;
/// Lines of each log shown with a death.
const TAIL_LINES: usize = 12;

/// Why the machine is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A port it should listen on was taken.
    PortTaken { port: Option<u16> },
    /// Another QEMU has the disk open.
    DiskInUse,
    /// The disk image cannot be read.
    CorruptImage,
    /// The host's disk is full.
    DiskFull,
    /// The host could not give the guest its memory.
    NoMemory,
    /// The accelerator failed although it had been tried.
    Accelerator,
    /// QEMU cannot become the user it was asked to become, or its filter killed it.
    Confinement,
    /// The guest's kernel panicked.
    KernelPanic,
    /// The guest was powered off from inside.
    GuestPoweredOff,
    /// Ended by a signal that we did not send.
    Signal { number: i32, out_of_memory: bool },
    /// QEMU ended with an error we have no name for.
    QemuError,
    /// No evidence.
    Unknown,
}

/// The end of a machine with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    pub reason: Reason,
    /// The line the reason was read from.
    pub evidence: Option<String>,
    /// Exit status in words, when we were the parent.
    pub exit: Option<String>,
    /// Last lines of QEMU's stderr.
    pub qemu_tail: Vec<String>,
    /// Last lines of the guest's console.
    pub serial_tail: Vec<String>,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            Reason::PortTaken { port: Some(port) } => {
                write!(f, "port {port} on 127.0.0.1 is already in use")?
            }
            Reason::PortTaken { port: None } => f.write_str("a port is already in use")?,
            Reason::DiskInUse => f.write_str("another QEMU has its disk open")?,
            Reason::CorruptImage => f.write_str("its disk image cannot be read")?,
            Reason::DiskFull => f.write_str("the host's disk is full")?,
            Reason::NoMemory => f.write_str("the host has not enough memory for it")?,
            Reason::Accelerator => f.write_str("the accelerator failed")?,
            Reason::Confinement => f.write_str("QEMU could not lock itself down")?,
            Reason::KernelPanic => f.write_str("the guest's kernel panicked")?,
            Reason::GuestPoweredOff => f.write_str("it was powered off from inside")?,
            Reason::Signal {
                number,
                out_of_memory: true,
            } => write!(
                f,
                "killed by signal {number} while the host's kernel was killing for lack of memory"
            )?,
            Reason::Signal { number, .. } => write!(f, "somebody killed it with signal {number}")?,
            Reason::QemuError => f.write_str("QEMU gave up")?,
            Reason::Unknown => f.write_str("QEMU is gone and left no reason")?,
        }
        match (&self.evidence, &self.exit) {
            (Some(line), _) => write!(f, " ({line})"),
            (None, Some(exit)) => write!(f, " ({exit})"),
            (None, None) => Ok(()),
        }
    }
}

/// What is known about the process's end beside its logs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The host's kernel killed something for lack of memory during the machine's life.
    pub oom_kills: bool,
}

impl Exit {
    /// From a status of our own child.
    pub fn from_status(status: std::process::ExitStatus, oom_kills: bool) -> Exit {
        #[cfg(unix)]
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        #[cfg(not(unix))]
        let signal = None;
        Exit {
            code: status.code(),
            signal,
            oom_kills,
        }
    }

    fn words(&self) -> Option<String> {
        match (self.code, self.signal) {
            (_, Some(signal)) => Some(format!("signal {signal}")),
            (Some(code), _) => Some(format!("exit status {code}")),
            (None, None) => None,
        }
    }
}

/// Lines of QEMU's stderr and the reason each stands for; first hit wins.
const QEMU_LINES: &[(&str, Reason)] = &[
    (
        "Could not set up host forwarding",
        Reason::PortTaken { port: None },
    ),
    ("Address already in use", Reason::PortTaken { port: None }),
    ("Failed to get \"write\" lock", Reason::DiskInUse),
    ("Failed to get shared \"write\" lock", Reason::DiskInUse),
    ("Is another process using the image", Reason::DiskInUse),
    ("No space left on device", Reason::DiskFull),
    ("cannot set up guest memory", Reason::NoMemory),
    ("Cannot allocate memory", Reason::NoMemory),
    ("Image is not in qcow2 format", Reason::CorruptImage),
    ("Image is corrupt", Reason::CorruptImage),
    ("marked as corrupt", Reason::CorruptImage),
    ("Could not open backing file", Reason::CorruptImage),
    ("KVM internal error", Reason::Accelerator),
    ("failed to set MSR", Reason::Accelerator),
    ("failed to initialize kvm", Reason::Accelerator),
    ("Could not access KVM", Reason::Accelerator),
    ("invalid accelerator", Reason::Accelerator),
    ("HV_ERROR", Reason::Accelerator),
    ("WHPX:", Reason::Accelerator),
    ("sandbox", Reason::Confinement),
    ("seccomp", Reason::Confinement),
    ("change process uid", Reason::Confinement),
];

/// Finds the reason. `exit` is what the parent saw; empty if we were not the parent.
pub fn explain(exit: Exit, qemu_log: &str, serial: &str) -> Death {
    let (reason, evidence) = reason(exit, qemu_log, serial);
    Death {
        reason,
        evidence,
        exit: exit.words(),
        qemu_tail: tail(qemu_log),
        serial_tail: tail(serial),
    }
}

fn reason(exit: Exit, qemu_log: &str, serial: &str) -> (Reason, Option<String>) {
    for line in qemu_log.lines() {
        let hit = QEMU_LINES.iter().find(|(needle, _)| line.contains(needle));
        if let Some((_, reason)) = hit {
            let reason = match reason {
                Reason::PortTaken { .. } => Reason::PortTaken {
                    port: forwarded_port(line),
                },
                other => other.clone(),
            };
            return (reason, Some(clean(line)));
        }
    }
    // SIGSYS is the seccomp filter.
    if let Some(31) = exit.signal {
        return (Reason::Confinement, None);
    }
    if let Some(line) = kernel_panic(serial) {
        return (Reason::KernelPanic, Some(line));
    }
    if let Some(number) = exit.signal {
        let out_of_memory = number == 9 && exit.oom_kills;
        return (
            Reason::Signal {
                number,
                out_of_memory,
            },
            None,
        );
    }
    let terminated = qemu_log.lines().rev().find_map(|line| {
        let rest = line.split("terminating on signal ").nth(1)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((digits.parse().ok()?, clean(line)))
    });
    if let Some((number, line)) = terminated {
        let reason = Reason::Signal {
            number,
            out_of_memory: false,
        };
        return (reason, Some(line));
    }
    if let Some(line) = powered_off(serial) {
        return (Reason::GuestPoweredOff, Some(line));
    }
    if exit.code.is_some_and(|code| code != 0) {
        let last = qemu_log.lines().rev().find(|l| !l.trim().is_empty());
        return (Reason::QemuError, last.map(clean));
    }
    if exit.oom_kills {
        // Nobody saw the signal, but the kernel's own counter moved.
        let reason = Reason::Signal {
            number: 9,
            out_of_memory: true,
        };
        return (reason, Some("the kernel's oom_kill counter grew".into()));
    }
    (Reason::Unknown, None)
}

/// The panic line on a console, if the kernel panicked after its last start.
pub fn kernel_panic(serial: &str) -> Option<String> {
    let boot = serial.rfind("Linux version ").unwrap_or(0);
    let line = serial[boot..]
        .lines()
        .find(|l| l.contains("Kernel panic - not syncing"))?;
    Some(clean(line))
}

/// The kernel's last words at a regular power-off, if they are the last on the console.
fn powered_off(serial: &str) -> Option<String> {
    let mut last = serial
        .lines()
        .rev()
        .filter(|l| !l.trim().is_empty())
        .take(3);
    last.find(|l| l.contains("reboot: Power down") || l.contains("reboot: System halted"))
        .map(clean)
}

/// The port in `…hostfwd rule 'tcp:127.0.0.1:2222-:22'`.
fn forwarded_port(line: &str) -> Option<u16> {
    let after = line.split("127.0.0.1:").nth(1)?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The end of a log as text; empty if the file is not there.
pub fn read_tail(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // Evidence is a help: a log that cannot be read must not hide the death itself.
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|l| clean(l)).collect()
}

/// One printable line: a guest must not send escape sequences to the user's terminal.
fn clean(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            // Parameters, then one final letter.
            for c in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        } else if !c.is_control() {
            out.push(c);
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Exit {
        Exit {
            code: Some(code),
            ..Exit::default()
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let log = "qemu-system-x86_64: -netdev user,id=net0: Could not set up host forwarding rule 'tcp:127.0.0.1:2222-:22'";
        let death = explain(exited(1), log, "");
        assert_eq!(death.reason, Reason::PortTaken { port: Some(2222) });
        assert!(death.to_string().contains("port 2222"));
    }

    #[test]
    fn stderr_lines_become_reasons() {
        let cases = [
            (
                "qemu: -drive …: Failed to get \"write\" lock\nIs another process using the image [x]?",
                Reason::DiskInUse,
            ),
            (
                "qemu: -drive …: Image is not in qcow2 format",
                Reason::CorruptImage,
            ),
            (
                "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory",
                Reason::NoMemory,
            ),
            (
                "qemu: error: failed to set MSR 0x10a to 0x0",
                Reason::Accelerator,
            ),
            ("qemu: -foo: invalid option", Reason::QemuError),
        ];
        for (log, expected) in cases {
            assert_eq!(explain(exited(1), log, "").reason, expected, "{log}");
        }
    }

    #[test]
    fn kill_minus_nine_and_the_oom_killer_differ_by_evidence() {
        let killed = Exit {
            signal: Some(9),
            ..Exit::default()
        };
        let death = explain(killed, "", "login:");
        assert!(death.to_string().contains("signal 9"), "{death}");
        let oom = Exit {
            oom_kills: true,
            ..killed
        };
        assert!(explain(oom, "", "").to_string().contains("lack of memory"));
    }

    #[test]
    fn a_panic_counts_only_since_the_last_boot() {
        let panicked = "[0.0] Linux version 6.12\n[1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n";
        assert!(kernel_panic(panicked).unwrap().contains("VFS"));
        let recovered = format!("{panicked}[0.0] Linux version 6.12\n[9.9] all well\n");
        assert_eq!(kernel_panic(&recovered), None);
    }

    #[test]
    fn a_regular_power_off_is_not_a_crash() {
        let serial = "[ 145.3] kvm: exiting\n[  145.309257] reboot: Power down\n";
        let death = explain(Exit::default(), "", serial);
        assert_eq!(death.reason, Reason::GuestPoweredOff);
        let running_again = format!("{serial}[0.0] Linux version 6.12\na\nb\nc\n");
        let death = explain(Exit::default(), "", &running_again);
        assert_eq!(death.reason, Reason::Unknown);
    }

    #[test]
    fn console_lines_cannot_carry_escape_sequences() {
        assert_eq!(clean("\u{1b}[0;32m OK \u{1b}[0m done\r\u{7}"), "OK  done");
    }
}
