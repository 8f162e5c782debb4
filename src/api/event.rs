//! The Event object: what loops tell people about other objects.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clock;
use crate::json::str_at;

/// Longest event name the server takes, bytes.
const NAME_MAX: usize = 253;

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// `Normal` or `Warning`.
    pub kind: &'a str,
    /// One CamelCase word for machines.
    pub reason: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// Who reports, e.g. `default-scheduler`.
    pub component: &'a str,
    /// Node the reporter runs on, or "".
    pub host: &'a str,
}

/// A v1 Event about `object` (any object with apiVersion, kind and metadata). Its name is
/// made of the object's name and the time in nanoseconds, as everywhere.
pub fn new(object: &Value, report: Report<'_>, now: OffsetDateTime) -> Value {
    let meta = |key: &str| str_at(object, &format!("/metadata/{key}")).to_owned();
    // Events about things without a namespace live in `default`.
    let namespace = match meta("namespace") {
        ns if ns.is_empty() => "default".to_owned(),
        ns => ns,
    };
    let suffix = format!(".{:x}", now.unix_timestamp_nanos());
    let mut name = meta("name");
    name.truncate(NAME_MAX - suffix.len());
    let at = clock::rfc3339(now);
    let mut about = json!({
        "apiVersion": str_at(object, "/apiVersion"),
        "kind": str_at(object, "/kind"),
    });
    for key in ["name", "namespace", "uid", "resourceVersion"] {
        let value = meta(key);
        if !value.is_empty() {
            about[key] = json!(value);
        }
    }
    let mut source = json!({"component": report.component});
    if !report.host.is_empty() {
        source["host"] = json!(report.host);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}{suffix}"), "namespace": namespace},
        "involvedObject": about,
        "type": report.kind,
        "reason": report.reason,
        "message": report.message,
        "source": source,
        "reportingComponent": report.component,
        "reportingInstance": report.host,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use crate::{fieldcheck, strategy};
    use time::macros::datetime;

    #[test]
    fn an_event_passes_our_own_server() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n".repeat(253), "uid": "u"}});
        let report = Report {
            kind: "Normal",
            reason: "Ready",
            message: "m",
            component: "c",
            host: "h",
        };
        let mut e = new(&node, report, datetime!(2026-11-20 20:00:00.5 UTC));
        let events = find("", "v1", "events").unwrap();
        assert_eq!(fieldcheck::check(events, &e).unwrap(), Vec::<String>::new());
        strategy::prepare_create(events, &mut e).unwrap();
        assert_eq!(e["metadata"]["namespace"], "default");
        assert_eq!(e["involvedObject"]["uid"], "u");
        assert_eq!(e["metadata"]["name"].as_str().unwrap().len(), 253);
    }
}
