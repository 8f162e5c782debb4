//! Nodes on which pods of a set failed of late. A kubelet that refuses a pod would refuse the
//! next one at once, so each new one waits: 1 s, doubling to 15 min.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// By node.
#[derive(Debug, Clone, Default)]
pub struct Failures(HashMap<String, (Duration, Timestamp)>);

impl Failures {
    /// How long a failed pod on the node is still let lie.
    pub fn rest(&self, node: &str, now: Timestamp) -> Option<Duration> {
        let (pause, last) = self.0.get(node)?;
        let rest = pause.saturating_sub(since(*last, now));
        Some(rest).filter(|rest| !rest.is_zero())
    }

    /// One more failed; what is long past is forgotten.
    pub fn add(&mut self, node: &str, now: Timestamp) {
        self.0
            .retain(|_, (_, last)| since(*last, now) <= LONGEST * 2);
        let pause = match self.0.get(node) {
            Some((pause, _)) => (*pause * 2).min(LONGEST),
            None => FIRST,
        };
        self.0.insert(node.to_owned(), (pause, now));
    }
}

fn since(last: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(last)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::at;
    use super::*;

    #[test]
    fn pauses_double_and_are_forgotten() {
        let mut failures = Failures::default();
        assert_eq!(failures.rest("n", at(0)), None);
        failures.add("n", at(0));
        assert_eq!(failures.rest("n", at(0)), Some(Duration::from_secs(1)));
        assert_eq!(failures.rest("n", at(1)), None);
        failures.add("n", at(1));
        assert_eq!(failures.rest("n", at(1)), Some(Duration::from_secs(2)));
        for second in 2..20 {
            failures.add("n", at(second));
        }
        assert_eq!(failures.rest("n", at(19)), Some(LONGEST));
        failures.add("n", at(2000));
        assert_eq!(failures.rest("n", at(2000)), Some(FIRST));
    }
}
