//! Where images are kept: `downloads/` for files as they came, `bases/` for prepared bases.
//!
//! A base is a folder `NAME-ARCH-HASH` with disk, kernel, initrd and manifest. It is written
//! in `work/` and renamed when complete, and never changes afterwards: the overlays of
//! profiles stand on it. A rebuilt image becomes a new folder beside the old one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::Arch;
use crate::checksum;
use crate::error::ImageError;
use crate::fetch::{self, sync_folder};
use crate::progress::Sink;

/// Name of the root disk in a base.
pub const DISK: &str = "root.qcow2";
pub const KERNEL: &str = "vmlinuz";
pub const INITRD: &str = "initrd";
/// Name of the list of what is in a base.
pub const MANIFEST: &str = "base.json";

/// What a base is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name in the catalogue.
    pub image: String,
    pub arch: Arch,
    /// Hash of everything that decides what is in it; a different one means stale.
    pub recipe: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Value of the kernel's `root=`.
    pub root: String,
    /// Size and SHA-256 of each file.
    pub files: BTreeMap<String, FileFacts>,
    /// Versions of the programs that matter, e.g. `docker.io`.
    pub versions: BTreeMap<String, String>,
}

/// Facts about one file of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Bytes.
    pub size: u64,
    pub sha256: String,
}

/// A prepared base on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub dir: PathBuf,
    pub manifest: Manifest,
}

impl Base {
    pub fn disk(&self) -> PathBuf {
        self.dir.join(DISK)
    }

    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    pub fn initrd(&self) -> PathBuf {
        self.dir.join(INITRD)
    }

    /// What the kernel must be told to find the disk.
    pub fn kernel_args(&self) -> Vec<String> {
        vec![format!("root={}", self.manifest.root), "rw".into()]
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.manifest.files.values().map(|f| f.size).sum()
    }

    /// Checks that all files are there with their sizes: cheap, done at every use.
    ///
    /// # Errors
    /// [`ImageError::DamagedBase`].
    pub fn check(&self) -> Result<(), ImageError> {
        for (name, facts) in &self.manifest.files {
            let size = match std::fs::metadata(self.dir.join(name)) {
                Ok(found) => found.len(),
                Err(e) => return Err(self.damaged(format!("{name}: {e}"))),
            };
            if size != facts.size {
                let why = format!("{name} has {size} bytes, expected {}", facts.size);
                return Err(self.damaged(why));
            }
        }
        Ok(())
    }

    /// Reads everything and compares checksums: some seconds.
    ///
    /// # Errors
    /// [`ImageError::DamagedBase`], [`ImageError::File`].
    pub fn verify(&self) -> Result<(), ImageError> {
        self.check()?;
        for (name, facts) in &self.manifest.files {
            let found = checksum::of_file(&self.dir.join(name))?;
            if found != facts.sha256 {
                return Err(self.damaged(format!("{name} has another checksum")));
            }
        }
        Ok(())
    }

    fn damaged(&self, why: String) -> ImageError {
        ImageError::DamagedBase {
            path: self.dir.clone(),
            why,
        }
    }
}

/// The folder of images.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Uses `root`, which is created with its folders if need be.
    ///
    /// # Errors
    /// [`ImageError::File`], [`ImageError::DiskFull`].
    pub fn open(root: &Path) -> Result<Cache, ImageError> {
        let cache = Cache {
            root: root.to_path_buf(),
        };
        for folder in ["downloads", "bases", "work"] {
            let folder = cache.root.join(folder);
            std::fs::create_dir_all(&folder).map_err(|e| ImageError::file("create", &folder, e))?;
        }
        Ok(cache)
    }

    /// Where a download of that URL belongs.
    pub fn download(&self, url: &str) -> PathBuf {
        let name = url.rsplit('/').next().unwrap_or(url);
        self.root.join("downloads").join(name)
    }

    /// Every base, newest first; a folder that cannot be read is reported, not hidden.
    ///
    /// # Errors
    /// [`ImageError::File`] if the folder of bases itself cannot be listed.
    pub fn list(&self) -> Result<Vec<Result<Base, ImageError>>, ImageError> {
        let folder = self.root.join("bases");
        let failed = |e| ImageError::file("list", &folder, e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            found.push(load(&entry.map_err(failed)?.path()));
        }
        let age = |base: &Result<Base, ImageError>| match base {
            Ok(base) => base.manifest.created,
            Err(_) => 0,
        };
        found.sort_by_key(|base| std::cmp::Reverse(age(base)));
        Ok(found)
    }

    /// The newest sound base of an image; `recipe` limits it to one that is not stale.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn find(
        &self,
        image: &str,
        arch: Arch,
        recipe: Option<&str>,
    ) -> Result<Option<Base>, ImageError> {
        let fits = |base: &Base| {
            let m = &base.manifest;
            m.image == image
                && m.arch == arch
                && recipe.is_none_or(|r| r == m.recipe)
                && base.check().is_ok()
        };
        Ok(self.list()?.into_iter().flatten().find(fits))
    }

    /// Removes all bases of an image. Returns the freed bytes.
    /// Profiles that stand on them cannot start any more: the caller asks first.
    ///
    /// # Errors
    /// [`ImageError::NotPrepared`], [`ImageError::File`].
    pub fn remove(&self, image: &str, arch: Arch) -> Result<u64, ImageError> {
        let mut freed = 0;
        let mut any = false;
        for base in self.list()?.into_iter().flatten() {
            if base.manifest.image == image && base.manifest.arch == arch {
                any = true;
                freed += base.size();
                self.remove_dir(&base.dir)?;
            }
        }
        if !any {
            return Err(ImageError::NotPrepared {
                name: image.to_owned(),
                arch: arch.to_string(),
            });
        }
        Ok(freed)
    }

    /// Removes one folder below the cache.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn remove_dir(&self, dir: &Path) -> Result<(), ImageError> {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ImageError::file("remove", dir, e))
            }
            _ => Ok(()),
        }
    }

    /// Keeps two processes from preparing the same image at once.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub async fn lock(
        &self,
        image: &str,
        arch: Arch,
        sink: Sink<'_>,
    ) -> Result<std::fs::File, ImageError> {
        fetch::lock(&self.root.join(format!("work/{image}-{arch}.lock")), sink).await
    }

    /// A fresh folder to work in, for the holder of the lock; removes what a killed one left.
    ///
    /// # Errors
    /// [`ImageError::File`], [`ImageError::DiskFull`].
    pub fn workspace(&self, image: &str, arch: Arch) -> Result<Workspace, ImageError> {
        let dir = self.root.join(format!("work/{image}-{arch}"));
        self.remove_dir(&dir)?;
        std::fs::create_dir(&dir).map_err(|e| ImageError::file("create", &dir, e))?;
        Ok(Workspace { dir })
    }

    /// Turns `disk`, `kernel` and `initrd` of a workspace into a base.
    ///
    /// # Errors
    /// [`ImageError::File`], [`ImageError::DiskFull`].
    pub fn install(&self, workspace: &Workspace, mut draft: Manifest) -> Result<Base, ImageError> {
        let staged = workspace.dir.join("base");
        std::fs::create_dir(&staged).map_err(|e| ImageError::file("create", &staged, e))?;
        for name in [DISK, KERNEL, INITRD] {
            let (from, to) = (workspace.dir.join(name), staged.join(name));
            std::fs::rename(&from, &to).map_err(|e| ImageError::file("rename", &from, e))?;
            let failed = |e| ImageError::file("read", &to, e);
            let file = std::fs::File::open(&to).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            let sha256 = checksum::of_file(&to)?;
            // Overlays stand on it: nothing may write to it by accident.
            let mut mode = file.metadata().map_err(failed)?.permissions();
            mode.set_readonly(true);
            std::fs::set_permissions(&to, mode).map_err(|e| ImageError::file("protect", &to, e))?;
            draft.files.insert(name.into(), FileFacts { size, sha256 });
        }
        let short = &draft.files[DISK].sha256[..12];
        let dir = self
            .root
            .join(format!("bases/{}-{}-{short}", draft.image, draft.arch));
        let text = serde_json::to_vec_pretty(&draft).unwrap_or_default();
        let manifest = staged.join(MANIFEST);
        std::fs::write(&manifest, text).map_err(|e| ImageError::file("write", &manifest, e))?;
        // The same bytes may have been made before, by a build that nobody remembers.
        self.remove_dir(&dir)?;
        std::fs::rename(&staged, &dir).map_err(|e| ImageError::file("rename", &staged, e))?;
        sync_folder(&dir)?;
        Ok(Base {
            dir,
            manifest: draft,
        })
    }
}

/// A folder for one build, removed when dropped.
#[derive(Debug)]
pub struct Workspace {
    pub dir: PathBuf,
}

impl Workspace {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build's `workspace`.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn load(dir: &Path) -> Result<Base, ImageError> {
    let damaged = |why: String| ImageError::DamagedBase {
        path: dir.to_path_buf(),
        why,
    };
    let bytes = std::fs::read(dir.join(MANIFEST)).map_err(|e| damaged(e.to_string()))?;
    let manifest = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    Ok(Base {
        dir: dir.to_path_buf(),
        manifest,
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|d| d.as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(recipe: &str, created: u64) -> Manifest {
        Manifest {
            image: "debian-13".into(),
            arch: Arch::Amd64,
            recipe: recipe.into(),
            created,
            root: "LABEL=root".into(),
            files: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    fn make(cache: &Cache, recipe: &str, created: u64, bytes: &str) -> Base {
        let space = cache.workspace("debian-13", Arch::Amd64).unwrap();
        for name in [DISK, KERNEL, INITRD] {
            std::fs::write(space.path(name), format!("{name} {bytes}")).unwrap();
        }
        cache.install(&space, draft(recipe, created)).unwrap()
    }

    #[test]
    fn a_rebuilt_image_stands_beside_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let old = make(&cache, "r1", 1, "one");
        let new = make(&cache, "r2", 2, "two");
        assert_ne!(old.dir, new.dir);
        let find = |r| cache.find("debian-13", Arch::Amd64, r).unwrap();
        assert_eq!(find(None).as_ref(), Some(&new));
        assert_eq!(find(Some("r1")).as_ref(), Some(&old));
        assert_eq!(find(Some("r3")), None);
        assert_eq!(cache.find("debian-13", Arch::Arm64, None).unwrap(), None);
        new.verify().unwrap();
        assert_eq!(new.kernel_args(), ["root=LABEL=root", "rw"]);
        assert!(!dir.path().join("work/debian-13-amd64").exists());
        assert!(cache.remove("debian-13", Arch::Amd64).unwrap() > 0);
        assert!(matches!(
            cache.remove("debian-13", Arch::Amd64),
            Err(ImageError::NotPrepared { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn damage_is_found_and_an_older_sound_base_serves() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let old = make(&cache, "r", 1, "one");
        let new = make(&cache, "r", 2, "two");
        let writable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(new.disk(), writable).unwrap();
        // Same size, other bytes: only `verify` sees it.
        std::fs::write(new.disk(), "root.qcow2 tvo").unwrap();
        new.check().unwrap();
        assert!(matches!(new.verify(), Err(ImageError::DamagedBase { .. })));
        std::fs::write(new.disk(), "short").unwrap();
        let found = cache.find("debian-13", Arch::Amd64, Some("r")).unwrap();
        assert_eq!(found, Some(old));
        std::fs::write(new.dir.join(MANIFEST), "{").unwrap();
        let bad = cache.list().unwrap().into_iter().filter(Result::is_err);
        assert_eq!(bad.count(), 1);
    }
}
