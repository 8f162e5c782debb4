//! What a StatefulSet wants, with upstream's defaults, and who its pods are.

use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet};

use crate::deployment::amounts::scaled;
use crate::shared::PodInfo;

/// Labels of a pod: its own name, its ordinal, its revision.
pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
pub const REVISION: &str = "controller-revision-hash";

/// See the module's opening.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    pub name: &'a str,
    pub replicas: i32,
    /// The first ordinal.
    pub start: i32,
    /// One pod after the other, each ready before the next.
    pub ordered: bool,
    /// Whether pods of old revisions are replaced by themselves.
    pub rolling: bool,
    /// Replicas below this one, counted from `start`, keep the old revision.
    pub partition: i32,
    /// Replicas below this one, counted from `start`, are made by the current revision.
    pub current_below: i32,
    /// Pods that may be unavailable while rolling, if it is said.
    pub max_unavailable: Option<i32>,
    pub min_ready_seconds: i32,
}

impl<'a> Wishes<'a> {
    pub fn of(set: &'a StatefulSet) -> Wishes<'a> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let spec = set.spec.as_ref();
        let replicas = spec.and_then(|s| s.replicas).unwrap_or(1);
        let strategy = spec.and_then(|s| s.update_strategy.as_ref());
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let ordinals = spec.and_then(|s| s.ordinals.as_ref());
        let parallel = spec.and_then(|s| s.pod_management_policy.as_deref()) == Some("Parallel");
        let on_delete = strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete");
        Wishes {
            name,
            replicas,
            start: ordinals.and_then(|o| o.start).unwrap_or(0),
            ordered: !parallel,
            rolling: !on_delete,
            partition: rolling.and_then(|r| r.partition).unwrap_or(0),
            current_below: match (on_delete, rolling) {
                (true, _) => 0,
                (false, Some(rolling)) => rolling.partition.unwrap_or(0),
                // Nobody said how far to roll: what has not been rolled yet stays as it was.
                (false, None) => {
                    let status = set.status.as_ref();
                    status.and_then(|s| s.current_replicas).unwrap_or(0)
                }
            },
            max_unavailable: rolling.and_then(|r| max_unavailable(r, replicas)),
            min_ready_seconds: spec.and_then(|s| s.min_ready_seconds).unwrap_or(0),
        }
    }

    /// Whether this is the ordinal of a pod that is wanted.
    pub fn has(&self, ordinal: i32) -> bool {
        (self.start..self.start.saturating_add(self.replicas)).contains(&ordinal)
    }

    pub fn pod_name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// The ordinal in a pod's name, if it is a name this set gives.
    pub fn ordinal(&self, pod: &PodInfo) -> Option<i32> {
        let number = pod.name.strip_prefix(self.name)?.strip_prefix('-')?;
        let ordinal: i32 = number.parse().ok()?;
        (self.pod_name(ordinal) == pod.name).then_some(ordinal)
    }

    /// Whether a pod has the labels that its ordinal gives it.
    pub fn is_labelled(&self, pod: &PodInfo, ordinal: i32) -> bool {
        let is = |key: &str, value: &str| pod.labels.get(key).is_some_and(|found| found == value);
        is(POD_NAME, &pod.name) && is(POD_INDEX, &ordinal.to_string())
    }
}

/// Rounded down, but at least one.
fn max_unavailable(rolling: &RollingUpdateStatefulSetStrategy, replicas: i32) -> Option<i32> {
    let value = rolling.max_unavailable.as_ref()?;
    Some(scaled(Some(value), replicas, false).max(1))
}

/// The revision by which a pod was made.
pub fn revision(pod: &PodInfo) -> &str {
    pod.labels.get(REVISION).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pod, set};
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_known_by_their_names() {
        let set = set(json!({"replicas": 3, "ordinals": {"start": 5}}), json!({}));
        let wishes = Wishes::of(&set);
        let ordinal = |name: &str| wishes.ordinal(&pod(&json!({"name": name})));
        assert_eq!(ordinal("web-5"), Some(5));
        assert_eq!(ordinal("web-05"), None);
        assert_eq!(ordinal("web-x-5"), None);
        assert_eq!(ordinal("web5"), None);
        let wanted: Vec<i32> = (0..10).filter(|n| wishes.has(*n)).collect();
        assert_eq!(wanted, [5, 6, 7]);
    }

    #[test]
    fn a_percentage_is_rounded_down_to_one_at_least() {
        let most = |value: serde_json::Value| {
            let rolling = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}}, "replicas": 10});
            Wishes::of(&set(rolling, json!({}))).max_unavailable
        };
        assert_eq!(most(json!("35%")), Some(3));
        assert_eq!(most(json!("5%")), Some(1));
        assert_eq!(most(json!(4)), Some(4));
        assert_eq!(most(json!(null)), None);
    }
}
