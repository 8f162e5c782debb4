//! Requests and limits: what they mean to the kernel.

use std::collections::BTreeMap;

use cadet_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::runtime::Limits;

/// Fewest shares the kernel accepts.
const MIN_SHARES: i64 = 2;
/// Smallest CPU quota the kernel accepts, in microseconds per 100 ms.
const MIN_QUOTA: i64 = 1000;
/// OOM scores of the three classes, upstream's.
const GUARANTEED_SCORE: i64 = -997;
const BEST_EFFORT_SCORE: i64 = 1000;
/// The pause process: killed after everything else of the pod.
pub const SANDBOX_SCORE: i64 = -998;

type Amounts = Option<BTreeMap<String, Text>>;

fn amount(amounts: &Amounts, name: &str) -> Option<Quantity> {
    // The API server has checked the syntax; what it let through and we cannot read
    // counts as not given.
    amounts.as_ref()?.get(name)?.0.parse().ok()
}

/// The cgroup settings of one container. `node_memory` in bytes.
#[must_use]
pub fn limits(spec: &PodSpec, container: &Container, node_memory: i64) -> Limits {
    let resources = container.resources.clone().unwrap_or_default();
    let cpu_limit = amount(&resources.limits, "cpu").map_or(0, Quantity::millis);
    let cpu_request = amount(&resources.requests, "cpu").map_or(cpu_limit, Quantity::millis);
    let memory = amount(&resources.limits, "memory").map_or(0, Quantity::value);
    let memory_request = amount(&resources.requests, "memory").map_or(memory, Quantity::value);
    Limits {
        cpu_shares: (cpu_request.saturating_mul(1024) / 1000).max(MIN_SHARES),
        cpu_quota: if cpu_limit > 0 {
            cpu_limit.saturating_mul(100).max(MIN_QUOTA)
        } else {
            0
        },
        memory,
        oom_score_adj: score(spec, memory_request, node_memory),
    }
}

fn score(spec: &PodSpec, memory_request: i64, node_memory: i64) -> i64 {
    match class(spec) {
        Class::Guaranteed => GUARANTEED_SCORE,
        Class::BestEffort => BEST_EFFORT_SCORE,
        Class::Burstable => {
            let share = i128::from(memory_request) * 1000 / i128::from(node_memory.max(1));
            // Never as safe as guaranteed pods, never as doomed as best-effort ones.
            i64::try_from(1000 - share)
                .unwrap_or(0)
                .clamp(1000 + GUARANTEED_SCORE, BEST_EFFORT_SCORE - 1)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

fn class(spec: &PodSpec) -> Class {
    let all = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    };
    let given = |amounts: &Amounts, name| amount(amounts, name).filter(|q| !q.is_zero());
    let mut any = false;
    let mut guaranteed = true;
    for container in all() {
        let resources = container.resources.clone().unwrap_or_default();
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
}
