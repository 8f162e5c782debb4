//! Deployments, ReplicaSets, ReplicationControllers, StatefulSets and DaemonSets: they are as
//! well as their pods, so the pod that fails is found and explained.

use cadet_api::json::{bool_at, int_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::{Cause, Mood};
use crate::facts::{Facts, condition, is_condition, name, ns};
use crate::kind::Kind;
use crate::want::Want;
use crate::words::{ago, count, kubectl};
use crate::{owner, pod, refusal};

/// Pods that are looked into closely.
const MOST: usize = 3;

/// Why a workload is as it is.
#[must_use]
pub fn explain(facts: &Facts, kind: Kind, object: &Value) -> Answer {
    let case = Case {
        facts,
        kind,
        object,
    };
    case.stopped()
        .or_else(|| case.leaving())
        .or_else(|| case.refused())
        .or_else(|| case.by_pods())
        .unwrap_or_else(|| case.otherwise())
}

/// What is still to be fetched.
pub fn wants(facts: &Facts, kind: Kind, object: &Value) -> Vec<Want> {
    let mut wants = Vec::new();
    if kind == Kind::Deployment {
        wants.push(Want::list(Kind::ReplicaSet, ns(object)));
    }
    if kind == Kind::DaemonSet {
        wants.push(Want::list(Kind::Node, ""));
    }
    for pod in suspects(facts, kind, object) {
        wants.extend(pod::wants(facts, pod));
    }
    wants
}

/// Pods of a workload; of a Deployment those of its newest ReplicaSet come first.
#[must_use]
pub fn pods<'a>(facts: &'a Facts, kind: Kind, object: &'a Value) -> Vec<&'a Value> {
    if kind != Kind::Deployment {
        return owner::children(facts, Kind::Pod, object);
    }
    sets(facts, object)
        .into_iter()
        .flat_map(|set| owner::children(facts, Kind::Pod, set))
        .collect()
}

/// ReplicaSets of a Deployment, the newest first.
fn sets<'a>(facts: &'a Facts, deployment: &Value) -> Vec<&'a Value> {
    let revision = |set: &Value| -> i64 {
        let text = set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let mut sets = owner::children(facts, Kind::ReplicaSet, deployment);
    sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
    sets
}

fn is_ready(pod: &Value) -> bool {
    is_condition(pod, "Ready", "True") && str_at(pod, "/metadata/deletionTimestamp").is_empty()
}

/// Those that are not ready, the likeliest to be at fault first.
fn suspects<'a>(facts: &'a Facts, kind: Kind, object: &'a Value) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = pods(facts, kind, object)
        .into_iter()
        .filter(|pod| !is_ready(pod) && str_at(pod, "/status/phase") != "Succeeded")
        .collect();
    let leaves = |pod: &&Value| !str_at(pod, "/metadata/deletionTimestamp").is_empty();
    if kind == Kind::StatefulSet {
        // They come one after the other: the first that is missing holds up the rest.
        found.sort_by_key(|pod| (leaves(pod), ordinal(pod)));
    } else {
        // What came first stands; those that leave are rarely the matter.
        found.sort_by_key(leaves);
    }
    found.truncate(MOST);
    found
}

fn ordinal(pod: &Value) -> u64 {
    let number = name(pod).rsplit('-').next();
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn number(object: &Value, path: &str) -> i64 {
    int_at(object, path).unwrap_or(0)
}

struct Case<'a> {
    facts: &'a Facts,
    kind: Kind,
    object: &'a Value,
}

impl Case<'_> {
    fn subject(&self) -> String {
        format!("{}/{}", self.kind.name(), name(self.object))
    }

    fn kubectl(&self, command: &str) -> String {
        kubectl(ns(self.object), command)
    }

    fn edit(&self) -> String {
        self.kubectl(&format!("edit {}", self.subject()))
    }

    fn number(&self, path: &str) -> i64 {
        number(self.object, path)
    }

    /// Ready pods, and pods there should be.
    fn figures(&self) -> (i64, i64) {
        match self.kind {
            Kind::DaemonSet => (
                self.number("/status/numberReady"),
                self.number("/status/desiredNumberScheduled"),
            ),
            _ => (
                self.number("/status/readyReplicas"),
                refusal::wanted(self.object),
            ),
        }
    }

    /// "deployment/web has 1 of 3 pods ready".
    fn state(&self) -> String {
        let (ready, wanted) = self.figures();
        format!(
            "{} has {ready} of {} ready",
            self.subject(),
            count(usize::try_from(wanted).unwrap_or(0), "pod")
        )
    }

    /// Somebody wants it so: no replicas, a pause, no node.
    fn stopped(&self) -> Option<Answer> {
        let subject = self.subject();
        if self.kind == Kind::DaemonSet {
            let seen = self.number("/status/observedGeneration") > 0;
            if !seen || self.figures().1 > 0 {
                return None;
            }
            let selector = cadet_api::json::map_at(self.object, "/spec/template/spec/nodeSelector");
            let wanted = crate::words::labels(selector);
            let headline = format!("{subject} has no pod because no node is one that it wants.");
            let mut answer = Answer::new(Cause::NodeSelector, headline);
            if !wanted.is_empty() {
                answer = answer.with("evidence", format!("wants nodes with {wanted}"));
            }
            return Some(
                answer
                    .then("kubectl get nodes --show-labels")
                    .then(self.edit()),
            );
        }
        if refusal::wanted(self.object) == 0 {
            let headline = format!("{subject} has no pods because it is scaled to 0.");
            return Some(
                Answer::new(Cause::ScaledToZero, headline)
                    .with("evidence", "spec.replicas is 0")
                    .then(self.kubectl(&format!("scale {subject} --replicas=1"))),
            );
        }
        let paused = self.kind == Kind::Deployment && bool_at(self.object, "/spec/paused");
        let behind = self.number("/status/updatedReplicas") < refusal::wanted(self.object)
            || self.number("/metadata/generation") > self.number("/status/observedGeneration");
        if paused && behind {
            let (updated, wanted) = (
                self.number("/status/updatedReplicas"),
                refusal::wanted(self.object),
            );
            let headline =
                format!("{subject} does not roll out its new version because it is paused.");
            return Some(
                Answer::new(Cause::Paused, headline)
                    .with(
                        "evidence",
                        format!(
                            "spec.paused is true; {updated} of {wanted} pods are of the new version"
                        ),
                    )
                    .then(self.kubectl(&format!("rollout resume {subject}"))),
            );
        }
        None
    }

    fn leaving(&self) -> Option<Answer> {
        let since = str_at(self.object, "/metadata/deletionTimestamp");
        if since.is_empty() {
            return None;
        }
        let finalizers: Vec<&str> = cadet_api::json::list_at(self.object, "/metadata/finalizers")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let left = pods(self.facts, self.kind, self.object).len();
        let subject = self.subject();
        let foreign = finalizers
            .iter()
            .any(|one| !matches!(*one, "foregroundDeletion" | "orphan"));
        let (cause, headline) = match foreign {
            true => (
                Cause::StuckFinalizer,
                format!(
                    "{subject} is deleted but stays, because a finalizer waits for somebody to do its work."
                ),
            ),
            false => (
                Cause::Terminating,
                format!(
                    "{subject} is being deleted; {} of it are still there.",
                    count(left, "pod")
                ),
            ),
        };
        Some(
            Answer::new(cause, headline)
                .with("evidence", format!("finalizers: {}", finalizers.join(", ")))
                .since(ago(since, self.facts.now))
                .then(self.kubectl(&format!("get {subject} -o yaml"))),
        )
    }

    /// Its pods are not even made.
    fn refused(&self) -> Option<Answer> {
        let (subject, edit) = (self.subject(), self.edit());
        if self.kind == Kind::Deployment {
            if let Some(answer) =
                refusal::explain(self.facts, self.kind, self.object, &subject, &edit)
            {
                return Some(answer);
            }
            let sets = sets(self.facts, self.object);
            return sets.into_iter().find_map(|set| {
                let short = number(set, "/status/replicas") < refusal::wanted(set);
                let answer = refusal::explain(self.facts, Kind::ReplicaSet, set, &subject, &edit);
                answer.filter(|_| short).map(|answer| {
                    answer.with(
                        "made",
                        format!(
                            "replicaset {} has {} of {} pods",
                            name(set),
                            number(set, "/status/replicas"),
                            refusal::wanted(set)
                        ),
                    )
                })
            });
        }
        let (made, wanted) = match self.kind {
            Kind::DaemonSet => (
                self.number("/status/currentNumberScheduled"),
                self.figures().1,
            ),
            _ => (
                self.number("/status/replicas"),
                refusal::wanted(self.object),
            ),
        };
        if made >= wanted {
            return None;
        }
        refusal::explain(self.facts, self.kind, self.object, &subject, &edit)
    }

    /// One of its pods fails.
    fn by_pods(&self) -> Option<Answer> {
        let mut told: Vec<Answer> = suspects(self.facts, self.kind, self.object)
            .into_iter()
            .map(|pod| pod::explain(self.facts, pod))
            .collect();
        // A pod that leaves stands in nobody's way, as long as another has something to say.
        told.sort_by_key(|answer| match answer.cause.mood() {
            Mood::Fault if answer.confident => 0,
            Mood::Fault => 1,
            Mood::Unknown => 2,
            Mood::Underway => 3,
            Mood::Fine => 4,
        });
        let first = told.into_iter().next()?;
        let headline = format!("{}: {}", self.state(), first.headline);
        let mut answer = first.told_as(headline);
        if let Some(late) = condition(self.object, "Progressing")
            .filter(|one| one["reason"] == "ProgressDeadlineExceeded")
        {
            answer = answer.with("rollout", str_at(late, "/message"));
        }
        Some(answer)
    }

    /// No pod of it is to blame.
    fn otherwise(&self) -> Answer {
        let subject = self.subject();
        let (ready, wanted) = self.figures();
        let late = condition(self.object, "Progressing")
            .filter(|one| one["reason"] == "ProgressDeadlineExceeded");
        if let Some(late) = late.filter(|_| ready < wanted) {
            let headline = format!(
                "{}: its rollout has not come on within its deadline.",
                self.state()
            );
            return Answer::new(Cause::ProgressDeadline, headline)
                .with("condition", str_at(late, "/message"))
                .since(ago(str_at(late, "/lastUpdateTime"), self.facts.now))
                .then(self.kubectl(&format!("rollout status {subject}")))
                .then(self.kubectl(&format!("rollout undo {subject}")));
        }
        if self.number("/metadata/generation") > self.number("/status/observedGeneration") {
            let headline = format!(
                "{subject} has been changed a moment ago; its controller has not looked at it yet."
            );
            return Answer::new(Cause::NotYet, headline)
                .then(self.kubectl(&format!("get {subject} --watch")));
        }
        if ready >= wanted {
            let headline =
                format!("Nothing is wrong with {subject}: {ready} of {wanted} pods are ready.");
            let answer = Answer::new(Cause::NothingWrong, headline);
            let policy = pods(self.facts, self.kind, self.object)
                .first()
                .and_then(|pod| crate::policy::about(self.facts, pod));
            return match policy {
                Some(policy) if policy.confident => policy.told_as(format!(
                    "{subject} is ready, but a NetworkPolicy lets nobody in to its pods."
                )),
                _ => answer.then(self.kubectl(&format!("describe {subject}"))),
            };
        }
        let made = pods(self.facts, self.kind, self.object).len();
        let headline = format!(
            "I do not know why {}; {} of it exist and none says what is wrong.",
            self.state(),
            count(made, "pod")
        );
        let mut answer = Answer::new(Cause::Unknown, headline);
        for one in cadet_api::json::list_at(self.object, "/status/conditions") {
            answer = answer.with(
                "condition",
                format!(
                    "{} {}: {}",
                    str_at(one, "/type"),
                    str_at(one, "/status"),
                    str_at(one, "/message")
                ),
            );
        }
        answer.then(self.kubectl(&format!("describe {subject}")))
    }
}
