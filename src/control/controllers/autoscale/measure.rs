//! Asking what the pods of a target use, and counting what each metric asks for.

use std::collections::BTreeMap;

use cadet_api::quantity::{Amount, Quantity};
use cadet_api::selector::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::figures::{List, WireMetrics, WirePod};
use super::model::{Autoscaler, Metric, ResourceMetric, Rules};
use super::refusal::Refusal;
use super::replicas::{Figure, Goal, Pod, Proposal, TOLERANCE, Tolerances, propose};
use super::report::Report;
use super::{Context, Scale, about};
use crate::garbage::built_in;
use crate::shared::{Key, words};
use crate::wire::{get, in_namespace};

/// What all metrics together ask for.
pub struct Wanted {
    pub replicas: i32,
    /// The metric that asks for the most.
    pub name: String,
    /// Some metric could not be counted, but the others ask for enough.
    pub incomplete: Option<String>,
}

impl Context {
    /// Where the scale of the target is.
    pub(super) fn scale_path(&self, key: &Key, one: &Autoscaler) -> Option<String> {
        let target = &one.spec.scale_target_ref;
        let custom = self.definitions.all();
        let custom = custom
            .iter()
            .filter_map(|definition| definition.kind.clone());
        let mut kinds = built_in().into_iter().chain(custom);
        let kind = kinds.find(|kind| kind.is(&target.api_version, &target.kind))?;
        let all = in_namespace(&kind.path(), &key.namespace);
        kind.namespaced
            .then(|| format!("{all}/{}/scale", target.name))
    }

    /// What the metrics ask for; `Err` if that cannot be told.
    pub(super) async fn measure(
        &self,
        key: &Key,
        one: &Autoscaler,
        scale: &Scale,
        current: i32,
        status: &mut Report,
    ) -> Result<Wanted, String> {
        let selector = &scale.status.selector;
        self.check_selector(key, one, selector, status)?;
        let metrics = &one.spec.metrics;
        let mut best: Option<(i32, String)> = None;
        let mut refused: Vec<Refusal> = Vec::new();
        let mut figures = Vec::new();
        for metric in metrics {
            match self.count(one, selector, current, metric).await {
                Ok((proposal, name, figure)) => {
                    figures.push(figure);
                    if best.as_ref().is_none_or(|(most, _)| proposal > *most) {
                        best = Some((proposal, name));
                    }
                }
                Err(refusal) => {
                    // Its place stays, so that the others keep theirs.
                    figures.push(json!({"type": ""}));
                    self.events
                        .warning(about(one), refusal.reason, refusal.why.clone());
                    refused.push(refusal);
                }
            }
        }
        status.metrics = Value::Array(figures);
        let incomplete = refused.first().map(|first| {
            format!(
                "invalid metrics ({} invalid out of {}), first error is: {}",
                refused.len(),
                metrics.len(),
                first.whole
            )
        });
        let most = best.filter(|(most, _)| refused.is_empty() || *most >= current);
        match (most, refused.first()) {
            (Some((replicas, name)), _) => {
                let message = format!(
                    "the HPA was able to successfully calculate a replica count from {name}"
                );
                status.set("ScalingActive", true, "ValidMetricFound", message);
                Ok(Wanted {
                    replicas,
                    name,
                    incomplete,
                })
            }
            (None, Some(first)) => {
                let message = format!(
                    "the HPA was unable to compute the replica count: {}",
                    first.why
                );
                status.set("ScalingActive", false, first.reason, message);
                Err(incomplete.unwrap_or_default())
            }
            (None, None) => Err("no metrics are specified".to_owned()),
        }
    }

    /// Whether the selector of the target is one, and the pods are nobody else's.
    fn check_selector(
        &self,
        key: &Key,
        one: &Autoscaler,
        text: &str,
        status: &mut Report,
    ) -> Result<(), String> {
        let mut refuse = |event: &'static str, reason: &str, message: &str, why: String| {
            self.events.warning(about(one), event, why.clone());
            status.set("ScalingActive", false, reason, message);
            Err(why)
        };
        if text.is_empty() {
            let message = "the HPA target's scale is missing a selector";
            let why = "selector is required".to_owned();
            return refuse("SelectorRequired", "InvalidSelector", message, why);
        }
        let selector = match LabelSelector::parse(text) {
            Ok(selector) => selector,
            Err(error) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                return refuse("InvalidSelector", "InvalidSelector", &why.clone(), why);
            }
        };
        let pods = self.pods.in_namespace(&key.namespace);
        match self.selectors.note(key, text, selector, &pods) {
            Ok(()) => Ok(()),
            Err(why) => refuse("AmbiguousSelector", "AmbiguousSelector", &why.clone(), why),
        }
    }

    /// One metric: how many replicas it asks for, its name in reasons, its entry in the
    /// status.
    async fn count(
        &self,
        one: &Autoscaler,
        selector: &str,
        current: i32,
        metric: &Metric,
    ) -> Result<(i32, String, Value), Refusal> {
        let (spec, member, reason) = match metric.kind.as_str() {
            "Resource" => (&metric.resource, "resource", "FailedGetResourceMetric"),
            "ContainerResource" => (
                &metric.container_resource,
                "containerResource",
                "FailedGetContainerResourceMetric",
            ),
            _ => return Err(Refusal::of_foreign(metric, &one.metadata.namespace)),
        };
        let Some(spec) = spec else {
            let why = format!("the metric says nothing of its {member}");
            return Err(Refusal::of_resource(reason, "", "", why));
        };
        let refuse = |why| Refusal::of_resource(reason, &spec.name, &spec.container, why);
        let (goal, what) = match (&spec.target.average_value, spec.target.average_utilization) {
            (Some(value), _) => (Goal::Value(millis(value)), "usage"),
            (None, Some(percent)) => (Goal::Utilization(percent), "utilization"),
            (None, None) => {
                let why = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";
                return Err(refuse(why.to_owned()));
            }
        };
        let failed = |why: String| refuse(format!("failed to get {} {what}: {why}", spec.name));
        let namespace = &one.metadata.namespace;
        let (pods, used) = self.read(namespace, selector, spec).await.map_err(failed)?;
        let tolerances = tolerances(one);
        let now = Timestamp::now();
        let Proposal {
            replicas,
            utilization,
            average,
        } = propose(current, goal, &spec.name, &pods, &used, tolerances, now).map_err(failed)?;
        let mut now = json!({"averageValue": format_millis(&spec.name, average)});
        if let Some(percent) = utilization {
            now["averageUtilization"] = json!(percent);
        }
        let mut entry = json!({"name": spec.name, "current": now});
        if !spec.container.is_empty() {
            entry["container"] = json!(spec.container);
        }
        let source = match spec.container.is_empty() {
            true => format!("{} resource", spec.name),
            false => format!("{} container resource", spec.name),
        };
        let name = match goal {
            Goal::Value(_) => source,
            Goal::Utilization(_) => format!("{source} utilization (percentage of request)"),
        };
        Ok((replicas, name, json!({"type": metric.kind, member: entry})))
    }

    async fn read(
        &self,
        namespace: &str,
        selector: &str,
        spec: &ResourceMetric,
    ) -> Result<(Vec<Pod>, BTreeMap<String, Figure>), String> {
        let (name, container) = (&spec.name, &spec.container);
        let selector = escaped(selector);
        let failed = |why: String| format!("unable to get metrics for resource {name}: {why}");
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}"
        );
        let metrics: List<WireMetrics> = get(&self.client, &path).await.map_err(|error| {
            failed(format!(
                "unable to fetch metrics from resource metrics API: {}",
                words(&error)
            ))
        })?;
        if metrics.items.is_empty() {
            return Err(failed(
                "no metrics returned from resource metrics API".to_owned(),
            ));
        }
        if let Some(pod) = metrics.items.iter().find_map(|pod| pod.lacks(container)) {
            return Err(failed(format!(
                "failed to get container metrics: container {container} not present in metrics for pod {namespace}/{pod}"
            )));
        }
        let metrics = metrics.items.into_iter();
        let used = metrics
            .filter_map(|metrics| metrics.seen(name, container))
            .collect();
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
        let pods: List<WirePod> = get(&self.client, &path).await.map_err(|error| {
            format!(
                "unable to get pods while calculating replica count: {}",
                words(&error)
            )
        })?;
        let pods = pods.items.into_iter().map(|pod| pod.seen(name, container));
        Ok((pods.collect(), used))
    }
}

fn tolerances(one: &Autoscaler) -> Tolerances {
    let of = |rules: Option<&Rules>| {
        let said = rules.and_then(|rules| Amount::of(rules.tolerance.as_ref()?));
        said.map_or(TOLERANCE, |said| said.quantity.approximately())
    };
    let behavior = one.spec.behavior.as_ref();
    Tolerances {
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
    }
}

fn millis(value: &Value) -> i64 {
    Amount::of(value)
        .map(|amount| amount.quantity)
        .unwrap_or_default()
        .millis()
}

/// A number of thousandths as a quantity: `250m`; memory in whole bytes.
fn format_millis(resource: &str, millis: i64) -> String {
    match (resource, millis % 1000) {
        ("memory", _) | (_, 0) => Quantity::units(millis / 1000).to_string(),
        _ => format!("{millis}m"),
    }
}

/// A selector as part of a query.
fn escaped(selector: &str) -> String {
    let mut out = String::with_capacity(selector.len());
    for byte in selector.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_as_upstream_shows_them() {
        assert_eq!(format_millis("cpu", 250), "250m");
        assert_eq!(format_millis("cpu", 2000), "2");
        assert_eq!(format_millis("memory", 8_192_500), "8192");
        assert_eq!(escaped("app=web,x in (a)"), "app%3Dweb%2Cx%20in%20%28a%29");
    }
}
