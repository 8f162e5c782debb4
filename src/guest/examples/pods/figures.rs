//! What was measured, beside the bare engine's figure of the same run and our target.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Name, what it is, the name of what it is compared with, and our target: for the ratio
/// where there is a comparison, else for the figure itself.
const ROWS: &[(&str, &str, &str, f64)] = &[
    ("up_ready_ms", "up to node Ready, ms", "", 1000.0),
    ("up_running_ms", "  to a first pod Running, ms", "", 1500.0),
    (
        "first_up_ready_ms",
        "the very first up to Ready, ms",
        "",
        f64::NAN,
    ),
    (
        "first_up_running_ms",
        "  to a first pod Running, ms",
        "",
        f64::NAN,
    ),
    (
        "pod_p50_ms",
        "create to Running, one at a time, p50, ms",
        "bare_p50_ms",
        1.2,
    ),
    ("pod_p99_ms", "  p99, ms", "bare_p99_ms", f64::NAN),
    (
        "pods_all_ms",
        "30 at once, the last, ms",
        "bare_all_ms",
        1.2,
    ),
    ("pods_p50_ms", "  p50, ms", "bare_each_p50_ms", f64::NAN),
    ("memory_mb", "memory of all programs, 10 pods, MB", "", 45.0),
    (
        "idle_cpu_s_per_min",
        "CPU idle with 10 pods, s per minute",
        "",
        0.1,
    ),
];

#[derive(Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn set(&mut self, name: &str, value: f64) {
        eprintln!("{name} {value:.3}");
        self.0.insert(name.to_owned(), value);
    }

    /// Figures, and the ratio to the bare engine of each that has one.
    pub fn json(&self) -> String {
        let mut all = self.0.clone();
        for (name, _, bare, _) in ROWS {
            if let Some(ratio) = self.ratio(name, bare) {
                all.insert(format!("{}_ratio", name.trim_end_matches("_ms")), ratio);
            }
        }
        format!("{:#}\n", serde_json::json!(all))
    }

    pub fn table(&self) -> String {
        let mut out = format!(
            "{:<42} {:>9} {:>9} {:>7} {:>8}\n",
            "", "engine", "here", "ratio", "target"
        );
        for (name, what, bare, target) in ROWS {
            let Some(value) = self.0.get(*name) else {
                continue;
            };
            let ratio = self.ratio(name, bare);
            let number = |value: Option<&f64>| value.map_or(String::new(), |v| format!("{v:.2}"));
            let judged = ratio.unwrap_or(*value);
            let mark = if target.is_nan() || judged <= *target {
                ""
            } else {
                "  short"
            };
            let goal = if target.is_nan() {
                String::new()
            } else {
                format!("<= {target}")
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{what:<42} {:>9} {value:>9.2} {:>7} {goal:>8}{mark}",
                number(self.0.get(*bare)),
                number(ratio.as_ref()),
            );
        }
        out
    }

    fn ratio(&self, name: &str, bare: &str) -> Option<f64> {
        Some(self.0.get(name)? / self.0.get(bare)?)
    }
}

/// The value that `percent` of the values do not exceed.
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (percent / 100.0 * last as f64).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
