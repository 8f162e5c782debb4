//! Build contexts that are finished on the machine: an image made of the machine's own
//! packages cannot travel with Cadet, the recipe can.
//!
//! A context with an executable file `prepare` is unpacked, the script runs in that folder
//! and leaves there what its Dockerfile adds; plain files of the folder are what Docker gets.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;
use tokio::task::{JoinError, spawn_blocking};

/// Name of the script.
const SCRIPT: &str = "prepare";
/// How long it may take: apt may have to fetch packages, over a slow line and on an emulated
/// processor.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The one folder contexts are finished in, and the lock of whoever works there.
const FOLDER: &str = "making";
const LOCK: &str = "making.lock";

/// Why a context could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the build context could not be finished in {path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("the build context could not be finished: {0}")]
    Script(String),
    #[error("the build context was not finished within {} min", PATIENCE.as_secs() / 60)]
    Slow,
    #[error("the build context was not finished: {0}")]
    Ended(#[from] JoinError),
}

/// The context as Docker wants it; one without the script is that already. `home` is a
/// folder that only root may write to.
///
/// # Errors
/// If the script fails; its last words are in the error.
pub async fn finish(context: Vec<u8>, home: &Path) -> Result<Bytes, PrepareError> {
    if !has_script(&context) {
        return Ok(context.into());
    }
    let home = home.to_owned();
    let workshop = spawn_blocking(move || Workshop::open(&home, &context)).await??;
    let script = workshop.folder.join(SCRIPT);
    let running = Command::new(&script)
        .current_dir(&workshop.folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|_| PrepareError::Slow)?
        .map_err(|source| PrepareError::Folder {
            path: script,
            source,
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim_end().lines().next_back();
        let words = last.map_or_else(|| output.status.to_string(), str::to_owned);
        return Err(PrepareError::Script(words));
    }
    spawn_blocking(move || workshop.pack()).await?
}

fn has_script(context: &[u8]) -> bool {
    let mut archive = tar::Archive::new(context);
    // What is wrong with a damaged archive, Docker will say.
    let Ok(entries) = archive.entries() else {
        return false;
    };
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let Ok(path) = entry.path() else { continue };
        if path.strip_prefix(".").unwrap_or(&path) == Path::new(SCRIPT) {
            return true;
        }
    }
    false
}

/// The unpacked context. One at a time on a machine, also of other processes; gone in the end.
struct Workshop {
    folder: PathBuf,
    /// Released when closed, so by a crash as well.
    _lock: File,
}

impl Workshop {
    fn open(home: &Path, context: &[u8]) -> Result<Self, PrepareError> {
        let folder = home.join(FOLDER);
        let failed = |source| PrepareError::Folder {
            path: folder.clone(),
            source,
        };
        let lock = File::create(home.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::create_dir(&folder).map_err(failed)?;
        let workshop = Self {
            folder: folder.clone(),
            _lock: lock,
        };
        let mut archive = tar::Archive::new(context);
        archive.unpack(&workshop.folder).map_err(failed)?;
        Ok(workshop)
    }

    fn pack(self) -> Result<Bytes, PrepareError> {
        self.archive()
            .map(Bytes::from)
            .map_err(|source| PrepareError::Folder {
                path: self.folder.clone(),
                source,
            })
    }

    fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                archive.append_path_with_name(entry.path(), entry.file_name())?;
            }
        }
        archive.into_inner()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "a folder stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn context(files: &[(&str, u32, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, mode, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(*mode);
            archive
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[tokio::test]
    async fn without_a_script_nothing_is_done() {
        let home = tempfile::tempdir().unwrap();
        for plain in [
            context(&[("Dockerfile", 0o644, "FROM scratch")]),
            b"tar".to_vec(),
        ] {
            let finished = finish(plain.clone(), home.path()).await.unwrap();
            assert_eq!(finished, plain);
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn the_script_adds_what_is_missing() {
        let home = tempfile::tempdir().unwrap();
        // Left by somebody who was killed.
        fs::create_dir_all(home.path().join("making/old")).unwrap();
        let script = "#!/bin/sh\nset -e\nmkdir scratch\necho made >scratch/x\n\
                      cat Dockerfile scratch/x >rootfs.tar\n";
        let recipe = context(&[
            ("Dockerfile", 0o644, "FROM scratch\n"),
            ("prepare", 0o755, script),
        ]);
        let finished = finish(recipe, home.path()).await.unwrap();
        let mut archive = tar::Archive::new(&finished[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            seen.push((path, text));
        }
        seen.sort();
        let names: Vec<_> = seen.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, ["Dockerfile", "prepare", "rootfs.tar"]);
        assert_eq!(seen[2].1, "FROM scratch\nmade\n");
        assert!(!home.path().join("making").exists());
    }

    #[tokio::test]
    async fn a_failed_script_says_why() {
        let home = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\necho one >&2\necho no mirror answers >&2\nexit 1\n";
        let error = finish(context(&[("prepare", 0o755, script)]), home.path())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the build context could not be finished: no mirror answers"
        );
        let silent = context(&[("prepare", 0o755, "#!/bin/sh\nexit 3\n")]);
        let error = finish(silent, home.path()).await.unwrap_err().to_string();
        assert!(error.ends_with("exit status: 3"), "{error}");
        assert!(!home.path().join("making").exists());
    }
}
