//! Building the Debian guest from packages: no ready image, no loop device, no root needed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::cache::{Base, Cache, DISK, INITRD, KERNEL, Manifest, Workspace, now};
use crate::catalog::Arch;
use crate::error::ImageError;
use crate::progress::{Progress, Sink};
use crate::recipe;
use crate::tools::{Need, Tools};

/// Size of the file system as built. The disk of a profile is larger, and the guest grows
/// into it at its first start.
const SIZE: &str = "2G";

/// What to build.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// Name in the catalogue.
    pub image: &'a str,
    pub arch: Arch,
    pub suite: &'a str,
    /// Lines of an apt sources list.
    pub mirrors: &'a [String],
    /// Value of the kernel's `root=`.
    pub root: &'a str,
    /// True when we are root; otherwise user namespaces are used.
    pub as_root: bool,
}

const MMDEBSTRAP: Need = ("mmdebstrap", "mmdebstrap");
const MKE2FS: Need = ("mke2fs", "e2fsprogs");
const QEMU_IMG: Need = ("qemu-img", "qemu-utils");
const UNSHARE: Need = ("unshare", "util-linux");
const SH: Need = ("sh", "dash");

/// What mmdebstrap says, and how we say it.
const PHASES: &[(&str, &str)] = &[
    ("I: running apt-get update", "reading package lists"),
    ("I: downloading packages", "downloading base packages"),
    ("I: extracting archives", "unpacking base packages"),
    ("I: installing essential", "installing base packages"),
    ("I: downloading apt", "downloading packages"),
    ("I: installing remaining", "installing packages"),
    ("I: cleaning package", "tidying up"),
    ("I: creating tarball", "packing the root file system"),
];

impl Build<'_> {
    /// The recipe's hash: a base with another one is stale.
    pub fn recipe(&self) -> String {
        recipe::hash(self.arch, self.suite, self.mirrors)
    }

    /// The newest base of this recipe, built now if there is none.
    ///
    /// # Errors
    /// Those of [`Build::run`].
    pub async fn ensure(
        &self,
        cache: &Cache,
        tools: &Tools,
        sink: Sink<'_>,
    ) -> Result<Base, ImageError> {
        let _lock = cache.lock(self.image, self.arch, sink).await?;
        match cache.find(self.image, self.arch, Some(&self.recipe()))? {
            Some(base) => Ok(base),
            None => self.build(cache, tools, sink).await,
        }
    }

    /// Builds anew, whatever is there.
    ///
    /// # Errors
    /// [`ImageError::MissingTools`] with all packages to install, [`ImageError::Mirror`],
    /// [`ImageError::DiskFull`], [`ImageError::Tool`]. Nothing is left behind.
    pub async fn run(
        &self,
        cache: &Cache,
        tools: &Tools,
        sink: Sink<'_>,
    ) -> Result<Base, ImageError> {
        let _lock = cache.lock(self.image, self.arch, sink).await?;
        self.build(cache, tools, sink).await
    }

    async fn build(
        &self,
        cache: &Cache,
        tools: &Tools,
        sink: Sink<'_>,
    ) -> Result<Base, ImageError> {
        self.check_tools(tools)?;
        let space = cache.workspace(self.image, self.arch)?;
        write_overlay(&space)?;
        self.bootstrap(tools, &space, sink).await?;
        self.assemble(tools, &space, sink).await?;
        compress(tools, &space, sink).await?;
        sink(Progress::Phase("checking the result".into()));
        let manifest = Manifest {
            image: self.image.to_owned(),
            arch: self.arch,
            recipe: self.recipe(),
            created: now(),
            root: self.root.to_owned(),
            files: BTreeMap::new(),
            versions: versions(&space)?,
        };
        cache.install(&space, manifest)
    }

    fn check_tools(&self, tools: &Tools) -> Result<(), ImageError> {
        let mut needs = vec![MMDEBSTRAP, MKE2FS, QEMU_IMG, SH, ("tar", "tar")];
        if !self.as_root {
            needs.extend([UNSHARE, ("newuidmap", "uidmap"), ("newgidmap", "uidmap")]);
        }
        tools.require(&needs)
    }

    async fn bootstrap(
        &self,
        tools: &Tools,
        space: &Workspace,
        sink: Sink<'_>,
    ) -> Result<(), ImageError> {
        const PHASE: &str = "installing packages";
        let mode = if self.as_root { "root" } else { "unshare" };
        let mut command = self.mmdebstrap(tools).await?;
        command
            .current_dir(&space.dir)
            .arg(format!("--mode={mode}"))
            .args(["--variant=minbase", "--format=tar"])
            .arg(format!("--architectures={}", self.arch))
            .arg(format!(
                "--include={}",
                recipe::packages(self.arch).join(",")
            ))
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--aptopt=Acquire::Retries \"3\"")
            // The result is thrown away if anything goes wrong: no need for a sync per package.
            .arg("--dpkgopt=force-unsafe-io");
        for left_out in ["man", "locale", "doc", "info"] {
            command.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
        }
        command
            .arg("--essential-hook=tar-in overlay.tar /")
            .arg(format!("--customize-hook={}", keep()))
            .arg("--customize-hook=chroot \"$1\" sh /cadet-customize")
            .arg("--customize-hook=download /boot/vmlinuz.out vmlinuz")
            .arg("--customize-hook=download /boot/initrd.out initrd")
            .arg("--customize-hook=download /usr/share/cadet-packages versions")
            .arg("--customize-hook=chroot \"$1\" sh /cadet-finish")
            .args([self.suite, "root.tar"])
            .args(self.mirrors);
        if self.as_root {
            // In a private home, the unpacked system would be out of reach for the
            // subordinate ids of the other mode; root may work beside the result.
            command.env("TMPDIR", &space.dir);
        }
        let on_line = |line: &str| {
            let hit = PHASES.iter().find(|(start, _)| line.starts_with(start));
            if let Some((_, words)) = hit {
                sink(Progress::Phase((*words).to_owned()));
            }
        };
        tools.run(command, PHASE, &space.dir, on_line).await
    }

    /// mmdebstrap, without its arguments. What root mounts (proc, sys, parts of dev) is in a
    /// namespace of its own and ends with it: left in the cache by a program that was killed, it
    /// would be there for whoever removes that folder.
    async fn mmdebstrap(&self, tools: &Tools) -> Result<Command, ImageError> {
        let plain = tools.command(MMDEBSTRAP)?;
        if !self.as_root {
            return Ok(plain);
        }
        let mut own = tools.command(UNSHARE)?;
        let tried = own.args(["--mount", "--", "true"]).stderr(Stdio::null());
        if !tried.status().await.is_ok_and(|status| status.success()) {
            // Root of a container that may mount nothing, so that nothing is left either.
            return Ok(plain);
        }
        let mut own = tools.command(UNSHARE)?;
        own.args(["--mount", "--", MMDEBSTRAP.0]);
        Ok(own)
    }

    async fn assemble(
        &self,
        tools: &Tools,
        space: &Workspace,
        sink: Sink<'_>,
    ) -> Result<(), ImageError> {
        const PHASE: &str = "making the disk";
        sink(Progress::Phase(PHASE.into()));
        let script = space.path("assemble");
        write(&script, recipe::ASSEMBLE.as_bytes())?;
        let mut command = if self.as_root {
            tools.command(SH)?
        } else {
            let mut command = tools.command(UNSHARE)?;
            // Files of many owners, without being root outside.
            command.args(["--map-root-user", "--map-auto", "--", "sh"]);
            command
        };
        command
            .current_dir(&space.dir)
            .args(["./assemble", "root.tar", "root", "root.raw", SIZE]);
        tools.run(command, PHASE, &space.dir, |_| {}).await
    }
}

async fn compress(tools: &Tools, space: &Workspace, sink: Sink<'_>) -> Result<(), ImageError> {
    const PHASE: &str = "compressing the disk";
    sink(Progress::Phase(PHASE.into()));
    let mut command = tools.command(QEMU_IMG)?;
    command
        .current_dir(&space.dir)
        .args(["convert", "-f", "raw", "-O", "qcow2", "-c"])
        .args(["-o", "compression_type=zstd", "root.raw", DISK]);
    tools.run(command, PHASE, &space.dir, |_| {}).await?;
    for name in [KERNEL, INITRD] {
        let path = space.path(name);
        let size = std::fs::metadata(&path).map_err(|e| ImageError::file("read", &path, e))?;
        if size.len() == 0 {
            let empty = std::io::ErrorKind::UnexpectedEof.into();
            return Err(ImageError::file("read", &path, empty));
        }
    }
    crate::fetch::remove(&space.path("root.raw"))
}

/// The hook that fetches packages without installing them: with mmdebstrap's own apt settings
/// (see HOOKS in mmdebstrap(1)), so from the guest's mirrors and for its architecture.
fn keep() -> String {
    format!(
        "set -e; mkdir -p \"$1/{dir}\"; cd \"$1/{dir}\"; \
         APT_CONFIG=\"${{MMDEBSTRAP_APT_CONFIG:?}}\" apt-get -q download \
         -o APT::Sandbox::User=root {names}",
        dir = recipe::KEPT_DIR,
        names = recipe::kept().join(" "),
    )
}

/// The files of the recipe as a tar archive owned by root.
fn write_overlay(space: &Workspace) -> Result<(), ImageError> {
    let mut archive = tar::Builder::new(Vec::new());
    let failed = |e| ImageError::file("write", space.path("overlay.tar"), e);
    let scripts = [
        ("cadet-customize", 0o755, recipe::CUSTOMIZE),
        ("cadet-finish", 0o755, recipe::FINISH),
    ];
    let files = recipe::FILES.iter().map(|f| (f.path, f.mode, f.text));
    for (path, mode, text) in files.chain(scripts) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(text.len() as u64);
        header.set_mtime(now());
        header.set_uid(0);
        header.set_gid(0);
        archive
            .append_data(&mut header, path, text.as_bytes())
            .map_err(failed)?;
    }
    let bytes = archive.into_inner().map_err(failed)?;
    write(&space.path("overlay.tar"), &bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    std::fs::write(path, bytes).map_err(|e| ImageError::file("write", path, e))
}

/// Versions of the packages people ask about, from the list the build made.
fn versions(space: &Workspace) -> Result<BTreeMap<String, String>, ImageError> {
    let path = space.path("versions");
    let text = std::fs::read_to_string(&path).map_err(|e| ImageError::file("read", &path, e))?;
    Ok(pick_versions(&text))
}

fn pick_versions(text: &str) -> BTreeMap<String, String> {
    let wanted = |name: &str| {
        ["docker.io", "crun", "systemd", "cloud-init"].contains(&name)
            // linux-image-cloud-amd64, not the versioned package behind it.
            || name.starts_with("linux-image-cloud-")
    };
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let picked = lines.filter(|(name, _)| wanted(name));
    picked.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_holds_every_file_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let space = cache.workspace("x", Arch::Amd64).unwrap();
        write_overlay(&space).unwrap();
        let file = std::fs::File::open(space.path("overlay.tar")).unwrap();
        let mut archive = tar::Archive::new(file);
        let mut seen = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(header.uid().unwrap(), 0);
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            seen.insert(path, header.mode().unwrap());
        }
        assert_eq!(seen.len(), recipe::FILES.len() + 2);
        assert_eq!(seen["etc/initramfs-tools/hooks/cadet"], 0o755);
        assert_eq!(seen["etc/docker/daemon.json"], 0o644);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_root_mounts_ends_with_it() {
        use std::os::unix::fs::PermissionsExt;
        use tokio::io::{AsyncBufReadExt as _, BufReader};

        // SAFETY: geteuid(2) always succeeds and touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (place, stub) = (dir.path().join("place"), dir.path().join(MMDEBSTRAP.0));
        std::fs::create_dir(&place).unwrap();
        let script = "#!/bin/sh\nmount -t tmpfs none \"$1\" && echo there && exec sleep 600\n";
        std::fs::write(&stub, script).unwrap();
        std::fs::set_permissions(&stub, PermissionsExt::from_mode(0o755)).unwrap();
        let tools = Tools::new(Some(dir.path().as_os_str()), Vec::new());
        let build = Build {
            image: "debian",
            arch: Arch::Amd64,
            suite: "stable",
            mirrors: &[],
            root: "/dev/vda",
            as_root: true,
        };
        let mut command = build.mmdebstrap(&tools).await.unwrap();
        let mut child = command.arg(&place).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next_line().await.unwrap();
        child.kill().await.unwrap();
        if said.is_none() {
            // A container whose root may not mount.
            return;
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(place.to_str().unwrap()), "{mounts}");
    }

    #[test]
    fn packages_are_kept_by_name() {
        let hook = keep();
        assert!(
            hook.contains("cd \"$1/usr/share/cadet/packages\""),
            "{hook}"
        );
        assert!(
            hook.contains(" nginx nginx-common busybox-static "),
            "{hook}"
        );
    }

    #[test]
    fn versions_of_interest_are_picked() {
        let text = "crun 1.21-1\ndocker.io 26.1.5\ndocker.iox 1\nzlib1g 1.3\n";
        let picked = pick_versions(text);
        assert_eq!(picked.len(), 2);
        assert_eq!(picked["docker.io"], "26.1.5");
    }

    #[tokio::test]
    async fn without_tools_the_packages_are_named_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let build = Build {
            image: "debian-13",
            arch: Arch::Amd64,
            suite: "no-such-suite",
            mirrors: &["deb http://127.0.0.1:9/debian no-such-suite main".to_owned()],
            root: "LABEL=root",
            as_root: false,
        };
        let tools = Tools::new(None, vec![]);
        if build.check_tools(&tools).is_ok() {
            // Tools are there: the closed port is what fails, and the work folder goes.
            let error = build.run(&cache, &tools, &|_| {}).await.unwrap_err();
            let expected = matches!(error, ImageError::Mirror { .. } | ImageError::Tool { .. });
            assert!(expected, "{error}");
        }
        assert!(!dir.path().join("work/debian-13-amd64").exists());
        assert!(cache.list().unwrap().is_empty());
    }
}
