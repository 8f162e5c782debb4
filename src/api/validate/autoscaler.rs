//! Rules for HorizontalPodAutoscalers, in the form of autoscaling/v2.

use serde_json::Value;

use super::all;
use crate::field::{Error, index, member};
use crate::json::{int_at, list_at, str_at};
use crate::names;
use crate::quantity::Quantity;

/// Longest look back, seconds: an hour.
const MAX_STABILIZATION: i64 = 3600;
/// Longest period of a policy, seconds: half an hour.
const MAX_PERIOD: i64 = 1800;
/// (type, member), in upstream's order.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// The rules of an autoscaler; `old` is what it was before an update.
pub(super) fn autoscaler(o: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let min_of = |o| int_at(o, "/spec/minReplicas");
    // Who was allowed to go down to none once still is (HPAScaleToZero).
    let lowest = match old.and_then(min_of) {
        Some(0) => 0,
        _ => 1,
    };
    let (min, max) = (min_of(o), int_at(o, "/spec/maxReplicas").unwrap_or(0));
    if let Some(min) = min.filter(|min| *min < lowest) {
        let why = format!("must be greater than or equal to {lowest}");
        e.push(Error::invalid("spec.minReplicas", min, why));
    }
    if max < 1 {
        let why = "must be greater than 0";
        e.push(Error::invalid("spec.maxReplicas", max, why));
    }
    if min.is_some_and(|min| max < min) {
        let why = "must be greater than or equal to `minReplicas`";
        e.push(Error::invalid("spec.maxReplicas", max, why));
    }
    let target = o.pointer("/spec/scaleTargetRef").unwrap_or(&Value::Null);
    reference(e, target, "spec.scaleTargetRef");
    let metrics = list_at(o, "/spec/metrics");
    for (i, spec) in metrics.iter().enumerate() {
        metric(e, spec, &index("spec.metrics", i));
    }
    let from_outside = |m: &Value| matches!(str_at(m, "/type"), "Object" | "External");
    if min == Some(0) && !metrics.iter().any(from_outside) {
        e.push(Error::forbidden(
            "spec.metrics",
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = o.pointer(&format!("/spec/behavior/{direction}")) {
            scaling_rules(e, rules, &format!("spec.behavior.{direction}"));
        }
    }
    errors
}

/// Another object by kind and name.
fn reference(e: &mut Vec<Error>, target: &Value, path: &str) {
    for key in ["kind", "name"] {
        let value = str_at(target, &format!("/{key}"));
        let at = member(path, key);
        if value.is_empty() {
            e.push(Error::required(&at, ""));
        } else {
            all(e, &at, &value.into(), names::path_segment(value));
        }
    }
}

fn metric(e: &mut Vec<Error>, spec: &Value, path: &str) {
    let kind = str_at(spec, "/type");
    let at = member(path, "type");
    if kind.is_empty() {
        e.push(Error::required(&at, "must specify a metric source type"));
    }
    let wanted = SOURCES.iter().find(|(name, _)| *name == kind);
    if wanted.is_none() {
        let mut known = SOURCES.map(|(name, _)| name);
        known.sort_unstable();
        e.push(Error::not_supported(&at, kind, &known));
    }
    let present = SOURCES
        .iter()
        .filter_map(|(_, key)| spec.get(*key).map(|found| (*key, found)));
    for (i, (key, found)) in present.enumerate() {
        if i == 0 {
            source(e, key, found, &member(path, key));
        }
        if wanted.is_some_and(|(_, wanted)| *wanted != key) {
            let why = "must populate the given metric source only";
            e.push(Error::forbidden(&member(path, key), why));
        }
    }
    if let Some((_, key)) = wanted.filter(|(_, key)| spec.get(*key).is_none()) {
        let why = "must populate information for the given metric source";
        e.push(Error::required(&member(path, key), why));
    }
}

fn source(e: &mut Vec<Error>, kind: &str, found: &Value, path: &str) {
    if kind == "object" {
        let target = found.get("describedObject").unwrap_or(&Value::Null);
        reference(e, target, &member(path, "describedObject"));
    }
    match kind {
        "resource" | "containerResource" => {
            let name = str_at(found, "/name");
            if name.is_empty() {
                let why = "must specify a resource name";
                e.push(Error::required(&member(path, "name"), why));
            }
        }
        _ => {
            let name = str_at(found, "/metric/name");
            let at = member(path, "metric.name");
            match name {
                "" => e.push(Error::required(&at, "must specify a metric name")),
                name => all(e, &at, &name.into(), names::path_segment(name)),
            }
        }
    }
    if kind == "containerResource" {
        let name = str_at(found, "/container");
        let at = member(path, "container");
        match name {
            "" => e.push(Error::required(&at, "must specify a container")),
            name => all(e, &at, &name.into(), names::dns_label(name)),
        }
    }
    let target = found.get("target").unwrap_or(&Value::Null);
    let path = member(path, "target");
    goal(e, target, &path);
    needed(e, kind, target, &path);
}

/// Which figures a source must and may not have.
fn needed(e: &mut Vec<Error>, kind: &str, target: &Value, path: &str) {
    let has = |key: &str| target.get(key).is_some();
    let mut required = |key: &str, why: &str| e.push(Error::required(&member(path, key), why));
    match kind {
        "object" if !has("value") && !has("averageValue") => required(
            "averageValue",
            "must set either a target value or averageValue",
        ),
        "external" if !has("value") && !has("averageValue") => required(
            "averageValue",
            "must set either a target value for metric or a per-pod target",
        ),
        "pods" if !has("averageValue") => required(
            "averageValue",
            "must specify a positive target averageValue",
        ),
        "resource" | "containerResource" if !has("averageUtilization") && !has("averageValue") => {
            required(
                "averageUtilization",
                "must set either a target raw value or a target utilization",
            );
        }
        "external" if has("value") && has("averageValue") => e.push(Error::forbidden(
            &member(path, "value"),
            "may not set both a target value for metric and a per-pod target",
        )),
        "resource" | "containerResource" if has("averageUtilization") && has("averageValue") => {
            e.push(Error::forbidden(
                &member(path, "averageValue"),
                "may not set both a target raw value and a target utilization",
            ));
        }
        _ => {}
    }
}

fn goal(e: &mut Vec<Error>, target: &Value, path: &str) {
    let kind = str_at(target, "/type");
    let at = member(path, "type");
    if kind.is_empty() {
        e.push(Error::required(&at, "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        e.push(Error::invalid(&at, kind, why));
    }
    for key in ["value", "averageValue"] {
        let text = str_at(target, &format!("/{key}"));
        if let Ok(amount) = text.parse::<Quantity>()
            && (amount.is_zero() || amount.is_negative())
        {
            e.push(Error::invalid(&member(path, key), text, "must be positive"));
        }
    }
    if let Some(n) = int_at(target, "/averageUtilization").filter(|n| *n < 1) {
        let at = member(path, "averageUtilization");
        e.push(Error::invalid(&at, n, "must be greater than 0"));
    }
}

fn scaling_rules(e: &mut Vec<Error>, rules: &Value, path: &str) {
    let at = member(path, "stabilizationWindowSeconds");
    match int_at(rules, "/stabilizationWindowSeconds") {
        Some(n) if n < 0 => e.push(Error::invalid(
            &at,
            n,
            "must be greater than or equal to zero",
        )),
        Some(n) if n > MAX_STABILIZATION => {
            let why = format!("must be less than or equal to {MAX_STABILIZATION}");
            e.push(Error::invalid(&at, n, why));
        }
        _ => {}
    }
    if let Some(policy) = rules.get("selectPolicy").and_then(Value::as_str)
        && !matches!(policy, "Max" | "Min" | "Disabled")
    {
        let at = member(path, "selectPolicy");
        e.push(Error::not_supported(
            &at,
            policy,
            &["Disabled", "Max", "Min"],
        ));
    }
    if let Some(tolerance) = rules.get("tolerance").and_then(Value::as_str)
        && tolerance
            .parse::<Quantity>()
            .is_ok_and(Quantity::is_negative)
    {
        let at = member(path, "tolerance");
        let why = "must be greater than or equal to zero";
        e.push(Error::invalid(&at, tolerance, why));
    }
    let at = member(path, "policies");
    let policies = list_at(rules, "/policies");
    if policies.is_empty() {
        e.push(Error::required(&at, "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        scaling_policy(e, policy, &index(&at, i));
    }
}

fn scaling_policy(e: &mut Vec<Error>, policy: &Value, path: &str) {
    let kind = str_at(policy, "/type");
    if !matches!(kind, "Pods" | "Percent") {
        let at = member(path, "type");
        e.push(Error::not_supported(&at, kind, &["Percent", "Pods"]));
    }
    for (key, max) in [("value", i64::MAX), ("periodSeconds", MAX_PERIOD)] {
        let at = member(path, key);
        let n = int_at(policy, &format!("/{key}")).unwrap_or(0);
        if n <= 0 {
            e.push(Error::invalid(&at, n, "must be greater than zero"));
        } else if n > max {
            let why = format!("must be less than or equal to {max}");
            e.push(Error::invalid(&at, n, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use serde_json::json;

    #[test]
    fn each_rule_of_an_autoscaler_speaks() {
        for (spec, words) in [
            (json!({}), vec![]),
            (
                json!({"minReplicas": 0, "maxReplicas": 0, "scaleTargetRef": {"name": "a/b"}}),
                vec![
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                    "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                    "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                ],
            ),
            (
                json!({"minReplicas": 5, "maxReplicas": 3}),
                vec![
                    "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
                ],
            ),
            (
                json!({"metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}},
                    {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue"}}},
                    {"type": "External", "external": {"metric": {}, "target": {"type": "Value", "value": "-1", "averageValue": "1"}}},
                    {"type": "Object", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 1}}},
                    {"type": "Moon"}]}),
                vec![
                    "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                    "spec.metrics[1].pods.target.averageValue: Required value: must specify a positive target averageValue",
                    "spec.metrics[2].external.metric.name: Required value: must specify a metric name",
                    "spec.metrics[2].external.target.value: Invalid value: \"-1\": must be positive",
                    "spec.metrics[2].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
                    "spec.metrics[3].resource: Forbidden: must populate the given metric source only",
                    "spec.metrics[3].object: Required value: must populate information for the given metric source",
                    "spec.metrics[4].type: Unsupported value: \"Moon\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
                ],
            ),
            (
                json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 4000, "selectPolicy": "Best", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 2000}]}}}),
                vec![
                    "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
                    "spec.behavior.scaleDown.selectPolicy: Unsupported value: \"Best\": supported values: \"Disabled\", \"Max\", \"Min\"",
                    "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
                ],
            ),
        ] {
            let mut o = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {
                "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
            crate::patch::merge_patch(&mut o["spec"], &spec);
            assert_eq!(refused(o), words as Vec<&str>, "{spec}");
        }
    }
}
