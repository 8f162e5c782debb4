//! Keeping the machine from running out: conditions, garbage, eviction. Looked at
//! with every heartbeat; what costs something is done only when something is short.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ContainerImage;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::eviction::{self, Candidate};
use crate::image_garbage::Records;
use crate::labels;
use crate::observed::Observed;
use crate::overfull;
use crate::pods::PodTable;
use crate::pressure::{Pressure, Resource, Shortage, shortages};
use crate::runtime::{ContainerInfo, ImageInfo, Result, Role, Runtime, State};
use crate::stats::{MachineUsage, Stats};
use crate::volumes::Volumes;

/// Images are removed when their file system is this full, percent …
const IMAGES_HIGH: u64 = 85;
/// … until it is this full; upstream's figures.
const IMAGES_LOW: u64 = 80;
/// Between looks at the images.
const IMAGES_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// Images in the Node's status, and names of each; upstream's figures.
const IMAGES: usize = 50;
const NAMES: usize = 5;

/// See the file's head.
pub(crate) struct Housekeeper {
    runtime: Arc<dyn Runtime>,
    pods: PodTable,
    volumes: Volumes,
    stats: Arc<Stats>,
    pub(crate) pressure: Pressure,
    /// The greatest images, for the Node's status.
    pub(crate) images: Vec<ContainerImage>,
    images_at: Option<Timestamp>,
    records: Records,
}

impl Housekeeper {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        pods: PodTable,
        volumes: Volumes,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            runtime,
            pods,
            volumes,
            stats,
            pressure: Pressure::default(),
            images: Vec::new(),
            images_at: None,
            records: Records::default(),
        }
    }

    /// Looks once and acts. Returns what was short, for an event.
    pub(crate) async fn look(&mut self, image_root: &str, now: Timestamp) -> Vec<Shortage> {
        if !self.runtime.shares_machine() {
            return Vec::new();
        }
        self.mind_limits().await;
        let usage = MachineUsage::read(self.volumes.root(), image_root);
        let found = shortages(&usage);
        let mut short = found.clone();
        self.pressure.observe(&short, now);
        self.pods.press(self.pressure.conditions(now));
        let due = self
            .images_at
            .is_none_or(|at| now.duration_since(at) >= IMAGES_EVERY);
        if due {
            self.images_at = Some(now);
            match self.garbage(now).await {
                Ok((images, _)) => self.images = greatest(images),
                Err(error) => tracing::warn!(%error, "cannot list the images"),
            }
        }
        if short.iter().any(|shortage| shortage.resource.is_storage()) {
            // Everything nobody uses goes before anybody has to.
            self.collect_dead().await;
            self.collect_images(u64::MAX, now).await;
            let usage = MachineUsage::read(self.volumes.root(), image_root);
            short = shortages(&usage);
        } else if due {
            let fs = usage.image_fs;
            let above = fs.capacity.saturating_sub(fs.available);
            if above > fs.capacity / 100 * IMAGES_HIGH {
                let excess = above.saturating_sub(fs.capacity / 100 * IMAGES_LOW);
                self.collect_images(excess, now).await;
            }
        }
        if let Some(shortage) = short.first()
            && let Err(error) = self.evict(shortage).await
        {
            tracing::warn!(%error, "cannot tell who uses what");
        }
        found
    }

    /// All images, and of these the ones nobody uses, the longest unused first.
    async fn garbage(&mut self, now: Timestamp) -> Result<(Vec<ImageInfo>, Vec<ImageInfo>)> {
        let images = self.runtime.images().await?;
        let containers = self.runtime.all_containers().await?;
        let unused = self.records.unused(&images, &containers, now);
        Ok((images, unused))
    }

    /// Removes the containers of pods that are over, and their logs with them.
    async fn collect_dead(&self) {
        let all = match self.runtime.all_containers().await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "cannot look for containers to remove");
                return;
            }
        };
        for info in dead(&all, &self.pods) {
            match self.runtime.remove(&info.id).await {
                Ok(()) => tracing::info!(id = info.id, "removed a container of a pod that is over"),
                Err(error) => tracing::warn!(%error, id = info.id, "a container stays"),
            }
        }
    }

    /// Removes images nobody uses until `wanted` bytes are free.
    async fn collect_images(&mut self, wanted: u64, now: Timestamp) {
        let garbage = match self.garbage(now).await {
            Ok((_, garbage)) => garbage,
            Err(error) => {
                tracing::warn!(%error, "cannot look for images to remove");
                return;
            }
        };
        let mut freed = 0;
        for image in garbage {
            if freed >= wanted {
                break;
            }
            match self.runtime.remove_image(&image.id).await {
                Ok(()) => {
                    tracing::info!(image = ?image.names, "removed an image nobody uses");
                    freed += u64::try_from(image.size).unwrap_or(0);
                }
                // In use after all, or by somebody else's container.
                Err(error) => tracing::debug!(%error, id = image.id, "an image stays"),
            }
        }
    }

    /// Condemns the pod that has to go first.
    async fn evict(&self, shortage: &Shortage) -> Result<()> {
        let snapshot = self
            .stats
            .snapshot(self.runtime.as_ref(), &self.pods)
            .await?;
        let used = |usage: &crate::stats::PodUsage| -> (Vec<(String, u64)>, u64) {
            if shortage.resource == Resource::Memory {
                let containers = usage.containers.iter();
                let containers = containers.map(|c| (c.name.clone(), c.usage.working_set));
                let rest = usage.sandbox.as_ref().map_or(0, |c| c.usage.working_set);
                return (containers.collect(), rest);
            }
            if shortage.resource == Resource::Pids {
                return (Vec::new(), usage.total().0.pids);
            }
            let uid = usage.pod.metadata.uid.as_deref().unwrap_or_default();
            let dir = self.volumes.pod_dir(uid);
            let size = dir.map_or(Size::default(), |dir| size_of(&dir));
            let rest = match shortage.resource {
                Resource::Inodes => size.files,
                _ => size.bytes,
            };
            (Vec::new(), rest)
        };
        let candidates: Vec<Candidate<'_>> = snapshot
            .pods
            .iter()
            .filter(|usage| {
                let uid = usage.pod.metadata.uid.as_deref().unwrap_or_default();
                usage.pod.metadata.deletion_timestamp.is_none() && self.pods.sentence(uid).is_none()
            })
            .map(|usage| {
                let (containers, rest) = used(usage);
                Candidate {
                    pod: &usage.pod,
                    containers,
                    rest,
                }
            })
            .collect();
        if let Some(chosen) = eviction::choose(&candidates, shortage.resource) {
            let uid = chosen.pod.metadata.uid.as_deref().unwrap_or_default();
            let over = eviction::sentence(chosen, shortage);
            tracing::warn!(uid, "evicting a pod: {}", over.message);
            self.pods.condemn(uid, over);
        }
        Ok(())
    }

    /// Ends pods that hold more on disk than they may.
    async fn mind_limits(&self) {
        for pod in self.pods.pods() {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            let over =
                matches!(phase, Some("Succeeded" | "Failed")) || self.pods.sentence(uid).is_some();
            let Ok(dir) = self.volumes.pod_dir(uid) else {
                continue;
            };
            if over || !overfull::is_limited(&pod) {
                continue;
            }
            let volumes: Vec<(&str, u64)> = overfull::on_disk(&pod)
                .map(|(name, _)| (name, size_of(&dir.join("volumes").join(name)).bytes))
                .collect();
            let written = if overfull::limits(&pod).is_empty() {
                Ok(Vec::new())
            } else {
                self.written(uid).await
            };
            match written {
                Ok(written) => {
                    if let Some(over) = overfull::judge(&pod, &volumes, &written) {
                        tracing::warn!(uid, "evicting a pod: {}", over.message);
                        self.pods.condemn(uid, over);
                    }
                }
                Err(error) => tracing::warn!(%error, uid, "cannot tell what a pod has written"),
            }
        }
    }

    /// Bytes the running containers of a pod have written beside their volumes.
    async fn written(&self, uid: &str) -> Result<Vec<(String, u64)>> {
        let seen = Observed::new(self.runtime.pod_containers(uid).await?);
        let mut all = Vec::new();
        for info in seen.running() {
            let bytes = self.runtime.written(&info.id).await?;
            all.push((info.container_name().to_owned(), bytes));
        }
        Ok(all)
    }
}

/// Containers that have ended and whose pod is over, so that none of them runs again. The sandbox
/// is its pod's own affair.
fn dead<'a>(
    all: &'a [ContainerInfo],
    pods: &PodTable,
) -> impl Iterator<Item = &'a ContainerInfo> + use<'a> {
    let over: HashSet<String> = pods
        .pods()
        .iter()
        .filter(|pod| {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        })
        .filter_map(|pod| pod.metadata.uid.clone())
        .collect();
    all.iter().filter(move |info| {
        let uid = info.label(labels::POD_UID).unwrap_or_default();
        info.state == State::Exited && info.role() != Some(Role::Sandbox) && over.contains(uid)
    })
}

/// What the Node tells of its images: the greatest first, by no more names than upstream.
fn greatest(images: Vec<ImageInfo>) -> Vec<ContainerImage> {
    let mut named: Vec<ContainerImage> = images
        .into_iter()
        .filter(|image| !image.names.is_empty())
        .map(|mut image| {
            // Digests come first.
            image.names.sort_by_key(|name| !name.contains('@'));
            image.names.truncate(NAMES);
            ContainerImage {
                names: Some(image.names),
                size_bytes: Some(image.size),
            }
        })
        .collect();
    named.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
    named.truncate(IMAGES);
    named
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: u64,
    files: u64,
}

/// What a directory holds on its own file system; links are not followed.
fn size_of(dir: &Path) -> Size {
    use std::os::unix::fs::MetadataExt as _;
    let mut size = Size::default();
    let Ok(root) = std::fs::symlink_metadata(dir) else {
        return size;
    };
    let mut waiting = vec![dir.to_owned()];
    // Files with several names count once.
    let mut linked: HashMap<u64, ()> = HashMap::new();
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.dev() != root.dev()
                || (found.nlink() > 1
                    && found.is_file()
                    && linked.insert(found.ino(), ()).is_some())
            {
                continue;
            }
            size.files += 1;
            size.bytes += found.blocks() * 512;
            if found.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_and_ended_can_go() {
        let pods = PodTable::default();
        let put = |uid: &str, phase: &str| {
            let mut pod = crate::testing::pod(serde_json::json!({"containers": []}));
            pod.metadata.uid = Some(uid.into());
            pod.status = serde_json::from_value(serde_json::json!({"phase": phase})).unwrap();
            pods.insert(uid, Arc::new(pod));
        };
        put("u-1", "Succeeded");
        put("u-2", "Running");
        let of = |id: &str, uid: &str, role: &str| {
            let mut info = crate::testing::exited(id);
            info.labels.insert(labels::POD_UID.into(), uid.into());
            info.labels.insert(labels::ROLE.into(), role.into());
            info
        };
        let mut alive = of("alive", "u-1", "app");
        alive.state = State::Running;
        let all = [
            of("done", "u-1", "app"),
            of("sandbox", "u-1", "sandbox"),
            alive,
            of("again", "u-2", "app"),
            of("stranger", "u-3", "app"),
        ];
        let ids: Vec<&str> = dead(&all, &pods).map(|info| info.id.as_str()).collect();
        assert_eq!(ids, ["done"]);
    }

    #[test]
    fn the_node_names_its_greatest_images() {
        let image = |name: &str, size| ImageInfo {
            names: vec![format!("{name}:1"), format!("{name}@sha256:0")],
            size,
            ..ImageInfo::default()
        };
        let told = greatest(vec![image("a", 1), image("b", 2), ImageInfo::default()]);
        assert_eq!(told.len(), 2, "what has no name is not told");
        let names = told[0].names.clone().unwrap();
        assert_eq!(names, ["b@sha256:0", "b:1"]);
    }

    #[test]
    fn directories_are_measured_by_their_blocks() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("sub")).unwrap();
        std::fs::write(home.path().join("sub/a"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(home.path().join("sub/a"), home.path().join("b")).unwrap();
        let size = size_of(home.path());
        assert!((100_000..200_000).contains(&size.bytes), "{size:?}");
        assert_eq!(size.files, 2);
    }
}
