//! Probes: what they ask, what they were answered, and what follows from it.

use cadet_api::clock;
use cadet_api::json::{int_at, list_at, str_at};
use serde_json::Value;

use super::{Case, Part, log};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{condition, name};
use crate::owner;
use crate::words::{ago, and, between, duration, seconds_since, short};

/// The three probes: field, word of the kubelet's events, cause.
struct Probe {
    field: &'static str,
    word: &'static str,
    cause: Cause,
}

const LIVENESS: Probe = Probe {
    field: "livenessProbe",
    word: "Liveness",
    cause: Cause::Liveness,
};
const READINESS: Probe = Probe {
    field: "readinessProbe",
    word: "Readiness",
    cause: Cause::Readiness,
};
const STARTUP: Probe = Probe {
    field: "startupProbe",
    word: "Startup",
    cause: Cause::Startup,
};

/// A container that runs and is not ready.
pub fn explain(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    if !part.is_running() || part.status["ready"] == true || (part.is_init && !part.is_sidecar()) {
        return None;
    }
    let subject = case.subject();
    let is_starting = part.status["started"] == false && part.spec[STARTUP.field].is_object();
    let probe = if is_starting { &STARTUP } else { &READINESS };
    if !part.spec[probe.field].is_object() {
        return None;
    }
    let began = str_at(part.status, "/state/running/startedAt");
    let answer = match failure(case, part, probe, began) {
        Some(said) => {
            let verb = match is_starting {
                true => "has not come up yet",
                false => "runs but is not ready",
            };
            because(case, part, probe, said, &format!("{subject} {verb}"))
        }
        None => not_asked_yet(case, part, probe, began)?,
    };
    let since = condition(case.pod, "Ready").map(|ready| str_at(ready, "/lastTransitionTime"));
    Some(
        log::of_this_run(case, part, answer)
            .since(since.and_then(|at| ago(at, case.facts.now)))
            .then(case.logs(part, false)),
    )
}

/// The first answer of a probe takes its time.
fn not_asked_yet(case: &Case<'_>, part: &Part<'_>, probe: &Probe, began: &str) -> Option<Answer> {
    let delay = int_at(&part.spec[probe.field], "/initialDelaySeconds").unwrap_or(0);
    let period = int_at(&part.spec[probe.field], "/periodSeconds").unwrap_or(10);
    let runs = seconds_since(began, case.facts.now)?;
    if runs > delay + 2 * period + 5 {
        return None;
    }
    let headline = format!(
        "{} runs; its {} probe has not succeeded yet, and it is early: it begins {} after the start.",
        case.subject(),
        probe.word.to_lowercase(),
        duration(delay)
    );
    Some(Answer::new(Cause::NotYet, headline))
}

/// A container that the kubelet ended because of a probe.
pub fn killed(case: &Case<'_>, part: &Part<'_>, end: &Value) -> Option<Answer> {
    let (began, ended) = (str_at(end, "/startedAt"), str_at(end, "/finishedAt"));
    let probe = [&LIVENESS, &STARTUP].into_iter().find(|probe| {
        let words = format!("failed {} probe", probe.word.to_lowercase());
        case.events.iter().any(|event| {
            str_at(event, "/reason") == "Killing"
                && events::is_of(event, part.name())
                && events::message(event).contains(&words)
                && events::is_within(event, began, ended)
        })
    })?;
    let said = failure(case, part, probe, began).unwrap_or_default();
    let start = format!("{} is restarted again and again", case.subject());
    Some(because(case, part, probe, said, &start))
}

/// What a probe was answered last, in this run.
fn failure<'a>(case: &Case<'a>, part: &Part<'_>, probe: &Probe, began: &str) -> Option<&'a str> {
    let began = clock::parse(began);
    let start = format!("{} probe ", probe.word);
    let mut told = case.events.iter().rev().filter(|event| {
        let at = clock::parse(events::time(event));
        let is_of_this_run = match (at, began) {
            (Some(at), Some(began)) => (at - began).whole_seconds() >= -1,
            _ => true,
        };
        matches!(str_at(event, "/reason"), "Unhealthy" | "ProbeWarning")
            && events::is_of(event, part.name())
            && is_of_this_run
    });
    let event = told.find(|event| events::message(event).starts_with(&start))?;
    let message = events::message(event);
    Some(message.split_once(": ").map_or(message, |(_, said)| said))
}

fn because(case: &Case<'_>, part: &Part<'_>, probe: &Probe, said: &str, start: &str) -> Answer {
    let manifest = &part.spec[probe.field];
    let what = format!("its {} probe", probe.word.to_lowercase());
    let edit = owner::edit(case.facts, case.pod);
    let declared: Vec<String> = list_at(part.spec, "/ports")
        .iter()
        .filter_map(|port| port["containerPort"].as_u64())
        .map(|port| port.to_string())
        .collect();
    let asks = asks(manifest);
    let evidence = |answer: Answer| {
        answer
            .with("probe", asks.clone())
            .with("answer", short(said, 160))
            .then(edit.clone())
    };
    if let Some(named) = between(said, "strconv.Atoi: parsing \"", "\"") {
        let headline = format!(
            "{start} because {what} asks at port {named:?}, and its container has no port of that name."
        );
        let names: Vec<String> = list_at(part.spec, "/ports")
            .iter()
            .map(|port| format!("{} {}", str_at(port, "/name"), port["containerPort"]))
            .collect();
        let answer = Answer::new(Cause::ProbePort, headline).with("ports", and(&names));
        return evidence(answer);
    }
    let port = said
        .split("dial tcp ")
        .nth(1)
        .and_then(|rest| rest.split(": ").next())
        .and_then(|address| address.rsplit(':').next());
    if let Some(port) = port.filter(|_| said.contains("connection refused")) {
        if !declared.is_empty() && declared.iter().all(|known| known != port) {
            let headline = format!(
                "{start} because {what} asks at port {port}, where nobody listens; its container declares port {}.",
                and(&declared)
            );
            return evidence(Answer::new(Cause::ProbePort, headline));
        }
        let headline = format!("{start} because {what} finds nobody listening at port {port}.");
        return evidence(Answer::new(probe.cause, headline));
    }
    let code = said
        .split("statuscode: ")
        .nth(1)
        .map(|code| code.split_whitespace().next().unwrap_or(code));
    if let Some(code) = code {
        let path = str_at(manifest, "/httpGet/path");
        if code == "404" {
            let headline = format!(
                "{start} because {what} asks for {path}, and the program has no such page (404)."
            );
            return evidence(Answer::new(Cause::ProbePath, headline));
        }
        let headline = format!("{start} because {what} is answered with status {code}.");
        return evidence(Answer::new(probe.cause, headline));
    }
    let slow = ["deadline exceeded", "timed out", "i/o timeout", "timeout:"];
    if slow.iter().any(|words| said.contains(words)) {
        let patience = int_at(manifest, "/timeoutSeconds").unwrap_or(1);
        let headline = format!(
            "{start} because {what} has no answer within {}.",
            duration(patience)
        );
        return evidence(Answer::new(probe.cause, headline));
    }
    if manifest["exec"].is_object() {
        let headline = format!("{start} because the command of {what} fails.");
        return evidence(Answer::new(probe.cause, headline));
    }
    let headline = format!("{start} because {what} fails.");
    evidence(Answer::new(probe.cause, headline))
}

/// What a probe does: `GET /ok at port 8080`, `connects to port 8080`.
fn asks(probe: &Value) -> String {
    let port = |at: &Value| match at {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    };
    if probe["httpGet"].is_object() {
        let path = match str_at(probe, "/httpGet/path") {
            "" => "/",
            path => path,
        };
        return format!("GET {path} at port {}", port(&probe["httpGet"]["port"]));
    }
    if probe["tcpSocket"].is_object() {
        return format!("connects to port {}", port(&probe["tcpSocket"]["port"]));
    }
    if probe["grpc"].is_object() {
        return format!(
            "asks the gRPC health service at port {}",
            port(&probe["grpc"]["port"])
        );
    }
    let words: Vec<&str> = list_at(probe, "/exec/command")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    format!("runs {}", short(&words.join(" "), 80))
}

/// Conditions that others must set before a pod counts as ready.
pub fn gates(case: &Case<'_>) -> Option<Answer> {
    let ready = condition(case.pod, "Ready")?;
    let is_gated =
        str_at(ready, "/status") == "False" && str_at(ready, "/reason") == "ReadinessGatesNotReady";
    if !is_gated {
        return None;
    }
    let gates: Vec<String> = list_at(case.pod, "/spec/readinessGates")
        .iter()
        .map(|gate| str_at(gate, "/conditionType").to_owned())
        .filter(|gate| !crate::facts::is_condition(case.pod, gate, "True"))
        .collect();
    let headline = format!(
        "{} runs but is not ready because its readiness gate {} is not true yet; somebody outside must say so.",
        case.subject(),
        and(&gates)
    );
    Some(
        Answer::new(Cause::ReadinessGate, headline)
            .with("condition", str_at(ready, "/message"))
            .since(ago(str_at(ready, "/lastTransitionTime"), case.facts.now))
            .then(case.kubectl(&format!("get pod {} -o yaml", name(case.pod)))),
    )
}
