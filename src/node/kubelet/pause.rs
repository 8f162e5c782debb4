//! The image of the pause process: this very program, so that no registry is needed to
//! start a pod.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::runtime::{Runtime, RuntimeError};

/// Repository of the image, without the tag.
pub(crate) const REPOSITORY: &str = "cadet/pause";
/// Name of the program inside the image; `Dockerfile` refers to it.
const PROGRAM: &str = "cadet-node";

/// Why there is no pause image.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    #[error("could not read {path} for the pause image: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("could not pack the pause image: {0}")]
    Pack(#[source] std::io::Error),
    #[error("could not build the pause image: {0}")]
    Build(#[from] RuntimeError),
}

/// Builds the image once and remembers that it is there.
#[derive(Debug)]
pub struct PauseImage {
    tag: String,
    program: PathBuf,
    present: Mutex<bool>,
}

impl PauseImage {
    /// `program` is a static binary that pauses when called with `pause`; `version` names it.
    #[must_use]
    pub fn new(program: PathBuf, version: &str) -> Self {
        // Tags allow no plus sign.
        let tag = format!("{REPOSITORY}:{}", version.replace('+', "-"));
        Self {
            tag,
            program,
            present: Mutex::new(false),
        }
    }

    /// The image's reference, building the image if the engine does not have it.
    ///
    /// # Errors
    /// If the program cannot be read or the engine cannot build.
    pub async fn ensure(&self, runtime: &dyn Runtime) -> Result<&str, PauseError> {
        let mut present = self.present.lock().await;
        if !*present {
            if runtime.image(&self.tag).await?.is_none() {
                tracing::info!(image = self.tag, "building the pause image");
                let program =
                    tokio::fs::read(&self.program)
                        .await
                        .map_err(|source| PauseError::Read {
                            path: self.program.clone(),
                            source,
                        })?;
                let context = pack(&program).map_err(PauseError::Pack)?;
                runtime.build(&self.tag, context, HashMap::new()).await?;
            }
            *present = true;
        }
        Ok(&self.tag)
    }

    /// Somebody may have removed the image: look again next time.
    pub async fn forget(&self) {
        *self.present.lock().await = false;
    }
}

/// A build context that makes an image of nothing but the program.
fn pack(program: &[u8]) -> std::io::Result<Bytes> {
    let dockerfile = format!(
        "FROM scratch\nCOPY {PROGRAM} /{PROGRAM}\nENTRYPOINT [\"/{PROGRAM}\", \"pause\"]\n"
    );
    let mut archive = tar::Builder::new(Vec::with_capacity(program.len() + 4096));
    for (name, mode, bytes) in [
        ("Dockerfile", 0o644, dockerfile.as_bytes()),
        (PROGRAM, 0o755, program),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes)?;
    }
    Ok(archive.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::runtime::fake::FakeRuntime;

    #[test]
    fn the_context_holds_the_program_executable() {
        let packed = pack(b"ELF").unwrap();
        let mut archive = tar::Archive::new(packed.as_ref());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let path = entry.path().unwrap().display().to_string();
            found.push((path, entry.header().mode().unwrap(), text));
        }
        assert_eq!(found[0].0, "Dockerfile");
        assert!(
            found[0]
                .2
                .contains("ENTRYPOINT [\"/cadet-node\", \"pause\"]")
        );
        assert_eq!(found[1], ("cadet-node".into(), 0o755, "ELF".into()));
    }

    #[tokio::test]
    async fn it_is_built_once_and_again_only_when_lost() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("p");
        std::fs::write(&program, "ELF").unwrap();
        let runtime = FakeRuntime::default();
        let pause = PauseImage::new(program, "v1.36.0+cadet");
        assert_eq!(
            pause.ensure(&runtime).await.unwrap(),
            "cadet/pause:v1.36.0-cadet"
        );
        pause.ensure(&runtime).await.unwrap();
        assert_eq!(runtime.builds(), 1);
        runtime.forget_images();
        pause.forget().await;
        pause.ensure(&runtime).await.unwrap();
        assert_eq!(runtime.builds(), 2);
    }
}
