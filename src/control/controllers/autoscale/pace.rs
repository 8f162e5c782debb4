//! How fast and how far a target may be scaled: what was recommended lately, what was done
//! lately, and the limits. Pure.

use k8s_openapi::jiff::Timestamp;

use super::model::{Behavior, Policy, Rules};

/// Scaling down waits so long, unless the behavior says otherwise (seconds).
const DOWN_WINDOW: i64 = 300;

/// What a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    pub reason: &'static str,
    pub message: &'static str,
}

const READY: Words = Words {
    reason: "ReadyForNewScale",
    message: "recommended size matches current size",
};
const UP_STABILIZED: Words = Words {
    reason: "ScaleUpStabilized",
    message: "recent recommendations were lower than current one, applying the lowest recent recommendation",
};
const DOWN_STABILIZED: Words = Words {
    reason: "ScaleDownStabilized",
    message: "recent recommendations were higher than current one, applying the highest recent recommendation",
};
const TOO_MANY: Words = Words {
    reason: "TooManyReplicas",
    message: "the desired replica count is more than the maximum replica count",
};
const TOO_FEW: Words = Words {
    reason: "TooFewReplicas",
    message: "the desired replica count is less than the minimum replica count",
};
const UP_LIMIT: Words = Words {
    reason: "ScaleUpLimit",
    message: "the desired replica count is increasing faster than the maximum scale rate",
};
const DOWN_LIMIT: Words = Words {
    reason: "ScaleDownLimit",
    message: "the desired replica count is decreasing faster than the maximum scale rate",
};
const WITHIN: Words = Words {
    reason: "DesiredWithinRange",
    message: "the desired count is within the acceptable range",
};

/// What was recommended and done for one autoscaler.
#[derive(Debug, Clone, Default)]
pub struct History {
    recommended: Vec<(i64, i32)>,
    /// When and by how much it grew, and shrank.
    grown: Vec<(i64, i32)>,
    shrunk: Vec<(i64, i32)>,
}

/// Between how many replicas.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub min: i32,
    pub max: i32,
}

/// The size to be, and what the conditions AbleToScale and ScalingLimited say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub replicas: i32,
    pub able: Words,
    pub limited: bool,
    pub limit: Words,
}

impl History {
    /// The size at which it was first seen counts as recommended.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push((now.as_second(), current));
        }
    }

    /// Notes that the target was scaled.
    pub fn scaled(&mut self, from: i32, to: i32, now: Timestamp) {
        let at = now.as_second();
        match to > from {
            true => self.grown.push((at, to - from)),
            false => self.shrunk.push((at, from - to)),
        }
    }

    /// The size to be, given the current one and the one the metrics ask for.
    pub fn settle(
        &mut self,
        current: i32,
        wanted: i32,
        range: Range,
        behavior: Option<&Behavior>,
        now: Timestamp,
    ) -> Size {
        let at = now.as_second();
        let size = match behavior {
            None => self.plain(current, wanted, range, at),
            Some(behavior) => self.ruled(current, wanted, range, behavior, at),
        };
        self.recommended.push((at, wanted));
        let keep = |behavior: Option<&Rules>, usual: i64| {
            let window = behavior.and_then(|rules| rules.stabilization_window_seconds);
            let periods = behavior
                .and_then(|rules| rules.policies.as_ref())
                .into_iter()
                .flatten();
            let longest = periods
                .map(|policy| policy.period_seconds)
                .max()
                .unwrap_or(15);
            window.unwrap_or(usual).max(longest)
        };
        let up = keep(behavior.and_then(|b| b.scale_up.as_ref()), 0);
        let down = keep(behavior.and_then(|b| b.scale_down.as_ref()), DOWN_WINDOW);
        let oldest = at - up.max(down);
        for list in [&mut self.recommended, &mut self.grown, &mut self.shrunk] {
            list.retain(|(when, _)| *when > oldest);
        }
        size
    }

    fn plain(&self, current: i32, wanted: i32, range: Range, at: i64) -> Size {
        let recent = self
            .recommended
            .iter()
            .filter(|(when, _)| *when > at - DOWN_WINDOW);
        let stable = recent.map(|(_, replicas)| *replicas).fold(wanted, i32::max);
        let able = match stable == wanted {
            true => READY,
            false => DOWN_STABILIZED,
        };
        let fastest = current.saturating_mul(2).max(4);
        let (most, why) = match range.max > fastest {
            true => (fastest, UP_LIMIT),
            false => (range.max, TOO_MANY),
        };
        let (replicas, limit) = if stable < range.min {
            (range.min, TOO_FEW)
        } else if stable > most {
            (most, why)
        } else {
            (stable, WITHIN)
        };
        Size {
            replicas,
            able,
            limited: replicas != stable,
            limit,
        }
    }

    fn ruled(&self, current: i32, wanted: i32, range: Range, behavior: &Behavior, at: i64) -> Size {
        let (up, down) = (up_rules(behavior), down_rules(behavior));
        let since = |seconds: i64| {
            let recent = self
                .recommended
                .iter()
                .filter(move |(when, _)| *when > at - seconds);
            recent.map(|(_, replicas)| *replicas)
        };
        let window = |rules: &Rules, usual| rules.stabilization_window_seconds.unwrap_or(usual);
        let lowest = since(window(&up, 0)).fold(wanted, i32::min);
        let highest = since(window(&down, DOWN_WINDOW)).fold(wanted, i32::max);
        let stable = current.max(lowest).min(highest);
        let able = match (stable == wanted, wanted >= current) {
            (true, _) => READY,
            (false, true) => UP_STABILIZED,
            (false, false) => DOWN_STABILIZED,
        };
        let (replicas, limit) = if stable > current {
            let rate = self.up_limit(current, &up, at).max(current);
            let (most, why) = match range.max > rate {
                true => (rate, UP_LIMIT),
                false => (range.max, TOO_MANY),
            };
            if stable > most {
                (most, why)
            } else {
                (stable, WITHIN)
            }
        } else if stable < current {
            let rate = self.down_limit(current, &down, at).min(current);
            let (least, why) = match range.min < rate {
                true => (rate, DOWN_LIMIT),
                false => (range.min, TOO_FEW),
            };
            if stable < least {
                (least, why)
            } else {
                (stable, WITHIN)
            }
        } else {
            (stable, WITHIN)
        };
        Size {
            replicas,
            able,
            limited: replicas != stable,
            limit,
        }
    }

    /// How many there were when the period began.
    fn at_start(&self, current: i32, policy: &Policy, at: i64) -> i32 {
        let sum = |list: &[(i64, i32)]| {
            let recent = list
                .iter()
                .filter(|(when, _)| *when > at - policy.period_seconds);
            recent.map(|(_, by)| *by).sum::<i32>()
        };
        current - sum(&self.grown) + sum(&self.shrunk)
    }

    fn up_limit(&self, current: i32, rules: &Rules, at: i64) -> i32 {
        let limits = rules.policies.iter().flatten().map(|policy| {
            let start = self.at_start(current, policy, at);
            match policy.kind.as_str() {
                "Pods" => start.saturating_add(policy.value),
                _ => {
                    let factor = 1.0 + f64::from(policy.value) / 100.0;
                    (f64::from(start) * factor).ceil() as i32
                }
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => limits.min().unwrap_or(current),
            _ => limits.max().unwrap_or(current),
        }
    }

    fn down_limit(&self, current: i32, rules: &Rules, at: i64) -> i32 {
        let limits = rules.policies.iter().flatten().map(|policy| {
            let start = self.at_start(current, policy, at);
            match policy.kind.as_str() {
                "Pods" => start.saturating_sub(policy.value),
                _ => {
                    let factor = 1.0 - f64::from(policy.value) / 100.0;
                    (f64::from(start) * factor) as i32
                }
            }
        });
        // The smallest change leaves the most.
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => limits.max().unwrap_or(current),
            _ => limits.min().unwrap_or(current),
        }
    }
}

fn policy(kind: &str, value: i32) -> Policy {
    Policy {
        kind: kind.to_owned(),
        value,
        period_seconds: 15,
    }
}

/// With upstream's defaults where the behavior says nothing.
fn up_rules(behavior: &Behavior) -> Rules {
    let mut rules = behavior.scale_up.clone().unwrap_or_default();
    if rules.policies.as_ref().is_none_or(Vec::is_empty) {
        rules.policies = Some(vec![policy("Pods", 4), policy("Percent", 100)]);
    }
    rules
}

fn down_rules(behavior: &Behavior) -> Rules {
    let mut rules = behavior.scale_down.clone().unwrap_or_default();
    if rules.policies.as_ref().is_none_or(Vec::is_empty) {
        rules.policies = Some(vec![policy("Percent", 100)]);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    const RANGE: Range = Range { min: 1, max: 20 };

    fn behavior(value: Value) -> Behavior {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn without_a_behavior_it_doubles_at_most_and_shrinks_after_five_minutes() {
        let mut history = History::default();
        history.begin(3, at(0));
        let size = history.settle(3, 15, RANGE, None, at(1));
        assert_eq!(
            (size.replicas, size.limit, size.limited),
            (6, UP_LIMIT, true)
        );
        let size = history.settle(6, 2, RANGE, None, at(20));
        assert_eq!((size.replicas, size.able), (12, DOWN_STABILIZED));
        let size = history.settle(12, 2, RANGE, None, at(302));
        assert_eq!((size.replicas, size.able, size.limit), (2, READY, WITHIN));
        let size = history.settle(2, 0, RANGE, None, at(700));
        assert_eq!((size.replicas, size.limit), (1, TOO_FEW));
        let size = history.settle(15, 25, RANGE, None, at(1400));
        assert_eq!((size.replicas, size.limit), (20, TOO_MANY));
    }

    #[test]
    fn policies_limit_what_happens_within_a_period() {
        let slow = behavior(json!({
            "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0,
                "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60},
                    {"type": "Pods", "value": 1, "periodSeconds": 60}], "selectPolicy": "Min"}}));
        let mut history = History::default();
        let size = history.settle(4, 10, RANGE, Some(&slow), at(0));
        assert_eq!((size.replicas, size.limit), (6, UP_LIMIT));
        history.scaled(4, 6, at(0));
        assert_eq!(
            history.settle(6, 10, RANGE, Some(&slow), at(30)).replicas,
            6,
            "used up"
        );
        assert_eq!(
            history.settle(6, 10, RANGE, Some(&slow), at(61)).replicas,
            8
        );
        let size = history.settle(8, 1, RANGE, Some(&slow), at(200));
        assert_eq!(
            (size.replicas, size.limit),
            (7, DOWN_LIMIT),
            "the smaller of both"
        );
    }

    #[test]
    fn a_direction_can_be_closed_and_growth_can_wait() {
        let closed = behavior(json!({"scaleDown": {"selectPolicy": "Disabled",
            "stabilizationWindowSeconds": 0}, "scaleUp": {"stabilizationWindowSeconds": 60}}));
        let mut history = History::default();
        history.begin(5, at(0));
        assert_eq!(
            history.settle(5, 1, RANGE, Some(&closed), at(1)).replicas,
            5
        );
        let size = history.settle(5, 9, RANGE, Some(&closed), at(30));
        assert_eq!((size.replicas, size.able), (5, UP_STABILIZED));
        assert_eq!(
            history.settle(5, 9, RANGE, Some(&closed), at(100)).replicas,
            9
        );
    }
}
