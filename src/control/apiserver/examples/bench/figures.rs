//! What was measured, beside upstream's figure and our target.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Name, what it is, upstream (kube-apiserver 1.36 with etcd on two cores, issue 3), our
/// target, and whether more is better.
const ROWS: &[(&str, &str, &str, f64, bool)] = &[
    ("ready_ms", "start to /readyz, ms", "2130", 100.0, false),
    (
        "create16_per_s",
        "create 1 KiB, 16 connections, per s",
        "1604",
        5000.0,
        true,
    ),
    ("create16_p99_ms", "  p99, ms", "34", 10.0, false),
    ("create16_cpu_ms", "  CPU each, ms", "0.9", 0.15, false),
    (
        "create64_per_s",
        "create 1 KiB, 64 connections, per s",
        "2059",
        10_000.0,
        true,
    ),
    ("create64_p99_ms", "  p99, ms", "111", 20.0, false),
    ("create64_cpu_ms", "  CPU each, ms", "0.9", 0.15, false),
    (
        "get_per_s",
        "GET, 16 connections, per s",
        "5155",
        25_000.0,
        true,
    ),
    ("get_p99_ms", "  p99, ms", "11.5", 2.0, false),
    ("get_cpu_ms", "  CPU each, ms", "0.34", 0.04, false),
    ("list_ms", "LIST 5,000 pods, ms", "119", 20.0, false),
    ("list_cpu_ms", "  CPU each, ms", "140", 15.0, false),
    ("list_mb", "  size, MB", "11", f64::NAN, true),
    (
        "watch_p50_ms",
        "create to event, 100 watchers, p50, ms",
        "",
        f64::NAN,
        false,
    ),
    ("watch_p99_ms", "  p99, ms", "7.5-13.4", 3.0, false),
    ("idle_rss_mib", "resident idle, MiB", "277+43", 30.0, false),
    (
        "pods_rss_mib",
        "resident with 5,000 pods, MiB",
        "447+",
        80.0,
        false,
    ),
    (
        "listed_rss_mib",
        "  after 30 lists of them, MiB",
        "",
        f64::NAN,
        false,
    ),
    (
        "idle_cpu_s_per_min",
        "CPU idle, s per minute",
        "1.4",
        0.05,
        false,
    ),
];

#[derive(Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn set(&mut self, name: &str, value: f64) {
        eprintln!("{name} {value:.3}");
        self.0.insert(name.to_owned(), value);
    }

    pub fn json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self.0))
    }

    pub fn table(&self) -> String {
        let mut out = format!(
            "{:<40} {:>10} {:>10} {:>10}\n",
            "", "upstream", "target", "here"
        );
        for (name, what, upstream, target, more) in ROWS {
            let Some(value) = self.0.get(*name) else {
                continue;
            };
            let goal = match target.is_nan() {
                true => String::new(),
                false => format!("{}{target}", if *more { ">= " } else { "<= " }),
            };
            let met = target.is_nan() || (*more == (value >= target)) || value == target;
            let mark = if met { "" } else { "  short" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{what:<40} {upstream:>10} {goal:>10} {value:>10.2}{mark}"
            );
        }
        out
    }
}

/// The value that `percent` of the values do not exceed.
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (percent / 100.0 * last as f64).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
