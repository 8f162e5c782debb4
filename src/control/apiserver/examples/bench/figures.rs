//! What was measured, beside upstream's figure and our target.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Name, what it is, upstream's figure, our target, and whether more is better.
pub type Row = (&'static str, &'static str, &'static str, f64, bool);

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

    pub fn table(&self, rows: &[Row]) -> String {
        let mut out = format!(
            "{:<40} {:>10} {:>10} {:>10}\n",
            "", "upstream", "target", "here"
        );
        for (name, what, upstream, target, more) in rows {
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
