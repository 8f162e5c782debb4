//! Making ready to be frozen as a template: booted to the end, Docker idle, no door open, nothing
//! that tells this machine from another.

use std::path::Path;

use super::command::{CommandError, run, try_run};
use super::warm;

/// Units behind which somebody could be let in, and the sockets that start them.
const DOORS: [&str; 3] = ["ssh.socket", "ssh.service", "sshd.service"];
/// Files that must differ between machines, and that are made anew for each.
const OWN: [&str; 4] = [
    "var/lib/systemd/random-seed",
    "var/lib/docker/engine-id",
    "home/cadet/.ssh/authorized_keys",
    "etc/machine-id.cadet-new",
];

/// Why the machine cannot be a template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The system did not come up as it should.
    #[error("the template did not boot to its end")]
    Boot(#[source] CommandError),
    /// A file could not be removed.
    #[error("cannot remove {path}")]
    Remove {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}

/// Does it; the machine is to be frozen right after.
///
/// # Errors
/// [`TemplateError`].
pub fn prepare(root: &Path) -> Result<(), TemplateError> {
    // Returns when all that booting began is done; a unit that failed is judged below.
    try_run(&["systemctl", "is-system-running", "--wait"]);
    for unit in ["docker.service", "cadet-seed.service"] {
        // The second one runs at later boots only: here it must have been found at least.
        let act = if unit == "docker.service" {
            "is-active"
        } else {
            "is-enabled"
        };
        run(&["systemctl", act, "--quiet", unit]).map_err(TemplateError::Boot)?;
    }
    run(&["docker", "version"]).map_err(TemplateError::Boot)?;
    warm::up(root);
    for door in DOORS {
        try_run(&["systemctl", "stop", door]);
    }
    forget(root)?;
    nix::unistd::sync();
    // What was deleted since the base image takes no room in the template.
    try_run(&["fstrim", "/"]);
    Ok(())
}

/// Removes what is this machine's own.
fn forget(root: &Path) -> Result<(), TemplateError> {
    for name in OWN {
        remove(&root.join(name))?;
    }
    let Ok(listed) = std::fs::read_dir(root.join("etc/ssh")) else {
        return Ok(());
    };
    for entry in listed.flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), TemplateError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(TemplateError::Remove {
                path: path.to_path_buf(),
                source,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_dice_are_forgotten_and_all_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        let own = [
            "etc/ssh/ssh_host_ed25519_key",
            "etc/ssh/ssh_host_ed25519_key.pub",
            "var/lib/systemd/random-seed",
            "var/lib/docker/engine-id",
            "home/cadet/.ssh/authorized_keys",
        ];
        let kept = [
            "etc/ssh/sshd_config",
            "var/lib/docker/network/files/local-kv.db",
        ];
        own.iter().chain(&kept).for_each(|name| put(name));
        forget(root.path()).unwrap();
        forget(root.path()).unwrap();
        for name in own {
            assert!(!root.path().join(name).exists(), "{name}");
        }
        for name in kept {
            assert!(root.path().join(name).exists(), "{name}");
        }
    }
}
