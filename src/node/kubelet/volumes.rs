//! A pod's volumes on the node: directories below `PODS/UID/`, and what is mounted where.
//!
//! ```text
//! PODS/UID/hosts, resolv.conf
//! PODS/UID/volumes/NAME/…          emptyDir, configMap, secret, downwardAPI, projected
//! PODS/UID/termination/CONTAINER.N  what container N wrote as its last words
//! ```

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume};
use nix::unistd::{Gid, chown};

use crate::claims;
use crate::env::{ConfigError, ConfigSource, Facts, Variables};
use crate::host_path;
use crate::payload;
use crate::projected::files_of;
use crate::runtime::BindMount;
use crate::tmpfs;

/// Longest last words kept in a status, as upstream.
const LAST_WORDS_BYTES: usize = 4096;
/// What a group that owns a volume may do with it, and new files inherit the group.
const GROUP_DIR: u32 = 0o2070;
const GROUP_FILE: u32 = 0o060;

/// Where the volumes of a pod lie on this node, by their names.
pub type Places = HashMap<String, PathBuf>;

/// Why a volume is not there; the text of its event.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    SetUp { volume: String, source: VolumeError },
    #[error("MapVolume.SetUpDevice failed for volume \"{volume}\" : {source}")]
    Map { volume: String, source: VolumeError },
    #[error(
        "MountVolume.NewMounter initialization failed for volume \"{volume}\" : path \"{path}\" does not exist"
    )]
    Mounter { volume: String, path: String },
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: {why}"
    )]
    Claim { volume: String, why: String },
}

impl MountError {
    /// Reason of the event that tells of it.
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self {
            MountError::Map { .. } => "FailedMapVolume",
            _ => "FailedMount",
        }
    }
}

/// A failed act on a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("volume \"{0}\" is of a type this version of Cadet does not serve yet ({1})")]
    NotServed(String, &'static str),
    #[error("hostPath type check failed: {path} is not {wanted}")]
    HostPath { path: String, wanted: &'static str },
    #[error("{0} is not a block device")]
    NoDevice(String),
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

pub(crate) fn io_error(
    act: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> VolumeError + use<> {
    let path = path.to_owned();
    move |source| VolumeError::Io { act, path, source }
}

/// The pods' directories of this node.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
    /// Nothing is written: the pods of a hollow node read no files.
    hollow: bool,
}

impl Volumes {
    /// `root` is created with mode 0700 when first needed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            hollow: false,
        }
    }

    /// Volumes that are asked for and never made: what they would hold is still read from
    /// the API, as a real node does, but the disk is left alone.
    #[must_use]
    pub fn hollow() -> Self {
        Self {
            root: PathBuf::from("/hollow"),
            hollow: true,
        }
    }

    /// Where all pods' directories lie.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
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
        let path = dir.join(name);
        if self.hollow {
            return Ok(path);
        }
        make_dir(&dir, 0o700)?;
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
        let path = dir.join(format!("{container}.{attempt}"));
        if self.hollow {
            return Ok(path);
        }
        make_dir(&dir, 0o700)?;
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

    /// Keeps what a container said last, for a status asked for later.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_last_words(
        &self,
        uid: &str,
        container: &str,
        attempt: i32,
        text: &[u8],
    ) -> Result<(), VolumeError> {
        let path = self.termination_file(uid, container, attempt)?;
        std::fs::write(&path, text).map_err(io_error("write", &path))
    }

    /// Makes every volume the pod declares, or brings it up to date, and returns where
    /// each lies on the host.
    ///
    /// # Errors
    /// All that could not be made.
    pub async fn prepare(
        &self,
        pod: &Pod,
        facts: &Facts,
        source: &dyn ConfigSource,
    ) -> Result<Places, Vec<MountError>> {
        let mut places = Places::new();
        let mut problems = Vec::new();
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            match self.prepare_one(pod, volume, facts, source).await {
                Ok(place) => {
                    places.insert(volume.name.clone(), place);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(places)
        } else {
            Err(problems)
        }
    }

    async fn prepare_one(
        &self,
        pod: &Pod,
        volume: &Volume,
        facts: &Facts,
        source: &dyn ConfigSource,
    ) -> Result<PathBuf, MountError> {
        let group = fs_group(pod);
        let set_up = |source| MountError::SetUp {
            volume: volume.name.clone(),
            source,
        };
        if let Some(name) = claims::claim_name(pod, volume) {
            let claimed = claims::find(pod, volume, &name, source).await?;
            let group = group.filter(|_| claimed.grouped && !self.hollow);
            if let Some(group) = group.filter(|group| !is_owned(pod, &claimed.path, *group)) {
                own(&claimed.path, group).map_err(set_up)?;
            }
            return Ok(claimed.path);
        }
        if self.hollow {
            if volume.host_path.is_none() && volume.empty_dir.is_none() {
                files_of(pod, volume, facts, source).await.map_err(set_up)?;
            }
            return Ok(self.root.join(&volume.name));
        }
        if let Some(host) = &volume.host_path {
            return host_path::ready(host, 0o755).map_err(set_up);
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let dir = self.pod_dir(uid).map_err(set_up)?;
        let dir = dir.join("volumes").join(&volume.name);
        if let Some(empty) = &volume.empty_dir {
            let fresh = !dir.exists();
            empty_dir(&dir, empty).map_err(set_up)?;
            if let Some(group) = group.filter(|_| fresh) {
                own(&dir, group).map_err(set_up)?;
            }
            return Ok(dir);
        }
        let filled = async {
            let files = files_of(pod, volume, facts, source).await?;
            make_dir(&dir, 0o755)?;
            if is_secret(volume) {
                tmpfs::mount(&dir, None).map_err(io_error("mount memory at", &dir))?;
            }
            payload::write(&dir, &files, group).map_err(io_error("fill", &dir))
        };
        filled.await.map_err(set_up)?;
        Ok(dir)
    }

    /// Removes everything of the pod. Memory file systems are unmounted first; if one
    /// refuses, nothing is deleted through it.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(&self, uid: &str) -> Result<(), VolumeError> {
        let dir = self.pod_dir(uid)?;
        if self.hollow {
            return Ok(());
        }
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
    pod: &Pod,
    container: &Container,
    places: &Places,
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
            read_only: mount.read_only == Some(true) || is_only_read(pod, &mount.name),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => Some("rslave"),
                Some("Bidirectional") => Some("rshared"),
                _ => None,
            },
        });
    }
    Ok(mounts)
}

/// Whether containers can never write to a volume, whatever their mounts say: it shows objects of
/// the API (the documentation of ConfigMap, Secret, downwardAPI and projected volumes), or the pod
/// wants no more of its claim.
fn is_only_read(pod: &Pod, name: &str) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.name == name).any(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some()
            || volume
                .persistent_volume_claim
                .as_ref()
                .is_some_and(|claim| claim.read_only == Some(true))
    })
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

/// The group all volumes of the pod belong to, if it names one.
fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

/// Whether a folder is taken for the group's because its top is, as the pod asks for
/// (`fsGroupChangePolicy`).
fn is_owned(pod: &Pod, path: &Path, group: u32) -> bool {
    let spec = pod.spec.as_ref();
    let context = spec.and_then(|spec| spec.security_context.as_ref());
    let policy = context.and_then(|context| context.fs_group_change_policy.as_deref());
    policy == Some("OnRootMismatch")
        && std::fs::metadata(path)
            .is_ok_and(|top| top.gid() == group && top.mode() & GROUP_DIR == GROUP_DIR)
}

/// Gives everything below `path` to a group that may read and write it. Links are not
/// followed: the pod may have made them. The top comes last, because `is_owned` judges by it:
/// what was cut off is done again.
fn own(path: &Path, group: u32) -> Result<(), VolumeError> {
    let found = std::fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    if found.is_symlink() {
        return Ok(());
    }
    if found.is_dir() {
        let entries = std::fs::read_dir(path).map_err(io_error("read", path))?;
        for entry in entries {
            let entry = entry.map_err(io_error("read", path))?;
            own(&entry.path(), group)?;
        }
    }
    chown(path, None, Some(Gid::from_raw(group)))
        .map_err(io::Error::from)
        .map_err(io_error("change the group of", path))?;
    let bits = if found.is_dir() {
        GROUP_DIR
    } else {
        GROUP_FILE
    };
    set_mode(path, found.permissions().mode() | bits)
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

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), VolumeError> {
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
