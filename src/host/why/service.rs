//! A Service: whether its selector finds pods, whether they are ready, whether anybody listens
//! where it sends its traffic.

use cadet_api::json::{list_at, map_at, str_at};
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::{Cause, Mood};
use crate::facts::{Facts, is_condition, name, ns};
use crate::kind::Kind;
use crate::want::Want;
use crate::words::{count, distance, kubectl, labels};
use crate::{owner, pod, policy, workload};

/// Ports that are tried.
const TRIED: usize = 3;

/// Why a Service is as it is.
#[must_use]
pub fn explain(facts: &Facts, service: &Value) -> Answer {
    let case = Case { facts, service };
    case.outside()
        .or_else(|| case.without_selector())
        .or_else(|| case.selects_nothing())
        .or_else(|| case.none_ready())
        .or_else(|| case.ports())
        .unwrap_or_else(|| case.fine())
}

/// What is still to be fetched.
pub fn wants(facts: &Facts, service: &Value) -> Vec<Want> {
    let case = Case { facts, service };
    let namespace = ns(service);
    let mut wants = Vec::new();
    if case.selector().is_none() {
        return vec![Want::list(Kind::EndpointSlice, namespace)];
    }
    wants.push(Want::list(Kind::NetworkPolicy, namespace));
    let pods = case.pods();
    if pods.is_empty() {
        wants.push(Want::list(Kind::Deployment, namespace));
        if let Some(deployment) = case.deployment() {
            wants.extend(workload::wants(facts, Kind::Deployment, deployment));
        }
        return wants;
    }
    let ready: Vec<&Value> = pods.iter().copied().filter(|pod| is_ready(pod)).collect();
    if let Some(first) = ready.first() {
        for (_, port) in case.numbered(first).into_iter().take(TRIED) {
            wants.push(Want::Dial {
                namespace: namespace.to_owned(),
                pod: name(first).to_owned(),
                port,
            });
        }
        return wants;
    }
    for pod in pods.into_iter().take(2) {
        wants.extend(pod::wants(facts, pod));
    }
    wants
}

fn is_ready(pod: &Value) -> bool {
    is_condition(pod, "Ready", "True")
}

struct Case<'a> {
    facts: &'a Facts,
    service: &'a Value,
}

impl<'a> Case<'a> {
    fn subject(&self) -> String {
        format!("service/{}", name(self.service))
    }

    fn kubectl(&self, command: &str) -> String {
        kubectl(ns(self.service), command)
    }

    fn edit(&self) -> String {
        self.kubectl(&format!("edit {}", self.subject()))
    }

    fn selector(&self) -> Option<&'a serde_json::Map<String, Value>> {
        map_at(self.service, "/spec/selector").filter(|map| !map.is_empty())
    }

    /// Pods that it selects and that have not ended.
    fn pods(&self) -> Vec<&'a Value> {
        let Some(selector) = self.selector() else {
            return Vec::new();
        };
        self.facts
            .within(Kind::Pod, ns(self.service))
            .filter(|pod| !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed"))
            .filter(|pod| fits(selector, map_at(pod, "/metadata/labels")) == selector.len())
            .collect()
    }

    /// A Deployment whose pods it would select.
    fn deployment(&self) -> Option<&'a Value> {
        let selector = self.selector()?;
        self.facts
            .within(Kind::Deployment, ns(self.service))
            .find(|one| {
                let template = map_at(one, "/spec/template/metadata/labels");
                fits(selector, template) == selector.len()
            })
    }

    fn outside(&self) -> Option<Answer> {
        if str_at(self.service, "/spec/type") != "ExternalName" {
            return None;
        }
        let subject = self.subject();
        let host = str_at(self.service, "/spec/externalName");
        if host.parse::<std::net::IpAddr>().is_ok() {
            let headline = format!(
                "{subject} leads nowhere because its externalName {host} is an address, and must be a name."
            );
            return Some(Answer::new(Cause::ExternalName, headline).then(self.edit()));
        }
        let headline = format!(
            "Nothing is wrong with {subject} itself: it is another name for {host}, which is not in this cluster, and it has no pods."
        );
        Some(
            Answer::new(Cause::NothingWrong, headline)
                .with(
                    "evidence",
                    format!("type ExternalName, externalName {host}"),
                )
                .then(format!("cadet ssh -- getent hosts {host}")),
        )
    }

    fn without_selector(&self) -> Option<Answer> {
        if self.selector().is_some() {
            return None;
        }
        let subject = self.subject();
        let endpoints: usize = self
            .facts
            .within(Kind::EndpointSlice, ns(self.service))
            .filter(|slice| {
                let of = &slice["metadata"]["labels"]["kubernetes.io/service-name"];
                of == name(self.service)
            })
            .map(|slice| list_at(slice, "/endpoints").len())
            .sum();
        if endpoints > 0 {
            let headline = format!(
                "Nothing is wrong with {subject}: it has no selector, and {} that somebody wrote by hand.",
                count(endpoints, "endpoint")
            );
            return Some(
                Answer::new(Cause::NothingWrong, headline).then(self.kubectl("get endpointslices")),
            );
        }
        let headline = format!(
            "{subject} leads nowhere because it has no selector and nobody has written endpoints for it."
        );
        Some(
            Answer::new(Cause::NoSelector, headline)
                .with("evidence", "spec.selector is empty")
                .then(self.kubectl("get pods --show-labels"))
                .then(self.edit()),
        )
    }

    fn selects_nothing(&self) -> Option<Answer> {
        if !self.pods().is_empty() {
            return None;
        }
        let selector = self.selector()?;
        let subject = self.subject();
        let wanted = labels(Some(selector));
        if let Some(deployment) = self.deployment() {
            let behind = workload::explain(self.facts, Kind::Deployment, deployment);
            let headline = format!(
                "{subject} leads nowhere because there are no pods of deployment/{}: {}",
                name(deployment),
                behind.headline
            );
            let cause = if behind.is_fault() {
                behind.cause
            } else {
                Cause::PodsNotReady
            };
            return Some(Answer { cause, ..behind }.told_as(headline));
        }
        let pods: Vec<&Value> = self
            .facts
            .within(Kind::Pod, ns(self.service))
            .filter(|pod| !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed"))
            .collect();
        let place = ns(self.service);
        let headline = match pods.is_empty() {
            true => format!(
                "{subject} leads nowhere because it selects pods with {wanted}, and namespace {place} has no pods at all."
            ),
            false => format!(
                "{subject} leads nowhere because it selects pods with {wanted}, and no pod has these labels."
            ),
        };
        let mut answer =
            Answer::new(Cause::Selector, headline).with("evidence", format!("selector {wanted}"));
        if let Some(near) = nearest(selector, &pods) {
            let has = labels(map_at(near, "/metadata/labels"));
            answer = answer.with("nearest", format!("pod/{} has {has}", name(near)));
            if let Some(patch) = corrected(selector, near) {
                answer =
                    answer.then(self.kubectl(&format!("set selector {} {patch}", self.subject())));
            }
        }
        Some(
            answer
                .then(self.kubectl("get pods --show-labels"))
                .then(self.edit()),
        )
    }

    fn none_ready(&self) -> Option<Answer> {
        let pods = self.pods();
        if pods.iter().any(|pod| is_ready(pod)) {
            return None;
        }
        let mut told: Vec<Answer> = pods
            .iter()
            .take(2)
            .map(|pod| pod::explain(self.facts, pod))
            .collect();
        told.sort_by_key(|answer| !answer.is_fault());
        let first = told.into_iter().next()?;
        let which = match pods.len() {
            1 => "its only pod is not ready".to_owned(),
            n => format!("none of its {n} pods is ready"),
        };
        let headline = format!(
            "{} leads nowhere because {which}: {}",
            self.subject(),
            first.headline
        );
        let cause = match first.cause.mood() {
            Mood::Fault | Mood::Underway => first.cause,
            Mood::Fine | Mood::Unknown => Cause::PodsNotReady,
        };
        Some(Answer { cause, ..first }.told_as(headline))
    }

    /// Ports of the Service that lead to a TCP port of this pod, as numbers.
    fn numbered(&self, pod: &Value) -> Vec<(u64, u16)> {
        list_at(self.service, "/spec/ports")
            .iter()
            .filter(|port| matches!(str_at(port, "/protocol"), "" | "TCP"))
            .filter_map(|port| {
                let own = port["port"].as_u64()?;
                let target = match &port["targetPort"] {
                    Value::String(named) => named_port(pod, named)?,
                    Value::Number(number) => number.as_u64()?,
                    _ => own,
                };
                Some((own, u16::try_from(target).ok()?))
            })
            .collect()
    }

    fn ports(&self) -> Option<Answer> {
        let pods = self.pods();
        let ready: Vec<&Value> = pods.into_iter().filter(|pod| is_ready(pod)).collect();
        let first = ready.first()?;
        let subject = self.subject();
        for port in list_at(self.service, "/spec/ports") {
            let Some(named) = port["targetPort"].as_str() else {
                continue;
            };
            if ready.iter().any(|pod| named_port(pod, named).is_some()) {
                continue;
            }
            let headline = format!(
                "{subject} leads nowhere at port {} because it sends its traffic to a port called {named:?}, and its pods have no port of that name.",
                port["port"]
            );
            return Some(
                Answer::new(Cause::PortName, headline)
                    .with(
                        "evidence",
                        format!("pod/{} {}", name(first), declared_words(first)),
                    )
                    .then(self.edit())
                    .then(owner::edit(self.facts, first)),
            );
        }
        for (own, target) in self.numbered(first) {
            let why = self.facts.dialled(first, target).unwrap_or_default();
            if !why.contains("connection refused") {
                continue;
            }
            let headline = format!(
                "{subject} leads nowhere at port {own} because it sends its traffic to port {target} of its pods, and nobody listens there."
            );
            let mut answer = Answer::new(Cause::TargetPort, headline)
                .with(
                    "evidence",
                    format!("port {target} of pod/{}: connection refused", name(first)),
                )
                .with(
                    "evidence",
                    format!("pod/{} {}", name(first), declared_words(first)),
                );
            let others: Vec<u64> = declared(first)
                .into_iter()
                .map(|(_, port)| port)
                .filter(|port| *port != u64::from(target))
                .collect();
            if let [other] = others.as_slice() {
                let index = self.index(own);
                let patch = format!(
                    r#"patch {subject} --type=json -p '[{{"op":"replace","path":"/spec/ports/{index}/targetPort","value":{other}}}]'"#
                );
                answer = answer.then(self.kubectl(&patch));
            }
            return Some(
                answer
                    .then(self.edit())
                    .then(self.kubectl(&format!("logs {}", name(first)))),
            );
        }
        None
    }

    fn index(&self, own: u64) -> usize {
        let ports = list_at(self.service, "/spec/ports");
        ports
            .iter()
            .position(|port| port["port"] == own)
            .unwrap_or(0)
    }

    fn fine(&self) -> Answer {
        let pods = self.pods();
        let ready: Vec<&Value> = pods.iter().copied().filter(|pod| is_ready(pod)).collect();
        let subject = self.subject();
        let headline = format!(
            "Nothing is wrong with {subject}: {} of {} behind it are ready.",
            ready.len(),
            count(pods.len(), "pod")
        );
        let mut answer = Answer::new(Cause::NothingWrong, headline);
        if let Some(policy) = ready.first().and_then(|pod| policy::about(self.facts, pod)) {
            let headline = match policy.confident {
                true => {
                    format!("{subject} has ready pods, but a NetworkPolicy lets nobody in to them.")
                }
                false => format!(
                    "{subject} has ready pods; if somebody cannot reach it, a NetworkPolicy may be why: it lets only some in."
                ),
            };
            return policy.told_as(headline);
        }
        for (own, target) in ready
            .first()
            .map(|pod| self.numbered(pod))
            .unwrap_or_default()
        {
            if self.facts.dialled(ready[0], target) == Some("") {
                answer = answer.with(
                    "evidence",
                    format!(
                        "port {own} leads to port {target} of the pods, where somebody answers"
                    ),
                );
            }
        }
        if ready.len() < pods.len() {
            let late = pods
                .iter()
                .find(|pod| !is_ready(pod))
                .map_or("", |pod| name(pod));
            answer = answer.then(self.kubectl(&format!("describe pod {late}")));
        }
        answer.then(format!(
            "cadet open svc/{} -n {}",
            name(self.service),
            ns(self.service)
        ))
    }
}

/// How many labels of a selector are there.
fn fits(
    selector: &serde_json::Map<String, Value>,
    has: Option<&serde_json::Map<String, Value>>,
) -> usize {
    let Some(has) = has else { return 0 };
    selector
        .iter()
        .filter(|(key, value)| has.get(*key) == Some(*value))
        .count()
}

/// The pod that was most likely meant: most labels fit, or a value differs by a slip.
fn nearest<'a>(selector: &serde_json::Map<String, Value>, pods: &[&'a Value]) -> Option<&'a Value> {
    let far = |pod: &Value| -> usize {
        let has = map_at(pod, "/metadata/labels");
        selector
            .iter()
            .map(|(key, value)| {
                let wanted = value.as_str().unwrap_or_default();
                match has.and_then(|has| has.get(key)).and_then(Value::as_str) {
                    Some(value) => distance(wanted, value).min(9),
                    None => 10,
                }
            })
            .sum()
    };
    pods.iter().copied().min_by_key(|pod| far(pod))
}

/// The selector with the values that a pod has under the same keys.
fn corrected(selector: &serde_json::Map<String, Value>, pod: &Value) -> Option<String> {
    let has = map_at(pod, "/metadata/labels")?;
    let mut pairs = Vec::new();
    for key in selector.keys() {
        pairs.push(format!("{key}={}", has.get(key)?.as_str()?));
    }
    Some(pairs.join(","))
}

/// Ports that a pod declares: names and numbers.
fn declared(pod: &Value) -> Vec<(&str, u64)> {
    let init = list_at(pod, "/spec/initContainers")
        .iter()
        .filter(|one| one["restartPolicy"] == "Always");
    list_at(pod, "/spec/containers")
        .iter()
        .chain(init)
        .flat_map(|container| list_at(container, "/ports"))
        .filter_map(|port| Some((str_at(port, "/name"), port["containerPort"].as_u64()?)))
        .collect()
}

fn declared_words(pod: &Value) -> String {
    let all: Vec<String> = declared(pod)
        .into_iter()
        .map(|(name, port)| match name {
            "" => port.to_string(),
            name => format!("{port} ({name})"),
        })
        .collect();
    match all.is_empty() {
        true => "declares no port".to_owned(),
        false => format!("declares port {}", crate::words::and(&all)),
    }
}

fn named_port(pod: &Value, wanted: &str) -> Option<u64> {
    declared(pod)
        .into_iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, port)| port)
}
