//! Events of events.k8s.io/v1: the same objects under other names.

use serde_json::Value;

/// (core/v1, events.k8s.io/v1).
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn to_core(event: &mut Value) {
    for (core, new) in NAMES {
        rename(event, new, core);
    }
}

pub(super) fn from_core(event: &mut Value) {
    for (core, new) in NAMES {
        rename(event, core, new);
    }
}

fn rename(event: &mut Value, from: &str, to: &str) {
    if let Some(event) = event.as_object_mut()
        && let Some(value) = event.remove(from)
    {
        event.insert(to.to_owned(), value);
    }
}
