//! What `kubectl wait` has no words for: the texts of events, ends of containers.

use super::Cluster;

/// Waits until an event of this reason about an object has these words in its message.
#[track_caller]
pub fn told(cluster: &dyn Cluster, name: &str, reason: &str, words: &str) -> String {
    let fields = format!("involvedObject.name={name},reason={reason}");
    let path = "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}";
    let ask = ["get", "events", "--field-selector", &fields, "-o", path];
    cluster.until_said(&ask, &|messages| messages.contains(words))
}

/// A field of the status of one container that has ended: `exitCode`, `message`, `reason`.
#[track_caller]
pub fn ended(cluster: &dyn Cluster, pod: &str, container: &str, field: &str) -> String {
    let path =
        format!(".status.containerStatuses[?(@.name==\"{container}\")].state.terminated.{field}");
    cluster.field(&format!("pod/{pod}"), &path)
}

/// A line of shell that waits for `condition`, but not for ever, and then runs `line`.
pub fn once(condition: &str, line: &str) -> String {
    format!(
        "tries=0; until {{ {condition}; }} || [ $tries = 2400 ]; do \
         tries=$((tries + 1)); sleep 0.1; done; {line}"
    )
}
