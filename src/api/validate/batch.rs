//! Rules for Jobs and CronJobs.

use serde_json::Value;

use super::apps::{job_selector, template_at};
use super::selector::{immutable, not_negative};
use crate::cron;
use crate::field::Error;
use crate::json::{bool_at, int_at, str_at};

/// Upstream's limits on how far indexed Jobs may go.
const MAX_PARALLELISM: i64 = 100_000;
const MAX_COMPLETIONS: i64 = 100_000;

pub(super) fn job(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    job_selector(&mut errors, o);
    job_spec(&mut errors, o, "spec");
    errors
}

/// The rules a Job and a CronJob's template share; `path` is where the spec stands.
fn job_spec(e: &mut Vec<Error>, o: &Value, path: &str) {
    let pointer = format!("/{}", path.replace('.', "/"));
    let fields: Vec<String> = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ]
    .iter()
    .map(|field| format!("{path}.{field}"))
    .collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    not_negative(e, o, &fields);
    let number = |key: &str| int_at(o, &format!("{pointer}/{key}"));
    match str_at(o, &format!("{pointer}/completionMode")) {
        "Indexed" => {
            if number("completions").is_none() {
                e.push(Error::required(
                    &format!("{path}.completions"),
                    "when completion mode is Indexed",
                ));
            }
            for (key, max) in [
                ("parallelism", MAX_PARALLELISM),
                ("completions", MAX_COMPLETIONS),
            ] {
                if let Some(n) = number(key)
                    && n > max
                {
                    e.push(Error::invalid(
                        &format!("{path}.{key}"),
                        n,
                        format!(
                            "must be less than or equal to {max} when completion mode is Indexed"
                        ),
                    ));
                }
            }
        }
        "NonIndexed" | "" => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if number(key).is_some() {
                    e.push(Error::invalid(
                        &format!("{path}.{key}"),
                        number(key).unwrap_or_default(),
                        "requires indexed completion mode",
                    ));
                }
            }
        }
        other => e.push(Error::not_supported(
            &format!("{path}.completionMode"),
            other,
            &["NonIndexed", "Indexed"],
        )),
    }
    template_at(
        e,
        o,
        &format!("{pointer}/template"),
        &format!("{path}.template"),
        false,
    );
    let policy = str_at(o, &format!("{pointer}/template/spec/restartPolicy"));
    let at = format!("{path}.template.spec.restartPolicy");
    if policy == "Always" {
        e.push(Error::required(
            &at,
            "valid values: \"OnFailure\", \"Never\"",
        ));
    }
    if o.pointer(&format!("{pointer}/podFailurePolicy")).is_some() && policy != "Never" {
        e.push(Error::invalid(
            &at,
            policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        ));
    }
}

pub(super) fn job_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    if str_at(old, "/spec/completionMode") != "Indexed" {
        immutable(e, "spec.completions", new, old);
    }
    immutable(e, "spec.selector", new, old);
    let suspended = bool_at(old, "/spec/suspend") && old.pointer("/status/startTime").is_none();
    if !suspended {
        immutable(e, "spec.template", new, old);
    }
    for field in [
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
        "spec.managedBy",
        "spec.successPolicy",
    ] {
        immutable(e, field, new, old);
    }
    errors
}

pub(super) fn cron_job(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let schedule = str_at(o, "/spec/schedule");
    if schedule.is_empty() {
        e.push(Error::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        e.push(Error::invalid(
            "spec.schedule",
            schedule,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    } else if let Err(why) = cron::Schedule::parse(schedule) {
        e.push(Error::invalid("spec.schedule", schedule, why.to_string()));
    }
    if let Some(zone) = o.pointer("/spec/timeZone").and_then(Value::as_str)
        && (zone.is_empty() || zone.eq_ignore_ascii_case("local") || !is_zone_name(zone))
    {
        e.push(Error::invalid("spec.timeZone", zone, "unknown time zone"));
    }
    not_negative(
        e,
        o,
        &[
            "spec.startingDeadlineSeconds",
            "spec.successfulJobsHistoryLimit",
            "spec.failedJobsHistoryLimit",
        ],
    );
    match str_at(o, "/spec/concurrencyPolicy") {
        "" => e.push(Error::required("spec.concurrencyPolicy", "")),
        "Allow" | "Forbid" | "Replace" => {}
        other => e.push(Error::not_supported(
            "spec.concurrencyPolicy",
            other,
            &["Allow", "Forbid", "Replace"],
        )),
    }
    job_spec(e, o, "spec.jobTemplate.spec");
    errors
}

/// Letters, digits and `_+-` between slashes, as the zone database names them.
fn is_zone_name(zone: &str) -> bool {
    zone.split('/').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
    })
}
