//! Which pod has to go when the machine runs short, and what it is told. Pure.

use k8s_openapi::api::core::v1::Pod;

use crate::admission::request;
use crate::pressure::{Resource, Shortage};
use crate::verdict::Over;

/// Pods of this priority and above keep the cluster alive and are not evicted
/// (`system-cluster-critical` has 2000000000).
pub const CRITICAL: i32 = 2_000_000_000;

/// A candidate: what its containers use of what is short, by name.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    pub pod: &'a Pod,
    /// Bytes (or inodes, or processes).
    pub containers: Vec<(String, u64)>,
    /// What belongs to no container: volumes and the pause process.
    pub rest: u64,
}

impl Candidate<'_> {
    fn used(&self) -> i64 {
        let sum = self.containers.iter().map(|(_, used)| used).sum::<u64>() + self.rest;
        i64::try_from(sum).unwrap_or(i64::MAX)
    }

    fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
    }

    /// How far above its request it is.
    fn excess(&self, resource: Resource) -> i64 {
        let asked = self
            .pod
            .spec
            .as_ref()
            .map_or(0, |spec| request(spec, resource.word()));
        self.used().saturating_sub(asked)
    }
}

/// The first to go: those above their request before the others, then the lowest
/// priority, then the greatest excess (documentation of node-pressure eviction).
#[must_use]
pub fn choose<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    resource: Resource,
) -> Option<&'b Candidate<'a>> {
    candidates
        .iter()
        .filter(|candidate| candidate.priority() < CRITICAL)
        .min_by_key(|candidate| {
            let excess = candidate.excess(resource);
            (excess <= 0, candidate.priority(), -excess)
        })
}

/// What the status of the chosen one says, upstream's words.
#[must_use]
pub fn sentence(candidate: &Candidate<'_>, shortage: &Shortage) -> Over {
    let resource = shortage.resource.word();
    let quantity: fn(u64) -> String = match shortage.resource {
        Resource::Memory | Resource::Disk => binary,
        Resource::Inodes | Resource::Pids => decimal,
    };
    let mut message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        quantity(shortage.threshold),
        quantity(shortage.available),
    );
    let spec = candidate.pod.spec.as_ref();
    for (name, used) in &candidate.containers {
        let containers = spec.into_iter().flat_map(|spec| &spec.containers);
        let asked = containers
            .into_iter()
            .find(|container| container.name == *name)
            .and_then(|container| {
                container
                    .resources
                    .as_ref()?
                    .requests
                    .as_ref()?
                    .get(resource)
            });
        let bytes = asked
            .and_then(|asked| asked.0.parse::<cadet_api::quantity::Quantity>().ok())
            .map_or(0, |asked| u64::try_from(asked.value()).unwrap_or(0));
        if *used > bytes {
            message.push_str(&format!(
                "Container {name} was using {}, request is {}, has larger consumption of \
                 {resource}. ",
                binary(*used),
                asked.map_or("0", |asked| asked.0.as_str()),
            ));
        }
    }
    Over::for_the_node(message)
}

/// What a pod is told whose emptyDir holds more than it may.
#[must_use]
pub fn too_big(volume: &str, limit: &str) -> Over {
    Over::greedy(format!(
        "Usage of EmptyDir volume \"{volume}\" exceeds the limit \"{limit}\". "
    ))
}

/// A number as Go prints a quantity in its binary form: `100Mi`, `52428Ki`, `7`.
#[must_use]
pub fn binary(number: u64) -> String {
    scaled(number, 1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
}

/// A number as Go prints a quantity in its decimal form: `3k`, `3276`.
fn decimal(number: u64) -> String {
    scaled(number, 1000, ["", "k", "M", "G", "T", "P", "E"])
}

fn scaled(mut number: u64, base: u64, suffixes: [&str; 7]) -> String {
    let mut step = 0;
    while number != 0 && number.is_multiple_of(base) && step + 1 < suffixes.len() {
        number /= base;
        step += 1;
    }
    format!("{number}{}", suffixes[step])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    fn named(name: &str, request: &str, priority: i32) -> Pod {
        let mut pod = pod(json!({"priority": priority, "containers": [
            {"name": "app", "resources": {"requests": {"memory": request}}}]}));
        pod.metadata.name = Some(name.into());
        pod
    }

    fn uses(pod: &Pod, used: u64) -> Candidate<'_> {
        Candidate {
            pod,
            containers: vec![("app".into(), used)],
            rest: 0,
        }
    }

    #[test]
    fn greed_then_priority_then_excess_decide() {
        let (modest, greedy) = (named("modest", "1Gi", 0), named("greedy", "1", 10));
        let (greedier, critical) = (named("greedier", "1", 10), named("c", "1", CRITICAL));
        let all = [
            uses(&modest, 1 << 29),
            uses(&greedy, 1 << 20),
            uses(&greedier, 1 << 21),
            uses(&critical, 1 << 31),
        ];
        let chosen = |all: &[Candidate<'_>]| {
            let chosen = choose(all, Resource::Memory);
            chosen.and_then(|chosen| chosen.pod.metadata.name.clone())
        };
        assert_eq!(chosen(&all).as_deref(), Some("greedier"));
        assert_eq!(
            chosen(&all[..1]).as_deref(),
            Some("modest"),
            "if nobody else"
        );
        assert_eq!(chosen(&all[3..]), None);
    }

    #[test]
    fn the_message_is_upstreams() {
        let pod = named("web", "16Mi", 0);
        let shortage = Shortage {
            resource: Resource::Memory,
            threshold: 100 << 20,
            available: 53_687_296,
        };
        let over = sentence(&uses(&pod, 200 << 20), &shortage);
        assert_eq!(over.reason, "Evicted");
        assert_eq!(
            over.message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: \
             52429Ki. Container app was using 200Mi, request is 16Mi, has larger consumption \
             of memory. "
        );
        assert_eq!(binary(0), "0");
        assert_eq!(binary(1000), "1000");
        assert_eq!((decimal(3000), decimal(3276)), ("3k".into(), "3276".into()));
        let forked = Shortage {
            resource: Resource::Pids,
            threshold: 1000,
            available: 12,
        };
        let bomb = Candidate {
            pod: &pod,
            containers: Vec::new(),
            rest: 900,
        };
        assert_eq!(
            sentence(&bomb, &forked).message,
            "The node was low on resource: pids. Threshold quantity: 1k, available: 12. "
        );
    }
}
