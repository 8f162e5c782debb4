//! Why an object is as it is: the cause in plain words, with the evidence and the next command.
//!
//! ```text
//!   target ──▶ wants ──▶ (somebody fetches) ──▶ Facts::learn ──▶ wants … ──▶ explain ──▶ Answer
//! ```
//!
//! Pure: nothing here reads a clock or talks to a server. [`wants`] says what is still to be
//! fetched, given what is known; when it says nothing more, [`explain`] has all it can use. It
//! works with less as well: what was not seen is not evidence, so the answer is then "I do not
//! know", never a guess. Causes are looked for along a life, from the end to the beginning
//! (`pod`), and from what a user made down to the pod that fails (`workload`, `service`). The
//! words of reasons and messages are those of our own components, which are upstream's.

mod answer;
mod autoscaler;
mod cause;
mod claim;
mod dns;
mod events;
mod facts;
mod ingress;
mod job;
mod kind;
mod node;
mod owner;
mod pod;
mod policy;
mod refusal;
mod rights;
mod service;
mod want;
mod words;
mod workload;

pub use answer::Answer;
pub use cause::{Cause, Mood};
pub use facts::Facts;
pub use kind::{BadTarget, Kind, Target};
pub use want::{Access, Found, Want};

/// What is still to be fetched, each only once; empty when [`explain`] can say no more.
#[must_use]
pub fn wants(facts: &Facts) -> Vec<Want> {
    let Target {
        kind,
        namespace,
        name,
    } = &facts.target;
    let mut wants = vec![Want::object(*kind, namespace, name)];
    wants.extend(match kind {
        Kind::Node => [
            // Events of nodes are kept in this namespace.
            Want::list(Kind::Event, "default"),
            Want::PodsOn { node: name.clone() },
        ],
        _ => [
            Want::list(Kind::Event, namespace),
            Want::list(Kind::Pod, namespace),
        ],
    });
    if let Some(subject) = facts.subject() {
        wants.extend(match kind {
            Kind::Pod => pod::wants(facts, subject),
            Kind::Job => job::wants(facts, subject),
            Kind::CronJob => job::cron_wants(facts, subject),
            Kind::Service => service::wants(facts, subject),
            Kind::Ingress => ingress::wants(facts, subject),
            Kind::Claim => claim::wants(facts, subject),
            Kind::Autoscaler => autoscaler::wants(subject),
            Kind::Node => Vec::new(),
            _ => workload::wants(facts, *kind, subject),
        });
    }
    wants.retain(|want| !facts.has_asked(want));
    let mut once = Vec::new();
    for want in wants {
        if !once.contains(&want) {
            once.push(want);
        }
    }
    once
}

/// Why the object is as it is; `None` if it is not among the facts.
#[must_use]
pub fn explain(facts: &Facts) -> Option<Answer> {
    let subject = facts.subject()?;
    let kind = facts.target.kind;
    Some(match kind {
        Kind::Pod => pod::explain(facts, subject),
        Kind::Job => job::explain(facts, subject),
        Kind::CronJob => job::explain_cron(facts, subject),
        Kind::Service => service::explain(facts, subject),
        Kind::Ingress => ingress::explain(facts, subject),
        Kind::Claim => claim::explain(facts, subject),
        Kind::Node => node::explain(facts, subject),
        Kind::Autoscaler => autoscaler::explain(facts, subject),
        _ => workload::explain(facts, kind, subject),
    })
}

/// One line for a lesson's "not yet, because"; `None` when nothing stands in the way, or when
/// nothing is known that would help.
#[must_use]
pub fn reason(facts: &Facts) -> Option<String> {
    let answer = explain(facts)?;
    let says = match answer.cause.mood() {
        Mood::Fault | Mood::Underway => true,
        Mood::Fine | Mood::Unknown => false,
    };
    says.then(|| answer.headline.trim_end_matches('.').to_owned())
}

/// A name that may have been meant, if the object that was asked about does not exist.
#[must_use]
pub fn similar(facts: &Facts) -> Option<&str> {
    let Target {
        kind,
        namespace,
        name,
    } = &facts.target;
    let known = facts
        .all(*kind)
        .filter(|object| facts::ns(object) == namespace)
        .map(facts::name);
    words::nearest(name, known)
}
