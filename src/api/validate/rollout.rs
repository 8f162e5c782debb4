//! Rules for how pods are replaced: update strategies, and numbers that may be percentages.

use serde_json::Value;

use super::selector::not_negative;
use crate::field::{Error, pointer};
use crate::json::str_at;

/// `spec.strategy` of a Deployment.
pub(super) fn deployment(e: &mut Vec<Error>, o: &Value) {
    let rolling = o.pointer("/spec/strategy/rollingUpdate");
    match (str_at(o, "/spec/strategy/type"), rolling) {
        ("Recreate", None) => {}
        ("Recreate", Some(_)) => e.push(Error::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        ("RollingUpdate", _) => {
            let path = "spec.strategy.rollingUpdate";
            let (unavailable, surge) = amounts(e, o, path);
            if unavailable == 0 && surge == 0 {
                let at = format!("{path}.maxUnavailable");
                let value = o.pointer(&pointer(&at)).cloned().unwrap_or_default();
                e.push(Error::invalid(
                    &at,
                    value,
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
            not_above_all(e, o, &format!("{path}.maxUnavailable"));
        }
        _ => e.push(Error::not_supported(
            "spec.strategy",
            o.pointer("/spec/strategy").cloned().unwrap_or_default(),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

/// `spec.updateStrategy` of a DaemonSet: pods go first or come first, never both.
pub(super) fn daemon_set(e: &mut Vec<Error>, o: &Value) {
    let path = "spec.updateStrategy.rollingUpdate";
    match str_at(o, "/spec/updateStrategy/type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = amounts(e, o, path);
            not_above_all(e, o, &format!("{path}.maxUnavailable"));
            not_above_all(e, o, &format!("{path}.maxSurge"));
            if unavailable != 0 && surge != 0 {
                let at = format!("{path}.maxSurge");
                let value = o.pointer(&pointer(&at)).cloned().unwrap_or_default();
                let why = "may not be set when maxUnavailable is non-zero";
                e.push(Error::invalid(&at, value, why));
            } else if unavailable == 0 && surge == 0 {
                e.push(Error::required(
                    &format!("{path}.maxUnavailable"),
                    "cannot be 0 when maxSurge is 0",
                ));
            }
        }
        _ => e.push(Error::not_supported(
            "spec.updateStrategy",
            o.pointer("/spec/updateStrategy")
                .cloned()
                .unwrap_or_default(),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}

/// `spec.updateStrategy` of a StatefulSet.
pub(super) fn stateful_set(e: &mut Vec<Error>, o: &Value) {
    let path = "spec.updateStrategy.rollingUpdate";
    let rolling = o.pointer(&pointer(path));
    match (str_at(o, "/spec/updateStrategy/type"), rolling) {
        ("", _) => e.push(Error::required("spec.updateStrategy", "")),
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("OnDelete", Some(rolling)) => e.push(Error::invalid(
            path,
            rolling.clone(),
            "only allowed for updateStrategy 'RollingUpdate'",
        )),
        ("RollingUpdate", Some(rolling)) => {
            not_negative(e, o, &["spec.updateStrategy.rollingUpdate.partition"]);
            if let Some(value) = rolling.get("maxUnavailable") {
                let at = format!("{path}.maxUnavailable");
                if int_or_percent(e, &at, value) == 0 {
                    e.push(Error::invalid(&at, value.clone(), "cannot be 0"));
                }
                not_above_all(e, o, &at);
            }
        }
        _ => e.push(Error::invalid(
            "spec.updateStrategy",
            o.pointer("/spec/updateStrategy")
                .cloned()
                .unwrap_or_default(),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
}

/// `maxUnavailable` and `maxSurge` below `path`; absent counts as nothing.
fn amounts(e: &mut Vec<Error>, o: &Value, path: &str) -> (i64, i64) {
    let mut amount = |key: &str| {
        let at = format!("{path}.{key}");
        o.pointer(&pointer(&at))
            .map_or(0, |value| int_or_percent(e, &at, value))
    };
    (amount("maxUnavailable"), amount("maxSurge"))
}

/// The number in a number or percentage; 0 for what is neither, with an error.
pub(super) fn int_or_percent(e: &mut Vec<Error>, at: &str, value: &Value) -> i64 {
    if let Some(n) = value.as_i64() {
        if n < 0 {
            e.push(Error::invalid(at, n, "must be greater than or equal to 0"));
        }
        return n;
    }
    let percent = percent(value);
    if percent.is_none() {
        e.push(Error::invalid(
            at,
            value.clone(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ));
    }
    percent.unwrap_or(0)
}

/// A percentage of more than the whole.
pub(super) fn not_above_all(e: &mut Vec<Error>, o: &Value, at: &str) {
    let value = o.pointer(&pointer(at));
    if let Some(value) = value.filter(|v| percent(v).is_some_and(|n| n > 100)) {
        e.push(Error::invalid(
            at,
            value.clone(),
            "must not be greater than 100%",
        ));
    }
}

fn percent(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(i64::MAX))
}
