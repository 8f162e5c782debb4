//! Which programs a lesson may run, and with which words.

use super::kubectl::Kubectl;
use crate::command::unquoted_pattern;
use crate::condition::What;
use crate::curl::{Curl, FLAGS};
use crate::finding::Findings;
use crate::model::{Block, Command, Lesson, Script, Step};

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Run,
    Background,
    Solve,
    Reset,
    Mistake,
    /// In an `output` condition.
    Probe,
}

pub(super) fn check(lesson: &Lesson, findings: &mut Findings) {
    for step in &lesson.steps {
        for (command, place) in of_step(step) {
            one(command, place, findings);
        }
    }
}

/// Commands that a lesson must not run on anybody's computer, whoever wrote it: what leads to
/// other clusters, to the learner's own files and settings, or to programs nobody knows.
pub(crate) fn check_reach(lesson: &Lesson, findings: &mut Findings) {
    for step in &lesson.steps {
        for (command, _) in of_step(step) {
            reach(command, findings);
        }
    }
}

fn reach(command: &Command, findings: &mut Findings) {
    match command.program() {
        "kubectl" => kubectl_reach(command, findings),
        "cadet" => cadet(command, findings),
        _ => {}
    }
}

/// Every command of a step, with its place, in the order in which things are done.
pub(super) fn of_step(step: &Step) -> Vec<(&Command, Place)> {
    let mut out = Vec::new();
    for block in &step.blocks {
        if let Block::Run(run) = block {
            let place = match run.background {
                true => Place::Background,
                false => Place::Run,
            };
            out.extend(run.script.commands().map(|command| (command, place)));
        }
    }
    let when = step.not_yet.iter().flat_map(|entry| &entry.when);
    for condition in step.watch.iter().chain(when) {
        if let What::Output(command, _) = &condition.what {
            out.push((command, Place::Probe));
        }
    }
    add(&mut out, step.solve.as_ref(), Place::Solve);
    add(&mut out, step.reset.as_ref(), Place::Reset);
    for mistake in &step.mistakes {
        add(&mut out, mistake.run.as_ref(), Place::Mistake);
        add(&mut out, mistake.undo.as_ref(), Place::Mistake);
    }
    out
}

fn add<'a>(out: &mut Vec<(&'a Command, Place)>, script: Option<&'a Script>, place: Place) {
    if let Some(script) = script {
        out.extend(script.commands().map(|command| (command, place)));
    }
}

/// Whether the command changes the cluster or the engine in the guest.
pub(crate) fn changes(command: &Command) -> bool {
    match command.program() {
        "kubectl" => Kubectl::of(command.arguments()).changes(),
        "docker" if docker_verb(command) == "run" => stays(command),
        "docker" => matches!(
            docker_verb(command),
            "build"
                | "tag"
                | "rmi"
                | "rm"
                | "stop"
                | "start"
                | "kill"
                | "create"
                | "pull"
                | "load"
                | "import"
                | "commit"
                | "network"
                | "volume"
                | "image"
                | "container"
        ),
        "cadet" => matches!(
            (command.argv.get(1).map(String::as_str), command.argv.get(2).map(String::as_str)),
            (Some("image" | "node"), Some(what)) if !matches!(what, "list" | "ls")
        ),
        _ => false,
    }
}

/// Whether a container of `docker run` is there after the command has ended.
fn stays(command: &Command) -> bool {
    let has = |names: [&str; 2]| {
        let mut words = command.argv.iter();
        words.any(|word| names.contains(&word.as_str()))
    };
    has(["-d", "--detach"]) || !has(["--rm", "--rm=true"])
}

fn docker_verb(command: &Command) -> &str {
    let mut words = command.arguments().iter().map(String::as_str);
    words.find(|word| !word.starts_with('-')).unwrap_or("")
}

pub(crate) fn endless(command: &Command) -> bool {
    match command.program() {
        "kubectl" => Kubectl::of(command.arguments()).endless(),
        "docker" => match docker_verb(command) {
            "logs" => command
                .argv
                .iter()
                .any(|word| word == "-f" || word == "--follow"),
            "events" | "attach" => true,
            "stats" => !command.argv.iter().any(|word| word == "--no-stream"),
            _ => false,
        },
        "cadet" => {
            let ends = ["--status", "--stop", "--background"];
            let is_tunnel = command.argv.get(1).is_some_and(|verb| verb == "tunnel");
            is_tunnel
                && !command
                    .argv
                    .iter()
                    .any(|word| ends.contains(&word.as_str()))
        }
        _ => false,
    }
}

fn one(command: &Command, place: Place, findings: &mut Findings) {
    let line = command.line;
    reach(command, findings);
    match command.program() {
        "kubectl" => kubectl(command, findings),
        "docker" => docker(command, findings),
        "curl" => {
            if let Err(error) = Curl::parse(command.arguments()) {
                let fix = format!("flags that are understood: {FLAGS}");
                findings.error(line, error.to_string(), fix);
            }
        }
        // All there is to say of it is how far it reaches.
        "cadet" => {}
        other => {
            findings.error(
                line,
                format!("lessons cannot run `{other}`"),
                "use kubectl, docker, curl or cadet; inside the machine a `guest` block",
            );
            return;
        }
    }
    let endless = endless(command);
    if endless && place != Place::Background {
        findings.error(
            line,
            "this command does not end by itself",
            match place {
                Place::Run => "put it in a block `run background`",
                _ => "only blocks `run background` may have such commands",
            },
        );
    }
    if !endless && place == Place::Background {
        findings.warning(
            line,
            "this command ends by itself",
            "put it in a block `run`",
        );
    }
    if matches!(place, Place::Run | Place::Background)
        && let Some(sign) = unquoted_pattern(&command.text)
    {
        findings.warning(
            line,
            format!("`{sign}` outside quotes is a pattern to some shells"),
            "put the word in single quotes, so that it works in the learner's own terminal",
        );
    }
    if place == Place::Reset && deletes_what_may_be_gone(command) {
        findings.error(
            line,
            "this reset fails when there is nothing to delete",
            "add --ignore-not-found",
        );
    }
}

fn deletes_what_may_be_gone(command: &Command) -> bool {
    let kubectl = Kubectl::of(command.arguments());
    command.program() == "kubectl"
        && kubectl.verb == "delete"
        && !kubectl.has(&["--ignore-not-found", "--all", "-l", "--selector"])
}

/// Verbs of kubectl that lessons may use. Any other may be a plugin, a program of the learner's
/// PATH (`kubectl plugin`, its help); cp writes on the laptop, config changes its kubeconfig.
const VERBS: &[&str] = &[
    "annotate",
    "api-resources",
    "api-versions",
    "apply",
    "attach",
    "auth",
    "autoscale",
    "certificate",
    "cluster-info",
    "config",
    "cordon",
    "create",
    "debug",
    "delete",
    "describe",
    "diff",
    "drain",
    "edit",
    "events",
    "exec",
    "explain",
    "expose",
    "get",
    "kustomize",
    "label",
    "logs",
    "options",
    "patch",
    "port-forward",
    "proxy",
    "replace",
    "rollout",
    "run",
    "scale",
    "set",
    "taint",
    "top",
    "uncordon",
    "version",
    "wait",
    "",
];

fn kubectl_reach(command: &Command, findings: &mut Findings) {
    let line = command.line;
    let kubectl = Kubectl::of(command.arguments());
    const ELSEWHERE: [&str; 8] = [
        "--kubeconfig",
        "--context",
        "--cluster",
        "--server",
        "-s",
        "--user",
        "--token",
        "--username",
    ];
    // Whom a binding or a set of credentials is for has the same name as who asks.
    let names_whom = ["create", "set"].contains(&kubectl.verb);
    let elsewhere = kubectl
        .flags
        .iter()
        .find(|(flag, _)| ELSEWHERE.contains(flag) && !(names_whom && *flag == "--user"));
    if let Some((flag, _)) = elsewhere {
        findings.error(
            line,
            format!("`{flag}` leads to another cluster or user"),
            "remove it: kubectl is set up for the lesson's cluster; try users with --as",
        );
    }
    if !VERBS.contains(&kubectl.verb) {
        findings.error(
            line,
            format!("lessons cannot run `kubectl {}`", kubectl.verb),
            "use a verb of kubectl's own that stays within the cluster",
        );
    }
    if kubectl.verb == "config"
        && !matches!(kubectl.second, "view" | "current-context" | "get-contexts")
    {
        findings.error(
            line,
            "lessons do not change the learner's kubeconfig",
            "name the namespace in each command with -n",
        );
    }
}

fn kubectl(command: &Command, findings: &mut Findings) {
    let line = command.line;
    let kubectl = Kubectl::of(command.arguments());
    match kubectl.verb {
        "" => findings.error(
            line,
            "kubectl does nothing without a verb",
            "add one: get pods",
        ),
        "edit" => findings.error(
            line,
            "`kubectl edit` waits for an editor",
            "use patch, set, scale, label or apply -f",
        ),
        _ => {}
    }
    if kubectl.flags.contains(&("-f", Some("-"))) || kubectl.words.contains(&"-") {
        findings.error(
            line,
            "this command reads what nobody types",
            "give the learner a file, and name it",
        );
    }
    interactive(
        command,
        kubectl.has(&["-t", "--tty", "-it", "-ti"]),
        findings,
    );
}

fn interactive(command: &Command, terminal: bool, findings: &mut Findings) {
    if terminal {
        findings.warning(
            command.line,
            "this command wants a terminal, which Enter and tests do not give it",
            "leave -t out, and name the command to run",
        );
    }
}

fn docker(command: &Command, findings: &mut Findings) {
    let line = command.line;
    let has = |names: &[&str]| {
        command
            .argv
            .iter()
            .any(|word| names.contains(&word.as_str()))
    };
    match docker_verb(command) {
        "" => findings.error(
            line,
            "docker does nothing without a verb",
            "add one: images",
        ),
        "compose" | "login" | "logout" | "push" | "context" | "swarm" | "buildx" => {
            findings.error(
                line,
                format!("lessons cannot use `docker {}`", docker_verb(command)),
                "the engine in the guest builds and runs single images",
            );
        }
        "cp" => findings.error(
            line,
            "`docker cp` copies from the machine's files, not from the lesson folder",
            "build an image with the file, or use a ConfigMap",
        ),
        "pull" => findings.warning(
            line,
            "pulling needs a registry, which a learner offline does not have",
            "name the image in `images`, or build it",
        ),
        "run" | "exec" => {
            interactive(command, has(&["-it", "-ti", "-t", "--tty"]), findings);
            if docker_verb(command) == "run" && !has(&["-d", "--detach", "--rm"]) {
                findings.warning(
                    line,
                    "this container stays behind, and may go on for ever",
                    "add --rm for one that ends, -d for one that goes on",
                );
            }
        }
        _ => {}
    }
}

fn cadet(command: &Command, findings: &mut Findings) {
    let word = |at: usize| command.argv.get(at).map_or("", String::as_str);
    let (verb, what) = (word(1), word(2));
    let is_fine = match verb {
        "status" | "why" | "trace" | "open" | "tunnel" | "logs" | "events" | "top" | "service"
        | "ip" | "dashboard" => true,
        "image" => matches!(what, "list" | "ls" | "build" | "pull" | "rm"),
        "node" => matches!(what, "list" | "ls" | "start" | "stop"),
        _ => false,
    };
    if !is_fine {
        let words: Vec<&str> = command.argv.iter().take(3).map(String::as_str).collect();
        findings.error(
            command.line,
            format!("lessons cannot run `{}`", words.join(" ")),
            "use the verbs that look: status, why, trace, open, tunnel, image, logs",
        );
    }
}
