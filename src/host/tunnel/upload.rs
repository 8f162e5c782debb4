//! Putting a file into the guest, whole or not at all.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::exec::quote;
use crate::{Result, Tunnel, TunnelError};

/// Exit code of our script for a checksum that differs; below the shell's own 126+.
const DAMAGED: u32 = 65;

/// Where a file goes.
#[derive(Debug, Clone)]
pub struct Destination<'a> {
    /// Absolute path in the guest; its folder must exist.
    pub path: &'a str,
    /// Permission bits, e.g. `0o755`.
    pub mode: u32,
    /// Write as root through `sudo -n`.
    pub as_root: bool,
}

impl Tunnel {
    /// Copies a local file. The destination changes in one step, after the bytes have
    /// arrived, been checked by SHA-256 and been flushed to the guest's disk.
    ///
    /// # Errors
    /// [`TunnelError::LocalIo`], [`TunnelError::Upload`], [`TunnelError::UploadDamaged`]
    /// and connection errors.
    pub async fn upload(&self, local: &Path, to: Destination<'_>) -> Result<()> {
        let failed = |source| TunnelError::LocalIo {
            doing: format!("read {}", local.display()),
            source,
        };
        let mut file = tokio::fs::File::open(local).await.map_err(failed)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer).await.map_err(failed)? {
                0 => break,
                n => digest.update(&buffer[..n]),
            }
        }
        let file = tokio::fs::File::open(local).await.map_err(failed)?;
        self.upload_from(file, &digest.finalize(), to).await
    }

    /// Copies bytes from memory, otherwise as [`Tunnel::upload`].
    ///
    /// # Errors
    /// As [`Tunnel::upload`].
    pub async fn upload_bytes(&self, bytes: &[u8], to: Destination<'_>) -> Result<()> {
        self.upload_from(bytes, &Sha256::digest(bytes), to).await
    }

    async fn upload_from(
        &self,
        from: impl tokio::io::AsyncRead + Send + Unpin,
        digest: &[u8],
        to: Destination<'_>,
    ) -> Result<()> {
        let mut hex = String::with_capacity(64);
        for byte in digest {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        let mut stderr = Vec::new();
        let status = self
            .exec_streams(&command(&to, &hex), from, tokio::io::sink(), &mut stderr)
            .await?;
        match status.shell_code() {
            0 => Ok(()),
            code if u32::from(code) == DAMAGED => Err(TunnelError::UploadDamaged {
                path: to.path.into(),
            }),
            _ => {
                let words = String::from_utf8_lossy(&stderr).trim().to_owned();
                let reason = if words.is_empty() {
                    status.to_string()
                } else {
                    words
                };
                Err(TunnelError::Upload {
                    path: to.path.into(),
                    reason,
                })
            }
        }
    }
}

fn command(to: &Destination<'_>, sha256: &str) -> String {
    let script = format!(
        "set -eu; umask 077; goal={goal}; part=\"$goal.cadet-part.$$\"\n\
         trap 'rm -f \"$part\"' EXIT\n\
         cat >\"$part\"\n\
         set -- $(sha256sum <\"$part\"); [ \"$1\" = {sha256} ] || exit {DAMAGED}\n\
         chmod {mode:o} \"$part\"; sync \"$part\"; mv -f \"$part\" \"$goal\"",
        goal = quote(to.path),
        mode = to.mode & 0o7777,
    );
    let shell = format!("sh -c {}", quote(&script));
    if to.as_root {
        format!("sudo -n {shell}")
    } else {
        shell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    fn run(to: &Destination<'_>, hex: &str, bytes: &[u8]) -> Option<i32> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command(to, hex))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait().unwrap().code()
    }

    #[test]
    fn the_script_replaces_in_one_step_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's a \"file\" $HOME");
        let to = Destination {
            path: path.to_str().unwrap(),
            mode: 0o750,
            as_root: false,
        };
        let hex = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(run(&to, hex, b"hello"), Some(0));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750);

        assert_eq!(run(&to, hex, b"hellO"), Some(65));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "a part file was left"
        );
    }
}
