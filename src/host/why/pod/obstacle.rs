//! The scheduler's reasons, one by one: what a pod wants and what nodes have.

use cadet_api::json::{list_at, map_at, str_at};
use serde_json::Value;

use super::{Case, room, taint, volume};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::{Facts, name, ns};
use crate::kind::Kind;
use crate::owner;
use crate::words::{and, kubectl, labels};

/// The scheduler's last word is about something that is so no more: it looks again by itself.
pub fn past(case: &Case<'_>) -> Answer {
    let subject = case.subject();
    let headline = format!(
        "{subject} is Pending, and what kept it from every node has gone: the scheduler is about to look again."
    );
    let watch = format!("get pod {} -w", name(case.pod));
    Answer::new(Cause::NotYet, headline).then(kubectl(ns(case.pod), &watch))
}

/// One reason of the scheduler, with the numbers behind it.
pub fn told(case: &Case<'_>, reason: &str, nodes: usize) -> Answer {
    let subject = case.subject();
    let edit = || owner::edit(case.facts, case.pod);
    if let Some(resource) = reason.strip_prefix("Insufficient ") {
        return room::lacking(case, resource);
    }
    if reason.starts_with("Too many pods") {
        let headline = format!("{subject} is Pending because no node may hold one more pod.");
        let mut answer = Answer::new(Cause::NoRoom, headline);
        for node in case.facts.all(Kind::Node) {
            let (holds, most) = room::pods(case.facts, node);
            let text = format!("node {} holds {holds} of {most} pods", name(node));
            answer = answer.with("evidence", text);
        }
        return answer.then("kubectl get pods -A -o wide");
    }
    if reason.contains("untolerated taint") {
        return taint::explain(case);
    }
    if reason.contains("node affinity/selector") || reason.contains("[NodeAffinity]") {
        return selector(case);
    }
    if reason.contains("free ports") {
        return ports(case);
    }
    if reason.contains("were unschedulable") {
        let cordoned: Vec<String> = case
            .facts
            .all(Kind::Node)
            .filter(|node| node["spec"]["unschedulable"] == true)
            .map(|node| name(node).to_owned())
            .collect();
        if cordoned.is_empty() {
            return past(case);
        }
        let which = match cordoned.as_slice() {
            [one] => format!("node {one} is"),
            _ if nodes > 1 => "its nodes are".to_owned(),
            _ => "the node is".to_owned(),
        };
        let headline =
            format!("{subject} is Pending because {which} cordoned: it takes no new pods.");
        let mut answer = Answer::new(Cause::Cordoned, headline).with(
            "evidence",
            format!("spec.unschedulable is true on {}", and(&cordoned)),
        );
        for node in cordoned {
            answer = answer.then(format!("kubectl uncordon {node}"));
        }
        return answer;
    }
    if reason.contains("topology spread") {
        let headline = format!(
            "{subject} is Pending because every node would make its kind more unevenly spread than it allows."
        );
        let mut answer = Answer::new(Cause::Spread, headline);
        for one in list_at(case.pod, "/spec/topologySpreadConstraints") {
            let text = format!(
                "maxSkew {} over {}, {}",
                one["maxSkew"],
                str_at(one, "/topologyKey"),
                str_at(one, "/whenUnsatisfiable")
            );
            answer = answer.with("evidence", text);
        }
        return answer.then(edit());
    }
    if reason.contains("affinity rules") {
        return neighbours(case, reason);
    }
    if reason.contains("volume node affinity")
        || reason.contains("PersistentVolume's node affinity")
        || reason.contains("volume zone")
    {
        let headline = format!(
            "{subject} is Pending because its volume lies on another node than those it may run on."
        );
        let mut answer = Answer::new(Cause::VolumeElsewhere, headline);
        for claim in volume::claims(case.pod) {
            answer = answer.then(case.kubectl(&format!("describe pvc {claim}")));
        }
        return answer;
    }
    let headline = format!("{subject} is Pending because no node takes it: {reason}.");
    Answer::new(Cause::Unknown, headline)
        .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
}

fn selector(case: &Case<'_>) -> Answer {
    let subject = case.subject();
    let wanted = map_at(case.pod, "/spec/nodeSelector").filter(|map| !map.is_empty());
    let Some(wanted) = wanted else {
        let headline = format!("{subject} is Pending because no node fits its node affinity.");
        let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        let mut answer = Answer::new(Cause::NodeSelector, headline);
        for term in list_at(case.pod, terms) {
            for one in list_at(term, "/matchExpressions") {
                let values: Vec<&str> = list_at(one, "/values")
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                let text = format!(
                    "wants {} {} {}",
                    str_at(one, "/key"),
                    str_at(one, "/operator"),
                    values.join(",")
                );
                answer = answer.with("evidence", text.trim());
            }
        }
        return answer
            .then("kubectl get nodes --show-labels")
            .then(owner::edit(case.facts, case.pod));
    };
    let text = labels(Some(wanted));
    let headline =
        format!("{subject} is Pending because no node has the labels it asks for: {text}.");
    let mut answer = Answer::new(Cause::NodeSelector, headline);
    let mut missing = Vec::new();
    for node in case.facts.all(Kind::Node).take(4) {
        let has = owner::labels(node);
        for (key, value) in wanted {
            let value = value.as_str().unwrap_or_default();
            match has.get(key) {
                Some(other) if other == value => {}
                Some(other) => {
                    answer =
                        answer.with("evidence", format!("node {} has {key}={other}", name(node)));
                    missing.push(format!(
                        "kubectl label node {} {key}={value} --overwrite",
                        name(node)
                    ));
                }
                None => {
                    answer = answer.with(
                        "evidence",
                        format!("node {} has no label {key}", name(node)),
                    );
                    missing.push(format!("kubectl label node {} {key}={value}", name(node)));
                }
            }
        }
    }
    // A node that is what the pod needs may simply lack its label; others are not relabelled.
    if let [one] = missing.as_slice()
        && !one.contains("kubernetes.io/")
    {
        answer = answer.then(one.clone());
    }
    answer
        .then("kubectl get nodes --show-labels")
        .then(owner::edit(case.facts, case.pod))
}

fn ports(case: &Case<'_>) -> Answer {
    let subject = case.subject();
    let wanted = host_ports(case.pod);
    let told: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let headline = format!(
        "{subject} is Pending because port {} of the node is taken by another pod.",
        and(&told)
    );
    let mut answer = Answer::new(Cause::PortInUse, headline);
    for other in case.facts.all(Kind::Pod) {
        let same = name(other) == name(case.pod) && ns(other) == ns(case.pod);
        let over = matches!(str_at(other, "/status/phase"), "Succeeded" | "Failed");
        if same || over || str_at(other, "/spec/nodeName").is_empty() {
            continue;
        }
        for port in host_ports(other)
            .into_iter()
            .filter(|port| wanted.contains(port))
        {
            let text = format!(
                "pod {}/{} on node {} has port {port}",
                ns(other),
                name(other),
                str_at(other, "/spec/nodeName")
            );
            answer = answer.with("evidence", text);
        }
    }
    answer
        .then("kubectl get pods -A -o wide")
        .then(owner::edit(case.facts, case.pod))
}

fn host_ports(pod: &Value) -> Vec<u64> {
    let on_node = pod["spec"]["hostNetwork"] == true;
    list_at(pod, "/spec/containers")
        .iter()
        .flat_map(|container| list_at(container, "/ports"))
        .filter_map(|port| match port["hostPort"].as_u64() {
            None if on_node => port["containerPort"].as_u64(),
            known => known,
        })
        .collect()
}

fn neighbours(case: &Case<'_>, reason: &str) -> Answer {
    let subject = case.subject();
    let (path, words) = if reason.contains("existing pods anti-affinity") {
        ("", "a pod that runs there does not want it beside itself")
    } else if reason.contains("anti-affinity") {
        (
            "/spec/affinity/podAntiAffinity",
            "every node has a pod that it does not want beside itself",
        )
    } else {
        (
            "/spec/affinity/podAffinity",
            "no node has a pod that it wants beside itself",
        )
    };
    let headline = format!("{subject} is Pending because {words}.");
    let mut answer = Answer::new(Cause::PodAffinity, headline);
    let rules = format!("{path}/requiredDuringSchedulingIgnoredDuringExecution");
    let terms: &[Value] = match path {
        "" => &[],
        _ => list_at(case.pod, &rules),
    };
    for term in terms {
        let text = labels(map_at(term, "/labelSelector/matchLabels"));
        let place = str_at(term, "/topologyKey");
        let what = if text.is_empty() {
            "by expressions".to_owned()
        } else {
            text
        };
        answer = answer.with("evidence", format!("selects {what} per {place}"));
        for other in beside(case.facts, case.pod, term) {
            answer = answer.with("evidence", other);
        }
    }
    answer
        .then(case.kubectl("get pods -o wide --show-labels"))
        .then(owner::edit(case.facts, case.pod))
}

/// Pods of the same namespace that a term selects.
fn beside(facts: &Facts, pod: &Value, term: &Value) -> Vec<String> {
    facts
        .within(Kind::Pod, ns(pod))
        .filter(|other| name(other) != name(pod) && owner::selects(&term["labelSelector"], other))
        .filter(|other| !str_at(other, "/spec/nodeName").is_empty())
        .take(3)
        .map(|other| {
            format!(
                "pod {} runs on node {}",
                name(other),
                str_at(other, "/spec/nodeName")
            )
        })
        .collect()
}
