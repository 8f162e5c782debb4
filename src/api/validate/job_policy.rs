//! Rules for a Job's policies: what its pods' failures mean, when it has succeeded, and
//! when a pod is replaced.

use serde_json::Value;

use super::{all, one_of};
use crate::field::{Error, index, pointer};
use crate::json::{int_at, list_at, str_at};
use crate::names;

/// Most rules of either policy, and most patterns of a rule.
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_INDEXES_TEXT: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// `podReplacementPolicy`.
pub(super) fn replacement(e: &mut Vec<Error>, o: &Value, path: &str) {
    let at = format!("{path}.podReplacementPolicy");
    let Some(policy) = o.pointer(&pointer(&at)).and_then(Value::as_str) else {
        return;
    };
    let by_rules = o
        .pointer(&pointer(&format!("{path}.podFailurePolicy")))
        .is_some();
    let known: &[&str] = match by_rules {
        true => &["Failed"],
        false => &["Failed", "TerminatingOrFailed"],
    };
    if !known.contains(&policy) {
        e.push(Error::not_supported(&at, policy, known));
    }
}

/// `podFailurePolicy`.
pub(super) fn failure(e: &mut Vec<Error>, o: &Value, path: &str) {
    let at = format!("{path}.podFailurePolicy.rules");
    let rules = list_at(o, &pointer(&at));
    if rules.len() > MAX_RULES {
        e.push(Error::too_many(&at, rules.len(), MAX_RULES));
    }
    let template = pointer(&format!("{path}.template.spec"));
    let containers: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| list_at(o, &format!("{template}/{list}")))
        .map(|c| str_at(c, "/name"))
        .collect();
    let limit = pointer(&format!("{path}.backoffLimitPerIndex"));
    let per_index = o.pointer(&limit).is_some();
    for (i, rule) in rules.iter().enumerate() {
        failure_rule(e, rule, &index(&at, i), per_index, &containers);
    }
}

fn failure_rule(e: &mut Vec<Error>, rule: &Value, at: &str, per_index: bool, containers: &[&str]) {
    let action = str_at(rule, "/action");
    let at_action = format!("{at}.action");
    if action == "FailIndex" && !per_index {
        let why = "requires the backoffLimitPerIndex to be set";
        e.push(Error::invalid(&at_action, action, why));
    }
    choice(e, &at_action, action, &ACTIONS);
    let codes = rule.get("onExitCodes");
    let conditions = list_at(rule, "/onPodConditions");
    if let Some(codes) = codes {
        exit_codes(e, codes, &format!("{at}.onExitCodes"), containers);
    }
    if conditions.len() > MAX_RULES {
        let at = format!("{at}.onPodConditions");
        e.push(Error::too_many(&at, conditions.len(), MAX_RULES));
    }
    for (i, condition) in conditions.iter().enumerate() {
        let at = format!("{at}.onPodConditions[{i}]");
        let kind = str_at(condition, "/type");
        let why = names::qualified_name(kind);
        all(e, &format!("{at}.type"), &kind.into(), why);
        let status = str_at(condition, "/status");
        choice(
            e,
            &format!("{at}.status"),
            status,
            &["False", "True", "Unknown"],
        );
    }
    match (codes.is_some(), !conditions.is_empty()) {
        (true, true) => e.push(Error::inconsistent(
            at,
            "specifying both OnExitCodes and OnPodConditions is not supported",
        )),
        (false, false) => e.push(Error::inconsistent(
            at,
            "specifying one of OnExitCodes and OnPodConditions is required",
        )),
        _ => {}
    }
}

fn exit_codes(e: &mut Vec<Error>, codes: &Value, at: &str, containers: &[&str]) {
    let operator = str_at(codes, "/operator");
    choice(e, &format!("{at}.operator"), operator, &["In", "NotIn"]);
    if let Some(name) = codes.get("containerName").and_then(Value::as_str)
        && !containers.contains(&name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        e.push(Error::invalid(&format!("{at}.containerName"), name, why));
    }
    let at = format!("{at}.values");
    let values = list_at(codes, "/values");
    let whole = || Value::Array(values.to_vec());
    if values.is_empty() {
        e.push(Error::invalid(
            &at,
            whole(),
            "at least one value is required",
        ));
    } else if values.len() > MAX_EXIT_CODES {
        e.push(Error::too_many(&at, values.len(), MAX_EXIT_CODES));
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (i, n) in numbers.iter().enumerate() {
        if operator == "In" && *n == 0 {
            let why = "must not be 0 for the In operator";
            e.push(Error::invalid(&index(&at, i), *n, why));
        }
        if numbers[..i].contains(n) {
            e.push(Error::duplicate(&index(&at, i), *n));
        }
    }
    if !numbers.is_sorted() {
        e.push(Error::invalid(&at, whole(), "must be ordered"));
    }
}

/// `successPolicy`.
pub(super) fn success(e: &mut Vec<Error>, o: &Value, path: &str) {
    let at = format!("{path}.successPolicy");
    let Some(policy) = o.pointer(&pointer(&at)) else {
        return;
    };
    if str_at(o, &pointer(&format!("{path}.completionMode"))) != "Indexed" {
        let why = "requires indexed completion mode";
        e.push(Error::invalid(&at, policy.clone(), why));
        return;
    }
    let rules = list_at(policy, "/rules");
    let at = format!("{at}.rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        e.push(Error::required(&at, why));
    }
    if rules.len() > MAX_RULES {
        e.push(Error::too_many(&at, rules.len(), MAX_RULES));
    }
    let completions = int_at(o, &pointer(&format!("{path}.completions"))).unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(e, rule, &index(&at, i), completions);
    }
}

fn success_rule(e: &mut Vec<Error>, rule: &Value, at: &str, completions: i64) {
    let count = int_at(rule, "/succeededCount");
    let indexes = rule.get("succeededIndexes").and_then(Value::as_str);
    if count.is_none() && indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        e.push(Error::required(at, why));
    }
    let mut total = 0;
    if let Some(text) = indexes {
        let at = format!("{at}.succeededIndexes");
        if text.len() > MAX_INDEXES_TEXT {
            e.push(Error::too_long(&at, MAX_INDEXES_TEXT));
        }
        match count_indexes(text, completions) {
            Ok(n) => total = n,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                e.push(Error::invalid(&at, text, why));
            }
        }
    }
    let Some(count) = count else { return };
    let at = format!("{at}.succeededCount");
    if count < 0 {
        let why = "must be greater than or equal to 0";
        e.push(Error::invalid(&at, count, why));
    }
    let limits = [
        (Some(completions), "specified completions"),
        (
            indexes.map(|_| total),
            "indexes in the specified succeededIndexes field",
        ),
    ];
    for (limit, of) in limits {
        if let Some(limit) = limit.filter(|limit| count > *limit) {
            let why = format!("must be less than or equal to {limit} (the number of {of})");
            e.push(Error::invalid(&at, count, why));
        }
    }
}

/// How many indexes `0,2-4` names, each below `completions` and in increasing order.
///
/// # Errors
/// Upstream's words for the first wrong part.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut last = None;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (from, to) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!(
                "non-increasing order, previous: {last}, current: {from}"
            ));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| {
        let n: i64 = text
            .parse::<i32>()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?
            .into();
        match n >= completions {
            true => Err(format!("too large index: {text:?}")),
            false => Ok(n),
        }
    };
    let mut ends = part.split('-');
    let (from, to) = (ends.next().unwrap_or_default(), ends.next());
    if ends.next().is_some() {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let from = number(from)?;
    let to = to.map_or(Ok(from), |to| match number(to) {
        Ok(to) if from >= to => Err(format!(
            "non-increasing order, previous: {from}, current: {to}"
        )),
        other => other,
    })?;
    Ok((from, to))
}

/// `value` must be one of `known`, which "required" lists too.
fn choice(e: &mut Vec<Error>, at: &str, value: &str, known: &[&str]) {
    match value {
        "" => {
            let list: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
            let why = format!("valid values: [{}]", list.join(" "));
            e.push(Error::required(at, &why));
        }
        _ => one_of(e, at, value, known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_and_their_faults_named() {
        for (text, want) in [
            ("", Ok(0)),
            ("0,2-4", Ok(4)),
            ("9", Ok(1)),
            ("10", Err("too large index: \"10\"")),
            ("3-1", Err("non-increasing order, previous: 3, current: 1")),
            ("3,2", Err("non-increasing order, previous: 3, current: 2")),
            (
                "a",
                Err("cannot convert string to integer for index: \"a\""),
            ),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ] {
            let found = count_indexes(text, 10);
            assert_eq!(found, want.map_err(str::to_owned), "{text}");
        }
    }
}
