//! The last lines of a container: shown as evidence, and read for complaints whose words are
//! known: a right that is lacking, a name that cannot be found, a program for another processor.

use cadet_api::json::str_at;

use super::{Case, Part};
use crate::answer::Answer;
use crate::facts::{name, ns};
use crate::want::Want;
use crate::words::short;
use crate::{dns, rights};

/// Lines that are shown.
const SHOWN: usize = 3;
/// Containers whose logs are read.
const MOST: usize = 4;

/// The logs that may tell something.
pub fn wants(case: &Case<'_>) -> Vec<Want> {
    let mut wants = Vec::new();
    for part in case
        .parts()
        .iter()
        .filter(|part| part.restarts() > 0 || part.is_running() || part.end().is_some())
        .take(MOST)
    {
        let log = |previous| Want::Log {
            namespace: ns(case.pod).to_owned(),
            pod: name(case.pod).to_owned(),
            container: part.name().to_owned(),
            previous,
        };
        wants.push(log(false));
        if part.restarts() > 0 && part.is_running() {
            wants.push(log(true));
        }
    }
    for part in case.parts() {
        wants.extend(rights::wants(lines(case, &part)));
        wants.extend(dns::wants(ns(case.pod), lines(case, &part)));
    }
    wants
}

/// What a container said in its present run, or in the last one if it does not run.
pub fn lines<'a>(case: &Case<'a>, part: &Part<'_>) -> &'a str {
    case.facts
        .log(case.pod, part.name(), false)
        .unwrap_or_default()
}

/// What a container said before it ended last.
pub fn last_words<'a>(case: &Case<'a>, part: &Part<'_>) -> &'a str {
    match part.is_running() {
        true => case
            .facts
            .log(case.pod, part.name(), true)
            .unwrap_or_default(),
        false => lines(case, part),
    }
}

/// Shows the last lines of the run that has ended.
pub fn of_the_end(case: &Case<'_>, part: &Part<'_>, answer: Answer) -> Answer {
    let text = match last_words(case, part) {
        // What it wrote to its termination log, or what the engine said.
        "" => part.end().map_or("", |end| str_at(end, "/message")),
        text => text,
    };
    shown(text, answer)
}

/// Shows the last lines of the present run.
pub fn of_this_run(case: &Case<'_>, part: &Part<'_>, answer: Answer) -> Answer {
    shown(lines(case, part), answer)
}

fn shown(text: &str, mut answer: Answer) -> Answer {
    let all: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for line in all.iter().skip(all.len().saturating_sub(SHOWN)) {
        answer = answer.with("log", short(line, 160));
    }
    answer
}

/// A complaint in the log that explains itself.
pub fn trouble(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    complaint(case, lines(case, part))
}

/// The same of the run that has ended.
pub fn last_trouble(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    complaint(case, last_words(case, part))
}

fn complaint(case: &Case<'_>, text: &str) -> Option<Answer> {
    rights::explain(case.facts, &case.subject(), text)
        .or_else(|| dns::explain(case.facts, case.pod, text))
}
