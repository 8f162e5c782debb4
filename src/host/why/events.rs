//! What components said about an object.

use cadet_api::clock;
use cadet_api::json::str_at;
use serde_json::Value;

use crate::facts::{Facts, name, ns};
use crate::kind::Kind;

/// Events about one object, the latest last.
#[must_use]
pub fn about<'a>(facts: &'a Facts, kind: Kind, object: &Value) -> Vec<&'a Value> {
    let uid = str_at(object, "/metadata/uid");
    let mut found: Vec<&Value> = facts
        .all(Kind::Event)
        .filter(|event| {
            let at = regarding(event);
            let known = str_at(at, "/uid");
            // The kubelet refers to its node by name in place of the uid.
            let same = known.is_empty() || uid.is_empty() || known == uid || known == name(object);
            str_at(at, "/kind") == kind.word()
                && str_at(at, "/name") == name(object)
                && (!kind.is_namespaced() || str_at(at, "/namespace") == ns(object))
                && same
        })
        .collect();
    found.sort_by(|a, b| time(a).cmp(time(b)));
    found
}

fn regarding(event: &Value) -> &Value {
    match &event["involvedObject"] {
        Value::Null => &event["regarding"],
        known => known,
    }
}

/// When it was said last.
#[must_use]
pub fn time(event: &Value) -> &str {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .into_iter()
    .map(|path| str_at(event, path))
    .find(|text| !text.is_empty())
    .unwrap_or_default()
}

/// When it was said first.
#[must_use]
pub fn first_time(event: &Value) -> &str {
    match str_at(event, "/firstTimestamp") {
        "" => time(event),
        at => at,
    }
}

/// Whether it was said in a run that began and ended then. Equal events are counted, so all that
/// is known of one is its first and its last time; components and nodes round differently.
#[must_use]
pub fn is_within(event: &Value, began: &str, ended: &str) -> bool {
    let times = [first_time(event), time(event), began, ended].map(clock::parse);
    let [Some(first), Some(last), Some(began), Some(ended)] = times else {
        return false;
    };
    (last - began).whole_seconds() >= -1 && (first - ended).whole_seconds() <= 2
}

/// The sentence.
#[must_use]
pub fn message(event: &Value) -> &str {
    match str_at(event, "/message") {
        "" => str_at(event, "/note"),
        text => text,
    }
}

/// How often it was said.
#[must_use]
pub fn times(event: &Value) -> i64 {
    ["/series/count", "/count", "/deprecatedCount"]
        .into_iter()
        .find_map(|path| cadet_api::json::int_at(event, path))
        .unwrap_or(1)
        .max(1)
}

/// Whether it is about this container, or about none in particular.
#[must_use]
pub fn is_of(event: &Value, container: &str) -> bool {
    let path = str_at(regarding(event), "/fieldPath");
    path.is_empty() || path.ends_with(&format!("{{{container}}}"))
}

/// The latest event of one of these reasons.
#[must_use]
pub fn latest<'a>(events: &[&'a Value], reasons: &[&str]) -> Option<&'a Value> {
    let mut from_the_end = events.iter().rev();
    from_the_end
        .find(|event| reasons.contains(&str_at(event, "/reason")))
        .copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;
    use crate::kind::Target;

    #[test]
    fn events_of_both_forms_are_found_and_ordered() {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}});
        let mut facts = Facts::new(
            Target::new(Kind::Pod, "shop", "web"),
            OffsetDateTime::UNIX_EPOCH,
        );
        for (id, uid, key, at) in [
            ("a", "u", "involvedObject", "2026-01-01T00:00:09Z"),
            ("b", "u", "regarding", "2026-01-01T00:00:05Z"),
            ("c", "older", "involvedObject", "2026-01-01T00:00:06Z"),
        ] {
            let event = json!({"metadata": {"name": id, "namespace": "shop"},
                key: {"kind": "Pod", "name": "web", "namespace": "shop", "uid": uid,
                    "fieldPath": "spec.containers{app}"},
                "reason": "Failed", "message": id, "lastTimestamp": at, "count": 3});
            facts.put(Kind::Event, event);
        }
        let found = about(&facts, Kind::Pod, &pod);
        let told: Vec<&str> = found.iter().map(|event| message(event)).collect();
        assert_eq!(told, ["b", "a"], "an earlier pod of the name is another");
        assert_eq!(times(found[0]), 3);
        assert!(is_of(found[0], "app") && !is_of(found[0], "side"));
        assert_eq!(latest(&found, &["Failed"]), Some(found[1]));
    }
}
