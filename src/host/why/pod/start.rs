//! Containers whose program cannot be started: the engine's words.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use super::{Case, Part, volume};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::name;
use crate::owner;
use crate::words::{between, short};

/// A container that could not be made or started.
pub fn explain(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    if part.is_running() {
        return None;
    }
    let said = said(case, part)?;
    let answer = judge(case, part, said);
    Some(
        answer
            .with("engine", short(engine_words(said), 220))
            .since(case.since_created()),
    )
}

fn said<'a>(case: &Case<'a>, part: &'a Part<'_>) -> Option<&'a str> {
    match part.waiting() {
        "CreateContainerError"
        | "RunContainerError"
        | "PostStartHookError"
        | "PreCreateHookError"
        | "PreStartHookError" => return Some(str_at(part.status, "/state/waiting/message")),
        "CrashLoopBackOff" | "" => {}
        _ => return None,
    }
    if let Some(end) = part.end() {
        let reason = str_at(end, "/reason");
        return matches!(reason, "StartError" | "ContainerCannotRun")
            .then(|| str_at(end, "/message"));
    }
    // The loop of one that never ran; older words are in its events.
    if part.waiting() != "CrashLoopBackOff" {
        return None;
    }
    let mut told =
        case.events.iter().rev().filter(|event| {
            str_at(event, "/reason") == "Failed" && events::is_of(event, part.name())
        });
    told.find(|event| events::message(event).starts_with("Error: "))
        .map(|event| events::message(event))
}

/// What came of the command, without the chain of programs that tell it on.
fn engine_words(said: &str) -> &str {
    let mut rest = said;
    for mark in [
        "Error response from daemon: ",
        "error during container init: ",
        "unable to start container process: ",
    ] {
        if let Some((_, after)) = rest.split_once(mark) {
            rest = after;
        }
    }
    rest.trim_end_matches(": unknown")
}

/// Judges the engine's words about a program that did not start.
fn judge(case: &Case<'_>, part: &Part<'_>, said: &str) -> Answer {
    let subject = case.subject();
    let any = |all: &[&str]| all.iter().any(|words| said.contains(words));
    let image = str_at(part.spec, "/image");
    let edit = owner::edit(case.facts, case.pod);
    let program = between(said, "exec: \"", "\"").map_or_else(|| command(part), str::to_owned);
    if part.waiting() == "PostStartHookError" || said.contains("PostStartHook") {
        return hook(case, part);
    }
    if said.contains("exec format error") {
        return foreign(case, part);
    }
    let told_of_exec = said.contains("exec");
    if any(&["executable file not found", "no such file or directory"])
        && told_of_exec
        && !said.contains("mount")
    {
        let headline = format!(
            "{subject} does not start because there is no program {program} in image {image}."
        );
        return Answer::new(Cause::CommandMissing, headline)
            .with(
                "evidence",
                format!("command of {}: {}", part.title(), command(part)),
            )
            .then(edit)
            .then(look_inside(image));
    }
    if any(&["permission denied", "is a directory"]) && told_of_exec {
        let headline = format!(
            "{subject} does not start because {program} in image {image} is not a program that may be executed."
        );
        return Answer::new(Cause::CommandDenied, headline)
            .with(
                "evidence",
                format!("command of {}: {}", part.title(), command(part)),
            )
            .then(edit);
    }
    if any(&["address already in use", "port is already allocated"]) {
        let headline =
            format!("{subject} does not start because a port it wants on its node is taken.");
        return Answer::new(Cause::PortInUse, headline).then(edit);
    }
    if said.contains("no space left on device") {
        return volume::full(case);
    }
    if said.contains("not a directory") && said.contains("mount") {
        let headline = format!(
            "{subject} does not start because a volume would be mounted over a file, or a file over a folder."
        );
        let mut answer = Answer::new(Cause::MountFailed, headline);
        for mount in list_at(part.spec, "/volumeMounts") {
            let text = format!(
                "{} at {}",
                str_at(mount, "/name"),
                str_at(mount, "/mountPath")
            );
            answer = answer.with("mount", text);
        }
        return answer.then(edit);
    }
    let headline = format!(
        "{subject} does not start because the engine cannot start its {}.",
        part.title()
    );
    Answer::new(Cause::ContainerStart, headline)
        .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
}

fn hook(case: &Case<'_>, part: &Part<'_>) -> Answer {
    let headline = format!(
        "{} does not stay up because the postStart hook of {} fails.",
        case.subject(),
        part.title()
    );
    let hook = &part.spec["lifecycle"]["postStart"];
    Answer::new(Cause::HookFailed, headline)
        .with("hook", short(&hook.to_string(), 120))
        .then(case.logs(part, true))
        .then(owner::edit(case.facts, case.pod))
}

/// A container that the kubelet ended because its hook had failed.
pub fn hook_failed(case: &Case<'_>, part: &Part<'_>, end: &Value) -> Option<Answer> {
    let (began, ended) = (str_at(end, "/startedAt"), str_at(end, "/finishedAt"));
    let told = case.events.iter().any(|event| {
        str_at(event, "/reason") == "FailedPostStartHook"
            && events::is_of(event, part.name())
            && events::is_within(event, began, ended)
    });
    told.then(|| hook(case, part))
}

/// A program made for another processor.
pub fn foreign(case: &Case<'_>, part: &Part<'_>) -> Answer {
    let image = str_at(part.spec, "/image");
    let node = case
        .node()
        .map_or("", |node| str_at(node, "/status/nodeInfo/architecture"));
    let headline = format!(
        "{} does not run because the program in image {image} is made for another processor than the node's.",
        case.subject()
    );
    Answer::new(Cause::ImageArchitecture, headline)
        .with(
            "evidence",
            format!("node {} is {node}", str_at(case.pod, "/spec/nodeName")),
        )
        .then(format!(
            "docker image inspect --format '{{{{.Architecture}}}}' {image}"
        ))
        .then(owner::edit(case.facts, case.pod))
}

fn look_inside(image: &str) -> String {
    format!("docker run --rm --entrypoint ls {image} /bin /usr/bin /usr/local/bin")
}

/// The command and arguments of the manifest, or the image's own.
pub fn command(part: &Part<'_>) -> String {
    let words: Vec<&str> = ["/command", "/args"]
        .into_iter()
        .flat_map(|path| list_at(part.spec, path))
        .filter_map(Value::as_str)
        .collect();
    match words.as_slice() {
        [] => "the image's own".to_owned(),
        words => short(&words.join(" "), 80),
    }
}
