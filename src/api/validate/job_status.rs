//! Rules for a Job's status: what may be true together, and what may not be taken back.

use serde_json::Value;

use super::job_policy::count_indexes;
use super::selector::not_negative;
use crate::clock;
use crate::field::Error;
use crate::json::{bool_at, int_at, list_at, str_at};

const CONDITIONS: &str = "status.conditions";

pub(super) fn update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    not_negative(
        e,
        new,
        &[
            "status.active",
            "status.succeeded",
            "status.failed",
            "status.ready",
            "status.terminating",
        ],
    );
    contradictions(e, new);
    times(e, new);
    finished(e, new);
    indexes(e, new);
    let count = |o: &Value, key: &str| int_at(o, &format!("/status/{key}")).unwrap_or(0);
    if count(new, "ready") > count(new, "active") {
        e.push(Error::invalid(
            "status.ready",
            count(new, "ready"),
            "cannot set more ready pods than active",
        ));
    }
    taken_back(e, new, old);
    errors
}

fn is(job: &Value, condition: &str) -> bool {
    list_at(job, "/status/conditions")
        .iter()
        .any(|c| str_at(c, "/type") == condition && str_at(c, "/status") == "True")
}

fn contradictions(e: &mut Vec<Error>, new: &Value) {
    let (complete, failed) = (is(new, "Complete"), is(new, "Failed"));
    let (met, target) = (is(new, "SuccessCriteriaMet"), is(new, "FailureTarget"));
    let policy = new.pointer("/spec/successPolicy").is_some();
    for (wrong, why) in [
        (
            complete && failed,
            "cannot set Complete=True and Failed=true conditions",
        ),
        (
            complete && target,
            "cannot set Complete=True and FailureTarget=true conditions",
        ),
        (
            failed && !target,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            complete && !met,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (
            met && failed,
            "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        ),
        (
            met && target,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            policy && complete && !met,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ] {
        if wrong {
            e.push(Error::inconsistent(CONDITIONS, why));
        }
    }
}

fn times(e: &mut Vec<Error>, new: &Value) {
    let complete = is(new, "Complete");
    let (start, end) = (
        str_at(new, "/status/startTime"),
        str_at(new, "/status/completionTime"),
    );
    if end.is_empty() {
        if complete {
            e.push(Error::required(
                "status.completionTime",
                "completionTime is required for Complete jobs",
            ));
        }
        return;
    }
    if !complete {
        e.push(Error::invalid(
            "status.completionTime",
            end,
            "cannot set completionTime when there is no Complete=True condition",
        ));
    }
    let (from, to) = (clock::parse(start), clock::parse(end));
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        e.push(Error::invalid(
            "status.completionTime",
            end,
            "completionTime cannot be set before startTime",
        ));
    }
}

fn finished(e: &mut Vec<Error>, new: &Value) {
    if !is(new, "Complete") && !is(new, "Failed") {
        return;
    }
    for key in ["active", "terminating"] {
        let at = format!("status.{key}");
        let n = int_at(new, &format!("/status/{key}")).unwrap_or(0);
        if n > 0 {
            let why = format!("{key}>0 is invalid for finished job");
            e.push(Error::invalid(&at, n, why));
        }
    }
    let started = !str_at(new, "/status/startTime").is_empty();
    if !started && !bool_at(new, "/spec/suspend") {
        let why = "startTime is required for finished job";
        e.push(Error::required("status.startTime", why));
    }
    let uncounted = |part: &str| {
        let at = format!("/status/uncountedTerminatedPods/{part}");
        list_at(new, &at).len()
    };
    if uncounted("succeeded") + uncounted("failed") > 0 {
        let value = new.pointer("/status/uncountedTerminatedPods").cloned();
        e.push(Error::invalid(
            "status.uncountedTerminatedPods",
            value.unwrap_or_default(),
            "uncountedTerminatedPods needs to be empty for finished job",
        ));
    }
}

fn indexes(e: &mut Vec<Error>, new: &Value) {
    let completed = str_at(new, "/status/completedIndexes");
    let failed = new.pointer("/status/failedIndexes").and_then(Value::as_str);
    if let Some(completions) = int_at(new, "/spec/completions") {
        for (key, text) in [("completed", Some(completed)), ("failed", failed)] {
            if let Some(text) = text
                && let Err(why) = count_indexes(text, completions)
            {
                let at = format!("status.{key}Indexes");
                let why = format!("error parsing {key}Indexes: {why}");
                e.push(Error::invalid(&at, text, why));
            }
        }
    }
    if !completed.is_empty() && str_at(new, "/spec/completionMode") != "Indexed" {
        e.push(Error::invalid(
            "status.completedIndexes",
            completed,
            "cannot set non-empty completedIndexes when non-indexed completion mode",
        ));
    }
    let per_index = new.pointer("/spec/backoffLimitPerIndex").is_some();
    if let Some(failed) = failed.filter(|_| !per_index) {
        e.push(Error::invalid(
            "status.failedIndexes",
            failed,
            "cannot set non-null failedIndexes when backoffLimitPerIndex is null",
        ));
    }
    if let Some(both) = failed.and_then(|failed| first_shared(completed, failed)) {
        e.push(Error::invalid(
            "status.failedIndexes",
            failed.unwrap_or_default(),
            format!("failedIndexes and completedIndexes overlap at index: {both}"),
        ));
    }
}

/// The first index that two increasing lists of intervals share.
fn first_shared(a: &str, b: &str) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        let ends = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        text.split(',').filter_map(ends).collect()
    };
    let (a, b) = (intervals(a), intervals(b));
    let (mut i, mut j) = (0, 0);
    while let (Some((from_a, to_a)), Some((from_b, to_b))) = (a.get(i), b.get(j)) {
        if from_a <= to_b && from_b <= to_a {
            return Some(*from_a.max(from_b));
        }
        match from_a <= from_b {
            true => i += 1,
            false => j += 1,
        }
    }
    None
}

/// What was said of a Job's end stays said.
fn taken_back(e: &mut Vec<Error>, new: &Value, old: &Value) {
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if is(old, condition) && !is(new, condition) {
            let why = format!("cannot disable the terminal {condition}=True condition");
            e.push(Error::inconsistent(CONDITIONS, why));
        }
    }
    let met = |o| is(o, "SuccessCriteriaMet");
    if met(old) && !met(new) {
        let why = "cannot disable the SuccessCriteriaMet=True condition";
        e.push(Error::inconsistent(CONDITIONS, why));
    }
    if is(old, "Complete") && !met(old) && met(new) {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        e.push(Error::inconsistent(CONDITIONS, why));
    }
    let count = |o: &Value, key: &str| int_at(o, &format!("/status/{key}")).unwrap_or(0);
    // Successes of an indexed Job may go when it shrinks.
    let shrinks = str_at(new, "/spec/completionMode") == "Indexed";
    for key in ["failed", "succeeded"] {
        if count(new, key) < count(old, key) && !(shrinks && key == "succeeded") {
            let why = format!("cannot decrease the {key} counter");
            e.push(Error::invalid(
                &format!("status.{key}"),
                count(new, key),
                why,
            ));
        }
    }
    let time = |o: &Value, key: &str| clock::parse(str_at(o, &format!("/status/{key}")));
    let (ended, before) = (time(new, "completionTime"), time(old, "completionTime"));
    if ended.is_some() && before.is_some() && ended != before {
        e.push(Error::invalid(
            "status.completionTime",
            str_at(new, "/status/completionTime"),
            "completionTime cannot be mutated",
        ));
    }
    let (began, before) = (time(new, "startTime"), time(old, "startTime"));
    // Who is resumed starts anew.
    let resumed = is(old, "Suspended") && !is(new, "Suspended");
    if before.is_some() && began != before && !bool_at(new, "/spec/suspend") && !resumed {
        let why = "startTime cannot be removed for unsuspended job";
        e.push(Error::required("status.startTime", why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(new: Value, old: Value) -> Vec<String> {
        let whole = |status: Value| json!({"spec": {"completions": 3, "completionMode": "NonIndexed"}, "status": status});
        update(&whole(new), &whole(old))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_job_ends_once_and_with_everything_said() {
        let conditions = json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]);
        let start = "2026-01-01T00:00:00Z";
        let end = "2026-01-01T00:01:00Z";
        let done = json!({"startTime": start, "completionTime": end, "succeeded": 3, "conditions": conditions});
        assert_eq!(
            words(done.clone(), json!({"startTime": start})),
            Vec::<String>::new()
        );
        assert_eq!(
            words(
                json!({"startTime": start, "active": 1, "conditions": conditions}),
                json!({})
            ),
            [
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
            ]
        );
        assert_eq!(
            words(json!({"startTime": start}), done),
            [
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
                "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            ]
        );
    }

    #[test]
    fn only_a_resumed_job_starts_anew() {
        let started = |time: &str, suspended: &str| json!({"startTime": time, "conditions": [{"type": "Suspended", "status": suspended}]});
        let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z");
        let resumed = words(started(second, "False"), started(first, "True"));
        assert_eq!(resumed, Vec::<String>::new());
        assert_eq!(
            words(started(second, "False"), started(first, "False")),
            ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]
        );
    }

    #[test]
    fn an_index_cannot_both_succeed_and_fail() {
        assert_eq!(first_shared("0-2,5", "3,4-6"), Some(5));
        assert_eq!(first_shared("0-2,7", "3,4-6"), None);
        assert_eq!(first_shared("", "1"), None);
    }
}
