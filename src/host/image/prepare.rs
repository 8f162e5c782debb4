//! From a downloaded cloud image to a prepared base: one boot in which cloud-init installs Docker.
//!
//! This room neither boots machines nor writes cloud-init documents. [`begin`] lays out a disk;
//! the caller boots it with a seed that installs Docker and powers off, and judges its console;
//! [`Preparation::seal`] turns the disk into a base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cache::{Base, Cache, DISK, INITRD, KERNEL, Manifest, Workspace, now};
use crate::catalog::{Arch, Files};
use crate::checksum::hex;
use crate::error::ImageError;
use crate::fetch;
use crate::progress::{Progress, Sink};
use crate::tools::{Need, Tools};

/// Raised when preparing changes without the user-data changing.
const FORMAT: u32 = 1;
/// Size of the disk while packages are installed; unused space costs nothing.
const SIZE: &str = "8G";
const QEMU_IMG: Need = ("qemu-img", "qemu-utils");

/// The image that is being prepared.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Name in the catalogue.
    pub image: &'a str,
    pub arch: Arch,
    pub files: &'a Files,
    /// Value of the kernel's `root=`.
    pub root: &'a str,
    /// Text of what the preparing boot is told to do; another one makes a base stale.
    pub told: &'a str,
}

/// What to boot, and what is needed to seal it.
#[derive(Debug)]
pub struct Preparation {
    workspace: Workspace,
    draft: Manifest,
    /// Overlay on the downloaded image.
    pub disk: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub kernel_args: Vec<String>,
    /// Where the caller may keep seed, sockets and logs; removed with the preparation.
    pub scratch: PathBuf,
    // Held until the end, released by the system if we die.
    _lock: std::fs::File,
}

/// Hash that decides whether a prepared base is stale. The download's own checksum is not part
/// of it: a profile should not be rebuilt because Ubuntu published a new daily image.
pub fn recipe(target: &Target<'_>) -> String {
    let mut hasher = Sha256::new();
    for part in [FORMAT.to_string().as_str(), &target.files.disk, target.told] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Downloads disk, kernel and initrd (checksums verified) and lays out what to boot.
///
/// # Errors
/// Those of [`fetch::fetch`] and [`fetch::announced`], [`ImageError::MissingTools`],
/// [`ImageError::Tool`].
pub async fn begin(
    target: &Target<'_>,
    cache: &Cache,
    client: &reqwest::Client,
    tools: &Tools,
    sink: Sink<'_>,
) -> Result<Preparation, ImageError> {
    tools.require(&[QEMU_IMG])?;
    let lock = cache.lock(target.image, target.arch, sink).await?;
    let paths = download(target, cache, client, sink).await?;
    let space = cache.workspace(target.image, target.arch)?;
    let disk = space.path("work.qcow2");
    overlay(tools, &paths.disk, &disk).await?;
    let scratch = space.path("scratch");
    std::fs::create_dir(&scratch).map_err(|e| ImageError::file("create", &scratch, e))?;
    private(&scratch)?;
    Ok(Preparation {
        draft: Manifest {
            image: target.image.to_owned(),
            arch: target.arch,
            recipe: recipe(target),
            created: now(),
            root: target.root.to_owned(),
            files: BTreeMap::new(),
            versions: BTreeMap::new(),
        },
        disk,
        kernel: paths.kernel,
        initrd: paths.initrd,
        kernel_args: vec![format!("root={}", target.root), "rw".into()],
        scratch,
        workspace: space,
        _lock: lock,
    })
}

/// The files of a cloud image in the cache.
#[derive(Debug, Clone)]
pub struct Downloaded {
    pub disk: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// Downloads the files of a cloud image without preparing anything (`--download-only`).
///
/// # Errors
/// Those of [`fetch::fetch`] and [`fetch::announced`].
pub async fn download(
    target: &Target<'_>,
    cache: &Cache,
    client: &reqwest::Client,
    sink: Sink<'_>,
) -> Result<Downloaded, ImageError> {
    let files = target.files;
    let parts = [
        ("kernel", &files.kernel, &files.boot_checksums),
        ("initial RAM disk", &files.initrd, &files.boot_checksums),
        ("disk", &files.disk, &files.checksums),
    ];
    for (what, url, checksums) in parts {
        sink(Progress::Phase(format!("downloading the {what}")));
        let sha256 = fetch::announced(client, checksums, url).await?;
        fetch::fetch(client, url, &sha256, &cache.download(url), sink).await?;
    }
    Ok(Downloaded {
        disk: cache.download(&files.disk),
        kernel: cache.download(&files.kernel),
        initrd: cache.download(&files.initrd),
    })
}

impl Preparation {
    /// After the machine has said that it is done and powered itself off: makes the base.
    /// `versions` are those of the programs that matter.
    ///
    /// # Errors
    /// [`ImageError::DiskFull`], [`ImageError::Tool`].
    pub async fn seal(
        mut self,
        versions: BTreeMap<String, String>,
        cache: &Cache,
        tools: &Tools,
        sink: Sink<'_>,
    ) -> Result<Base, ImageError> {
        self.draft.versions = versions;
        sink(Progress::Phase("compressing the prepared disk".into()));
        let to = self.workspace.path(DISK);
        let mut command = tools.command(QEMU_IMG)?;
        // Without a backing file: the download may go afterwards.
        command
            .args(["convert", "-f", "qcow2", "-O", "qcow2", "-c"])
            .args(["-o", "compression_type=zstd"])
            .args([&self.disk, &to]);
        let phase = "compressing the prepared disk";
        tools.run(command, phase, &to, |_| {}).await?;
        for (from, name) in [(&self.kernel, KERNEL), (&self.initrd, INITRD)] {
            let to = self.workspace.path(name);
            std::fs::copy(from, &to).map_err(|e| ImageError::file("copy", &to, e))?;
        }
        cache.install(&self.workspace, self.draft.clone())
    }
}

async fn overlay(tools: &Tools, base: &Path, to: &Path) -> Result<(), ImageError> {
    let mut command = tools.command(QEMU_IMG)?;
    command
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([base, to])
        .arg(SIZE);
    tools.run(command, "laying out the disk", to, |_| {}).await
}

#[cfg(unix)]
fn private(dir: &Path) -> Result<(), ImageError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(dir, mode).map_err(|e| ImageError::file("protect", dir, e))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), ImageError> {
    // The user's profile folder is private already.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_stale_when_what_it_was_told_changes() {
        let file = |name: &str| format!("http://host/{name}");
        let files = Files {
            disk: file("disk"),
            checksums: file("sums"),
            kernel: file("kernel"),
            initrd: file("initrd"),
            boot_checksums: file("sums"),
        };
        let of = |told| {
            recipe(&Target {
                image: "u",
                arch: Arch::Amd64,
                files: &files,
                root: "LABEL=r",
                told,
            })
        };
        assert_eq!(of("install docker"), of("install docker"));
        assert_ne!(of("install docker"), of("install docker and more"));
    }
}
