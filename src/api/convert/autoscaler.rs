//! HorizontalPodAutoscaler v1: one number for CPU; what it cannot say travels in
//! annotations, in the form upstream's autoscaling/v1 conversion uses.

use serde_json::{Map, Value, json};

use crate::json::{child, int_at, list_at, str_at};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

pub(super) fn v1_to_v2(object: &mut Value) {
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let mut kept = |key: &str| -> Option<Value> {
        let annotations = child(root, "metadata").get_mut("annotations")?;
        let text = annotations.as_object_mut()?.remove(key)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let metrics = kept(METRICS);
    let behavior = kept(BEHAVIOR);
    let current = kept(CURRENT);
    let conditions = kept(CONDITIONS);
    let spec = child(root, "spec");
    let mut all: Vec<Value> = list_at(&metrics.unwrap_or_default(), "")
        .iter()
        .filter_map(metric_to_v2)
        .collect();
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage") {
        all.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}}));
    }
    if !all.is_empty() {
        spec.insert("metrics".into(), Value::Array(all));
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    if let Some(Value::Object(status)) = root.get_mut("status") {
        let mut all = match current {
            Some(Value::Array(list)) => list,
            _ => vec![],
        };
        if let Some(percent) = status.remove("currentCPUUtilizationPercentage") {
            all.push(json!({"type": "Resource", "resource": {"name": "cpu",
                "current": {"averageUtilization": percent}}}));
        }
        if !all.is_empty() {
            status.insert("currentMetrics".into(), Value::Array(all));
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
}

pub(super) fn v2_to_v1(object: &mut Value) {
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(Value::Object(spec)) = root.get_mut("spec") {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let (cpu, others) = split(&metrics, "target");
        if let Some(percent) = cpu {
            spec.insert("targetCPUUtilizationPercentage".into(), percent);
        }
        let others: Vec<Value> = others.iter().filter_map(metric_to_v1).collect();
        if !others.is_empty() {
            notes.push((METRICS, Value::Array(others)));
        }
        if let Some(behavior) = spec.remove("behavior") {
            notes.push((BEHAVIOR, behavior));
        }
    }
    if let Some(Value::Object(status)) = root.get_mut("status") {
        let metrics = status.remove("currentMetrics").unwrap_or_default();
        let (cpu, others) = split(&metrics, "current");
        if let Some(percent) = cpu {
            status.insert("currentCPUUtilizationPercentage".into(), percent);
        }
        if !others.is_empty() {
            notes.push((CURRENT, Value::Array(others)));
        }
        if let Some(conditions) = status.remove("conditions") {
            notes.push((CONDITIONS, conditions));
        }
    }
    for (key, value) in notes {
        let annotations = child(child(root, "metadata"), "annotations");
        annotations.insert(key.into(), json!(value.to_string()));
    }
}

/// The CPU percentage of the first metric that is one, and all others.
fn split(metrics: &Value, part: &str) -> (Option<Value>, Vec<Value>) {
    let mut cpu = None;
    let mut others = Vec::new();
    for metric in list_at(metrics, "") {
        let percent = metric.pointer(&format!("/resource/{part}/averageUtilization"));
        let is_cpu =
            str_at(metric, "/type") == "Resource" && str_at(metric, "/resource/name") == "cpu";
        match percent {
            Some(percent) if is_cpu && cpu.is_none() => cpu = Some(percent.clone()),
            _ => others.push(metric.clone()),
        }
    }
    (cpu, others)
}

/// (type, member, name in v2, name in v1).
const SOURCES: [(&str, &str, &str, &str); 5] = [
    ("Resource", "resource", "name", "name"),
    ("ContainerResource", "containerResource", "name", "name"),
    ("Pods", "pods", "metric", "metricName"),
    ("Object", "object", "metric", "metricName"),
    ("External", "external", "metric", "metricName"),
];

fn metric_to_v1(metric: &Value) -> Option<Value> {
    let kind = str_at(metric, "/type");
    let (_, member, name, old_name) = SOURCES.iter().find(|s| s.0 == kind)?;
    let source = metric.get(member)?;
    let mut old = Map::new();
    let title = match *name {
        "metric" => str_at(source, "/metric/name"),
        _ => str_at(source, "/name"),
    };
    old.insert((*old_name).into(), json!(title));
    for (from, to) in [
        ("/container", "container"),
        ("/metric/selector", "selector"),
    ] {
        if let Some(value) = source.pointer(from) {
            old.insert(to.into(), value.clone());
        }
    }
    if let Some(target) = source.get("describedObject") {
        old.insert("target".into(), target.clone());
    }
    for (from, to) in [
        ("averageUtilization", "targetAverageUtilization"),
        ("averageValue", "targetAverageValue"),
        ("value", "targetValue"),
    ] {
        if let Some(value) = source.pointer(&format!("/target/{from}")) {
            old.insert(to.into(), value.clone());
        }
    }
    Some(json!({"type": kind, *member: old}))
}

fn metric_to_v2(metric: &Value) -> Option<Value> {
    let kind = str_at(metric, "/type");
    let (_, member, name, old_name) = SOURCES.iter().find(|s| s.0 == kind)?;
    let source = metric.get(member)?;
    let title = str_at(source, &format!("/{old_name}"));
    let mut new = Map::new();
    if *name == "metric" {
        let mut inner = Map::from_iter([("name".to_owned(), json!(title))]);
        if let Some(selector) = source.get("selector") {
            inner.insert("selector".into(), selector.clone());
        }
        new.insert("metric".into(), Value::Object(inner));
    } else {
        new.insert("name".into(), json!(title));
    }
    if let Some(container) = source.get("container") {
        new.insert("container".into(), container.clone());
    }
    if let Some(target) = source.get("target") {
        new.insert("describedObject".into(), target.clone());
    }
    let target = if let Some(n) = int_at(source, "/targetAverageUtilization") {
        json!({"type": "Utilization", "averageUtilization": n})
    } else if let Some(value) = source.get("targetAverageValue") {
        json!({"type": "AverageValue", "averageValue": value})
    } else {
        json!({"type": "Value", "value": source.get("targetValue")})
    };
    new.insert("target".into(), target);
    Some(json!({"type": kind, *member: new}))
}
