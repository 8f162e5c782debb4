//! A pod, from the end of its life to its beginning: what has ended it, what keeps it from a
//! node, from starting, from staying up, from being ready. The first that has evidence is told.

mod config;
mod crash;
mod ending;
mod exit;
mod image;
mod log;
mod obstacle;
mod placing;
mod probe;
mod room;
mod start;
mod taint;
mod volume;

use cadet_api::json::{int_at, list_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{Facts, condition, is_condition, name, ns};
use crate::kind::Kind;
use crate::want::Want;
use crate::words::{ago, count, kubectl};

/// One pod with what was said about it.
pub(crate) struct Case<'a> {
    pub facts: &'a Facts,
    pub pod: &'a Value,
    /// The latest last.
    pub events: Vec<&'a Value>,
}

/// One container: its manifest and its status.
pub(crate) struct Part<'a> {
    pub spec: &'a Value,
    pub status: &'a Value,
    pub is_init: bool,
}

impl Part<'_> {
    pub fn name(&self) -> &str {
        str_at(self.spec, "/name")
    }

    pub fn waiting(&self) -> &str {
        str_at(self.status, "/state/waiting/reason")
    }

    pub fn is_running(&self) -> bool {
        self.status["state"]["running"].is_object()
    }

    /// The end it shows now, or the one before its present run.
    pub fn end(&self) -> Option<&Value> {
        let now = &self.status["state"]["terminated"];
        let before = &self.status["lastState"]["terminated"];
        [now, before].into_iter().find(|end| end.is_object())
    }

    pub fn restarts(&self) -> i64 {
        int_at(self.status, "/restartCount").unwrap_or(0)
    }

    pub fn is_sidecar(&self) -> bool {
        self.is_init && self.spec["restartPolicy"] == "Always"
    }

    /// "container app" or "init container setup".
    pub fn title(&self) -> String {
        match self.is_init && !self.is_sidecar() {
            true => format!("init container {}", self.name()),
            false => format!("container {}", self.name()),
        }
    }
}

impl<'a> Case<'a> {
    pub fn new(facts: &'a Facts, pod: &'a Value) -> Case<'a> {
        Case {
            facts,
            pod,
            events: events::about(facts, Kind::Pod, pod),
        }
    }

    pub fn subject(&self) -> String {
        format!("pod/{}", name(self.pod))
    }

    pub fn phase(&self) -> &str {
        str_at(self.pod, "/status/phase")
    }

    pub fn kubectl(&self, command: &str) -> String {
        kubectl(ns(self.pod), command)
    }

    /// Init containers in their order, then the others.
    pub fn parts(&self) -> Vec<Part<'a>> {
        let list = |specs: &str, statuses: &str, is_init: bool| {
            let known = list_at(self.pod, statuses);
            list_at(self.pod, specs).iter().map(move |spec| Part {
                spec,
                status: known
                    .iter()
                    .find(|status| status["name"] == spec["name"])
                    .unwrap_or(&Value::Null),
                is_init,
            })
        };
        let init = list(
            "/spec/initContainers",
            "/status/initContainerStatuses",
            true,
        );
        let apps = list("/spec/containers", "/status/containerStatuses", false);
        init.chain(apps).collect()
    }

    /// `-c NAME`, where a pod has more than one container.
    pub fn flag(&self, part: &Part<'_>) -> String {
        match self.parts().len() {
            1 => String::new(),
            _ => format!(" -c {}", part.name()),
        }
    }

    pub fn logs(&self, part: &Part<'_>, previous: bool) -> String {
        let previous = if previous { " --previous" } else { "" };
        let pod = name(self.pod);
        self.kubectl(&format!("logs {pod}{}{previous}", self.flag(part)))
    }

    pub fn node(&self) -> Option<&'a Value> {
        self.facts
            .find(Kind::Node, "", str_at(self.pod, "/spec/nodeName"))
    }

    pub fn since_created(&self) -> Option<String> {
        ago(
            str_at(self.pod, "/metadata/creationTimestamp"),
            self.facts.now,
        )
    }
}

/// Why this pod is as it is.
#[must_use]
pub fn explain(facts: &Facts, pod: &Value) -> Answer {
    let case = Case::new(facts, pod);
    let steps: [fn(&Case<'_>) -> Option<Answer>; 8] = [
        ending::terminating,
        ending::over,
        placing::explain,
        ending::node_is_away,
        volume::explain,
        containers,
        probe::gates,
        troubles_while_ready,
    ];
    steps
        .iter()
        .find_map(|step| step(&case))
        .unwrap_or_else(|| fine_or_unknown(&case))
}

/// The first container, in the order they start, that is not as it should be.
fn containers(case: &Case<'_>) -> Option<Answer> {
    let mut waits = None;
    for part in case.parts() {
        let done = part.is_init
            && !part.is_sidecar()
            && str_at(part.status, "/state/terminated/reason") == "Completed";
        if done {
            continue;
        }
        let steps: [fn(&Case<'_>, &Part<'_>) -> Option<Answer>; 5] = [
            image::explain,
            config::explain,
            start::explain,
            crash::explain,
            probe::explain,
        ];
        match steps.iter().find_map(|step| step(case, &part)) {
            Some(answer) if answer.is_fault() => return Some(answer),
            Some(answer) => waits = waits.or(Some(answer)),
            None => {}
        }
        // Nothing after it starts before it has ended.
        if part.is_init && !part.is_sidecar() && part.is_running() {
            return waits.or_else(|| Some(init_runs(case, &part)));
        }
    }
    waits
}

fn init_runs(case: &Case<'_>, part: &Part<'_>) -> Answer {
    let since = str_at(part.status, "/state/running/startedAt");
    let headline = format!(
        "{} is waiting for its {}, which is still running.",
        case.subject(),
        part.title()
    );
    log::of_this_run(case, part, Answer::new(Cause::NotYet, headline))
        .since(ago(since, case.facts.now))
        .then(case.kubectl(&format!("logs {} -c {} -f", name(case.pod), part.name())))
}

/// A pod that runs may still complain: of rights it lacks, of names it cannot find.
fn troubles_while_ready(case: &Case<'_>) -> Option<Answer> {
    case.parts()
        .iter()
        .filter(|part| part.is_running())
        .find_map(|part| log::trouble(case, part))
}

fn fine_or_unknown(case: &Case<'_>) -> Answer {
    let subject = case.subject();
    let ready = condition(case.pod, "Ready");
    if is_condition(case.pod, "Ready", "True") {
        let restarts: i64 = case.parts().iter().map(Part::restarts).sum();
        let headline = format!("Nothing is wrong with {subject}: it is Running and ready.");
        let mut answer = Answer::new(Cause::NothingWrong, headline);
        if restarts > 0 {
            let times = usize::try_from(restarts).unwrap_or_default();
            answer = answer.with("evidence", format!("{} so far", count(times, "restart")));
        }
        let policy = crate::policy::about(case.facts, case.pod);
        let since = ready.map(|ready| str_at(ready, "/lastTransitionTime"));
        return policy
            .unwrap_or(answer)
            .since(since.and_then(|at| ago(at, case.facts.now)))
            .then(case.kubectl(&format!("logs {}", name(case.pod))));
    }
    let young = crate::words::seconds_since(
        str_at(case.pod, "/metadata/creationTimestamp"),
        case.facts.now,
    );
    let creating = case.parts().iter().any(|part| {
        matches!(part.waiting(), "ContainerCreating" | "PodInitializing") || part.status.is_null()
    });
    if creating && young.is_some_and(|seconds| seconds < 30) {
        let headline = format!("{subject} is being started.");
        return Answer::new(Cause::NotYet, headline)
            .since(case.since_created())
            .then(case.kubectl(&format!("get pod {} --watch", name(case.pod))));
    }
    let mut answer = Answer::new(
        Cause::Unknown,
        format!(
            "I do not know why {subject} is {} and not ready; this is what I saw.",
            case.phase()
        ),
    );
    if let Some(ready) = ready {
        answer = answer.with("condition", str_at(ready, "/message"));
    }
    for part in case.parts() {
        let waiting = str_at(part.status, "/state/waiting/message");
        answer = answer.with(part.name(), format!("{} {waiting}", part.waiting()));
    }
    for event in case.events.iter().rev().take(3) {
        let text = format!("{}: {}", str_at(event, "/reason"), events::message(event));
        answer = answer.with("event", text);
    }
    answer
        .since(case.since_created())
        .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
}

/// What is still to be fetched to explain this pod.
pub(crate) fn wants(facts: &Facts, pod: &Value) -> Vec<Want> {
    let case = Case::new(facts, pod);
    let namespace = ns(pod);
    let mut wants = Vec::new();
    let node = str_at(pod, "/spec/nodeName");
    if node.is_empty() {
        wants.extend(placing::wants(&case));
    } else {
        wants.push(Want::object(Kind::Node, "", node));
    }
    if let Some((kind, name)) = crate::owner::controller(pod) {
        wants.push(Want::object(kind, namespace, name));
        let above = facts.find(kind, namespace, name);
        if let Some((kind, name)) = above.and_then(crate::owner::controller) {
            wants.push(Want::object(kind, namespace, name));
        }
    }
    for claim in volume::claims(pod) {
        let bound = facts
            .find(Kind::Claim, namespace, claim)
            .is_some_and(|claim| str_at(claim, "/status/phase") == "Bound");
        if !bound || node.is_empty() {
            wants.push(Want::object(Kind::Claim, namespace, claim));
        }
    }
    if node.is_empty() || !str_at(pod, "/metadata/deletionTimestamp").is_empty() {
        return wants;
    }
    wants.extend(log::wants(&case));
    wants.push(Want::list(Kind::NetworkPolicy, namespace));
    wants
}
