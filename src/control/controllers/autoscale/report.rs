//! The status of an autoscaler as it is to be.

use serde_json::{Value, json};

use super::Context;
use super::model::{Autoscaler, Condition};
use crate::errors::Error;
use crate::eviction::now_text;
use crate::shared::Record as _;
use crate::wire::{in_namespace, is_gone, merge, written};

/// The status to be.
pub struct Report {
    pub current: i32,
    pub desired: i32,
    pub metrics: Value,
    pub conditions: Vec<Condition>,
    pub scaled: Option<String>,
}

impl Report {
    pub fn of(one: &Autoscaler) -> Report {
        Report {
            current: one.status.current_replicas,
            desired: one.status.desired_replicas,
            metrics: one.status.current_metrics.clone(),
            conditions: one.status.conditions.clone(),
            scaled: None,
        }
    }

    pub fn set(&mut self, kind: &str, holds: bool, reason: &str, message: impl Into<String>) {
        let status = if holds { "True" } else { "False" };
        let at = match self.conditions.iter().position(|c| c.kind == kind) {
            Some(at) => at,
            None => {
                self.conditions.push(Condition {
                    kind: kind.to_owned(),
                    ..Condition::default()
                });
                self.conditions.len() - 1
            }
        };
        let condition = &mut self.conditions[at];
        if condition.status != status {
            condition.status = status.to_owned();
            condition.last_transition_time = now_text();
        }
        condition.reason = reason.to_owned();
        condition.message = message.into();
    }
}

impl Context {
    /// Writes the status, if it differs.
    pub(super) async fn write(&self, one: &Autoscaler, report: Report) -> Result<(), Error> {
        let now = &one.status;
        let same = now.current_replicas == report.current
            && now.desired_replicas == report.desired
            && now.conditions == report.conditions
            && now.current_metrics == report.metrics
            && report.scaled.is_none();
        if same {
            return Ok(());
        }
        let meta = &one.metadata;
        let scaled = report.scaled.or_else(|| now.last_scale_time.clone());
        let conditions: Vec<Value> = report
            .conditions
            .iter()
            .map(|c| {
                json!({
                    "type": c.kind,
                    "status": c.status,
                    "lastTransitionTime": c.last_transition_time,
                    "reason": c.reason,
                    "message": c.message,
                })
            })
            .collect();
        let patch = json!({"status": {
            "currentReplicas": report.current,
            "desiredReplicas": report.desired,
            "lastScaleTime": scaled,
            "currentMetrics": report.metrics,
            "conditions": conditions,
        }});
        let all = in_namespace(&Autoscaler::path(), &meta.namespace);
        let path = format!("{all}/{}/status", meta.name);
        match merge::<Autoscaler>(&self.client, &path, &patch).await {
            Ok(changed) => self.autoscalers.written(changed),
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                return Err(written(format!("status of autoscaler {}", meta.name))(
                    error,
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_turn_only_when_their_status_does() {
        let mut report = Report::of(&Autoscaler::default());
        report.set("AbleToScale", true, "A", "a");
        report.conditions[0].last_transition_time = "then".to_owned();
        report.set("AbleToScale", true, "B", "b");
        assert_eq!(report.conditions.len(), 1);
        assert_eq!(report.conditions[0].reason, "B");
        assert_eq!(report.conditions[0].last_transition_time, "then");
        report.set("AbleToScale", false, "C", "c");
        assert_ne!(report.conditions[0].last_transition_time, "then");
    }
}
