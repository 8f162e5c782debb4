//! Rules for limit ranges, quotas, priorities and runtime classes.

use serde_json::Value;

use super::{all, one_of};
use crate::field::{Error, index, key};
use crate::json::{int_at, list_at, map_at, str_at};
use crate::names;
use crate::quantity::Quantity;

/// Priorities from here on belong to the system (KEP of pod priority).
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

pub(super) fn limit_range(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let mut seen: Vec<&str> = Vec::new();
    for (i, limit) in list_at(o, "/spec/limits").iter().enumerate() {
        let path = index("spec.limits", i);
        let kind = str_at(limit, "/type");
        let at = format!("{path}.type");
        if seen.contains(&kind) {
            e.push(Error::duplicate(&at, kind));
        }
        seen.push(kind);
        if kind.is_empty() {
            e.push(Error::required(&at, ""));
        }
        let amount = |part: &str, name: &str| {
            map_at(limit, &format!("/{part}"))
                .and_then(|m| m.get(name))
                .and_then(Value::as_str)
                .and_then(|t| t.parse::<Quantity>().ok().map(|q| (q, t.to_owned())))
        };
        if kind == "Pod" {
            for part in ["default", "defaultRequest"] {
                if map_at(limit, &format!("/{part}")).is_some_and(|m| !m.is_empty()) {
                    let at = format!("{path}.{part}");
                    e.push(Error::forbidden(
                        &at,
                        "may not be specified when `type` is 'Pod'",
                    ));
                }
            }
        }
        let mut resources: Vec<&String> = ["min", "max", "default", "defaultRequest"]
            .iter()
            .filter_map(|part| map_at(limit, &format!("/{part}")))
            .flat_map(|m| m.keys())
            .collect();
        resources.sort_unstable();
        resources.dedup();
        for name in resources {
            for (low, high) in [
                ("min", "max"),
                ("min", "defaultRequest"),
                ("defaultRequest", "max"),
                ("defaultRequest", "default"),
                ("min", "default"),
                ("default", "max"),
            ] {
                if let (Some((a, low_text)), Some((b, high_text))) =
                    (amount(low, name), amount(high, name))
                    && a > b
                {
                    let words = format!(
                        "{} value {low_text} is greater than {} value {high_text}",
                        spoken(low),
                        spoken(high)
                    );
                    let at = key(&format!("{path}.{low}"), name);
                    e.push(Error::invalid(&at, low_text, words));
                }
            }
        }
    }
    errors
}

fn spoken(part: &str) -> &str {
    match part {
        "defaultRequest" => "default request",
        part => part,
    }
}

pub(super) fn quota(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, value) in map_at(o, "/spec/hard").into_iter().flatten() {
        let at = key("spec.hard", name);
        let why = names::qualified_name(name);
        all(&mut errors, &at, &name.as_str().into(), why);
        let text = value.as_str().unwrap_or_default();
        if text.parse::<Quantity>().is_ok_and(Quantity::is_negative) {
            errors.push(Error::invalid(
                &at,
                text,
                "must be greater than or equal to 0",
            ));
        }
    }
    for scope in list_at(o, "/spec/scopes") {
        let known = [
            "BestEffort",
            "CrossNamespacePodAffinity",
            "NotBestEffort",
            "NotTerminating",
            "PriorityClass",
            "Terminating",
        ];
        let scope = scope.as_str().unwrap_or_default();
        if !known.contains(&scope) {
            let all = o.pointer("/spec/scopes").cloned().unwrap_or_default();
            errors.push(Error::invalid("spec.scopes", all, "unsupported scope"));
        }
    }
    errors
}

pub(super) fn quota_update(new: &Value, old: &Value) -> Vec<Error> {
    if new.pointer("/spec/scopes") == old.pointer("/spec/scopes") {
        return Vec::new();
    }
    let value = new.pointer("/spec/scopes").cloned().unwrap_or_default();
    vec![Error::invalid("spec.scopes", value, "field is immutable")]
}

pub(super) fn priority(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let name = str_at(o, "/metadata/name");
    let value = int_at(o, "/value").unwrap_or(0);
    if name.starts_with("system-") {
        if !matches!(name, "system-node-critical" | "system-cluster-critical") {
            errors.push(Error::forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only. error: not allowed",
            ));
        }
    } else if value > HIGHEST_USER_PRIORITY {
        errors.push(Error::forbidden(
            "value",
            format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"),
        ));
    }
    one_of(
        &mut errors,
        "preemptionPolicy",
        str_at(o, "/preemptionPolicy"),
        &["Never", "PreemptLowerPriority"],
    );
    errors
}

pub(super) fn priority_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    if new.get("value") != old.get("value") {
        errors.push(Error::forbidden(
            "value",
            "may not be changed in an update.",
        ));
    }
    if new.get("preemptionPolicy") != old.get("preemptionPolicy") {
        errors.push(Error::invalid(
            "preemptionPolicy",
            str_at(new, "/preemptionPolicy"),
            "field is immutable",
        ));
    }
    errors
}

pub(super) fn runtime_class(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let handler = str_at(o, "/handler");
    all(
        &mut errors,
        "handler",
        &handler.into(),
        names::dns_label(handler),
    );
    errors
}
