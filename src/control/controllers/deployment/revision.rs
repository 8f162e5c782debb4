//! Revisions: numbers and histories in annotations, as `kubectl rollout` reads them. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::amounts::{max_surge, replicas};
use super::sets::Set;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Numbers that the set had before, when it was rolled back to.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Longest history, in bytes.
const LONGEST_HISTORY: usize = 2000;
/// Annotations of a Deployment that its sets do not get.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

type Annotations = BTreeMap<String, String>;

/// The number of a set; 0 if it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    number(set.metadata.annotations.as_ref(), REVISION).unwrap_or(0)
}

/// One more than the highest among these sets.
pub fn next(sets: &[Set]) -> i64 {
    sets.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
}

/// How many replicas the Deployment wanted when the set was scaled last.
pub fn desired(set: &ReplicaSet) -> Option<i32> {
    let number = number(set.metadata.annotations.as_ref(), DESIRED)?;
    i32::try_from(number).ok()
}

/// How many there might be then, the surge included.
pub fn most(set: &ReplicaSet) -> Option<i32> {
    let number = number(set.metadata.annotations.as_ref(), MAX)?;
    i32::try_from(number).ok()
}

fn number(annotations: Option<&Annotations>, key: &str) -> Option<i64> {
    annotations?.get(key)?.parse().ok()
}

/// Notes on a set what its Deployment wants.
pub fn note_wanted(annotations: &mut Annotations, deployment: &Deployment) {
    let wanted = replicas(deployment);
    annotations.insert(DESIRED.to_owned(), wanted.to_string());
    let most = wanted.saturating_add(max_surge(deployment));
    annotations.insert(MAX.to_owned(), most.to_string());
}

/// The annotations of the set with today's template: the Deployment's, its revision, and what
/// that was before.
pub fn annotations(
    old: Option<&Annotations>,
    deployment: &Deployment,
    revision: i64,
) -> Annotations {
    let mut new = old.cloned().unwrap_or_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            new.insert(key.clone(), value.clone());
        }
    }
    let before = new.get(REVISION).cloned();
    let had = match before.as_deref() {
        None | Some("") => 0,
        // Somebody wrote what is no number: it stays.
        Some(text) => match text.parse() {
            Ok(had) => had,
            Err(_) => return new,
        },
    };
    if had >= revision {
        return new;
    }
    new.insert(REVISION.to_owned(), revision.to_string());
    if let Some(before) = before {
        let history = lengthened(new.get(HISTORY).map(String::as_str), &before);
        new.extend(history.map(|history| (HISTORY.to_owned(), history)));
    }
    new
}

/// The history with one more number; the oldest go if it becomes too long.
fn lengthened(history: Option<&str>, revision: &str) -> Option<String> {
    let history = history.filter(|history| !history.is_empty());
    let Some(history) = history else {
        return Some(revision.to_owned());
    };
    let mut numbers: Vec<&str> = history.split(',').collect();
    let mut length = history.len() + 1 + revision.len();
    while length > LONGEST_HISTORY && !numbers.is_empty() {
        length -= numbers.remove(0).len() + 1;
    }
    numbers.push(revision);
    (length <= LONGEST_HISTORY).then(|| numbers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Deployment {
        serde_json::from_value(json!({"metadata": {"annotations": {
            "kubernetes.io/change-cause": "why", REVISION: "9",
            "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {"replicas": 4, "selector": {}, "template": {}, "strategy": {
                "type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}}}))
        .unwrap()
    }

    #[test]
    fn a_new_set_gets_the_next_number_and_the_cause() {
        let mut new = annotations(None, &deployment(), 1);
        note_wanted(&mut new, &deployment());
        let expected = [
            (DESIRED, "4"),
            (MAX, "5"),
            (REVISION, "1"),
            ("kubernetes.io/change-cause", "why"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(new, Annotations::from(expected));
        assert_eq!(annotations(Some(&new), &deployment(), 1), new, "stable");
    }

    #[test]
    fn a_set_rolled_back_to_keeps_its_history() {
        let first = annotations(None, &deployment(), 1);
        let back = annotations(Some(&first), &deployment(), 3);
        assert_eq!(
            (back[REVISION].as_str(), back[HISTORY].as_str()),
            ("3", "1")
        );
        let again = annotations(Some(&back), &deployment(), 5);
        assert_eq!(
            (again[REVISION].as_str(), again[HISTORY].as_str()),
            ("5", "1,3")
        );
        let long = vec!["1234567"; 250].join(",");
        let kept = lengthened(Some(&long), "2").unwrap();
        assert!(kept.len() <= LONGEST_HISTORY && kept.ends_with(",1234567,2"));
    }
}
