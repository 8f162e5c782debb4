//! Containers that ran and ended: by themselves, by the kernel, by a signal.

use cadet_api::json::{int_at, str_at};
use serde_json::Value;

use super::{Case, Part, exit, log, probe, start};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::name;
use crate::kind::Kind;
use crate::owner;
use crate::words::{ago, count, seconds_since};

/// A restart is forgotten after so many good seconds, by the kubelet too.
const FORGIVEN: i64 = 600;

/// A container that has ended, now or a moment ago.
pub fn explain(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    let end = part.end()?;
    let code = int_at(end, "/exitCode").unwrap_or(0);
    let restarts = match str_at(case.pod, "/spec/restartPolicy") {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    } || part.is_sidecar();
    if part.is_running() {
        let began = str_at(part.status, "/state/running/startedAt");
        let runs = seconds_since(began, case.facts.now).unwrap_or(0);
        // What the probes say of the present run counts more than the end of the last.
        let probed =
            runs > 60 && part.status["ready"] != true && probe::explain(case, part).is_some();
        if runs > FORGIVEN || probed {
            return None;
        }
    } else if code == 0 && !restarts {
        return None;
    }
    Some(told(case, part, end, code))
}

/// A pod that has failed as a whole: the first container with a bad end.
pub fn ended(case: &Case<'_>) -> Option<Answer> {
    let parts = case.parts();
    if let Some(answer) = parts.iter().find_map(|part| start::explain(case, part)) {
        return Some(answer);
    }
    let bad = parts.iter().find(|part| {
        part.end()
            .is_some_and(|end| int_at(end, "/exitCode").unwrap_or(0) != 0)
    })?;
    let end = bad.end()?;
    Some(told(case, bad, end, int_at(end, "/exitCode").unwrap_or(0)))
}

fn told(case: &Case<'_>, part: &Part<'_>, end: &Value, code: i64) -> Answer {
    let answer = judge(case, part, end, code);
    let reason = str_at(end, "/reason");
    let mut text = exit::words(code);
    if !matches!(reason, "" | "Error" | "Completed") {
        text = format!("{text}, {reason}");
    }
    if let Some(seconds) = ran_for(end) {
        text = format!("{text}, after {seconds}");
    }
    let times = usize::try_from(part.restarts()).unwrap_or_default();
    if times > 0 {
        text = format!("{text}; {} so far", count(times, "restart"));
    }
    let since = ago(str_at(end, "/finishedAt"), case.facts.now);
    log::of_the_end(case, part, answer.with("ended", text))
        .since(since.map(|since| format!("the last end was {since} ago")))
        .then(case.logs(part, part.is_running()))
}

fn ran_for(end: &Value) -> Option<String> {
    let finished = cadet_api::clock::parse(str_at(end, "/finishedAt"))?;
    let seconds = seconds_since(str_at(end, "/startedAt"), finished)?;
    (seconds >= 0).then(|| crate::words::duration(seconds))
}

fn judge(case: &Case<'_>, part: &Part<'_>, end: &Value, code: i64) -> Answer {
    let subject = case.subject();
    let title = part.title();
    let verb = match (part.is_running(), part.restarts() > 0) {
        (true, _) => "runs again after an end:",
        (false, true) => "keeps ending:",
        (false, false) => "has ended:",
    };
    if str_at(end, "/reason") == "OOMKilled" {
        return out_of_memory(case, part, verb);
    }
    if let Some(answer) = probe::killed(case, part, end) {
        return answer;
    }
    if let Some(answer) = start::hook_failed(case, part, end) {
        return answer;
    }
    let words = log::last_words(case, part);
    if words.contains("exec format error") {
        return start::foreign(case, part);
    }
    if code != 0
        && let Some(answer) = log::last_trouble(case, part)
    {
        return answer;
    }
    let edit = owner::edit(case.facts, case.pod);
    let command = start::command(part);
    if code == 127 {
        let headline =
            format!("{subject} {verb} {title} calls a command that does not exist in its image.");
        return Answer::new(Cause::CommandMissing, headline)
            .with("evidence", format!("command: {command}"))
            .then(edit);
    }
    if code == 126 {
        let headline = format!("{subject} {verb} {title} calls a file that may not be executed.");
        return Answer::new(Cause::CommandDenied, headline)
            .with("evidence", format!("command: {command}"))
            .then(edit);
    }
    if code == 0 {
        let headline = format!(
            "{subject} {verb} {title} does its work and ends, and a pod of this kind is started again and again."
        );
        let (kind, _) = owner::root(case.facts, case.pod);
        let policy = str_at(case.pod, "/spec/restartPolicy");
        let answer = Answer::new(Cause::EndsAtOnce, headline).with(
            "evidence",
            format!("command: {command}; restartPolicy {policy}"),
        );
        return match kind {
            Kind::Pod => answer.then(format!(
                "kubectl run {}-once --image={} --restart=Never",
                name(case.pod),
                str_at(part.spec, "/image")
            )),
            _ => answer.then(edit),
        };
    }
    if part.is_init && !part.is_sidecar() {
        let headline = format!(
            "{subject} does not start because its {title} fails with {}.",
            exit::words(code)
        );
        return Answer::new(Cause::InitFailed, headline)
            .with("evidence", format!("command: {command}"));
    }
    if let Some((signal, tells)) = exit::signal(code) {
        let headline = format!("{subject} {verb} {title} was ended by signal {signal}: {tells}.");
        return Answer::new(Cause::Signal, headline);
    }
    let headline = format!("{subject} {verb} {title} fails with {}.", exit::words(code));
    Answer::new(Cause::Crash, headline).with("evidence", format!("command: {command}"))
}

fn out_of_memory(case: &Case<'_>, part: &Part<'_>, verb: &str) -> Answer {
    let limit = str_at(part.spec, "/resources/limits/memory");
    let headline = match limit {
        "" => format!(
            "{} {verb} {} was killed because memory ran out.",
            case.subject(),
            part.title()
        ),
        limit => format!(
            "{} {verb} {} was killed because it wanted more than its limit of {limit} of memory.",
            case.subject(),
            part.title()
        ),
    };
    let answer = Answer::new(Cause::OutOfMemory, headline);
    let (kind, root) = owner::root(case.facts, case.pod);
    let more = doubled(limit);
    match (kind, more) {
        (
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::ReplicationController,
            Some(more),
        ) => answer.then(case.kubectl(&format!(
            "set resources {} {root} -c {} --limits=memory={more}",
            kind.name(),
            part.name()
        ))),
        _ => answer.then(owner::edit(case.facts, case.pod)),
    }
}

/// Twice a limit.
fn doubled(limit: &str) -> Option<String> {
    let amount: cadet_api::quantity::Amount = limit.parse().ok()?;
    Some((amount + amount).to_string())
}
