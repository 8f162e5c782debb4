//! Names of objects to look at: each waits once, however often it is added, and is never in
//! work twice at a time.
//!
//! ```text
//!   add ──▶ waiting ──▶ in work ──▶ done
//!    ▲         ▲           │ added meanwhile: waits again
//!    │         └───────────┤
//!  clock ◀── add_after, retry (5 ms, doubling to 1000 s: upstream's figures)
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::record::Record;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1000);

/// Namespace ("" for kinds without) and name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Key {
        Key {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub fn of<R: Record>(object: &R) -> Key {
        let meta = object.meta();
        Key::new(meta.namespace, meta.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => f.write_str(&self.name),
            false => write!(f, "{}/{}", self.namespace, self.name),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// See the module's opening. Cheap to clone; all clones are one queue.
#[derive(Clone, Default)]
pub struct Queue(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Key>,
    /// What is in `waiting`, and what was added while in work.
    wanted: HashSet<Key>,
    in_work: HashSet<Key>,
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    /// The earliest time at which a key is due; other entries of `later` are stale.
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl Queue {
    /// To be looked at as soon as possible.
    pub fn add(&self, key: Key) {
        if super::lock(&self.0.state).add(key) {
            self.0.news.notify_one();
        }
    }

    /// To be looked at after a while; an earlier time already set stands.
    pub fn add_after(&self, key: Key, pause: Duration) {
        if pause.is_zero() {
            return self.add(key);
        }
        super::lock(&self.0.state).add_at(key, Instant::now() + pause);
        self.0.news.notify_one();
    }

    /// It failed: once more, after a pause that grows with each failure.
    pub fn retry(&self, key: Key) {
        let pause = super::lock(&self.0.state).pause(&key);
        self.add_after(key, pause);
    }

    /// It succeeded: the next failure is the first again.
    pub fn forget(&self, key: &Key) {
        super::lock(&self.0.state).failures.remove(key);
    }

    /// The next key; it is in work until `done`.
    pub async fn next(&self) -> Key {
        loop {
            let news = self.0.news.notified();
            let due = match super::lock(&self.0.state).take(Instant::now()) {
                Ok(key) => return key,
                Err(due) => due,
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        () = news => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => news.await,
            }
        }
    }

    /// Work on it has ended, well or badly.
    pub fn done(&self, key: &Key) {
        if super::lock(&self.0.state).done(key) {
            self.0.news.notify_one();
        }
    }
}

impl State {
    /// True if there is something more to take.
    fn add(&mut self, key: Key) -> bool {
        if !self.wanted.insert(key.clone()) || self.in_work.contains(&key) {
            return false;
        }
        self.waiting.push_back(key);
        true
    }

    fn add_at(&mut self, key: Key, at: Instant) {
        if self.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        self.due.insert(key.clone(), at);
        self.later.push(Reverse((at, key)));
    }

    fn pause(&mut self, key: &Key) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let pause = FIRST_PAUSE.saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX));
        *failures += 1;
        pause.min(LONGEST_PAUSE)
    }

    /// A key, or when the next one is due.
    fn take(&mut self, now: Instant) -> Result<Key, Option<Instant>> {
        while let Some(Reverse((at, _))) = self.later.peek()
            && *at <= now
            && let Some(Reverse((at, key))) = self.later.pop()
        {
            if self.due.get(&key) == Some(&at) {
                self.due.remove(&key);
                self.add(key);
            }
        }
        match self.waiting.pop_front() {
            Some(key) => {
                self.wanted.remove(&key);
                self.in_work.insert(key.clone());
                Ok(key)
            }
            None => Err(self.later.peek().map(|Reverse((at, _))| *at)),
        }
    }

    fn done(&mut self, key: &Key) -> bool {
        self.in_work.remove(key);
        let again = self.wanted.contains(key);
        if again {
            self.waiting.push_back(key.clone());
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_once_and_is_in_work_once() {
        let mut s = State::default();
        let (a, now) = (Key::new("n", "a"), Instant::now());
        assert!(s.add(a.clone()));
        assert!(!s.add(a.clone()));
        assert_eq!(s.take(now), Ok(a.clone()));
        assert_eq!(s.take(now), Err(None));
        assert!(!s.add(a.clone()), "it is in work");
        assert_eq!(s.take(now), Err(None));
        assert!(s.done(&a), "it was added meanwhile");
        assert_eq!(s.take(now), Ok(a.clone()));
        assert!(!s.done(&a));
        assert_eq!(s.take(now), Err(None));
    }

    #[test]
    fn the_earliest_time_counts() {
        let mut s = State::default();
        let (a, now) = (Key::new("n", "a"), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        s.add_at(a.clone(), at(50));
        s.add_at(a.clone(), at(20));
        s.add_at(a.clone(), at(70));
        assert_eq!(s.take(at(10)), Err(Some(at(20))));
        assert_eq!(s.take(at(20)), Ok(a.clone()));
        s.done(&a);
        assert_eq!(s.take(at(60)), Err(None), "the stale entry has gone");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut s = State::default();
        let a = Key::new("n", "a");
        let pauses: Vec<u128> = (0..4).map(|_| s.pause(&a).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40]);
        for _ in 0..40 {
            s.pause(&a);
        }
        assert_eq!(s.pause(&a), LONGEST_PAUSE);
    }
}
