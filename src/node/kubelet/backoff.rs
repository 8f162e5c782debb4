//! Exponential waiting between attempts at the same thing.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// First wait, as upstream's kubelet.
const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// Longest wait.
const MAX: SignedDuration = SignedDuration::from_secs(300);
/// A thing that went well for this long starts over with the first wait.
const FORGIVEN: SignedDuration = SignedDuration::from_secs(600);

/// How long to wait before trying again, growing with every attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    last: Option<(SignedDuration, Timestamp)>,
}

impl Backoff {
    /// Notes an attempt made at `now`: the next wait is the first one, or twice the last.
    pub fn advance(&mut self, now: Timestamp) {
        let delay = match self.last {
            Some((delay, at)) if now.duration_since(at) <= FORGIVEN => (delay * 2).min(MAX),
            _ => INITIAL,
        };
        self.last = Some((delay, now));
    }

    /// When the next attempt is due after an end at `ended`, and how long that waits;
    /// `None` means at once.
    #[must_use]
    pub fn due(&self, ended: Timestamp) -> Option<(Timestamp, SignedDuration)> {
        let (delay, at) = self.last?;
        if ended.duration_since(at) > FORGIVEN {
            return None;
        }
        Some((ended + delay, delay))
    }
}

/// `10s`, `1m20s`, `5m0s`: the way Go prints durations, which users know from upstream.
#[must_use]
pub fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

/// `0s`, `812ms`, `1.2s`, `1m15.25s`, `1h0m2s`: the same to the millisecond.
#[must_use]
pub fn go_millis(duration: Duration) -> String {
    let millis = duration.as_millis();
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let seconds = format!("{}.{:03}", millis / 1000 % 60, millis % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (millis / 3_600_000, millis / 60_000 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn the_first_restart_is_free_then_ten_seconds_doubling_to_five_minutes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.due(at(0)), None);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            backoff.advance(at(now));
            let (due, wait) = backoff.due(at(now + 1)).unwrap();
            waits.push(wait.as_secs());
            now = due.as_second() - 1_800_000_000;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_good_minutes_are_rewarded() {
        let mut backoff = Backoff::default();
        backoff.advance(at(0));
        backoff.advance(at(20));
        assert_eq!(backoff.due(at(20 + 601)), None);
        backoff.advance(at(20 + 601));
        assert_eq!(backoff.due(at(622)).unwrap().1.as_secs(), 10);
    }

    #[test]
    fn durations_read_like_upstreams() {
        let text = |s| go_duration(SignedDuration::from_secs(s));
        assert_eq!(
            (text(10), text(80), text(300)),
            ("10s".into(), "1m20s".into(), "5m0s".into())
        );
    }

    #[test]
    fn the_time_a_pull_took_reads_like_upstreams() {
        let text = |millis| go_millis(Duration::from_millis(millis));
        let all = [0, 812, 1000, 1200, 10_000, 75_250, 3_602_000].map(text);
        let wanted = ["0s", "812ms", "1s", "1.2s", "10s", "1m15.25s", "1h0m2s"];
        assert_eq!(all, wanted);
    }
}
