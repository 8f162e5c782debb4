//! How long a Job waits before it replaces a pod that failed: 10 s, doubling to 10 min, from
//! the last failure; a success starts anew. Kept in memory only, as upstream does: after a
//! restart the first replacement comes at once.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// Failures since the last success, and when the last of them ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    failures: i32,
    last: Option<Timestamp>,
}

impl Record {
    /// After some more pods have ended, each at the time given.
    pub fn after(self, succeeded: &[Timestamp], failed: &[Timestamp]) -> Record {
        let last_success = succeeded.iter().max();
        let (before, since) = match last_success {
            None => (self.failures, None),
            Some(at) => (0, Some(*at)),
        };
        let late = failed
            .iter()
            .filter(|at| since.is_none_or(|since| **at > since));
        let (more, last) = late.fold((0, None), |(n, last): (i32, Option<Timestamp>), at| {
            (n + 1, last.max(Some(*at)))
        });
        Record {
            failures: before + more,
            last: last.or(if last_success.is_none() {
                self.last
            } else {
                None
            }),
        }
    }

    /// How long to wait still before the next pod.
    pub fn rest(&self, now: Timestamp) -> Duration {
        match self.last {
            Some(last) => rest(self.failures, last, now),
            None => Duration::ZERO,
        }
    }
}

/// How long to wait still after so many failures, the last of them at `last`.
pub fn rest(failures: i32, last: Timestamp, now: Timestamp) -> Duration {
    if failures <= 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(0);
    let pause = FIRST
        .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .min(LONGEST);
    let passed = now.duration_since(last);
    // A clock that runs behind must not make the pause longer.
    let passed = Duration::try_from(passed).unwrap_or(Duration::ZERO);
    pause.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn the_pause_doubles_with_each_failure_up_to_ten_minutes() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 6, 7, 8, 40, 100]
            .into_iter()
            .map(|n| rest(n, at(0), at(0)).as_secs())
            .collect();
        assert_eq!(pauses, [0, 10, 20, 40, 320, 600, 600, 600, 600]);
        assert_eq!(rest(1, at(0), at(7)).as_secs(), 3);
        assert_eq!(rest(1, at(0), at(11)), Duration::ZERO);
        assert_eq!(rest(1, at(0), at(-5)).as_secs(), 10);
    }

    #[test]
    fn a_success_starts_the_count_anew() {
        let one = Record::default().after(&[], &[at(5)]);
        assert_eq!(one.rest(at(5)).as_secs(), 10);
        let three = one.after(&[], &[at(9), at(7)]);
        assert_eq!(three.rest(at(9)).as_secs(), 40);
        assert_eq!(three.after(&[], &[]), three);
        assert_eq!(three.after(&[at(20)], &[]), Record::default());
        let mixed = three.after(&[at(20)], &[at(19), at(21)]);
        assert_eq!(mixed.rest(at(21)).as_secs(), 10);
    }
}
