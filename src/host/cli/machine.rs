//! A profile's machines as commands see them: the record, their state, switching them off.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use cadet_api::keeper::Ask;
use cadet_state::{Base, Phase, Profile, ProfilePaths, Settings, Store};
use cadet_vm::{
    Accel, Arch, Disk, DiskFormat, Machine, MachineConfig, Memory, QmpEndpoint, State,
    StopDeadlines, StopStage, Stopped,
};

use crate::Context;
use crate::error::{CliError, Result};
use crate::frozen::{suspend, template};
use crate::keeper;
use crate::nodes::{Kept, Node};
use crate::servers;

/// The profile commands mean where none was ever named.
pub const FIRST_PROFILE: &str = "cadet";

/// Port of sshd in the guest.
pub const GUEST_SSH: u16 = 22;
/// Port of the API server in the guest.
pub const GUEST_API: u16 = 6443;

/// The record of the command's profile, unless a delete of it is under way.
///
/// # Errors
/// GUEST_NOT_FOUND, HOST_PROFILE_BUSY.
pub fn sound(cx: &Context) -> Result<Profile> {
    let profile = profile(cx)?;
    if profile.phase != Phase::Deleting {
        return Ok(profile);
    }
    Err(CliError::new(
        "HOST_PROFILE_BUSY",
        format!("a delete of profile {} did not finish", cx.name),
    )
    .why("its machines or files may be half gone")
    .fix(again(cx, "delete")))
}

/// The record of the command's profile.
///
/// # Errors
/// GUEST_NOT_FOUND.
pub fn profile(cx: &Context) -> Result<Profile> {
    let none = || {
        let create = again(cx, "start");
        CliError::new(
            "GUEST_NOT_FOUND",
            format!("there is no profile {}", cx.name),
        )
        .fix(format!(
            "{create}      makes it\ncadet list      shows what there is"
        ))
    };
    // Looking must not make folders: a question leaves no trace.
    if !cx.world.home.database().exists() {
        return Err(none());
    }
    Store::open(&cx.world.home)?.get(&cx.name)?.ok_or_else(none)
}

/// Keeps the record.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE, HOST_STATE_CORRUPT.
pub fn save(cx: &Context, profile: &Profile) -> Result<()> {
    Ok(Store::open(&cx.world.home)?.put(profile)?)
}

/// Why a guest stands still that found no room for a write.
const OUT_OF_SPACE: &str =
    "QEMU paused the guest because a write to its disk failed: is the disk full?";
/// QEMU's word for a guest that somebody paused (RunState in its run-state.json).
const PAUSED: &str = "paused";

/// Its word for a guest that sleeps, and that the power button wakes.
const ASLEEP: &str = "suspended";

/// What the machine is doing, in a command's words.
pub struct MachineState {
    state: Option<State>,
    trouble: Option<String>,
    since: Option<Duration>,
    suspended: bool,
    /// Set where a server is in the machine's place.
    server: Option<servers::State>,
}

impl MachineState {
    /// True if the guest executes.
    pub fn is_running(&self) -> bool {
        matches!(self.state, Some(State::Running { .. }))
            || self.server == Some(servers::State::Answers)
    }

    /// True if there is a QEMU process, whatever it does.
    pub fn has_process(&self) -> bool {
        matches!(
            self.state,
            Some(State::Running { .. } | State::Paused { .. } | State::Unresponsive { .. })
        )
    }

    /// True if the guest stands still and goes on when it is told to.
    pub fn is_paused(&self) -> bool {
        self.state.as_ref().is_some_and(State::is_held)
    }

    /// True if somebody asked for that, and for nothing more.
    pub fn was_asked_to_pause(&self) -> bool {
        matches!(&self.state, Some(State::Paused { status, .. }) if status == PAUSED)
    }

    /// True if the guest waits for room on this computer's disk.
    pub fn is_out_of_space(&self) -> bool {
        self.state.as_ref().is_some_and(State::is_out_of_space)
    }

    /// One word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match &self.server {
            Some(servers::State::Answers) => return "Running",
            Some(servers::State::Silent(_)) => return "Silent",
            Some(servers::State::Stopped) | None => {}
        }
        match &self.state {
            Some(State::Running { .. }) => "Running",
            Some(State::Paused { .. }) => "Paused",
            Some(State::Unresponsive { .. }) => "Hanging",
            // Its process may have ended after the command that suspended it was killed.
            Some(State::Absent | State::Died(_)) | None if self.suspended => "Suspended",
            Some(State::Died(_)) => "Died",
            Some(State::Absent) | None => "Stopped",
        }
    }

    /// Why it is not simply running or stopped.
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            Some(state) if state.is_out_of_space() => Some(OUT_OF_SPACE.into()),
            Some(State::Paused { status, .. }) if status == PAUSED => {
                Some("it was paused: its processors stand still, its memory is kept".into())
            }
            Some(state) if state.is_held() => Some(
                "the command that wrote its state did not end: it stands still, its memory is kept"
                    .into(),
            ),
            Some(State::Paused { status, .. }) => Some(format!("QEMU says {status}")),
            Some(State::Unresponsive { why, .. }) => Some(why.clone()),
            Some(State::Died(death)) if !self.suspended => Some(death.to_string()),
            Some(State::Running { .. } | State::Absent | State::Died(_)) | None => {
                self.trouble.clone()
            }
        }
    }

    /// When QEMU was started, since 1970.
    pub fn since(&self) -> Option<Duration> {
        self.since
    }
}

/// Looks at a profile's first machine; answers within seconds.
pub async fn state_of(files: &ProfilePaths, profile: &Profile) -> MachineState {
    state_of_node(files, profile, &Node::first(&profile.name)).await
}

/// Looks at one machine; `files` are the profile's. Answers within seconds.
pub async fn state_of_node(files: &ProfilePaths, profile: &Profile, node: &Node) -> MachineState {
    let since = std::fs::metadata(node.files(files).pid())
        .and_then(|m| m.modified())
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    if let Some(server) = profile.server(node.number) {
        let seen = servers::state(server).await;
        let trouble = match &seen {
            servers::State::Silent(why) => Some(why.clone()),
            servers::State::Answers | servers::State::Stopped => None,
        };
        return MachineState {
            state: None,
            trouble,
            since: None,
            suspended: false,
            server: Some(seen),
        };
    }
    let suspended = suspend::is(&node.files(files));
    let Some(config) = config(files, profile, node) else {
        return MachineState {
            state: None,
            trouble: None,
            since: None,
            suspended,
            server: None,
        };
    };
    match Machine::look(&config).await {
        Ok(state) => MachineState {
            state: Some(state),
            trouble: None,
            since,
            suspended,
            server: None,
        },
        Err(e) => MachineState {
            state: None,
            trouble: Some(e.to_string()),
            since,
            suspended,
            server: None,
        },
    }
}

/// The profile's record if its machine runs.
///
/// # Errors
/// GUEST_NOT_FOUND, GUEST_NOT_RUNNING, GUEST_PAUSED, DRIVER_MACHINE_DIED.
pub async fn running(cx: &Context) -> Result<Profile> {
    let profile = profile(cx)?;
    must_run(cx, &profile, &Node::first(&profile.name)).await?;
    Ok(profile)
}

/// Wants one machine to run.
///
/// # Errors
/// GUEST_NOT_RUNNING, GUEST_PAUSED, DRIVER_MACHINE_DIED.
pub async fn must_run(cx: &Context, profile: &Profile, node: &Node) -> Result<()> {
    let state = state_of_node(&cx.world.files(&cx.name), profile, node).await;
    if state.is_running() {
        return Ok(());
    }
    if let (Some(server), Some(why)) = (profile.server(node.number), &state.trouble) {
        return Err(servers::silent(cx, server, why));
    }
    Err(match &state.state {
        Some(State::Died(_)) if !state.suspended => died(cx, node, &state),
        _ if state.is_paused() => paused(cx, node),
        _ if node.is_first() => not_running(cx, state.reason()),
        _ => CliError::new(
            "GUEST_NOT_RUNNING",
            format!("{} is not running", which(cx, node)),
        )
        .why(state.reason().unwrap_or_else(|| {
            "it was stopped or suspended, or its first start has not come that far".into()
        }))
        .fix(node.start_command(cx)),
    })
}

/// The error for a machine that is off.
pub fn not_running(cx: &Context, why: Option<String>) -> CliError {
    CliError::new(
        "GUEST_NOT_RUNNING",
        format!("the machine of profile {} is not running", cx.name),
    )
    .why(why.unwrap_or_else(|| {
        "it was stopped or suspended, or its first start has not come that far".into()
    }))
    .fix(again(cx, "start"))
}

/// The error for a machine that ended by itself.
pub fn died(cx: &Context, node: &Node, state: &MachineState) -> CliError {
    let why = match &state.state {
        Some(State::Died(death)) => {
            let tail = if death.qemu_tail.is_empty() {
                &death.serial_tail
            } else {
                &death.qemu_tail
            };
            let tail: Vec<_> = tail.iter().rev().take(4).rev().cloned().collect();
            format!("{death}\n{}", tail.join("\n"))
                .trim_end()
                .to_string()
        }
        _ => state
            .reason()
            .unwrap_or_else(|| "it is no longer there".into()),
    };
    let which = which(cx, node);
    CliError::new("DRIVER_MACHINE_DIED", format!("{which} ended by itself"))
        .why(why)
        .fix(node.start_command(cx))
        .log(node.console_command(cx))
}

/// The error for a machine that was asked to stand still.
fn paused(cx: &Context, node: &Node) -> CliError {
    let which = which(cx, node);
    CliError::new("GUEST_PAUSED", format!("{which} is paused"))
        .why("its processors stand still, its memory is kept")
        .fix(again(cx, "unpause"))
}

/// A machine in a sentence.
fn which(cx: &Context, node: &Node) -> String {
    if node.is_first() {
        format!("the machine of profile {}", cx.name)
    } else {
        format!("the machine {}", node.name)
    }
}

/// Holds a machine still, or lets it go on; false if it did so already. One that waits for room
/// on the disk goes on if there is some.
///
/// # Errors
/// GUEST_NOT_RUNNING, DRIVER_MACHINE_DIED, DRIVER_CONTROL, HOST_DISK_FULL.
pub async fn hold(cx: &Context, profile: &Profile, node: &Node, still: bool) -> Result<bool> {
    let files = cx.world.files(&cx.name);
    let state = state_of_node(&files, profile, node).await;
    if state.is_paused() == still && (still || state.is_running()) {
        return Ok(false);
    }
    let waits = state.is_out_of_space() && !still;
    if !state.is_paused() && !waits {
        must_run(cx, profile, node).await?;
    }
    let none = || not_running(cx, None);
    let config = config(&files, profile, node).ok_or_else(none)?;
    let machine = Machine::attach(&config).await?.ok_or_else(none)?;
    if still {
        machine.pause().await?;
        return Ok(true);
    }
    let own = node.files(&files);
    // Left by a wake that was cut off when all was loaded; see `frozen::suspend`.
    suspend::discard(&own)?;
    if !waits {
        machine.resume().await?;
    } else if !machine.retry().await? {
        return Err(
            disk_full(&own.disk().display().to_string(), OUT_OF_SPACE).fix(format!(
                "free some space, then:  {}",
                node.start_command(cx)
            )),
        );
    }
    // A machine without a keeper is told over the line.
    let _ = keeper::ask(&own.keeper(), Ask::Wake(keeper::wake()), keeper::SOON).await;
    Ok(true)
}

/// Makes the disk of a running machine larger.
///
/// # Errors
/// GUEST_NOT_RUNNING, DRIVER_CONTROL.
pub async fn grow_disk(cx: &Context, profile: &Profile, node: &Node, bytes: u64) -> Result<()> {
    let none = || not_running(cx, None);
    let config = config(&cx.world.files(&cx.name), profile, node).ok_or_else(none)?;
    let machine = Machine::attach(&config).await?.ok_or_else(none)?;
    // The root disk is the first: see `config`.
    Ok(machine.grow_disk(0, bytes).await?)
}

/// Switches a machine off, gracefully first.
///
/// # Errors
/// DRIVER_CONTROL if even SIGKILL does not help; those of `servers::stop`.
pub async fn power_off(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    graceful: Duration,
) -> Result<How> {
    if let Some(server) = profile.server(node.number) {
        return Ok(How(servers::stop(server).await?));
    }
    let files = cx.world.files(&cx.name);
    let Some(config) = config(&files, profile, node) else {
        return Ok(How(OFF));
    };
    let Some(machine) = Machine::attach(&config).await? else {
        cadet_vm::lifecycle::forget(&config)?;
        return Ok(How(OFF));
    };
    let state = machine.state().await;
    let mut deadlines = StopDeadlines {
        graceful,
        ..StopDeadlines::default()
    };
    if state.is_held() {
        // A guest that stands still does not hear the power button. What was saved of it is of
        // no use once it goes on.
        suspend::discard(&node.files(&files))?;
        machine.resume().await?;
    } else if state.is_out_of_space() {
        // Nor does it while there is no room for what it wrote last.
        if !machine.retry().await? {
            cx.ui.warn("machine", OUT_OF_SPACE);
            deadlines.graceful = Duration::ZERO;
        }
    } else if matches!(&state, State::Paused { status, .. } if status != ASLEEP) {
        // Nor does what is loaded half, or has crashed.
        deadlines.graceful = Duration::ZERO;
    }
    let stopped = machine
        .stop(deadlines, |stage| {
            let text = match stage {
                StopStage::PowerOff => "shutting down",
                StopStage::Quit => "no answer to the power button; switching off",
                StopStage::Kill => "QEMU hangs; killing it",
            };
            cx.ui.progress(text, None);
        })
        .await?;
    Ok(How(match stopped {
        Stopped::Already => OFF,
        Stopped::Gracefully => "shut down",
        Stopped::Forced => "switched off: the guest did not shut down in time",
        Stopped::Killed => "killed: QEMU did not answer",
    }))
}

/// Removes a machine's process at once, for `delete`; of a server, what Cadet put there.
///
/// # Errors
/// DRIVER_CONTROL if even SIGKILL does not help; those of `servers::remove`.
pub async fn destroy(cx: &Context, profile: &Profile, node: &Node) -> Result<()> {
    if let Some(server) = profile.server(node.number) {
        return servers::remove(cx, server).await;
    }
    let files = cx.world.files(&cx.name);
    let Some(config) = config(&files, profile, node) else {
        return Ok(());
    };
    if let Some(machine) = Machine::attach(&config).await? {
        machine.destroy(StopDeadlines::default()).await?;
    }
    Ok(cadet_vm::lifecycle::forget(&config)?)
}

/// What is said of a machine that was off already.
const OFF: &str = "was not running";

/// How a machine was stopped.
pub struct How(&'static str);

impl How {
    /// For the step's line.
    pub fn told(&self) -> &'static str {
        self.0
    }
}

/// What QEMU is to be told of a machine, from the record; `None` before base and ports are
/// known. `files` are the profile's.
pub fn config(files: &ProfilePaths, profile: &Profile, node: &Node) -> Option<MachineConfig> {
    let files = node.files(files);
    let kept = node.kept(profile)?;
    let base = kept.base?;
    let accel = match kept.accelerator {
        Some("kvm") => Accel::Kvm,
        Some("hvf") => Accel::Hvf,
        Some("whpx") => Accel::Whpx,
        _ => Accel::Tcg,
    };
    let mac = mac(&kept, node);
    Some(MachineConfig {
        name: node.name.clone(),
        arch: Arch::host()?,
        accel,
        cpus: kept.spec.cpus,
        memory_mib: u32::try_from(kept.spec.memory_mib).ok()?,
        memory: Memory::Own,
        kernel: base.kernel.clone(),
        initrd: base.initrd.clone(),
        kernel_args: kernel_args(base),
        disks: vec![
            Disk {
                path: files.disk(),
                format: DiskFormat::Qcow2,
                read_only: false,
            },
            Disk {
                path: files.seed(),
                format: DiskFormat::Raw,
                read_only: true,
            },
        ],
        forwards: kept.forwards?,
        mac,
        segment: kept.segment,
        qmp: QmpEndpoint::Unix(files.qmp()),
        qmp_spare: None,
        channel: Some(files.keeper()),
        serial_log: files.serial_log(),
        qemu_log: files.qemu_log(),
        pid_file: files.pid(),
        key_file: Some(files.key()),
        run_as: None,
    })
}

/// Words of the kernel's command line.
pub fn kernel_args(base: &Base) -> Vec<String> {
    base.cmdline
        .split_whitespace()
        .map(str::to_string)
        .collect()
}

/// Hardware address of the card that leads out: a copy's system knows its template's.
pub fn mac(kept: &Kept<'_>, node: &Node) -> String {
    if kept.template.is_some() {
        return template::MAC.into();
    }
    cadet_vm::config::mac_for(&node.name)
}

/// The command line for `verb` on this profile, as it can be pasted.
pub fn again(cx: &Context, verb: &str) -> String {
    // Settings that cannot be read are told by the next command; the flag is right anyhow.
    let current = Settings::read(&cx.world.home).ok().and_then(|s| s.profile);
    if cx.name.as_str() == current.as_deref().unwrap_or(FIRST_PROFILE) {
        format!("cadet {verb}")
    } else {
        format!("cadet -p {} {verb}", cx.name)
    }
}

/// True if we run as root, which Cadet never needs.
pub fn is_root() -> bool {
    // SAFETY: geteuid only reads.
    #[cfg(unix)]
    return unsafe { libc::geteuid() } == 0;
    #[cfg(not(unix))]
    false
}

/// An I/O failure on one of our files, as an error for people.
pub fn io(act: &str, path: &Path, e: &std::io::Error) -> CliError {
    if e.kind() == std::io::ErrorKind::StorageFull {
        return disk_full(&path.display().to_string(), &e.to_string());
    }
    CliError::new(
        "HOST_NOT_READABLE",
        format!("cannot {act} {}", path.display()),
    )
    .why(e.to_string())
    .fix("CADET_HOME=/some/other/folder cadet start")
}

/// The error for a full disk.
pub fn disk_full(place: &str, why: &str) -> CliError {
    CliError::new(
        "HOST_DISK_FULL",
        format!("no space is left on the disk that holds {place}"),
    )
    .why(why)
    .fix("free some space, or move the home:  CADET_HOME=/big/disk cadet start")
}

/// Removes a folder and all in it; none there is fine.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io("remove", dir, &e)),
    }
}

/// Makes a folder and those above it, for its owner alone.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn private_dir(dir: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|e| io("create", dir, &e))
}

/// `file` with `suffix` behind its whole name.
pub fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    file.with_file_name(name)
}

/// Writes a file only its owner may read, whole or not at all.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn write_private(file: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let beside = with_suffix(file, ".new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let done = options
        .open(&beside)
        .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&beside, file));
    done.map_err(|e| {
        // What was half written helps nobody; the error below is the one to tell.
        let _ = std::fs::remove_file(&beside);
        io("write", file, &e)
    })
}
