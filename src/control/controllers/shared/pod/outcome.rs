//! How a pod of a Job ended: what the Job's rules ask about, and nobody else.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{WireContainerStatus, WireMeta, WireStatus};

/// See the module's opening.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Containers that have ended, then init containers.
    pub exits: Vec<Exit>,
    /// Type and status.
    pub conditions: Vec<(String, String)>,
    /// When it ended, as well as can be told.
    pub finished: Timestamp,
    /// Of all its containers together.
    pub restarts: i32,
}

/// A container's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub container: String,
    pub code: i32,
}

pub(super) fn of(meta: &WireMeta, status: &WireStatus, created: Timestamp) -> Outcome {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let init = status
        .init_container_statuses
        .as_deref()
        .unwrap_or_default();
    let all = || containers.iter().chain(init);
    let exit = |c: &WireContainerStatus| {
        let ended = c.state.terminated.as_ref()?;
        Some(Exit {
            container: c.name.clone(),
            code: ended.exit_code,
        })
    };
    let conditions = status.conditions.iter().flatten();
    let finished = last_end(containers)
        .or_else(|| unready_since(status))
        .or_else(|| told_to_go(meta));
    Outcome {
        exits: all().filter_map(exit).collect(),
        conditions: conditions
            .map(|c| (c.r#type.clone(), c.status.clone()))
            .collect(),
        finished: finished.unwrap_or(created),
        restarts: all().map(|c| c.restart_count).sum(),
    }
}

/// When the last container ended, if all have.
fn last_end(containers: &[WireContainerStatus]) -> Option<Timestamp> {
    let ends = containers.iter().map(|c| {
        let ended = c.state.terminated.as_ref()?;
        ended.finished_at.as_ref().map(|time| time.0)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn unready_since(status: &WireStatus) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter().flatten();
    let unready = conditions.find(|c| c.r#type == "Ready" && c.status == "False")?;
    unready.last_transition_time.as_ref().map(|time| time.0)
}

fn told_to_go(meta: &WireMeta) -> Option<Timestamp> {
    let end = meta.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(0));
    end.checked_sub(grace).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{PodInfo, Record};
    use serde_json::{Value, json};

    fn finished(metadata: Value, status: Value) -> String {
        let mut pod = json!({"metadata": metadata, "status": status});
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": "Job", "name": "j", "uid": "u", "controller": true}]);
        let pod = PodInfo::of(serde_json::from_value(pod).unwrap());
        pod.outcome.unwrap().finished.to_string()
    }

    #[test]
    fn a_pod_has_ended_when_its_last_container_has() {
        let end = |time: &str| json!({"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": time}}});
        let two = json!([end("2026-01-01T00:00:07Z"), end("2026-01-01T00:00:05Z")]);
        assert_eq!(
            finished(json!({}), json!({"containerStatuses": two})),
            "2026-01-01T00:00:07Z"
        );
        let unready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:09Z"}]);
        let running = json!([end("2026-01-01T00:00:07Z"), {"name": "d", "state": {"running": {}}}]);
        assert_eq!(
            finished(
                json!({}),
                json!({"containerStatuses": running, "conditions": unready})
            ),
            "2026-01-01T00:00:09Z"
        );
        let told =
            json!({"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30});
        assert_eq!(finished(told, json!({})), "2026-01-01T00:00:30Z");
        assert_eq!(finished(json!({}), json!({})), "2026-01-01T00:00:00Z");
    }
}
