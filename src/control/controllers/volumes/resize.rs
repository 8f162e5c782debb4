//! Growing: a claim that asks for more than its volume has gets it.
//!
//! ```text
//!   claim wants more ─▶ claim: Resizing ─▶ volume's capacity ─▶ claim: capacity, not Resizing
//! ```
//! Admission has asked the storage class already. Our volumes are folders without a size of
//! their own, so that nothing has to be done to them; those of other provisioners are grown
//! by whoever made them. Whoever is interrupted goes on where it stopped.

use serde_json::{Value, json};

use super::model::{Claim, PROVISIONED_BY, Volume};
use super::{Context, about_claim, local};
use crate::errors::Error;
use crate::eviction::now_text;

/// Names by which upstream's expand controller and resizers of CSI drivers speak.
pub const WATCHER: &str = "volume_expand";
pub const RESIZER: &str = "external-resizer cadet.dev/local-path";

const RESIZING: &str = "Resizing";
const IN_PROGRESS: &str = "ControllerResizeInProgress";

pub fn is_ours(volume: &Volume) -> bool {
    volume.metadata.annotation(PROVISIONED_BY) == local::PROVISIONER
}

/// The size a bound claim asks for, if its volume is smaller.
fn missing(claim: &Claim, volume: &Volume) -> Option<Value> {
    let grows = claim.status.phase == "Bound" && volume.capacity() < claim.wants();
    claim
        .spec
        .resources
        .requests
        .get("storage")
        .filter(|_| grows)
        .cloned()
}

/// The claim's conditions but for the one that says it is growing.
fn others(claim: &Claim) -> Vec<Value> {
    let all = claim.status.conditions.as_array().into_iter().flatten();
    all.filter(|condition| condition["type"] != RESIZING)
        .cloned()
        .collect()
}

/// Members of the status while the claim grows to this size.
fn under_way(claim: &Claim, size: &Value, now: &str) -> Value {
    let mut conditions = others(claim);
    conditions.push(json!({
        "type": RESIZING,
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": now,
    }));
    json!({
        "conditions": conditions,
        "allocatedResources": {"storage": size},
        "allocatedResourceStatuses": {"storage": IN_PROGRESS},
    })
}

/// Adds to the status of a bound claim what ends its growing; false if it did not grow.
pub fn end(claim: &Claim, volume: &Volume, status: &mut Value) -> bool {
    let said = claim.status.conditions.as_array().into_iter().flatten();
    let mut said = said.map(|condition| &condition["type"]);
    let grew = is_ours(volume) && volume.capacity() >= claim.wants();
    if !grew || !said.any(|kind| kind == RESIZING) {
        return false;
    }
    let left = others(claim);
    status["conditions"] = match left.is_empty() {
        true => Value::Null,
        false => Value::Array(left),
    };
    status["allocatedResourceStatuses"] = Value::Null;
    true
}

impl Context {
    /// Gives a bound claim the size it asks for, as far as that is up to us; both as they
    /// are then.
    pub(super) async fn grow(
        &self,
        claim: Claim,
        volume: Volume,
    ) -> Result<(Claim, Volume), Error> {
        let Some(size) = missing(&claim, &volume) else {
            return Ok((claim, volume));
        };
        let message = "waiting for an external controller to expand this PVC".to_owned();
        self.growing
            .normal(about_claim(&claim), "ExternalExpanding", message);
        if !is_ours(&volume) {
            return Ok((claim, volume));
        }
        let name = &volume.metadata.name;
        let message = format!("External resizer is resizing volume {name}");
        self.resizer.normal(about_claim(&claim), RESIZING, message);
        let patch = json!({
            "metadata": {"resourceVersion": claim.metadata.resource_version},
            "status": under_way(&claim, &size, &now_text()),
        });
        let claim = self.change_claim(&claim, "/status", &patch).await?;
        let patch = json!({
            "metadata": {"resourceVersion": volume.metadata.resource_version},
            "spec": {"capacity": {"storage": size}},
        });
        let volume = self.change_volume(&volume, "", &patch).await?;
        Ok((claim, volume))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(size: &str, phase: &str, conditions: Value) -> Claim {
        let claim = json!({"spec": {"resources": {"requests": {"storage": size}}},
            "status": {"phase": phase, "conditions": conditions}});
        serde_json::from_value(claim).unwrap()
    }

    fn volume(size: &str, by: &str) -> Volume {
        let volume = json!({"metadata": {"annotations": {PROVISIONED_BY: by}},
            "spec": {"capacity": {"storage": size}}});
        serde_json::from_value(volume).unwrap()
    }

    #[test]
    fn a_bound_claim_that_asks_for_more_grows() {
        let small = volume("1Gi", local::PROVISIONER);
        let none = Value::Null;
        let more = claim("2Gi", "Bound", none.clone());
        assert_eq!(missing(&more, &small), Some(json!("2Gi")));
        assert_eq!(
            missing(&claim("1024Mi", "Bound", none.clone()), &small),
            None
        );
        assert_eq!(missing(&claim("2Gi", "Pending", none), &small), None);
        let status = under_way(&more, &json!("2Gi"), "now");
        assert_eq!(status["conditions"][0]["type"], "Resizing");
        assert_eq!(status["allocatedResources"]["storage"], "2Gi");
    }

    #[test]
    fn the_end_is_said_once_and_leaves_what_others_said() {
        let resizing = || json!({"type": "Resizing", "status": "True"});
        let grown = volume("2Gi", local::PROVISIONER);
        let ended = |claim: &Claim, volume: &Volume| {
            let mut status = json!({});
            end(claim, volume, &mut status).then_some(status)
        };
        let alone = claim("2Gi", "Bound", json!([resizing()]));
        assert_eq!(
            ended(&alone, &grown),
            Some(json!({"conditions": null, "allocatedResourceStatuses": null}))
        );
        let other = json!({"type": "ModifyingVolume", "status": "True"});
        let both = claim("2Gi", "Bound", json!([other, resizing()]));
        assert_eq!(ended(&both, &grown).unwrap()["conditions"], json!([other]));
        let small = volume("1Gi", local::PROVISIONER);
        assert_eq!(ended(&alone, &small), None, "not yet");
        let foreign = volume("2Gi", "disks.example.com");
        assert_eq!(ended(&alone, &foreign), None, "theirs to say");
        assert_eq!(ended(&claim("2Gi", "Bound", json!([])), &grown), None);
    }
}
