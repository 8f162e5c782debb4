//! Static pods: manifests in a folder of the node, run without anybody's leave. The folder
//! is watched by the kernel (inotify(7)).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sha2::{Digest as _, Sha256};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::lessons::hex;

/// On a static pod and its mirror: digest of the manifest.
pub const HASH: &str = "kubernetes.io/config.hash";
/// On a mirror: digest of the manifest it shows.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where a pod comes from: `file`.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// Characters of a digest that make a UID.
const UID: usize = 32;

/// Whether the pod comes from this node's own folder.
#[must_use]
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE) == Some("file")
}

/// The digest a mirror shows; `None` for every other pod.
#[must_use]
pub fn mirrored(pod: &Pod) -> Option<&str> {
    annotation(pod, MIRROR)
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let all = pod.metadata.annotations.as_ref()?;
    all.get(name).map(String::as_str)
}

/// Sends the pods of `folder` now and whenever it changes, until nobody listens.
///
/// # Errors
/// If the folder cannot be made or watched.
pub async fn follow(
    folder: PathBuf,
    node_name: String,
    pods: mpsc::Sender<Vec<Pod>>,
) -> io::Result<()> {
    std::fs::create_dir_all(&folder)?;
    let watch = Watch::new(&folder)?;
    // SAFETY: the descriptor is the inotify instance's own, which lives as long as the
    // `AsyncFd` that owns it and is never replaced.
    let watch = unsafe { AsyncFd::register(watch) }.map_err(io::Error::from)?;
    loop {
        if pods.send(read(&folder, &node_name)).await.is_err() {
            return Ok(());
        }
        loop {
            let mut ready = watch.readable().await?;
            match watch.get_ref().0.read_events() {
                Ok(_) => break,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Watch(Inotify);

impl Watch {
    fn new(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, changes)?;
        Ok(Self(inotify))
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// The pods of all manifests that can be read; the others are named in the log.
fn read(folder: &Path, node_name: &str) -> Vec<Pod> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "cannot read static pods");
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut pods = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let name = path.file_name().map(|name| name.to_string_lossy());
        // As upstream: hidden files are somebody's who is still writing.
        if name.is_none_or(|name| name.starts_with('.')) {
            continue;
        }
        let parsed = std::fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&text, node_name));
        match parsed {
            Ok(pod) => pods.push(pod),
            Err(error) => {
                tracing::warn!(error, manifest = %path.display(), "a static pod is not readable");
            }
        }
    }
    pods
}

/// A manifest as this node runs it.
fn parse(text: &str, node_name: &str) -> Result<Pod, String> {
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if value["kind"] != "Pod" {
        return Err("it is no Pod".into());
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let meta = &mut pod.metadata;
    let name = meta.name.clone().filter(|name| !name.is_empty());
    let name = name.ok_or("it has no name")?;
    let digest = hex(&Sha256::digest(format!("{node_name}\n{text}")));
    let digest = digest[..UID].to_owned();
    meta.name = Some(format!("{name}-{node_name}"));
    meta.namespace.get_or_insert_with(|| "default".into());
    meta.uid = Some(digest.clone());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(HASH.into(), digest);
    annotations.insert(SOURCE.into(), "file".into());
    let spec = pod.spec.get_or_insert_with(PodSpec::default);
    spec.node_name = Some(node_name.to_owned());
    // Nothing of the cluster may drive it away.
    spec.tolerations.get_or_insert_default().push(Toleration {
        effect: Some("NoExecute".into()),
        operator: Some("Exists".into()),
        ..Toleration::default()
    });
    pod.status = None;
    Ok(pod)
}

/// The object by which the API shows a static pod.
#[must_use]
pub fn mirror_of(pod: &Pod) -> Pod {
    let mut mirror = pod.clone();
    let hash = annotation(pod, HASH).unwrap_or_default().to_owned();
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.insert(MIRROR.into(), hash);
    mirror.metadata.uid = None;
    mirror.metadata.resource_version = None;
    mirror
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  \
                       containers:\n  - name: web\n    image: nginx\n";

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let pod = parse(WEB, "n1").unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-n1"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert!(is_static(&pod) && mirrored(&pod).is_none());
        let uid = pod.metadata.uid.clone().unwrap();
        assert_eq!(uid.len(), 32);
        assert_ne!(
            parse(&format!("{WEB}\n"), "n1").unwrap().metadata.uid,
            Some(uid.clone())
        );
        let mirror = mirror_of(&pod);
        assert_eq!(mirrored(&mirror), Some(uid.as_str()));
        assert_eq!(mirror.metadata.uid, None);
        assert!(parse("kind: Service\n", "n1").is_err());
        assert!(parse("{", "n1").is_err());
    }

    #[tokio::test]
    async fn the_folder_is_followed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("manifests");
        let (sender, mut sets) = mpsc::channel(4);
        let task = tokio::spawn(follow(folder.clone(), "n1".into(), sender));
        assert!(sets.recv().await.unwrap().is_empty());
        std::fs::write(folder.join("web.yaml"), WEB).unwrap();
        while sets.recv().await.unwrap().is_empty() {}
        std::fs::remove_file(folder.join("web.yaml")).unwrap();
        while !sets.recv().await.unwrap().is_empty() {}
        drop(sets);
        std::fs::write(folder.join("web.yaml"), WEB).unwrap();
        task.await.unwrap().unwrap();
    }
}
