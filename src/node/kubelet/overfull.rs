//! Pods that hold more on disk than they may: emptyDirs with a size limit, and limits of
//! `ephemeral-storage` on what containers write beside their volumes. Pure.

use cadet_api::quantity::Quantity;
use k8s_openapi::api::core::v1::Pod;

use crate::eviction::{binary, too_big};
use crate::verdict::Over;

const RESOURCE: &str = "ephemeral-storage";

/// The pod's emptyDirs on disk with their limits; memory ones cannot grow beyond theirs.
pub(crate) fn on_disk(pod: &Pod) -> impl Iterator<Item = (&str, Option<&str>)> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let empty = volume.empty_dir.as_ref()?;
        let on_disk = empty.medium.as_deref().unwrap_or_default().is_empty();
        let limit = empty.size_limit.as_ref().map(|limit| limit.0.as_str());
        on_disk.then_some((volume.name.as_str(), limit))
    })
}

/// What each container may write at most, by their names.
pub(crate) fn limits(pod: &Pod) -> Vec<(&str, &str)> {
    let containers = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    });
    containers
        .filter_map(|container| {
            let limits = container.resources.as_ref()?.limits.as_ref()?;
            Some((container.name.as_str(), limits.get(RESOURCE)?.0.as_str()))
        })
        .collect()
}

/// Whether there is anything to measure.
#[must_use]
pub(crate) fn is_limited(pod: &Pod) -> bool {
    on_disk(pod).any(|(_, limit)| limit.is_some()) || !limits(pod).is_empty()
}

/// What the pod is told if it holds too much: bytes by the names of its emptyDirs on disk,
/// and what its containers have written, by theirs.
#[must_use]
pub(crate) fn judge(pod: &Pod, volumes: &[(&str, u64)], written: &[(String, u64)]) -> Option<Over> {
    let in_volumes = volumes.iter().map(|(name, bytes)| (*name, *bytes));
    let in_layers = written.iter().map(|(name, bytes)| (name.as_str(), *bytes));
    for (name, limit) in on_disk(pod) {
        if let Some(limit) = limit
            && sum(in_volumes.clone(), Some(name)) > bytes(limit)
        {
            return Some(too_big(name, limit));
        }
    }
    let limits = limits(pod);
    if limits.is_empty() {
        return None;
    }
    let whole = sum(
        limits.iter().map(|(name, limit)| (*name, bytes(limit))),
        None,
    );
    if sum(in_volumes.chain(in_layers.clone()), None) > whole {
        // One limit stands as it was written.
        let text = match limits.as_slice() {
            [(_, only)] => (*only).to_owned(),
            _ => binary(whole),
        };
        return Some(Over::greedy(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {text}. "
        )));
    }
    let greedy = limits
        .into_iter()
        .find(|(name, limit)| sum(in_layers.clone(), Some(*name)) > bytes(limit));
    greedy.map(|(name, limit)| {
        Over::greedy(format!(
            "Container {name} exceeded its local ephemeral storage limit \"{limit}\". "
        ))
    })
}

/// Bytes of all, or of those of one name.
fn sum<'a>(all: impl Iterator<Item = (&'a str, u64)>, name: Option<&str>) -> u64 {
    all.filter(|(own, _)| name.is_none_or(|name| name == *own))
        .fold(0, |sum, (_, bytes)| sum.saturating_add(bytes))
}

/// A quantity in bytes; one the API server should not have taken limits nothing.
fn bytes(limit: &str) -> u64 {
    let limit = limit.parse::<Quantity>().ok();
    limit
        .and_then(|limit| u64::try_from(limit.value()).ok())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    const MIB: u64 = 1 << 20;

    #[test]
    fn limits_on_memory_are_the_kernels_business() {
        let pod = pod(json!({"containers": [], "volumes": [
            {"name": "a", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "b", "emptyDir": {"sizeLimit": "1Mi", "medium": "Memory"}},
            {"name": "c", "emptyDir": {}}]}));
        let all: Vec<_> = on_disk(&pod).collect();
        assert_eq!(all, [("a", Some("1Mi")), ("c", None)]);
        assert!(is_limited(&pod));
        assert_eq!(judge(&pod, &[("a", MIB), ("c", 9 * MIB)], &[]), None);
        let over = judge(&pod, &[("a", MIB + 1)], &[]).unwrap();
        assert_eq!(
            over.message,
            "Usage of EmptyDir volume \"a\" exceeds the limit \"1Mi\". "
        );
        assert!(over.evicted() && !over.disruption, "its own doing");
    }

    #[test]
    fn what_containers_write_counts_together_and_each_for_itself() {
        let limit = |text: &str| json!({"limits": {"ephemeral-storage": text}});
        let pod = pod(
            json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [
            {"name": "a", "resources": limit("10Mi")},
            {"name": "b", "resources": limit("20Mi")}]}),
        );
        let told = |volume: u64, a: u64, b: u64| {
            let written = [("a".to_owned(), a * MIB), ("b".to_owned(), b * MIB)];
            let over = judge(&pod, &[("v", volume * MIB)], &written);
            over.map(|over| over.message).unwrap_or_default()
        };
        assert_eq!(told(10, 10, 10), "");
        assert_eq!(
            told(1, 10, 20),
            "Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. "
        );
        assert_eq!(
            told(0, 11, 1),
            "Container a exceeded its local ephemeral storage limit \"10Mi\". "
        );
        assert!(!is_limited(&crate::testing::pod(
            json!({"containers": [{"name": "a"}]})
        )));
    }
}
