//! Rows of the kinds that make, scale and guard pods.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{AGE, Column, NAME, NONE, age, column, name, number, or, pairs, wide};
use crate::clock;
use crate::json::{bool_at, int_at, list_at, str_at};
use crate::selector::LabelSelector;

const CONTAINERS: Column = wide("Containers", "Names of the containers in the template.");
const IMAGES: Column = wide("Images", "Images of the containers in the template.");
const SELECTOR: Column = wide("Selector", "Which pods belong to it.");

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    column("Ready", "Ready pods of those wanted."),
    number("Up-to-date", "Pods of the newest template."),
    number("Available", "Pods ready for long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    number("Desired", "Pods wanted."),
    number("Current", "Pods there."),
    number("Ready", "Pods ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub(super) const STATEFUL_SET: &[Column] = &[
    NAME,
    column("Ready", "Ready pods of those wanted."),
    AGE,
    CONTAINERS,
    IMAGES,
];
pub(super) const DAEMON_SET: &[Column] = &[
    NAME,
    number("Desired", "Nodes that should run the pod."),
    number("Current", "Nodes that run it."),
    number("Ready", "Nodes where it is ready."),
    number("Up-to-date", "Nodes with the newest template."),
    number("Available", "Nodes where it is ready for long enough."),
    column("Node Selector", "Labels of the nodes it is for."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub(super) const JOB: &[Column] = &[
    NAME,
    column("Status", "How the job stands."),
    column("Completions", "Successes of those wanted."),
    column("Duration", "Time from first start to end, or to now."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub(super) const CRON_JOB: &[Column] = &[
    NAME,
    column("Schedule", "When it runs, in cron's form."),
    column("Timezone", "Whose clock the schedule means."),
    column("Suspend", "True: it does not run for now."),
    number("Active", "Jobs running."),
    column("Last Schedule", "Time since it last ran."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub(super) const AUTOSCALER: &[Column] = &[
    NAME,
    column("Reference", "What it scales."),
    column("Targets", "What is measured, of what is aimed at."),
    column("MinPods", "Fewest pods."),
    number("MaxPods", "Most pods."),
    number("Replicas", "Pods now."),
    AGE,
];
pub(super) const BUDGET: &[Column] = &[
    NAME,
    column("Min Available", "Fewest pods that must stay."),
    column("Max Unavailable", "Most pods that may go."),
    number("Allowed Disruptions", "How many may go now."),
    AGE,
];
pub(super) const POD_TEMPLATE: &[Column] = &[
    NAME,
    column("Containers", "Names of the containers."),
    column("Images", "Images of the containers."),
    column("Pod Labels", "Labels of the pods."),
];
pub(super) const REVISION: &[Column] = &[
    NAME,
    column("Controller", "What it is a state of."),
    number("Revision", "Which state."),
    AGE,
];

fn count(o: &Value, pointer: &str) -> i64 {
    int_at(o, pointer).unwrap_or(0)
}

/// Names and images of a template's containers, comma-separated.
fn containers(o: &Value, template: &str) -> [Value; 2] {
    let list = list_at(o, &format!("{template}/spec/containers"));
    let join = |key: &str| {
        let all: Vec<&str> = list.iter().map(|c| str_at(c, key)).collect();
        json!(all.join(","))
    };
    [join("/name"), join("/image")]
}

fn selector(o: &Value) -> Value {
    match o.pointer("/spec/selector") {
        None => json!(NONE),
        Some(found) => match LabelSelector::from_object(found) {
            Ok(selector) => json!(or(&selector.to_string(), NONE)),
            Err(_) => json!("<error>"),
        },
    }
}

pub(super) fn deployment(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let ready = count(o, "/status/readyReplicas");
    let [names, images] = containers(o, "/spec/template");
    vec![
        name(o),
        json!(format!("{ready}/{}", count(o, "/spec/replicas"))),
        json!(count(o, "/status/updatedReplicas")),
        json!(count(o, "/status/availableReplicas")),
        age(o, now),
        names,
        images,
        selector(o),
    ]
}

pub(super) fn replica_set(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let [names, images] = containers(o, "/spec/template");
    let selector = match o.pointer("/spec/selector/matchLabels").is_some()
        || o.pointer("/spec/selector/matchExpressions").is_some()
    {
        true => selector(o),
        // A ReplicationController's selector is a plain map.
        false => pairs(o, "/spec/selector"),
    };
    vec![
        name(o),
        json!(count(o, "/spec/replicas")),
        json!(count(o, "/status/replicas")),
        json!(count(o, "/status/readyReplicas")),
        age(o, now),
        names,
        images,
        selector,
    ]
}

pub(super) fn stateful_set(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let ready = count(o, "/status/readyReplicas");
    let [names, images] = containers(o, "/spec/template");
    vec![
        name(o),
        json!(format!("{ready}/{}", count(o, "/spec/replicas"))),
        age(o, now),
        names,
        images,
    ]
}

pub(super) fn daemon_set(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let [names, images] = containers(o, "/spec/template");
    vec![
        name(o),
        json!(count(o, "/status/desiredNumberScheduled")),
        json!(count(o, "/status/currentNumberScheduled")),
        json!(count(o, "/status/numberReady")),
        json!(count(o, "/status/updatedNumberScheduled")),
        json!(count(o, "/status/numberAvailable")),
        pairs(o, "/spec/template/spec/nodeSelector"),
        age(o, now),
        names,
        images,
        selector(o),
    ]
}

/// Seconds between two times.
fn between(from: &str, to: OffsetDateTime) -> Option<i64> {
    clock::parse(from).map(|from| (to - from).whole_seconds())
}

pub(super) fn job(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let has = |kind: &str| {
        list_at(o, "/status/conditions")
            .iter()
            .any(|c| str_at(c, "/type") == kind && str_at(c, "/status") == "True")
    };
    let status = if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if o.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let done = count(o, "/status/succeeded");
    let completions = match int_at(o, "/spec/completions") {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match count(o, "/spec/parallelism") {
            many if many > 1 => format!("{done}/1 of {many}"),
            _ => format!("{done}/1"),
        },
    };
    let start = str_at(o, "/status/startTime");
    let end = clock::parse(str_at(o, "/status/completionTime")).unwrap_or(now);
    let duration = between(start, end).map(clock::human_duration);
    let [names, images] = containers(o, "/spec/template");
    vec![
        name(o),
        json!(status),
        json!(completions),
        json!(duration.unwrap_or_default()),
        age(o, now),
        names,
        images,
        selector(o),
    ]
}

pub(super) fn cron_job(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let last = str_at(o, "/status/lastScheduleTime");
    let last = match last {
        "" => NONE.to_owned(),
        last => clock::age(last, now),
    };
    let suspend = match bool_at(o, "/spec/suspend") {
        true => "True",
        false => "False",
    };
    let [names, images] = containers(o, "/spec/jobTemplate/spec/template");
    vec![
        name(o),
        json!(str_at(o, "/spec/schedule")),
        json!(or(str_at(o, "/spec/timeZone"), NONE)),
        json!(suspend),
        json!(list_at(o, "/status/active").len()),
        json!(last),
        age(o, now),
        names,
        images,
        json!(NONE),
    ]
}

pub(super) fn autoscaler(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let target = |key: &str| str_at(o, &format!("/spec/scaleTargetRef/{key}")).to_owned();
    let min = match int_at(o, "/spec/minReplicas") {
        Some(n) => n.to_string(),
        None => "<unset>".to_owned(),
    };
    vec![
        name(o),
        json!(format!("{}/{}", target("kind"), target("name"))),
        json!(targets(o)),
        json!(min),
        json!(count(o, "/spec/maxReplicas")),
        json!(count(o, "/status/currentReplicas")),
        age(o, now),
    ]
}

/// `cpu: 12%/80%, memory: <unknown>/1Gi`; two of them and how many more.
fn targets(o: &Value) -> String {
    const SHOWN: usize = 2;
    // Version 1 knows one number.
    if let Some(goal) = int_at(o, "/spec/targetCPUUtilizationPercentage") {
        let now = int_at(o, "/status/currentCPUUtilizationPercentage");
        let now = now.map_or("<unknown>".to_owned(), |n| format!("{n}%"));
        return format!("cpu: {now}/{goal}%");
    }
    let specs = list_at(o, "/spec/metrics");
    let current = list_at(o, "/status/currentMetrics");
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .take(SHOWN)
        .map(|(i, metric)| {
            let source = match str_at(metric, "/type") {
                "Resource" => "resource",
                "ContainerResource" => "containerResource",
                "Pods" => "pods",
                "Object" => "object",
                _ => "external",
            };
            let found = |key: &str| {
                let at = format!("/{source}/current/{key}");
                current.get(i).and_then(|c| c.pointer(&at))
            };
            let goal = |key: &str| metric.pointer(&format!("/{source}/target/{key}"));
            let label = match source {
                "resource" | "containerResource" => {
                    format!("{}: ", str_at(metric, &format!("/{source}/name")))
                }
                _ => String::new(),
            };
            // Of what is measured outside of the pods, a share for each.
            let shared = matches!(source, "object" | "external") && goal("averageValue").is_some();
            let per_pod = if shared { " (avg)" } else { "" };
            let (now, goal) = if let Some(goal) = goal("averageUtilization") {
                let now = found("averageUtilization").map(|n| format!("{n}%"));
                (now, format!("{goal}%"))
            } else if let Some(goal) = text(goal("averageValue")) {
                (text(found("averageValue")), goal)
            } else {
                (
                    text(found("value")),
                    text(goal("value")).unwrap_or_default(),
                )
            };
            let now = now.unwrap_or("<unknown>".to_owned());
            format!("{label}{now}/{goal}{per_pod}")
        })
        .collect();
    match specs.len() {
        0 => NONE.to_owned(),
        n if n > SHOWN => format!("{} + {} more...", shown.join(", "), n - SHOWN),
        _ => shown.join(", "),
    }
}

pub(super) fn budget(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let amount = |pointer: &str| match o.pointer(pointer) {
        Some(Value::String(text)) => json!(text),
        Some(other) => json!(other.to_string()),
        None => json!("N/A"),
    };
    vec![
        name(o),
        amount("/spec/minAvailable"),
        amount("/spec/maxUnavailable"),
        json!(count(o, "/status/disruptionsAllowed")),
        age(o, now),
    ]
}

pub(super) fn pod_template(o: &Value) -> Vec<Value> {
    let [names, images] = containers(o, "/template");
    let labels = pairs(o, "/template/metadata/labels");
    vec![name(o), names, images, labels]
}

pub(super) fn revision(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let owner = list_at(o, "/metadata/ownerReferences")
        .iter()
        .find(|r| bool_at(r, "/controller"));
    let controller = owner.map_or(NONE.to_owned(), |owner| {
        let kind = str_at(owner, "/kind").to_lowercase();
        let group = str_at(owner, "/apiVersion").split_once('/');
        let group = group.map_or(String::new(), |(group, _)| format!(".{group}"));
        format!("{kind}{group}/{}", str_at(owner, "/name"))
    });
    vec![
        name(o),
        json!(controller),
        json!(count(o, "/revision")),
        age(o, now),
    ]
}
