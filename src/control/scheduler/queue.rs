//! Pods that wait: those to be tried now, the important ones first; those that failed a
//! short while ago; and those that wait for something to change.
//!
//! ```text
//!   new ──▶ ready ──▶ (tried) ──▶ placed
//!            ▲  ▲         │ fits nowhere
//!            │  └─ pause ◀┴▶ stuck
//!            │      over        │ something changed that may help
//!            └──── pause ◀──────┘
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::filter::Plugins;

/// The pause after a first failure, doubled with each, and the longest; upstream's figures.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A stuck pod is tried again after so long even if nothing seems to have changed.
const LONGEST_STUCK: Duration = Duration::from_secs(5 * 60);

type Turn = (Reverse<i32>, u64, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready(Turn),
    Pausing(Instant),
    Stuck(Plugins),
    /// Being tried, or its binding is under way.
    Tried,
}

#[derive(Debug, Clone)]
struct Waiting {
    state: State,
    priority: i32,
    /// Order of arrival.
    arrival: u64,
    failures: u32,
    /// Of the last failure.
    failed: Instant,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<usize, Waiting>,
    ready: BTreeSet<Turn>,
    pausing: BTreeSet<(Instant, usize)>,
    stuck: BTreeSet<(Instant, usize)>,
    arrivals: u64,
}

impl Queue {
    /// A pod waits that did not, or asks for something else now: it is tried at once, unless
    /// it failed a short while ago.
    pub fn insert(&mut self, key: usize, priority: i32, now: Instant) {
        match self.pods.get_mut(&key) {
            None => {
                self.arrivals += 1;
                self.pods.insert(
                    key,
                    Waiting {
                        state: State::Tried,
                        priority,
                        arrival: self.arrivals,
                        failures: 0,
                        failed: now,
                    },
                );
                self.make_ready(key);
            }
            Some(pod) => {
                pod.priority = priority;
                if matches!(pod.state, State::Stuck(_)) {
                    self.release(key, now);
                }
            }
        }
    }

    /// A pod waits no more.
    pub fn remove(&mut self, key: usize) {
        self.leave(key);
        self.pods.remove(&key);
    }

    fn leave(&mut self, key: usize) {
        let Some(pod) = self.pods.get(&key) else {
            return;
        };
        match pod.state {
            State::Ready(turn) => self.ready.remove(&turn),
            State::Pausing(until) => self.pausing.remove(&(until, key)),
            State::Stuck(_) => self.stuck.remove(&(pod.failed, key)),
            State::Tried => false,
        };
    }

    fn make_ready(&mut self, key: usize) {
        self.leave(key);
        if let Some(pod) = self.pods.get_mut(&key) {
            let turn = (Reverse(pod.priority), pod.arrival, key);
            pod.state = State::Ready(turn);
            self.ready.insert(turn);
        }
    }

    fn pause(&mut self, key: usize, until: Instant) {
        self.leave(key);
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.state = State::Pausing(until);
            self.pausing.insert((until, key));
        }
    }

    /// A stuck pod may be tried again, after its pause.
    fn release(&mut self, key: usize, now: Instant) {
        let Some(pod) = self.pods.get(&key) else {
            return;
        };
        let until = pod.failed + pause_after(pod.failures);
        if until <= now {
            self.make_ready(key);
        } else {
            self.pause(key, until);
        }
    }

    /// The next pod to try.
    pub fn pop(&mut self) -> Option<usize> {
        let turn = self.ready.pop_first()?;
        let key = turn.2;
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.state = State::Tried;
        }
        Some(key)
    }

    /// A pod fits nowhere; `plugins` said no.
    pub fn is_stuck(&mut self, key: usize, plugins: Plugins, now: Instant) {
        self.leave(key);
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.failures = pod.failures.saturating_add(1);
            pod.failed = now;
            pod.state = State::Stuck(plugins);
            self.stuck.insert((now, key));
        }
    }

    /// A request for a pod failed: it is tried again after a pause.
    pub fn failed(&mut self, key: usize, now: Instant) {
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.failures = pod.failures.saturating_add(1);
            pod.failed = now;
            let until = now + pause_after(pod.failures);
            self.pause(key, until);
        }
    }

    /// Stuck pods that `may_help` (asked with the pod and those who said no) are tried again.
    pub fn changed(&mut self, now: Instant, mut may_help: impl FnMut(usize, Plugins) -> bool) {
        let keys: Vec<usize> = self
            .stuck
            .iter()
            .map(|(_, key)| *key)
            .filter(|key| match self.pods.get(key).map(|pod| pod.state) {
                Some(State::Stuck(plugins)) => may_help(*key, plugins),
                _ => false,
            })
            .collect();
        for key in keys {
            self.release(key, now);
        }
    }

    /// Whether any pod is stuck: if not, changes help nobody.
    pub fn has_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// Lets those be tried whose pause is over, or who were stuck for very long.
    pub fn tick(&mut self, now: Instant) {
        while let Some((until, key)) = self.pausing.first().copied()
            && until <= now
        {
            self.make_ready(key);
        }
        while let Some((since, key)) = self.stuck.first().copied()
            && since + LONGEST_STUCK <= now
        {
            self.make_ready(key);
        }
    }

    /// When to tick next.
    pub fn next(&self) -> Option<Instant> {
        let pausing = self.pausing.first().map(|(until, _)| *until);
        let stuck = self.stuck.first().map(|(since, _)| *since + LONGEST_STUCK);
        [pausing, stuck].into_iter().flatten().min()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    (PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Plugin;

    fn stuck() -> Plugins {
        let mut set = Plugins::default();
        set.insert(Plugin::NodeResourcesFit);
        set
    }

    #[test]
    fn the_important_go_first_then_the_early() {
        let (mut q, now) = (Queue::default(), Instant::now());
        for (key, priority) in [(7, 0), (1, 0), (2, 5)] {
            q.insert(key, priority, now);
        }
        q.insert(7, 0, now);
        assert_eq!(
            [q.pop(), q.pop(), q.pop(), q.pop()],
            [Some(2), Some(7), Some(1), None]
        );
    }

    #[test]
    fn a_pod_is_tried_again_only_when_something_helps_and_not_too_soon() {
        let (mut q, t0) = (Queue::default(), Instant::now());
        q.insert(1, 0, t0);
        q.pop();
        q.is_stuck(1, stuck(), t0);
        q.changed(t0, |_, _| false);
        q.tick(t0 + PAUSE);
        assert_eq!((q.pop(), q.has_stuck()), (None, true));
        q.changed(t0, |key, plugins| {
            key == 1 && plugins.has(Plugin::NodeResourcesFit)
        });
        assert_eq!((q.pop(), q.next()), (None, Some(t0 + PAUSE)));
        q.tick(t0 + PAUSE);
        assert_eq!(q.pop(), Some(1));
        // The second pause is twice as long; a change after it is answered at once.
        let t1 = t0 + PAUSE;
        q.is_stuck(1, stuck(), t1);
        q.changed(t1 + PAUSE, |_, _| true);
        assert_eq!((q.pop(), q.next()), (None, Some(t1 + 2 * PAUSE)));
        q.tick(t1 + 2 * PAUSE);
        q.pop();
        q.is_stuck(1, stuck(), t1);
        q.changed(t1 + LONGEST_PAUSE, |_, _| true);
        assert_eq!(q.pop(), Some(1));
    }

    #[test]
    fn nobody_is_stuck_for_ever_and_the_gone_are_gone() {
        let (mut q, t0) = (Queue::default(), Instant::now());
        for key in [1, 2, 3] {
            q.insert(key, 0, t0);
            q.pop();
        }
        q.is_stuck(1, stuck(), t0);
        q.is_stuck(2, stuck(), t0);
        q.failed(3, t0);
        q.remove(2);
        q.remove(3);
        assert_eq!(q.next(), Some(t0 + LONGEST_STUCK));
        q.tick(t0 + LONGEST_STUCK);
        assert_eq!((q.pop(), q.pop(), q.next()), (Some(1), None, None));
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses: Vec<u64> = (1..7).map(|n| pause_after(n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    }
}
