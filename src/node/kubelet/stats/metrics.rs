//! The resource metrics in Prometheus' text form (KEP-1460's successor, `/metrics/resource`).

use std::fmt::Write as _;

use super::Snapshot;

/// A family of samples: its lines are written as they come.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    lines: String,
}

impl Family {
    fn new(name: &'static str, kind: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            kind,
            lines: String::new(),
        }
    }

    /// `labels` without braces; `at` in milliseconds.
    fn add(&mut self, labels: &str, value: &dyn std::fmt::Display, at: Option<i64>) {
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let at = at.map_or(String::new(), |at| format!(" {at}"));
        // Writing to a String cannot fail.
        let _ = writeln!(self.lines, "{}{braces} {value}{at}", self.name);
    }
}

/// The whole answer of `/metrics/resource`.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let at = Some(snapshot.at.as_millisecond());
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let mut container_cpu = Family::new(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut container_memory = Family::new(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
    );
    let mut container_start = Family::new(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
    );
    let mut node_cpu = Family::new(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
    );
    let mut node_memory = Family::new(
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
    );
    let mut pod_cpu = Family::new(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
    );
    let mut pod_memory = Family::new(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
    );
    let mut error = Family::new(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    for usage in &snapshot.pods {
        let meta = &usage.pod.metadata;
        let pod = format!(
            "namespace=\"{}\",pod=\"{}\"",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        for container in &usage.containers {
            let labels = format!("container=\"{}\",{pod}", container.name);
            container_cpu.add(&labels, &seconds(container.usage.cpu_nanos), at);
            container_memory.add(&labels, &container.usage.working_set, at);
            if let Some(started) = container.started_at {
                let started = started.as_millisecond() as f64 / 1e3;
                container_start.add(&labels, &started, None);
            }
        }
        let (total, _) = usage.total();
        pod_cpu.add(&pod, &seconds(total.cpu_nanos), at);
        pod_memory.add(&pod, &total.working_set, at);
    }
    node_cpu.add("", &seconds(snapshot.machine.cpu_nanos), at);
    node_memory.add("", &snapshot.machine.working_set(), at);
    error.add("", &0, None);
    let families = [
        container_cpu,
        container_memory,
        container_start,
        node_cpu,
        node_memory,
        pod_cpu,
        pod_memory,
        error,
    ];
    families
        .iter()
        .filter(|family| !family.lines.is_empty())
        .map(|family| {
            let Family {
                name,
                help,
                kind,
                lines,
            } = family;
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}")
        })
        .collect()
}
