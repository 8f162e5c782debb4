//! What all checks share: the containers of a pod, and how findings are joined into words.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::json::{list_at, str_at};

/// Every container: init, ordinary, ephemeral, in upstream's order.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| list_at(pod, &format!("/spec/{list}")))
}

/// Names of the containers for which `bad` holds.
pub(super) fn names(pod: &Value, mut bad: impl FnMut(&Value) -> bool) -> Vec<&str> {
    containers(pod)
        .filter(|container| bad(container))
        .map(|container| str_at(container, "/name"))
        .collect()
}

/// `"a", "b"`
pub(super) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    all.join(", ")
}

/// A set of strings in quotes, sorted.
pub(super) fn quoted_set(words: &BTreeSet<String>) -> String {
    quoted(words.iter().map(String::as_str))
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn these(names: &[&str]) -> String {
    format!(
        "{} {}",
        plural(names.len(), "container", "containers"),
        quoted(names.iter().copied())
    )
}

pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// Who sets a field badly: the pod, some containers, or both, joined by "and".
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".to_owned()),
        (false, names) => Some(these(names)),
        (true, names) => Some(format!("pod and {}", these(names))),
    }
}

/// A pod in a user namespace of its own, whose root is nobody on the host: some checks
/// ask less of it from 1.34 on (KEP-127).
pub(super) fn has_own_users(pod: &Value, version: u32) -> bool {
    version >= 34 && pod.pointer("/spec/hostUsers").and_then(Value::as_bool) == Some(false)
}

/// From 1.25 on, checks that mean nothing on Windows leave its pods alone.
pub(super) fn is_windows(pod: &Value, version: u32) -> bool {
    version >= 25 && str_at(pod, "/spec/os/name") == "windows"
}
