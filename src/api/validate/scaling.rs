//! Rules for autoscalers, disruption budgets and the Scale subresource.

use serde_json::Value;

use super::apps::int_or_percent;
use super::one_of;
use super::selector::{label_selector, not_negative};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
use crate::names;

pub(super) fn autoscaler(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let (min, max) = (
        int_at(o, "/spec/minReplicas").unwrap_or(1),
        int_at(o, "/spec/maxReplicas").unwrap_or(0),
    );
    if min < 1 {
        e.push(Error::invalid(
            "spec.minReplicas",
            min,
            "must be greater than or equal to 1",
        ));
    }
    if max < 1 {
        e.push(Error::invalid(
            "spec.maxReplicas",
            max,
            "must be greater than 0",
        ));
    } else if max < min {
        e.push(Error::invalid(
            "spec.maxReplicas",
            max,
            "must be greater than or equal to `minReplicas`",
        ));
    }
    for key in ["kind", "name"] {
        let value = str_at(o, &format!("/spec/scaleTargetRef/{key}"));
        let at = format!("spec.scaleTargetRef.{key}");
        if value.is_empty() {
            e.push(Error::required(&at, ""));
        } else {
            super::all(e, &at, &value.into(), names::path_segment(value));
        }
    }
    for (i, metric) in list_at(o, "/spec/metrics").iter().enumerate() {
        let path = index("spec.metrics", i);
        let kind = str_at(metric, "/type");
        let sources = [
            ("Object", "object"),
            ("Pods", "pods"),
            ("Resource", "resource"),
            ("ContainerResource", "containerResource"),
            ("External", "external"),
        ];
        let Some((_, source)) = sources.iter().find(|(k, _)| *k == kind) else {
            let known: Vec<&str> = sources.iter().map(|(k, _)| *k).collect();
            one_of(e, &format!("{path}.type"), kind, &known);
            continue;
        };
        let at = format!("{path}.{source}");
        let Some(found) = metric.get(source) else {
            e.push(Error::required(
                &at,
                "must populate information for the given metric source",
            ));
            continue;
        };
        let name = match *source {
            "resource" | "containerResource" => "/name",
            _ => "/metric/name",
        };
        if str_at(found, name).is_empty() {
            let name = name.replace('/', ".");
            let words = match *source {
                "resource" | "containerResource" => "must specify a resource name",
                _ => "must specify a metric name",
            };
            e.push(Error::required(&format!("{at}{name}"), words));
        }
        target(e, &format!("{at}.target"), found.get("target"));
    }
    errors
}

fn target(e: &mut Vec<Error>, path: &str, target: Option<&Value>) {
    let Some(target) = target else {
        e.push(Error::required(path, "must specify a metric target"));
        return;
    };
    let kind = str_at(target, "/type");
    let key = match kind {
        "Utilization" => "averageUtilization",
        "AverageValue" => "averageValue",
        "Value" => "value",
        _ => {
            let at = format!("{path}.type");
            if kind.is_empty() {
                e.push(Error::required(&at, "must specify a metric target type"));
            } else {
                e.push(Error::invalid(
                    &at,
                    kind,
                    "must be either Utilization, Value, or AverageValue",
                ));
            }
            return;
        }
    };
    match target.get(key) {
        None => e.push(Error::required(
            &format!("{path}.{key}"),
            "must set either a target raw value or a target utilization",
        )),
        Some(n) if n.as_i64().is_some_and(|n| n < 1) => e.push(Error::invalid(
            &format!("{path}.{key}"),
            n.clone(),
            "must be greater than 0",
        )),
        Some(_) => {}
    }
}

pub(super) fn budget(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let (min, max) = (
        o.pointer("/spec/minAvailable"),
        o.pointer("/spec/maxUnavailable"),
    );
    if min.is_some() && max.is_some() {
        e.push(Error::invalid(
            "spec",
            o["spec"].clone(),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for (key, value) in [("minAvailable", min), ("maxUnavailable", max)] {
        let at = format!("spec.{key}");
        if let Some(n) = int_or_percent(e, &at, value)
            && n > 100
            && value.is_some_and(Value::is_string)
        {
            let value = value.cloned().unwrap_or_default();
            e.push(Error::invalid(&at, value, "must not be greater than 100%"));
        }
    }
    if o.pointer("/spec/selector").is_some() {
        label_selector(e, "spec.selector", o, "/spec/selector");
    }
    let policy = str_at(o, "/spec/unhealthyPodEvictionPolicy");
    if !matches!(policy, "" | "IfHealthyBudget" | "AlwaysAllow") {
        e.push(Error::not_supported(
            "spec.unhealthyPodEvictionPolicy",
            policy,
            &["AlwaysAllow", "IfHealthyBudget"],
        ));
    }
    errors
}

/// What is wrong with a Scale that somebody wants to write.
pub fn scale(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    not_negative(&mut errors, o, &["spec.replicas"]);
    errors
}
