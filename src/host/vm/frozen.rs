//! A machine that stands still in files: written while it is paused, checked, loaded again.
//!
//! ```text
//! suspend    pause ─ save (whole) ─ destroy            thaw ─ resume, once: then it is stale
//! snapshot   pause ─ save (whole) + disks ─ resume      disks back ─ thaw ─ resume, often
//! template   (memory in a file) pause ─ save (outside)  thaw with the memory copied, often
//! ```
//! What is loaded is compared with its note first; a machine that does not fit is never woken.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::checksum::{Mark, Stamp};
use crate::config::MachineConfig;
use crate::error::VmError;
use crate::key::Key;
use crate::lifecycle::Machine;
use crate::migrate::{self, Layout};
use crate::process;
use crate::qemu::Emulator;

/// For a snapshot inside a disk image: its tables are copied, its data is not.
const DISK: Duration = Duration::from_secs(60);

/// What is noted of a saved machine, in a file of its own that is written last and removed
/// first: without it there is nothing to wake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it can be loaded into.
    pub key: Key,
    /// How its memory was written.
    pub layout: Layout,
    /// The file of its state.
    pub state: Mark,
    /// The file of its memory, where that is one of its own.
    pub memory: Option<Mark>,
    /// Its disk, where that must be as it was left.
    pub disk: Option<Stamp>,
    /// Seconds since 1970.
    pub saved: u64,
    /// Which program of ours runs in the guest.
    pub program: String,
}

impl Note {
    /// Reads a note; `None` if there is none.
    ///
    /// # Errors
    /// [`VmError::NotUsable`] for one that was not written to its end.
    pub fn read(path: &Path) -> Result<Option<Note>, VmError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(VmError::file("read", path, e)),
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some)
            .map_err(|e| VmError::NotUsable(format!("{} is damaged: {e}", path.display())))
    }

    /// Writes it in one step.
    ///
    /// # Errors
    /// [`VmError::File`], [`VmError::DiskFull`].
    pub fn write(&self, path: &Path) -> Result<(), VmError> {
        let text = serde_json::to_vec(self)
            .map_err(|e| VmError::file("write", path, std::io::Error::other(e)))?;
        process::write_private(path, &text)
    }
}

/// The files of a saved machine.
pub struct Files<'a> {
    /// State of processor and devices, and of the memory if it has no file of its own.
    pub state: &'a Path,
    /// The memory's own file.
    pub memory: Option<&'a Path>,
}

impl Machine {
    /// Writes the state of a paused guest. It stays paused, and may be resumed or destroyed.
    ///
    /// # Errors
    /// Those of QMP; [`VmError::Migration`].
    pub async fn save(&self, state: &Path, layout: Option<Layout>) -> Result<Layout, VmError> {
        // Of a writer that was killed; QEMU does one such work at a time, and none of a guest
        // that has not gone on since the last (migration/migration.c).
        migrate::abandon(&mut self.control().await?).await?;
        if self.state().await.is_written() {
            self.resume().await?;
            self.pause().await?;
        }
        let mut qmp = self.control().await?;
        let layout = layout.unwrap_or_else(|| Layout::whole(qmp.version));
        migrate::save(&mut qmp, state, layout).await?;
        Ok(layout)
    }

    /// Keeps what the disks of a paused guest hold now, inside their images and under `name`.
    /// Must come before [`Machine::save`], which lets go of the disks.
    ///
    /// # Errors
    /// Those of QMP.
    pub async fn keep_disks(&self, name: &str) -> Result<(), VmError> {
        self.each_disk("blockdev-snapshot-internal-sync", name)
            .await
    }

    /// Forgets what [`Machine::keep_disks`] kept. A disk that never had it is no error.
    ///
    /// # Errors
    /// Those of QMP.
    pub async fn forget_disks(&self, name: &str) -> Result<(), VmError> {
        let done = self
            .each_disk("blockdev-snapshot-delete-internal-sync", name)
            .await;
        match done {
            // block/snapshot.c: "Snapshot with id 'null' and name 'x' does not exist on device"
            Err(VmError::QmpRefused { description, .. })
                if description.contains("does not exist") =>
            {
                Ok(())
            }
            done => done,
        }
    }

    async fn each_disk(&self, command: &str, name: &str) -> Result<(), VmError> {
        let mut qmp = self.control().await?;
        for (index, disk) in self.config().disks.iter().enumerate() {
            if disk.read_only {
                continue;
            }
            let arguments = json!({ "device": format!("disk{index}"), "name": name });
            qmp.execute(command, arguments, DISK).await?;
        }
        Ok(())
    }

    /// Starts QEMU with a saved state. The guest stands still until it is resumed.
    ///
    /// The files are read and compared while QEMU starts; nothing of them is loaded before.
    ///
    /// # Errors
    /// [`VmError::NotUsable`] with why it does not fit; as [`Machine::start`].
    pub async fn thaw(
        config: MachineConfig,
        emulator: &Emulator,
        files: &Files<'_>,
        note: &Note,
    ) -> Result<Machine, VmError> {
        if let Some(why) = note.key.obstacle(&Key::of(&config, emulator)) {
            return Err(VmError::NotUsable(why));
        }
        let mut reading = vec![Reading::begin(files.state, note.state)?];
        match (files.memory, note.memory) {
            (Some(path), Some(mark)) => reading.push(Reading::begin(path, mark)?),
            (None, None) => {}
            _ => return Err(VmError::NotUsable("its memory is not in its files".into())),
        }
        let began = Instant::now();
        let mut machine = Machine::launch(config, emulator, &["-incoming", "defer"]).await?;
        let loaded = async {
            let mut qmp = machine.await_control(began).await?;
            for one in reading {
                one.compare().await?;
            }
            migrate::load(&mut qmp, files.state, note.layout).await
        };
        let loaded = loaded.await;
        let loaded = match loaded {
            Err(error) => Err(machine.or_died(error).await),
            Ok(()) => Ok(()),
        };
        machine.unless(loaded)
    }
}

/// A file that is being compared with its mark.
struct Reading {
    path: PathBuf,
    expected: Mark,
    found: tokio::task::JoinHandle<Result<Mark, VmError>>,
}

impl Reading {
    /// What can be told at once is told at once: a missing file, a wrong length.
    fn begin(path: &Path, expected: Mark) -> Result<Reading, VmError> {
        let length = match path.metadata() {
            Ok(seen) => seen.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(VmError::NotUsable(format!("{} is gone", path.display())));
            }
            Err(e) => return Err(VmError::file("look at", path, e)),
        };
        if length != expected.bytes {
            return Err(damaged(path));
        }
        Ok(Reading {
            path: path.to_path_buf(),
            expected,
            found: Mark::begin(path),
        })
    }

    async fn compare(self) -> Result<(), VmError> {
        let found = match self.found.await {
            Ok(found) => found?,
            Err(e) => return Err(VmError::file("read", self.path, std::io::Error::other(e))),
        };
        if found == self.expected {
            Ok(())
        } else {
            Err(damaged(&self.path))
        }
    }
}

fn damaged(path: &Path) -> VmError {
    VmError::NotUsable(format!("{} is not what was written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;
    use crate::config::samples;
    use crate::qemu::Version;

    fn emulator() -> Emulator {
        Emulator {
            // Nothing here may start it.
            path: "/nowhere/qemu".into(),
            version: Version(10, 0, 2),
            arch: Arch::Amd64,
        }
    }

    fn note(dir: &Path) -> Note {
        std::fs::write(dir.join("state"), "the state").unwrap();
        Note {
            key: Key::of(&samples::machine(dir), &emulator()),
            layout: Layout::Mapped,
            state: Mark::of(&dir.join("state")).unwrap(),
            memory: None,
            disk: None,
            saved: 1,
            program: "p".into(),
        }
    }

    #[test]
    fn a_note_is_read_back_or_told_to_be_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note.json");
        assert_eq!(Note::read(&path).unwrap(), None);
        let note = note(dir.path());
        note.write(&path).unwrap();
        assert_eq!(Note::read(&path).unwrap(), Some(note));
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Note::read(&path), Err(VmError::NotUsable(_))));
    }

    #[tokio::test]
    async fn what_does_not_fit_starts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let note = note(at);
        let state = at.join("state");
        let files = Files {
            state: &state,
            memory: None,
        };
        let thaw = |config: MachineConfig| {
            let (files, note) = (&files, &note);
            async move {
                let done = Machine::thaw(config, &emulator(), files, note).await;
                done.map(drop).unwrap_err()
            }
        };
        let mut larger = samples::machine(at);
        larger.memory_mib *= 2;
        let error = thaw(larger).await;
        assert!(error.to_string().contains("-m 2048M"), "{error}");

        std::fs::write(&state, "cut").unwrap();
        let error = thaw(samples::machine(at)).await;
        assert!(matches!(error, VmError::NotUsable(_)), "{error}");
        std::fs::remove_file(&state).unwrap();
        let error = thaw(samples::machine(at)).await;
        assert!(error.to_string().contains("is gone"), "{error}");
    }
}
