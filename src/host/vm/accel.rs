//! Which accelerator works here: tried with the probe kernel, never assumed.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::argv;
use crate::config::{Arch, HostOs};
use crate::error::VmError;
use crate::probe;
use crate::qemu::Emulator;

/// How guest instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// Linux.
    Kvm,
    /// macOS.
    Hvf,
    /// Windows.
    Whpx,
    /// Software translation: works everywhere, about ten times slower.
    Tcg,
}

impl Accel {
    pub fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Hvf => "hvf",
            Accel::Whpx => "whpx",
            Accel::Tcg => "tcg",
        }
    }

    /// The hardware accelerator of an operating system.
    pub fn native(os: HostOs) -> Option<Accel> {
        match os {
            HostOs::Linux => Some(Accel::Kvm),
            HostOs::MacOs => Some(Accel::Hvf),
            HostOs::Windows => Some(Accel::Whpx),
            HostOs::Other => None,
        }
    }
}

/// The outcome of trying; worth caching, because trying a broken KVM can take a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccelChoice {
    pub accel: Accel,
    /// Why it is not the hardware accelerator, for the warning. `None` if it is.
    pub reason: Option<String>,
}

/// Longest time the probe may take under an accelerator. Working ones need a fraction of
/// a second; the rest is for a laptop that is busy.
const DEADLINE: Duration = Duration::from_secs(5);

/// Tries the hardware accelerator and falls back to TCG with the reason.
///
/// `scratch` is a folder for the probe's file. Blocks up to five seconds.
///
/// # Errors
/// [`VmError::File`] if the probe cannot be written, [`VmError::Run`] if QEMU cannot be run.
pub fn choose(emulator: &Emulator, os: HostOs, scratch: &Path) -> Result<AccelChoice, VmError> {
    let fall_back = |reason: String| AccelChoice {
        accel: Accel::Tcg,
        reason: Some(reason),
    };
    let Some(accel) = Accel::native(os) else {
        return Ok(fall_back("this system has no known accelerator".into()));
    };
    if Arch::host() != Some(emulator.arch) {
        let arch = emulator.arch.debian();
        return Ok(fall_back(format!(
            "an {arch} guest must be emulated on this machine"
        )));
    }
    if let Some(reason) = device_trouble(accel) {
        return Ok(fall_back(reason));
    }
    Ok(match try_accel(emulator, accel, os, scratch)? {
        None => AccelChoice {
            accel,
            reason: None,
        },
        Some(evidence) => {
            let device = match accel {
                Accel::Kvm => "/dev/kvm opens but cannot run a guest here".to_owned(),
                other => format!("{} cannot run a guest here", other.name()),
            };
            fall_back(format!("{device}: {evidence}"))
        }
    })
}

/// What can be known about the device without starting anything.
fn device_trouble(accel: Accel) -> Option<String> {
    if accel != Accel::Kvm {
        return None;
    }
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    match opened {
        Ok(_) => None,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(
            "there is no /dev/kvm: virtualisation is off in the firmware, \
             or this is a virtual machine without nesting"
                .into(),
        ),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("no permission to open /dev/kvm: add your user to the group kvm".into())
        }
        Err(e) => Some(format!("cannot open /dev/kvm: {e}")),
    }
}

/// Runs the probe under one accelerator. `Ok(None)`: it works; `Ok(Some(evidence))`: it does not.
///
/// # Errors
/// As [`choose`].
pub fn try_accel(
    emulator: &Emulator,
    accel: Accel,
    os: HostOs,
    scratch: &Path,
) -> Result<Option<String>, VmError> {
    let kernel = ProbeFile::write(emulator.arch, scratch)?;
    let mut args: Vec<OsString> = Vec::new();
    args.extend(["-nodefaults", "-no-user-config", "-display", "none"].map(OsString::from));
    args.extend(argv::processor_args(emulator.arch, accel));
    args.extend(["-m", "64M", "-no-reboot", "-kernel"].map(OsString::from));
    args.push(kernel.0.as_os_str().to_owned());
    args.extend(probe::flags(emulator.arch).iter().map(OsString::from));
    args.extend(argv::sandbox_args(os, false));
    let child = Command::new(&emulator.path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|source| VmError::Run {
        program: emulator.path.clone(),
        source,
    })?;
    Ok(judge(child, emulator.arch))
}

fn judge(mut child: Child, arch: Arch) -> Option<String> {
    let (said, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let started = Instant::now();
    let (status, evidence) = loop {
        // A broken KVM pauses the guest with this line and stays alive for ever.
        let broken = stderr.text().contains("internal error");
        match child.try_wait() {
            Ok(Some(status)) => break (Some(status), None),
            Ok(None) if broken => break (None, None),
            Ok(None) if started.elapsed() > DEADLINE => {
                let seconds = DEADLINE.as_secs();
                break (None, Some(format!("no answer within {seconds} s")));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => break (None, Some(e.to_string())),
        }
    };
    if status.is_none() {
        // Fails only if the process ended in between, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
    let worked = match arch {
        Arch::Amd64 => status.and_then(|s| s.code()) == Some(probe::AMD64_EXIT),
        Arch::Arm64 => {
            status.is_some_and(|s| s.success())
                && said.finish().contains(char::from(probe::ARM64_MARK))
        }
    };
    if worked {
        return None;
    }
    let stderr = stderr.finish();
    let first_line = stderr.lines().find(|l| !l.trim().is_empty());
    let first_line = first_line.map(|l| l.trim().to_owned());
    let status = status.map(|s| format!("QEMU ended with {s}"));
    Some(
        [evidence, first_line, status]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
    )
}

/// Reads a pipe on a thread so that QEMU never blocks on it and we can look at any time.
struct Collected {
    text: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Collected {
    let text = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = text.clone();
    let reader = pipe.map(|mut pipe| {
        std::thread::spawn(move || {
            let mut chunk = [0u8; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                if let Ok(mut all) = sink.lock() {
                    all.extend_from_slice(&chunk[..n]);
                }
            }
        })
    });
    Collected { text, reader }
}

impl Collected {
    fn text(&self) -> String {
        let bytes = self.text.lock().map(|b| b.clone()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything until the writer closed its end.
    fn finish(mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // The thread cannot panic: it only reads and appends.
            let _ = reader.join();
        }
        self.text()
    }
}

/// The probe on disk, removed afterwards.
struct ProbeFile(PathBuf);

impl ProbeFile {
    fn write(arch: Arch, scratch: &Path) -> Result<ProbeFile, VmError> {
        let path = scratch.join(format!("probe-{}-{}", arch.debian(), std::process::id()));
        std::fs::write(&path, probe::image(arch))
            .map_err(|e| VmError::file("write", path.clone(), e))?;
        Ok(ProbeFile(path))
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // A leftover of 76 bytes in a scratch folder is no reason to fail.
        let _ = std::fs::remove_file(&self.0);
    }
}
