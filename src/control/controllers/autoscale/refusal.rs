//! Why a metric could not be counted, in upstream's words. Pure.
//!
//! Metrics of pods, objects and of the outside come from servers that are not here, so all
//! that can be said of them is why there are none.

use super::model::{Identifier, Metric};
use crate::go_selector::go_selector;

/// A metric that could not be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Of the condition and the event.
    pub reason: &'static str,
    pub why: String,
    /// The same as the sum of all metrics has it.
    pub whole: String,
}

const NO_CUSTOM: &str = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";

impl Refusal {
    /// Of a metric of kind Resource or ContainerResource; `container` is "" for all of them.
    pub fn of_resource(reason: &'static str, name: &str, container: &str, why: String) -> Refusal {
        let what = match container {
            "" => format!("{name} resource"),
            container => format!("{container} container"),
        };
        let whole = format!("failed to get {what} metric value: {why}");
        Refusal { reason, why, whole }
    }

    /// Of any other kind, in this namespace.
    pub fn of_foreign(metric: &Metric, namespace: &str) -> Refusal {
        match metric.kind.as_str() {
            "Pods" => {
                let name = metric.pods.as_ref().map_or("", |pods| &pods.metric.name);
                let why = format!("unable to get metric {name}: {NO_CUSTOM}");
                Refusal {
                    reason: "FailedGetPodsMetric",
                    whole: format!("failed to get pods metric value: {why}"),
                    why,
                }
            }
            "Object" => of_object(metric, namespace),
            "External" => {
                let empty = Identifier::default();
                let wanted = metric.external.as_ref().map_or(&empty, |e| &e.metric);
                let (name, selector) = (&wanted.name, go_selector(wanted.selector.as_ref()));
                // Asked for without a look at what is served: the answer is the server's.
                let why = format!(
                    "unable to get external metric {namespace}/{name}/{selector}: unable to fetch metrics from external metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
                );
                Refusal {
                    reason: "FailedGetExternalMetric",
                    whole: format!(
                        "failed to get {name} external metric value: failed to get {name} external metric: {why}"
                    ),
                    why,
                }
            }
            other => {
                let why = format!("unknown metric source type {other:?}");
                Refusal {
                    reason: "InvalidMetricSourceType",
                    whole: why.clone(),
                    why,
                }
            }
        }
    }
}

fn of_object(metric: &Metric, namespace: &str) -> Refusal {
    let object = metric.object.clone().unwrap_or_default();
    let (name, about) = (&object.metric.name, &object.described_object);
    let why = format!(
        "unable to get metric {name}: {} on {namespace} {}/{NO_CUSTOM}",
        about.kind, about.name
    );
    let whole = match object.target.average_value {
        None => format!("failed to get object metric value: {why}"),
        Some(_) => {
            format!("failed to get object metric value: failed to get {name} object metric: {why}")
        }
    };
    Refusal {
        reason: "FailedGetObjectMetric",
        why,
        whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refused(metric: Value) -> Refusal {
        Refusal::of_foreign(&serde_json::from_value(metric).unwrap(), "d")
    }

    #[test]
    fn pods_and_objects_have_no_server_to_ask() {
        let pods = refused(
            json!({"type": "Pods", "pods": {"metric": {"name": "requests"},
            "target": {"type": "AverageValue", "averageValue": "1k"}}}),
        );
        assert_eq!(pods.reason, "FailedGetPodsMetric");
        assert_eq!(
            pods.why,
            "unable to get metric requests: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
        );
        assert_eq!(
            pods.whole,
            format!("failed to get pods metric value: {}", pods.why)
        );
        let object = |target: Value| {
            refused(
                json!({"type": "Object", "object": {"metric": {"name": "hits"},
                "describedObject": {"kind": "Ingress", "name": "main"}, "target": target}}),
            )
        };
        let whole = object(json!({"type": "Value", "value": "2k"}));
        assert_eq!(whole.reason, "FailedGetObjectMetric");
        assert!(
            whole
                .why
                .starts_with("unable to get metric hits: Ingress on d main/unable to fetch")
        );
        assert_eq!(
            whole.whole,
            format!("failed to get object metric value: {}", whole.why)
        );
        let each = object(json!({"type": "AverageValue", "averageValue": "2k"}));
        assert_eq!(
            each.whole,
            format!(
                "failed to get object metric value: failed to get hits object metric: {}",
                each.why
            )
        );
    }

    #[test]
    fn what_lies_outside_is_named_with_its_selector() {
        let external = |selector: Value| {
            refused(
                json!({"type": "External", "external": {"metric": {"name": "jobs",
                "selector": selector}, "target": {"type": "AverageValue", "averageValue": "30"}}}),
            )
        };
        let chosen = external(
            json!({"matchLabels": {"queue": "work"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}]}),
        );
        assert_eq!(chosen.reason, "FailedGetExternalMetric");
        assert_eq!(
            chosen.why,
            "unable to get external metric d/jobs/&LabelSelector{MatchLabels:map[string]string{queue: work,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},}: unable to fetch metrics from external metrics API: the server could not find the requested resource (get jobs.external.metrics.k8s.io)"
        );
        assert!(external(json!(null)).why.contains("d/jobs/nil: unable"));
        assert_eq!(
            refused(json!({"type": "X"})).reason,
            "InvalidMetricSourceType"
        );
    }

    #[test]
    fn resources_are_named_in_the_sum() {
        let of = |container| {
            let why = "failed to get cpu utilization: no".to_owned();
            Refusal::of_resource("R", "cpu", container, why).whole
        };
        assert_eq!(
            of(""),
            "failed to get cpu resource metric value: failed to get cpu utilization: no"
        );
        assert_eq!(
            of("app"),
            "failed to get app container metric value: failed to get cpu utilization: no"
        );
    }
}
