//! Rules by which a Job fails, ignores a failure or succeeds before its time (KEP-3329,
//! KEP-3850, KEP-3998).

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, SuccessPolicy,
};

use super::indexes::Indexes;
use crate::shared::{Exit, PodInfo};

/// What the first rule that matches a failed pod says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Counts against the limit: also if no rule matches.
    Count,
    Ignore,
    FailIndex,
    /// The message of the Job's condition.
    FailJob(String),
}

impl Failure {
    pub fn counts(&self) -> bool {
        *self != Failure::Ignore
    }
}

/// Judges a failed pod.
pub fn judge(policy: Option<&PodFailurePolicy>, pod: &PodInfo) -> Failure {
    let rules = policy.map(|p| p.rules.as_slice()).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let (name, space, action) = (&pod.name, &pod.namespace, rule.action.as_str());
        let why = if let Some(codes) = &rule.on_exit_codes {
            exit(codes, pod).map(|exit| {
                format!(
                    "Container {} for pod {space}/{name} failed with exit code {} matching {action} rule at index {at}",
                    exit.container, exit.code
                )
            })
        } else {
            let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
            condition(patterns, pod).map(|condition| {
                format!("Pod {space}/{name} has condition {condition} matching {action} rule at index {at}")
            })
        };
        let Some(why) = why else { continue };
        match action {
            "Ignore" => return Failure::Ignore,
            "Count" => return Failure::Count,
            "FailIndex" => return Failure::FailIndex,
            "FailJob" => return Failure::FailJob(why),
            // Of a newer server: as if it were not there.
            _ => {}
        }
    }
    Failure::Count
}

fn exit<'a>(codes: &PodFailurePolicyOnExitCodesRequirement, pod: &'a PodInfo) -> Option<&'a Exit> {
    let exits = pod.outcome.iter().flat_map(|outcome| &outcome.exits);
    exits
        .filter(|exit| exit.code != 0)
        .filter(|exit| {
            let name = codes.container_name.as_ref();
            name.is_none_or(|name| *name == exit.container)
        })
        .find(|exit| {
            let listed = codes.values.contains(&exit.code);
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
}

fn condition<'a>(
    patterns: &[PodFailurePolicyOnPodConditionsPattern],
    pod: &'a PodInfo,
) -> Option<&'a str> {
    let conditions = pod.outcome.iter().flat_map(|outcome| &outcome.conditions);
    conditions
        .filter(|(kind, status)| {
            patterns.iter().any(|pattern| {
                let wanted = pattern.status.as_deref().unwrap_or("True");
                pattern.type_ == *kind && wanted == status
            })
        })
        .map(|(kind, _)| kind.as_str())
        .next()
}

/// The message of the Job's condition, if the indexes that succeeded are enough.
pub fn succeeded_early(
    policy: Option<&SuccessPolicy>,
    completions: i32,
    succeeded: &Indexes,
) -> Option<String> {
    let rules = policy.map(|p| p.rules.as_slice()).unwrap_or_default();
    let total = succeeded.total();
    if total == 0 {
        return None;
    }
    let at = rules.iter().position(|rule| {
        let count = rule.succeeded_count;
        match rule.succeeded_indexes.as_deref() {
            Some(text) => {
                let wanted = Indexes::parse(text, completions);
                succeeded.common(&wanted) >= count.unwrap_or(wanted.total())
            }
            None => count.is_some_and(|count| total >= count),
        }
    })?;
    Some(format!("Matched rules at index {at}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::pod;
    use super::*;
    use serde_json::{Value, json};

    fn policy(rules: Value) -> PodFailurePolicy {
        serde_json::from_value(json!({"rules": rules})).unwrap()
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let failed = pod(
            json!({"metadata": {"namespace": "default", "name": "job-x"}, "status": {"phase": "Failed",
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [{"name": "side", "state": {"terminated": {"exitCode": 0}}},
                {"name": "main", "state": {"terminated": {"exitCode": 42}}}]}}),
        );
        let judge = |rules| judge(Some(&policy(rules)), &failed);
        let codes = |action: &str, operator: &str, values: Value| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let disruption = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        assert_eq!(
            judge(json!([
                codes("Ignore", "In", json!([1])),
                codes("FailJob", "In", json!([42]))
            ])),
            Failure::FailJob(
                "Container main for pod default/job-x failed with exit code 42 matching FailJob rule at index 1".into()
            )
        );
        assert_eq!(
            judge(json!([disruption, codes("FailJob", "In", json!([42]))])),
            Failure::Ignore
        );
        let mut fails = disruption;
        fails["action"] = json!("FailJob");
        assert_eq!(
            judge(json!([fails])),
            Failure::FailJob(
                "Pod default/job-x has condition DisruptionTarget matching FailJob rule at index 0"
                    .into()
            )
        );
        assert_eq!(
            judge(json!([codes("FailIndex", "NotIn", json!([1]))])),
            Failure::FailIndex
        );
        assert_eq!(
            judge(json!([codes("FailJob", "NotIn", json!([42]))])),
            Failure::Count
        );
        let mut other = codes("FailJob", "In", json!([42]));
        other["onExitCodes"]["containerName"] = json!("side");
        assert_eq!(judge(json!([other])), Failure::Count);
    }

    #[test]
    fn some_indexes_may_be_enough() {
        let met = |rules: Value, done: &str| {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            succeeded_early(Some(&policy), 10, &Indexes::parse(done, 10))
        };
        let leader = json!([{"succeededIndexes": "0"}]);
        assert_eq!(met(leader.clone(), "1-4"), None);
        assert_eq!(met(leader, "0"), Some("Matched rules at index 0".into()));
        let some = json!([{"succeededIndexes": "0-2", "succeededCount": 2}, {"succeededCount": 5}]);
        assert_eq!(met(some.clone(), "0,5,6"), None);
        assert_eq!(
            met(some.clone(), "0,2"),
            Some("Matched rules at index 0".into())
        );
        assert_eq!(met(some, "5-9"), Some("Matched rules at index 1".into()));
        assert_eq!(succeeded_early(None, 10, &Indexes::parse("0", 10)), None);
    }
}
