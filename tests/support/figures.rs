//! What a bench has measured, beside what it is compared with and what we aim at: as a table
//! for people and as JSON for programs.
#![allow(dead_code)] // each bench uses its part

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    name: &'static str,
    what: &'static str,
    rival: Rival,
    goal: Goal,
}

#[derive(Debug, Clone, Copy)]
enum Rival {
    Nobody,
    /// Measured by others, elsewhere.
    Said(&'static str),
    /// Measured in the same run, under this name.
    Measured(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// These two of the ratio to a rival of the same run.
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

/// A figure by its name, and what it is.
pub const fn row(name: &'static str, what: &'static str) -> Row {
    Row {
        name,
        what,
        rival: Rival::Nobody,
        goal: Goal::None,
    }
}

impl Row {
    pub const fn said(mut self, figure: &'static str) -> Self {
        self.rival = Rival::Said(figure);
        self
    }

    pub const fn against(mut self, name: &'static str) -> Self {
        self.rival = Rival::Measured(name);
        self
    }

    pub const fn at_most(mut self, goal: f64) -> Self {
        self.goal = Goal::AtMost(goal);
        self
    }

    pub const fn at_least(mut self, goal: f64) -> Self {
        self.goal = Goal::AtLeast(goal);
        self
    }

    pub const fn ratio_at_most(mut self, goal: f64) -> Self {
        self.goal = Goal::RatioAtMost(goal);
        self
    }

    pub const fn ratio_at_least(mut self, goal: f64) -> Self {
        self.goal = Goal::RatioAtLeast(goal);
        self
    }
}

impl Goal {
    /// Its text, and whether it is met. A figure that is not there meets nothing.
    fn judge(self, value: f64, ratio: Option<f64>) -> (String, bool) {
        let ratio = ratio.unwrap_or(f64::NAN);
        match self {
            Self::None => (String::new(), true),
            Self::AtMost(goal) => (format!("<= {goal}"), value <= goal),
            Self::AtLeast(goal) => (format!(">= {goal}"), value >= goal),
            Self::RatioAtMost(goal) => (format!("<= {goal} x"), ratio <= goal),
            Self::RatioAtLeast(goal) => (format!(">= {goal} x"), ratio >= goal),
        }
    }
}

#[derive(Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn set(&mut self, name: &str, value: f64) {
        eprintln!("{name} {value:.3}");
        self.0.insert(name.to_owned(), value);
    }

    /// All figures, and the ratio to its rival of each that has one in the same run.
    pub fn json(&self, rows: &[Row]) -> String {
        let mut all = self.0.clone();
        for row in rows {
            if let Some(ratio) = self.ratio(row) {
                let name = row.name.trim_end_matches("_ms").trim_end_matches("_us");
                all.insert(format!("{name}_ratio"), ratio);
            }
        }
        format!("{:#}\n", serde_json::json!(all))
    }

    /// `rival` heads the column of those we are compared with.
    pub fn table(&self, rival: &str, rows: &[Row]) -> String {
        let mut out = format!(
            "{:<44} {rival:>10} {:>10} {:>7} {:>10}\n",
            "", "here", "ratio", "target"
        );
        for row in rows {
            let Some(value) = self.0.get(row.name) else {
                continue;
            };
            let ratio = self.ratio(row);
            let (goal, is_met) = row.goal.judge(*value, ratio);
            let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.2}"));
            let theirs = match row.rival {
                Rival::Nobody => String::new(),
                Rival::Said(figure) => figure.to_owned(),
                Rival::Measured(name) => number(self.0.get(name).copied()),
            };
            let mark = if is_met { "" } else { "  short" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<44} {theirs:>10} {value:>10.2} {:>7} {goal:>10}{mark}",
                row.what,
                number(ratio),
            );
        }
        out
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        let Rival::Measured(rival) = row.rival else {
            return None;
        };
        Some(self.0.get(row.name)? / self.0.get(rival)?)
    }
}

/// The value that `percent` of the values do not exceed.
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (percent / 100.0 * last as f64).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
