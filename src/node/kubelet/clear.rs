//! What is left on a machine whose agent has ended: pods' containers, our images, mounts.
//! Found by labels and names, so that it works after any death.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;

use crate::runtime::{ContainerInfo, Role, Runtime, RuntimeError, State};
use crate::{labels, tmpfs};

/// The longest that anybody is waited for, whatever grace its pod asks for: what Docker gives
/// its containers when the machine shuts down (`dockerd --shutdown-timeout`).
const GRACE: Duration = Duration::from_secs(15);
/// Repository of the images made for sandboxes.
const PAUSE: &str = "cadet/pause:";

/// Stops every pod's containers as a shutdown of the machine would, sandboxes last, and
/// returns how many ran. They stay, ended.
///
/// # Errors
/// If the engine fails; everything has then been tried once.
pub async fn stop_pods(runtime: &dyn Runtime) -> Result<usize, RuntimeError> {
    let running = |container: &ContainerInfo| container.state == State::Running;
    let all = runtime.all_containers().await?;
    let all: Vec<ContainerInfo> = all.into_iter().filter(running).collect();
    in_order(&all, |container| stop(runtime, container)).await?;
    Ok(all.len())
}

/// Removes every pod's containers, without waiting for what they still want to say, and
/// returns how many there were.
///
/// # Errors
/// As [`stop_pods`].
pub async fn remove_pods(runtime: &dyn Runtime) -> Result<usize, RuntimeError> {
    let all = runtime.all_containers().await?;
    in_order(&all, |container| remove(runtime, &container.id)).await?;
    Ok(all.len())
}

/// Removes one container, running or not.
///
/// # Errors
/// If the engine fails.
pub async fn remove(runtime: &dyn Runtime, id: &str) -> Result<(), RuntimeError> {
    runtime.kill(id).await?;
    runtime.wait(id).await?;
    runtime.remove(id).await
}

/// Removes the images the agent has built: those of sandboxes and of lessons.
///
/// # Errors
/// If the engine fails, or one is in use by a container that is not ours.
pub async fn remove_images(runtime: &dyn Runtime) -> Result<usize, RuntimeError> {
    let mut removed = 0;
    for image in runtime.images().await? {
        let sandbox = image.names.iter().any(|name| name.starts_with(PAUSE));
        if sandbox || image.labels.contains_key(labels::CONTEXT) {
            runtime.remove_image(&image.id).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Unmounts everything at or below `dir`.
///
/// # Errors
/// If the kernel refuses or /proc is missing.
pub fn unmount(dir: &Path) -> io::Result<()> {
    tmpfs::unmount_below(dir)
}

/// All at once, but sandboxes after everything that lives in them.
async fn in_order<'a, F>(
    all: &'a [ContainerInfo],
    act: impl Fn(&'a ContainerInfo) -> F,
) -> Result<(), RuntimeError>
where
    F: Future<Output = Result<(), RuntimeError>>,
{
    let is_sandbox = |container: &&ContainerInfo| container.role() == Some(Role::Sandbox);
    let (sandboxes, others): (Vec<_>, Vec<_>) = all.iter().partition(is_sandbox);
    for part in [others, sandboxes] {
        let done = join_all(part.into_iter().map(&act)).await;
        done.into_iter().collect::<Result<(), RuntimeError>>()?;
    }
    Ok(())
}

async fn stop(runtime: &dyn Runtime, container: &ContainerInfo) -> Result<(), RuntimeError> {
    let label = container.label(labels::GRACE);
    let grace = label.and_then(|seconds| seconds.parse().ok());
    let grace = grace.map_or(GRACE, Duration::from_secs).min(GRACE);
    runtime.ask_to_stop(&container.id).await?;
    match tokio::time::timeout(grace, runtime.wait(&container.id)).await {
        Ok(ended) => ended,
        Err(_) => {
            runtime.kill(&container.id).await?;
            runtime.wait(&container.id).await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::runtime::ContainerSpec;
    use crate::runtime::fake::FakeRuntime;

    async fn container(runtime: &FakeRuntime, name: &str, role: &str) -> String {
        let spec = ContainerSpec {
            name: name.into(),
            image: "busybox".into(),
            labels: HashMap::from([(labels::ROLE.to_owned(), role.to_owned())]),
            ..ContainerSpec::default()
        };
        let id = runtime.create(&spec).await.unwrap();
        runtime.start(&id).await.unwrap();
        id
    }

    #[tokio::test]
    async fn pods_stop_and_stay_or_go() {
        let runtime = FakeRuntime::default();
        container(&runtime, "sandbox", "sandbox").await;
        container(&runtime, "app", "app").await;
        assert_eq!(stop_pods(&runtime).await.unwrap(), 2);
        let all = runtime.all_containers().await.unwrap();
        assert!(all.iter().all(|one| one.state == State::Exited), "{all:?}");
        assert_eq!(stop_pods(&runtime).await.unwrap(), 0, "none runs any more");
        container(&runtime, "late", "app").await;
        assert_eq!(remove_pods(&runtime).await.unwrap(), 3);
        assert!(runtime.all_containers().await.unwrap().is_empty());
        assert_eq!(remove_pods(&runtime).await.unwrap(), 0);
    }
}
