//! What the conditions of a namespace on its way out say of what is left in it. Pure; types,
//! reasons and messages are upstream's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

const UNDISCOVERED: &str = "NamespaceDeletionDiscoveryFailure";
const UNPARSED: &str = "NamespaceDeletionGroupVersionParsingFailure";
const UNDELETED: &str = "NamespaceDeletionContentFailure";
const REMAINING: &str = "NamespaceContentRemaining";
const HELD: &str = "NamespaceFinalizersRemaining";

/// Every type, with reason and message of its being False.
const TYPES: [(&str, &str, &str); 5] = [
    (
        UNDISCOVERED,
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    (
        UNPARSED,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        UNDELETED,
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    (
        REMAINING,
        "ContentRemoved",
        "All content successfully removed",
    ),
    (
        HELD,
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
];

/// What one attempt to empty a namespace found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many objects are left, by plural and group: `pods.`, `deployments.apps`.
    left: BTreeMap<String, i64>,
    /// How many objects each finalizer holds.
    held: BTreeMap<String, usize>,
    /// Why custom kinds could not be told.
    unknown: Option<String>,
    /// Why something could not be deleted, one for each kind.
    failures: Vec<String>,
}

impl Found {
    /// So many objects of a kind are left, and these are the finalizers on them.
    pub fn left(&mut self, plural: &str, group: &str, count: i64, finalizers: &[String]) {
        if count > 0 {
            self.left.insert(format!("{plural}.{group}"), count);
        }
        for finalizer in finalizers {
            *self.held.entry(finalizer.clone()).or_default() += 1;
        }
    }

    pub fn not_deleted(&mut self, why: String) {
        self.failures.push(why);
    }

    pub fn not_discovered(&mut self, why: String) {
        self.unknown = Some(why);
    }

    /// Whether nothing stands in the way of the namespace's end.
    pub fn is_nothing(&self) -> bool {
        self.left.is_empty() && self.failures.is_empty() && self.unknown.is_none()
    }

    /// What is left, for the log.
    pub fn kinds(&self) -> String {
        let kinds: Vec<&str> = self.left.keys().map(String::as_str).collect();
        kinds.join(", ")
    }

    /// Reason and message of a condition that is True.
    fn complaint(&self, kind: &str) -> Option<(&'static str, String)> {
        match kind {
            UNDISCOVERED => {
                let why = self.unknown.clone()?;
                Some(("DiscoveryFailed", why))
            }
            UNDELETED if !self.failures.is_empty() => {
                let mut failures = self.failures.clone();
                failures.sort_unstable();
                let message = format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    failures.len(),
                    failures.join(", ")
                );
                Some(("ContentDeletionFailed", message))
            }
            REMAINING if !self.left.is_empty() => {
                let kinds = self.left.iter();
                let kinds: Vec<String> = kinds
                    .map(|(kind, count)| format!("{kind} has {count} resource instances"))
                    .collect();
                let message = format!("Some resources are remaining: {}", kinds.join(", "));
                Some(("SomeResourcesRemain", message))
            }
            HELD if !self.held.is_empty() => {
                let held = self.held.iter();
                let held: Vec<String> = held
                    .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
                    .collect();
                let message = format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    held.join(", ")
                );
                Some(("SomeFinalizersRemain", message))
            }
            _ => None,
        }
    }
}

/// The conditions to be, if they differ from those there are; others' stay.
pub fn conditions(
    found: &Found,
    old: &[NamespaceCondition],
    now: Timestamp,
) -> Option<Vec<NamespaceCondition>> {
    let mut new = old.to_vec();
    for (kind, reason, message) in TYPES {
        let (status, reason, message) = match found.complaint(kind) {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", reason, message.to_owned()),
        };
        let before = new.iter_mut().find(|c| c.type_ == kind);
        let since = before.as_ref().filter(|c| c.status == status);
        let since = since.and_then(|c| c.last_transition_time.clone());
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or(Some(Time(now))),
        };
        match before {
            Some(before) => *before = condition,
            None => new.push(condition),
        }
    }
    (new != old).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Status, reason and message of each condition.
    fn said(conditions: &[NamespaceCondition]) -> Vec<(&str, &str, &str)> {
        let mut all = Vec::new();
        for c in conditions {
            let reason = c.reason.as_deref().unwrap_or_default();
            let message = c.message.as_deref().unwrap_or_default();
            all.push((c.status.as_str(), reason, message));
        }
        all
    }

    #[test]
    fn what_remains_is_named_and_counted() {
        let mut found = Found::default();
        found.left("pods", "", 2, &[]);
        let held = ["example.com/hold".to_owned(), "example.com/hold".to_owned()];
        found.left("deployments", "apps", 3, &held);
        found.left("secrets", "", 0, &[]);
        assert_eq!(found.kinds(), "deployments.apps, pods.");
        let made = conditions(&found, &[], at(0)).unwrap();
        assert_eq!(
            said(&made)[3..],
            [
                (
                    "True",
                    "SomeResourcesRemain",
                    "Some resources are remaining: deployments.apps has 3 resource instances, \
                     pods. has 2 resource instances"
                ),
                (
                    "True",
                    "SomeFinalizersRemain",
                    "Some content in the namespace has finalizers remaining: example.com/hold \
                     in 2 resource instances"
                ),
            ]
        );
        assert_eq!(
            said(&made)[2],
            (
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization"
            )
        );
        assert_eq!(conditions(&found, &made, at(9)), None, "stable");
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let mut found = Found::default();
        found.left("pods", "", 2, &[]);
        found.not_deleted("the hook says no".to_owned());
        let made = conditions(&found, &[], at(0)).unwrap();
        assert_eq!(
            said(&made)[2],
            (
                "True",
                "ContentDeletionFailed",
                "Failed to delete all resource types, 1 remaining: the hook says no"
            )
        );
        let mut fewer = Found::default();
        fewer.left("pods", "", 1, &[]);
        let next = conditions(&fewer, &made, at(5)).unwrap();
        let times: Vec<i64> = next
            .iter()
            .map(|c| c.last_transition_time.as_ref().unwrap().0.as_second() - at(0).as_second())
            .collect();
        assert_eq!(times, [0, 0, 5, 0, 0]);
        assert!(!fewer.is_nothing() && Found::default().is_nothing());
    }
}
