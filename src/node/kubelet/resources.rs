//! Requests and limits: what they mean to the kernel.

use std::collections::BTreeMap;

use cadet_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::manifest::is_sidecar;
use crate::runtime::Limits;

/// Fewest and most shares the kernel accepts.
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// Smallest CPU quota the kernel accepts, in microseconds per 100 ms.
const MIN_QUOTA: i64 = 1000;
/// OOM scores of the three classes, upstream's.
const GUARANTEED_SCORE: i64 = -997;
const BEST_EFFORT_SCORE: i64 = 1000;
/// Pods of this class keep the node alive; only they are as safe as guaranteed ones.
const NODE_CRITICAL: &str = "system-node-critical";
/// The pause process: killed after everything else of the pod.
pub const SANDBOX_SCORE: i64 = -998;

type Amounts = Option<BTreeMap<String, Text>>;

fn amount(amounts: &Amounts, name: &str) -> Option<Quantity> {
    // The API server has checked the syntax; what it let through and we cannot read
    // counts as not given.
    amounts.as_ref()?.get(name)?.0.parse().ok()
}

/// The cgroup settings of one container. `node_memory` in bytes. Where it has no limit of its
/// own, the pod's is its limit (KEP-2837): several containers together may still exceed it.
#[must_use]
pub fn limits(spec: &PodSpec, container: &Container, node_memory: i64) -> Limits {
    let resources = container.resources.clone().unwrap_or_default();
    let limit = |name: &str| {
        let own = amount(&resources.limits, name).filter(|own| !own.is_zero());
        let whole = spec.resources.as_ref();
        own.or_else(|| amount(&whole?.limits, name))
    };
    let cpu_limit = limit("cpu").map_or(0, Quantity::millis);
    let cpu_request = amount(&resources.requests, "cpu").map_or(cpu_limit, Quantity::millis);
    Limits {
        cpu_shares: (cpu_request.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES),
        cpu_quota: if cpu_limit > 0 {
            cpu_limit.saturating_mul(100).max(MIN_QUOTA)
        } else {
            0
        },
        memory: limit("memory").map_or(0, Quantity::value),
        oom_score_adj: score(spec, container, node_memory),
    }
}

/// What of `limits` can change while a container runs, as its label has it.
#[must_use]
pub fn label(limits: &Limits) -> String {
    let Limits {
        cpu_shares,
        cpu_quota,
        memory,
        ..
    } = limits;
    format!("{cpu_shares},{cpu_quota},{memory}")
}

/// Whether the manifest wants the container restarted for what is different between two
/// labels.
#[must_use]
pub fn restarts_for(container: &Container, before: &str, after: &str) -> bool {
    let restarting = |name: &str| {
        let mut policies = container.resize_policy.iter().flatten();
        policies.any(|p| p.resource_name == name && p.restart_policy == "RestartContainer")
    };
    let (cpu, memory) = (restarting("cpu"), restarting("memory"));
    let differs = |part: usize| before.split(',').nth(part) != after.split(',').nth(part);
    (cpu && (differs(0) || differs(1))) || (memory && differs(2))
}

fn score(spec: &PodSpec, container: &Container, node_memory: i64) -> i64 {
    if spec.priority_class_name.as_deref() == Some(NODE_CRITICAL) {
        return GUARANTEED_SCORE;
    }
    match class(spec) {
        Class::Guaranteed => GUARANTEED_SCORE,
        Class::BestEffort => BEST_EFFORT_SCORE,
        Class::Burstable => {
            let share = |request: i64| {
                let part = i128::from(request) * 1000 / i128::from(node_memory.max(1));
                i64::try_from(1000 - part).unwrap_or(0)
            };
            let rest = unclaimed_memory(spec);
            let mut own = share(memory_request(container).saturating_add(rest));
            if is_sidecar(container) {
                // It outlives all containers it serves (KEP-753).
                let least = spec.containers.iter().map(memory_request).min();
                own = own.min(share(least.unwrap_or(0).saturating_add(rest)));
            }
            // Never as safe as guaranteed pods, never as doomed as best-effort ones.
            own.clamp(1000 + GUARANTEED_SCORE, BEST_EFFORT_SCORE - 1)
        }
    }
}

/// Bytes a container asks for.
fn memory_request(container: &Container) -> i64 {
    let Some(resources) = &container.resources else {
        return 0;
    };
    let asked = amount(&resources.requests, "memory");
    let asked = asked.or_else(|| amount(&resources.limits, "memory"));
    asked.map_or(0, Quantity::value)
}

/// What each container gets of the memory the pod as a whole asks for beyond its containers.
fn unclaimed_memory(spec: &PodSpec) -> i64 {
    let whole = spec.resources.as_ref();
    let Some(whole) = whole.and_then(|whole| amount(&whole.requests, "memory")) else {
        return 0;
    };
    let init = spec.init_containers.iter().flatten();
    let all: Vec<i64> = spec
        .containers
        .iter()
        .chain(init)
        .map(memory_request)
        .collect();
    let rest = whole.value().saturating_sub(all.iter().sum());
    rest.max(0) / i64::try_from(all.len().max(1)).unwrap_or(i64::MAX)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// The class as statuses name it.
#[must_use]
pub fn class_name(spec: &PodSpec) -> &'static str {
    match class(spec) {
        Class::Guaranteed => "Guaranteed",
        Class::Burstable => "Burstable",
        Class::BestEffort => "BestEffort",
    }
}

/// What the pod as a whole asks for decides; if it asks for nothing, its containers do.
fn class(spec: &PodSpec) -> Class {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let whole = [&spec.resources];
    match class_of(whole.into_iter()) {
        Class::BestEffort => class_of(containers.map(|container| &container.resources)),
        class => class,
    }
}

fn class_of<'a>(all: impl Iterator<Item = &'a Option<ResourceRequirements>>) -> Class {
    let given = |amounts: &Amounts, name| amount(amounts, name).filter(|q| !q.is_zero());
    let mut any = false;
    let mut guaranteed = true;
    for resources in all {
        let resources = resources.clone().unwrap_or_default();
        for name in ["cpu", "memory"] {
            let limit = given(&resources.limits, name);
            let request = given(&resources.requests, name).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => Class::BestEffort,
        (true, true) => Class::Guaranteed,
        (true, false) => Class::Burstable,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits_of(resources: serde_json::Value) -> Limits {
        let spec: PodSpec =
            serde_json::from_value(json!({"containers": [{"name": "c", "resources": resources}]}))
                .unwrap();
        limits(&spec, &spec.containers[0], 1 << 30)
    }

    #[test]
    fn nothing_asked_is_best_effort() {
        let limits = limits_of(json!({}));
        assert_eq!(
            limits,
            Limits {
                cpu_shares: 2,
                cpu_quota: 0,
                memory: 0,
                oom_score_adj: 1000
            }
        );
    }

    #[test]
    fn limits_alone_are_requests_too() {
        let limits = limits_of(json!({"limits": {"cpu": "500m", "memory": "128Mi"}}));
        assert_eq!(
            limits,
            Limits {
                cpu_shares: 512,
                cpu_quota: 50_000,
                memory: 128 << 20,
                oom_score_adj: -997
            }
        );
    }

    #[test]
    fn burstable_pods_are_scored_by_their_request() {
        let limits = limits_of(json!({"requests": {"cpu": "100m", "memory": "256Mi"}}));
        assert_eq!(
            (limits.cpu_shares, limits.memory, limits.oom_score_adj),
            (102, 0, 750)
        );
        assert_eq!(
            limits_of(json!({"requests": {"memory": "1"}})).oom_score_adj,
            999
        );
        assert_eq!(
            limits_of(json!({"requests": {"memory": "4Gi"}})).oom_score_adj,
            3
        );
        assert_eq!(limits_of(json!({"limits": {"cpu": "1m"}})).cpu_quota, 1000);
    }
    fn scores(spec: serde_json::Value) -> Vec<i64> {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
            .map(|container| limits(&spec, container, 1 << 30).oom_score_adj)
            .collect()
    }

    #[test]
    fn a_sidecar_is_as_safe_as_the_safest_it_serves_needs() {
        let asks = |memory: &str| json!({"requests": {"memory": memory}});
        let spec = json!({
            "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
            "containers": [{"name": "a", "resources": asks("512Mi")},
                {"name": "b", "resources": asks("256Mi")}]});
        assert_eq!(scores(spec), [750, 999, 500, 750]);
    }

    #[test]
    fn pods_the_node_cannot_do_without_are_killed_last() {
        let spec = json!({"priorityClassName": "system-node-critical",
            "containers": [{"name": "a"}]});
        assert_eq!(scores(spec), [-997]);
    }

    #[test]
    fn a_pods_own_resources_bound_each_container_and_make_its_class() {
        let spec = |whole: serde_json::Value| -> PodSpec {
            serde_json::from_value(json!({"resources": whole, "containers": [
                {"name": "a", "resources": {"limits": {"memory": "16Mi"}}}, {"name": "b"}]}))
            .unwrap()
        };
        let bounded = spec(json!({"limits": {"cpu": "1", "memory": "64Mi"}}));
        assert_eq!(class_name(&bounded), "Guaranteed");
        let a = limits(&bounded, &bounded.containers[0], 1 << 30);
        let b = limits(&bounded, &bounded.containers[1], 1 << 30);
        assert_eq!((a.memory, a.cpu_quota), (16 << 20, 100_000));
        assert_eq!(
            (b.memory, b.cpu_quota, b.cpu_shares),
            (64 << 20, 100_000, 1024)
        );
        let asking = spec(json!({"requests": {"memory": "528Mi"}}));
        assert_eq!(class_name(&asking), "Burstable");
        let b = limits(&asking, &asking.containers[1], 1 << 30);
        assert_eq!(b.oom_score_adj, 750, "half of what is left of the pod's");
        assert_eq!(class_name(&spec(json!({}))), "Burstable");
    }
}
