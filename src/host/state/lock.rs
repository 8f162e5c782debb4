//! One command at a time may change a profile, one may be in a lesson with it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::store::private_dir;
use crate::{Error, Home, ProfileName, Result};

/// Held while a command changes a profile. The kernel lets go of it when the
/// process ends, however it ends, so there is never a stale lock to clean up.
#[derive(Debug)]
pub struct ProfileLock {
    _file: File,
}

impl ProfileLock {
    /// Takes the lock of `name` for `command`, or says who has it.
    ///
    /// # Errors
    /// [`Error::Locked`] with the other command and its process id.
    pub fn take(home: &Home, name: &ProfileName, command: &str) -> Result<Self> {
        private_dir(&home.profiles())?;
        match hold(&home.profile_lock(name), command)? {
            Held::Mine(file) => Ok(Self { _file: file }),
            Held::By(holder) => Err(Error::Locked {
                profile: name.to_string(),
                holder,
            }),
        }
    }
}

/// Held while a template is made or removed: its machine has files of fixed names.
#[derive(Debug)]
pub struct TemplateLock {
    _file: File,
}

impl TemplateLock {
    /// Takes it for `command`, or says who has it.
    ///
    /// # Errors
    /// [`Error::TemplatesBusy`] with the other command and its process id.
    pub fn take(home: &Home, command: &str) -> Result<Self> {
        private_dir(home.cache())?;
        match hold(&home.template_lock(), command)? {
            Held::Mine(file) => Ok(Self { _file: file }),
            Held::By(holder) => Err(Error::TemplatesBusy { holder }),
        }
    }
}

/// Held while somebody is in a lesson: two at once would keep each other's progress.
#[derive(Debug)]
pub struct LessonLock {
    _file: File,
}

impl LessonLock {
    /// Takes it for `command`, or says who has it.
    ///
    /// # Errors
    /// [`Error::LessonOpen`] with the other command and its process id.
    pub fn take(home: &Home, name: &ProfileName, command: &str) -> Result<Self> {
        private_dir(&home.all_lessons())?;
        match hold(&home.lesson_lock(name), command)? {
            Held::Mine(file) => Ok(Self { _file: file }),
            Held::By(holder) => Err(Error::LessonOpen {
                profile: name.to_string(),
                holder,
            }),
        }
    }
}

/// Longest that a child of a killed command is waited for, and how often it is looked at.
const LAST_BREATH: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

enum Held {
    Mine(File),
    By(String),
}

/// Locks the file at `path` and writes into it who did.
fn hold(path: &Path, command: &str) -> Result<Held> {
    let failed = |source| Error::Create {
        path: path.to_path_buf(),
        source,
    };
    let mut waited = Duration::ZERO;
    let mut file = loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            // `delete` removes the file while it holds the lock: whoever had opened it before
            // would now hold what nobody else looks at.
            Ok(()) if is_at(&file, path).map_err(failed)? => break file,
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The text is for people only; without it the message is still true.
                if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
                    holder = "unknown process".into();
                }
                // A command that was killed while it began a program: for a moment, between its
                // fork and its exec, the child holds what its parent held (flock(2)).
                if has_ended(&holder) && waited < LAST_BREATH {
                    waited += LOOK_AGAIN;
                    std::thread::sleep(LOOK_AGAIN);
                    continue;
                }
                return Ok(Held::By(holder));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    };
    let text = format!("cadet {command}, process {}", std::process::id());
    file.set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.write_all(text.as_bytes()))
        .map_err(failed)?;
    Ok(Held::Mine(file))
}

/// Whether the process that `holder` names, in the words of [`hold`], is no more.
#[cfg(unix)]
fn has_ended(holder: &str) -> bool {
    let number = holder.rsplit(' ').next().and_then(|word| word.parse().ok());
    let Some(process) = number.filter(|process| *process > 0) else {
        return false;
    };
    // SAFETY: signal 0 only asks whether there is such a process (kill(2)).
    let there = unsafe { libc::kill(process, 0) } == 0;
    !there && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// No child inherits a lock there.
#[cfg(not(unix))]
fn has_ended(_: &str) -> bool {
    false
}

/// Whether the open file is the one that lies at `path` now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let mine = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (mine.dev(), mine.ino())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A file that is open keeps its name there until it is closed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> std::io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_command_is_told_who_works() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path());
        let name = ProfileName::parse("cadet").unwrap();
        let first = ProfileLock::take(&home, &name, "start").unwrap();
        let refused = ProfileLock::take(&home, &name, "stop").unwrap_err();
        assert!(
            refused.to_string().contains("cadet start, process"),
            "{refused}"
        );
        drop(first);
        ProfileLock::take(&home, &name, "stop").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_command_was_beginning_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path());
        let name = ProfileName::parse("cadet").unwrap();
        let mut killed = std::process::Command::new("true").spawn().unwrap();
        killed.wait().unwrap();
        std::fs::create_dir_all(home.profiles()).unwrap();
        let path = home.profile_lock(&name);
        std::fs::write(&path, format!("cadet stop, process {}", killed.id())).unwrap();
        // A second handle of the file is what a child has until its exec.
        let inherited = File::open(&path).unwrap();
        inherited.lock().unwrap();
        std::thread::scope(|threads| {
            let taking = threads.spawn(|| ProfileLock::take(&home, &name, "stop"));
            std::thread::sleep(LOOK_AGAIN * 3);
            drop(inherited);
            taking.join().unwrap().unwrap();
        });
    }

    #[cfg(unix)]
    #[test]
    fn one_holds_it_though_its_file_comes_and_goes() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path());
        let name = ProfileName::parse("cadet").unwrap();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 4_000 {
                        let Ok(lock) = ProfileLock::take(&home, &name, "delete") else {
                            continue;
                        };
                        taken.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        // As `delete` does at its end.
                        std::fs::remove_file(home.profile_lock(&name)).unwrap();
                        drop(lock);
                    }
                });
            }
        });
    }
}
