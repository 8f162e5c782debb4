//! A pod's volumes on the node: directories below `PODS/UID/`, and what is mounted where.
//!
//! ```text
//! PODS/UID/hosts, resolv.conf
//! PODS/UID/volumes/NAME/…          emptyDir, configMap, secret, downwardAPI, projected
//! PODS/UID/termination/CONTAINER.N  what container N wrote as its last words
//! ```

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume,
};

use crate::env::{Addresses, ConfigError, ConfigSource, Variables};
use crate::payload;
use crate::projected::files_of;
use crate::runtime::BindMount;
use crate::tmpfs;

/// Longest last words kept in a status, as upstream.
const LAST_WORDS_BYTES: usize = 4096;

/// A failed act on a volume. The text becomes the message of the waiting container.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("volume \"{0}\" is of a type this version of Cadet does not serve yet ({1})")]
    NotServed(String, &'static str),
    #[error("hostPath type check failed: {path} is not {wanted}")]
    HostPath { path: String, wanted: &'static str },
    #[error("container mounts volume \"{0}\", which the pod does not declare")]
    Undeclared(String),
    #[error("the path {0:?} leaves its volume")]
    Escapes(String),
    #[error("could not {act} {path}: {source}")]
    Io {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0:?} is no pod UID")]
    Uid(String),
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError + use<> {
    let path = path.to_owned();
    move |source| VolumeError::Io { act, path, source }
}

/// The pods' directories of this node.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// `root` is created with mode 0700 when first needed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The pod's own directory.
    ///
    /// # Errors
    /// If `uid` could name anything else than a directory of ours.
    pub fn pod_dir(&self, uid: &str) -> Result<PathBuf, VolumeError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if uid.is_empty() || !uid.bytes().all(plain) {
            return Err(VolumeError::Uid(uid.into()));
        }
        Ok(self.root.join(uid))
    }

    /// Writes a small file of the pod's own and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, uid: &str, name: &str, text: &str) -> Result<PathBuf, VolumeError> {
        let dir = self.pod_dir(uid)?;
        make_dir(&dir, 0o700)?;
        let path = dir.join(name);
        // In place: the file may be mounted into running containers.
        std::fs::write(&path, text).map_err(io_error("write", &path))?;
        set_mode(&path, 0o644)?;
        Ok(path)
    }

    /// An empty file for the last words of one attempt of a container.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn termination_file(
        &self,
        uid: &str,
        container: &str,
        attempt: i32,
    ) -> Result<PathBuf, VolumeError> {
        let dir = self.pod_dir(uid)?.join("termination");
        make_dir(&dir, 0o700)?;
        let path = dir.join(format!("{container}.{attempt}"));
        std::fs::write(&path, "").map_err(io_error("create", &path))?;
        // Containers that run as somebody else write here too.
        set_mode(&path, 0o666)?;
        Ok(path)
    }

    /// What a container left in its termination file, if anything.
    #[must_use]
    pub fn last_words(&self, uid: &str, container: &str, attempt: i32) -> Option<String> {
        let dir = self.pod_dir(uid).ok()?;
        let bytes = std::fs::read(dir.join(format!("termination/{container}.{attempt}"))).ok()?;
        let kept = &bytes[..bytes.len().min(LAST_WORDS_BYTES)];
        (!kept.is_empty()).then(|| String::from_utf8_lossy(kept).into_owned())
    }

    /// Makes every volume the pod declares and returns where each lies on the host.
    ///
    /// # Errors
    /// On the first volume that cannot be served.
    pub async fn prepare(
        &self,
        pod: &Pod,
        addresses: &Addresses,
        source: &dyn ConfigSource,
    ) -> Result<HashMap<String, PathBuf>, VolumeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let base = self.pod_dir(uid)?.join("volumes");
        let mut places = HashMap::new();
        for volume in pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let dir = base.join(&volume.name);
            let place = if let Some(host) = &volume.host_path {
                host_path(host)?
            } else if let Some(empty) = &volume.empty_dir {
                empty_dir(&dir, empty)?;
                dir
            } else {
                let secret = is_secret(volume);
                let files = files_of(pod, volume, addresses, source).await?;
                make_dir(&dir, 0o755)?;
                if secret {
                    tmpfs::mount(&dir, None).map_err(io_error("mount memory at", &dir))?;
                }
                payload::write(&dir, &files).map_err(io_error("fill", &dir))?;
                dir
            };
            places.insert(volume.name.clone(), place);
        }
        Ok(places)
    }

    /// Removes everything of the pod. Memory file systems are unmounted first; if one
    /// refuses, nothing is deleted through it.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(&self, uid: &str) -> Result<(), VolumeError> {
        let dir = self.pod_dir(uid)?;
        tmpfs::unmount_below(&dir).map_err(io_error("unmount", &dir))?;
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map_err(io_error("remove", &dir)),
        }
    }

    /// UIDs of all pods that have a directory.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn uids(&self) -> Result<Vec<String>, VolumeError> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error("read", &self.root))?,
        };
        Ok(entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }
}

/// The bind mounts of one container.
///
/// # Errors
/// If it mounts something undeclared, or a sub-path leaves its volume.
pub fn mounts(
    container: &Container,
    places: &HashMap<String, PathBuf>,
    variables: &Variables,
) -> Result<Vec<BindMount>, VolumeError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let place = places
            .get(&mount.name)
            .ok_or_else(|| VolumeError::Undeclared(mount.name.clone()))?;
        let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(text)) if !text.is_empty() => Some(variables.expand(text)),
            _ => None,
        };
        let host_path = match sub_path {
            Some(sub_path) => below(place, &sub_path)?,
            None => place.clone(),
        };
        mounts.push(BindMount {
            host_path: host_path.to_string_lossy().into_owned(),
            container_path: mount.mount_path.clone(),
            read_only: mount.read_only == Some(true),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => Some("rslave"),
                Some("Bidirectional") => Some("rshared"),
                _ => None,
            },
        });
    }
    Ok(mounts)
}

/// A path inside `volume`, made as a directory if missing. Links that lead out of the
/// volume are refused: the pod can write them, and this program runs as root.
fn below(volume: &Path, sub_path: &str) -> Result<PathBuf, VolumeError> {
    let escapes = || VolumeError::Escapes(sub_path.to_owned());
    let relative = payload::relative(sub_path).ok_or_else(escapes)?;
    let real_volume = volume.canonicalize().map_err(io_error("resolve", volume))?;
    let wanted = real_volume.join(relative);
    // Resolve the part that exists before anything is created behind it.
    let mut existing = wanted.as_path();
    while std::fs::symlink_metadata(existing).is_err() {
        existing = existing.parent().ok_or_else(escapes)?;
    }
    let resolved = existing
        .canonicalize()
        .map_err(io_error("resolve", existing))?;
    if !resolved.starts_with(&real_volume) {
        return Err(escapes());
    }
    if existing != wanted {
        std::fs::create_dir_all(&wanted).map_err(io_error("create", &wanted))?;
    }
    wanted.canonicalize().map_err(io_error("resolve", &wanted))
}

fn host_path(host: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&host.path);
    let wrong = |wanted| VolumeError::HostPath {
        path: host.path.clone(),
        wanted,
    };
    let found = std::fs::metadata(&path);
    let is_dir = found.as_ref().is_ok_and(std::fs::Metadata::is_dir);
    let is_file = found.as_ref().is_ok_and(std::fs::Metadata::is_file);
    match host.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" if found.is_err() => make_dir(&path, 0o755)?,
        "FileOrCreate" if found.is_err() => {
            std::fs::write(&path, "").map_err(io_error("create", &path))?;
        }
        "Directory" | "DirectoryOrCreate" if !is_dir => return Err(wrong("a directory")),
        "File" | "FileOrCreate" if !is_file => return Err(wrong("a file")),
        // Docker creates a missing path for untyped volumes, as upstream's runtimes do.
        "" if found.is_err() => make_dir(&path, 0o755)?,
        "Socket" | "CharDevice" | "BlockDevice" if found.is_err() => {
            return Err(wrong("there"));
        }
        _ => {}
    }
    Ok(path)
}

fn empty_dir(dir: &Path, empty: &EmptyDirVolumeSource) -> Result<(), VolumeError> {
    make_dir(dir, 0o777)?;
    // The umask took bits away; every user of the pod may write here.
    set_mode(dir, 0o777)?;
    match empty.medium.as_deref() {
        None | Some("") => Ok(()),
        Some("Memory") => {
            let size = empty
                .size_limit
                .as_ref()
                .and_then(|size| size.0.parse::<cadet_api::quantity::Quantity>().ok());
            tmpfs::mount(dir, size.map(|size| size.value()))
                .map_err(io_error("mount memory at", dir))
        }
        Some(_) => Err(VolumeError::NotServed(
            dir.display().to_string(),
            "huge pages",
        )),
    }
}

fn is_secret(volume: &Volume) -> bool {
    volume.secret.is_some()
        || volume.projected.as_ref().is_some_and(|projected| {
            projected
                .sources
                .iter()
                .flatten()
                .any(|source| source.secret.is_some() || source.service_account_token.is_some())
        })
}

fn make_dir(path: &Path, mode: u32) -> Result<(), VolumeError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(io_error("create", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(io_error("set the mode of", path))
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
