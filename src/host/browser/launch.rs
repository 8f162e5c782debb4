//! Starting a browser and cleaning up after it.
//!
//! The browser may outlive us: `cadet open` returns while the window stays. Its profile
//! folder therefore cannot go with our process; it is removed when the browser ends, if
//! we are still there, or else by the next [`sweep`].

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::command::{Page, Plan};
use crate::find::{Browser, World};
use crate::{BrowserError, Result};

const PREFIX: &str = "cadet-browser-";
/// Holds the browser's process id; written into each profile.
const OWNER: &str = "cadet-owner";

/// A started browser.
#[derive(Debug)]
pub struct Running {
    child: Child,
    profile: PathBuf,
    /// What the user should know about this start.
    pub warnings: Vec<&'static str>,
}

/// Makes a profile below `profiles` (0700) and starts the browser in it, free of our
/// terminal and process group, so that Ctrl-C here does not end it.
///
/// # Errors
/// [`BrowserError::Profile`], [`BrowserError::Start`].
pub fn launch(browser: &Browser, page: &Page, profiles: &Path, world: &World) -> Result<Running> {
    sweep(profiles);
    let profile = make_profile(profiles)?;
    let plan = Plan::new(browser, page, &profile, world);
    start(&plan, profile, Stdio::null())
}

/// As [`launch`] but with a plan of the caller's making; `stdout` is where the browser
/// writes (headless browsers print pages there).
///
/// # Errors
/// As [`launch`].
pub fn launch_with(
    profiles: &Path,
    stdout: Stdio,
    plan: impl FnOnce(&Path) -> Plan,
) -> Result<Running> {
    let profile = make_profile(profiles)?;
    let plan = plan(&profile);
    start(&plan, profile, stdout)
}

fn make_profile(profiles: &Path) -> Result<PathBuf> {
    let failed = |source| BrowserError::Profile {
        path: profiles.into(),
        source,
    };
    fs::create_dir_all(profiles).map_err(failed)?;
    let mut profile = tempfile::Builder::new();
    profile.prefix(PREFIX);
    #[cfg(unix)]
    profile.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    // Kept, because the browser outlives us.
    Ok(profile.tempdir_in(profiles).map_err(failed)?.keep())
}

fn start(plan: &Plan, profile: PathBuf, stdout: Stdio) -> Result<Running> {
    let failed = |source| BrowserError::Profile {
        path: profile.clone(),
        source,
    };
    for (name, text) in &plan.profile_files {
        fs::write(profile.join(name), text).map_err(failed)?;
    }
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(source) => {
            remove(&profile);
            return Err(BrowserError::Start {
                path: plan.program.clone(),
                source,
            });
        }
    };
    fs::write(profile.join(OWNER), child.id().to_string()).map_err(failed)?;
    Ok(Running {
        child,
        profile,
        warnings: plan.warnings.clone(),
    })
}

impl Running {
    /// The browser's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The throw-away profile.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// What the browser prints, if it was started with a pipe.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for the browser to end and removes its profile.
    ///
    /// # Errors
    /// [`BrowserError::Start`] if the system cannot tell how it ended.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let status = self.child.wait().map_err(|source| BrowserError::Start {
            path: self.profile.clone(),
            source,
        })?;
        remove(&self.profile);
        Ok(status)
    }

    /// Ends the browser and removes its profile.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn kill(mut self) -> Result<ExitStatus> {
        // It may have ended by itself; waiting tells.
        let _ = self.child.kill();
        self.wait()
    }
}

/// Removes the profiles whose browser has ended. Returns how many.
pub fn sweep(profiles: &Path) -> usize {
    let Ok(entries) = fs::read_dir(profiles) else {
        return 0;
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && entry.path().is_dir() && !in_use(&entry.path()) && remove(&entry.path()) {
            removed += 1;
        }
    }
    removed
}

/// True if the browser of this profile may still run.
fn in_use(profile: &Path) -> bool {
    let Ok(text) = fs::read_to_string(profile.join(OWNER)) else {
        // Just being made by another process: leave it unless it is old.
        let age = fs::metadata(profile)
            .and_then(|m| m.modified())
            .map(|m| m.elapsed());
        return !matches!(age, Ok(Ok(age)) if age.as_secs() > 60);
    };
    let Ok(pid) = text.trim().parse::<u32>() else {
        return false;
    };
    process_uses(pid, profile)
}

/// The process exists and has the profile among its arguments, so that another program
/// that got the same number later does not keep the folder.
#[cfg(target_os = "linux")]
fn process_uses(pid: u32, profile: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let wanted = profile.as_os_str().as_bytes();
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line.windows(wanted.len()).any(|window| window == wanted),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

#[cfg(not(target_os = "linux"))]
fn process_uses(pid: u32, profile: &Path) -> bool {
    // Both families keep a lock in a profile they use and take it away at the end.
    let _ = pid;
    ["SingletonLock", "lockfile", "lock", ".parentlock"]
        .iter()
        .any(|name| profile.join(name).symlink_metadata().is_ok())
}

/// Removes a profile; helper processes of a browser may still be writing into it for a
/// moment, so a folder that refills is tried again a few times.
fn remove(profile: &Path) -> bool {
    for _ in 0..20 {
        match fs::remove_dir_all(profile) {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Err(error) if retry(&error) => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            // The next sweep tries again.
            Err(_) => return false,
        }
    }
    false
}

fn retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy
    ) || cfg!(windows) && error.kind() == ErrorKind::PermissionDenied
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A "browser" that runs as long as we want: `sh -c SCRIPT PROFILE`.
    fn plan(script: &str) -> impl FnOnce(&Path) -> Plan {
        let script = script.to_owned();
        move |profile| Plan {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script, profile.display().to_string()],
            profile_files: vec![("user.js", "x".into())],
            warnings: vec![],
        }
    }

    #[test]
    fn a_profile_goes_with_its_browser() {
        let dir = tempfile::tempdir().unwrap();
        let running =
            launch_with(dir.path(), Stdio::null(), plan("test -f \"$0/user.js\"")).unwrap();
        let profile = running.profile().to_owned();
        let mode = fs::metadata(&profile).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(running.wait().unwrap().success());
        assert!(!profile.exists());
    }

    #[test]
    fn a_sweep_spares_running_browsers() {
        let dir = tempfile::tempdir().unwrap();
        let alive = launch_with(dir.path(), Stdio::null(), plan("sleep 600; :")).unwrap();
        let mut dead = launch_with(dir.path(), Stdio::null(), plan(":")).unwrap();
        dead.child.wait().unwrap();
        let recycled = launch_with(dir.path(), Stdio::null(), plan(":")).unwrap();
        // Its number belongs to another process now: ours.
        fs::write(
            recycled.profile().join(OWNER),
            std::process::id().to_string(),
        )
        .unwrap();
        fs::create_dir(dir.path().join("not-ours")).unwrap();
        assert_eq!(sweep(dir.path()), 2);
        assert!(alive.profile().exists());
        assert!(dir.path().join("not-ours").exists());
        alive.kill().unwrap();
    }

    #[test]
    fn a_program_that_does_not_start_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let result = launch_with(dir.path(), Stdio::null(), |profile| Plan {
            program: "/no/such/browser".into(),
            ..plan("")(profile)
        });
        assert!(matches!(result, Err(BrowserError::Start { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
