//! QEMU as a process: started so that it outlives us, recognised later, killed only if it is ours.
//!
//! A process id alone proves nothing, ids are reused. The pid file therefore also holds the
//! process's start time, and no signal is sent unless both agree.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::VmError;

/// Enough to recognise one process for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub pid: u32,
    /// Boot of the host and start time within it, in whatever form the system gives.
    pub started: String,
    /// The host kernel's count of out-of-memory kills when the process was started.
    #[serde(default)]
    pub oom_kills: Option<u64>,
}

impl Identity {
    /// Describes a living process; `None` if there is no such process.
    pub fn of(pid: u32) -> Option<Identity> {
        Some(Identity {
            pid,
            started: start_mark(pid)?,
            oom_kills: oom_kills(),
        })
    }

    /// True while this very process runs (a zombie has ended).
    pub fn is_alive(&self) -> bool {
        start_mark(self.pid).is_some_and(|now| now == self.started)
    }

    /// True if the host's kernel has killed processes for lack of memory since the start.
    pub fn oom_kills_since(&self) -> bool {
        matches!((self.oom_kills, oom_kills()), (Some(then), Some(now)) if now > then)
    }

    /// Sends SIGKILL, but only to this very process.
    pub fn kill(&self) {
        if self.is_alive() {
            send_kill(self.pid);
        }
    }
}

/// Reads a pid file. `Ok(None)` if there is none.
///
/// # Errors
/// [`VmError::File`], [`VmError::BadPidFile`].
pub fn read_pid_file(path: &Path) -> Result<Option<Identity>, VmError> {
    // As bytes: what is no text at all is damage as well.
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(VmError::file("read", path, e)),
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|e| VmError::BadPidFile {
        path: path.to_path_buf(),
        why: e.to_string(),
    })
}

/// Writes a pid file in one step: a reader sees the old one or the whole new one.
///
/// # Errors
/// [`VmError::File`], [`VmError::DiskFull`].
pub fn write_pid_file(path: &Path, identity: &Identity) -> Result<(), VmError> {
    let text = serde_json::to_vec(identity).map_err(|e| VmError::BadPidFile {
        path: path.to_path_buf(),
        why: e.to_string(),
    })?;
    write_private(path, &text)
}

/// Writes a small file in one step, readable by this user only.
///
/// # Errors
/// [`VmError::File`], [`VmError::DiskFull`].
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), VmError> {
    let partial = path.with_extension("new");
    let mut file = create_private(&partial)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a file helps nobody; the first failure is the one to tell.
        let _ = std::fs::remove_file(&partial);
        return Err(VmError::file("write", &partial, error));
    }
    std::fs::rename(&partial, path).map_err(|e| VmError::file("replace", path, e))
}

/// Removes a file that may already be gone.
///
/// # Errors
/// [`VmError::File`].
pub fn remove(path: &Path) -> Result<(), VmError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(VmError::file("remove", path, e)),
        _ => Ok(()),
    }
}

/// As [`remove`], and it stays removed if the power fails right afterwards.
///
/// # Errors
/// [`VmError::File`].
pub fn remove_for_good(path: &Path) -> Result<(), VmError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(VmError::file("remove", path, e)),
    }
}

/// fsync(2) of a file says nothing of its entry in the folder.
///
/// # Errors
/// [`VmError::File`].
#[cfg(unix)]
pub fn sync_folder(file: &Path) -> Result<(), VmError> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| VmError::file("sync", folder, e))
}

/// Folders cannot be opened there; its file system writes changes of names in their order.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_: &Path) -> Result<(), VmError> {
    Ok(())
}

/// Starts a program that survives us: own session (no terminal, no Ctrl-C), stderr to a file,
/// files readable by this user only.
///
/// # Errors
/// [`VmError::Run`], [`VmError::File`].
pub fn spawn_detached(program: &Path, args: &[OsString], log: &Path) -> Result<Child, VmError> {
    let stderr = create_private(log)?;
    let stdout = stderr
        .try_clone()
        .map_err(|e| VmError::file("open", log, e))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    detach(&mut command);
    command.spawn().map_err(|source| VmError::Run {
        program: program.to_path_buf(),
        source,
    })
}

#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // The emulator needs nothing of our environment, and should not pin our folder.
    command.env_clear().current_dir("/");
    // SAFETY: between fork and exec only async-signal-safe calls are made: setsid, umask.
    unsafe {
        command.pre_exec(|| {
            // Fails only for a group leader, which a fresh child is not.
            if libc::setsid() == -1 {
                return Err(std::io::Error::last_os_error());
            }
            libc::umask(0o077);
            Ok(())
        });
    }
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
}

/// Creates or empties a file that only this user can read.
fn create_private(path: &Path) -> Result<File, VmError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
        .open(path)
        .map_err(|e| VmError::file("create", path, e))
}

#[cfg(unix)]
fn send_kill(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: kill takes two integers and touches no memory of ours. A failure means the
        // process ended meanwhile, which callers see by `is_alive`.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

#[cfg(windows)]
fn send_kill(pid: u32) {
    let pid = pid.to_string();
    // Callers look at `is_alive` afterwards.
    let _ = Command::new("taskkill").args(["/F", "/PID", &pid]).output();
}

/// `boot id:start time in clock ticks`, or `None` for a process that is gone or a zombie.
#[cfg(target_os = "linux")]
fn start_mark(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{}", boot.trim(), start_ticks(&stat)?))
}

/// Field 22 of proc(5)'s stat line, unless field 3 says that the process has ended.
#[cfg(target_os = "linux")]
fn start_ticks(stat: &str) -> Option<&str> {
    // The command name, field 2, may hold spaces and brackets: count from its last bracket.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn start_mark(pid: u32) -> Option<String> {
    let ran = Command::new("/bin/ps")
        .args(["-o", "state=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    let (state, started) = text.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

#[cfg(windows)]
fn start_mark(pid: u32) -> Option<String> {
    let query = format!("(Get-Process -Id {pid}).StartTime.ToFileTimeUtc()");
    let ran = Command::new("powershell")
        .args(["-NoProfile", "-NonInteractive", "-Command", &query])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    (ran.status.success() && !text.is_empty()).then_some(text)
}

/// The kernel's counter of out-of-memory kills, where it tells.
fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        let stat = format!("42 (a) b) (c) S {tail}");
        assert_eq!(start_ticks(&stat), Some("777"));
        assert_eq!(start_ticks(&stat.replace(" S ", " Z ")), None);
        assert_eq!(start_ticks("42 (x"), None);
    }

    #[test]
    fn a_recycled_pid_is_neither_alive_nor_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let honest = Identity::of(child.id()).unwrap();
        assert!(honest.is_alive());
        let mut stale = honest.clone();
        stale.started.push('9');
        assert!(!stale.is_alive());
        stale.kill();
        assert!(honest.is_alive(), "a stranger with our pid was killed");
        honest.kill();
        child.wait().unwrap();
        assert!(!honest.is_alive());
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        // Not waited for: it stays a zombie until we do.
        let pid = child.id();
        while start_mark(pid).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn pid_files_survive_a_round_trip_and_damage_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.pid");
        assert_eq!(read_pid_file(&path).unwrap(), None);
        let me = Identity::of(std::process::id()).unwrap();
        write_pid_file(&path, &me).unwrap();
        assert_eq!(read_pid_file(&path).unwrap(), Some(me));
        for damage in [&b"{\"pid\":"[..], b"", b"\xff\xfe"] {
            std::fs::write(&path, damage).unwrap();
            assert!(matches!(
                read_pid_file(&path),
                Err(VmError::BadPidFile { .. })
            ));
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
        write_pid_file(&path, &Identity::of(std::process::id()).unwrap()).unwrap();
        remove_for_good(&path).unwrap();
        assert!(!path.exists());
        remove_for_good(&path).unwrap();
    }

    #[test]
    fn a_detached_child_has_its_own_session_and_a_private_log() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "echo to-stderr >&2; cut -d' ' -f1,6 /proc/self/stat; cd; pwd; env | wc -l";
        let args = ["-c".into(), OsString::from(script)];
        let mut child = spawn_detached(Path::new("/bin/sh"), &args, &log).unwrap();
        let pid = child.id();
        assert!(child.wait().is_ok());
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("to-stderr"));
        // Field 6 is the session: the shell's own pid, not ours.
        assert!(text.contains(&format!(" {pid}\n")), "{text}");
        let mode = log.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
