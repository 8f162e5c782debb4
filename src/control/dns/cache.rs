//! Answers of other servers, kept for a short while: pods ask the same names again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::iana::Rtype;

use crate::message::Flags;

/// Longest an answer is kept, whatever it says of itself: CoreDNS's figure in the manifests
/// clusters are made with.
const LONGEST: Duration = Duration::from_secs(30);
/// Most answers kept, and the largest of them in bytes: 2 MiB at worst.
const MOST: usize = 1024;
const LARGEST: usize = 2048;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The name in wire format, small letters.
    pub name: Vec<u8>,
    pub rtype: Rtype,
    pub flags: Flags,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Fetched {
    pub message: Vec<u8>,
    pub at: Instant,
}

impl Fetched {
    /// Seconds since it came.
    pub fn age(&self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.at).as_secs();
        u32::try_from(age).unwrap_or(u32::MAX)
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Cache {
    kept: HashMap<Key, (Arc<Fetched>, Instant)>,
}

impl Cache {
    /// An answer that is still good.
    pub fn get(&mut self, key: &Key, now: Instant) -> Option<Arc<Fetched>> {
        let (fetched, until) = self.kept.get(key)?;
        if *until > now {
            return Some(Arc::clone(fetched));
        }
        self.kept.remove(key);
        None
    }

    /// Keeps an answer that says it is good for `life` seconds.
    pub fn put(&mut self, key: Key, fetched: Arc<Fetched>, life: u32) {
        if life == 0 || fetched.message.len() > LARGEST {
            return;
        }
        if self.kept.len() >= MOST && !self.kept.contains_key(&key) {
            self.make_room(fetched.at);
        }
        let until = fetched.at + LONGEST.min(Duration::from_secs(life.into()));
        self.kept.insert(key, (fetched, until));
    }

    fn make_room(&mut self, now: Instant) {
        self.kept.retain(|_, (_, until)| *until > now);
        if self.kept.len() < MOST {
            return;
        }
        // All are good: those go that would go first anyhow.
        let mut ends: Vec<Instant> = self.kept.values().map(|(_, until)| *until).collect();
        let (_, middle, _) = ends.select_nth_unstable(MOST / 2);
        let middle = *middle;
        self.kept.retain(|_, (_, until)| *until > middle);
    }

    /// Forgets everything: other servers may answer differently.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key {
            name: n.to_string().into_bytes(),
            rtype: Rtype::A,
            flags: Flags {
                edns: true,
                dnssec_ok: false,
                checking_disabled: false,
            },
        }
    }

    fn fetched(at: Instant) -> Arc<Fetched> {
        Arc::new(Fetched {
            message: vec![0; 40],
            at,
        })
    }

    #[test]
    fn answers_live_as_long_as_they_say_and_half_a_minute_at_most() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        cache.put(key(1), fetched(start), 5);
        cache.put(key(2), fetched(start), 86400);
        cache.put(key(3), fetched(start), 0);
        assert!(cache.get(&key(1), after(4)).is_some());
        assert_eq!(cache.get(&key(1), after(4)).unwrap().age(after(4)), 4);
        assert!(cache.get(&key(1), after(5)).is_none());
        assert!(cache.get(&key(2), after(29)).is_some());
        assert!(cache.get(&key(2), after(30)).is_none());
        assert!(cache.get(&key(3), start).is_none());
    }

    #[test]
    fn the_cache_does_not_grow_without_end() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        for n in 0..5 * MOST {
            let at = start + Duration::from_millis(n as u64);
            cache.put(key(n), fetched(at), 30);
            assert!(cache.kept.len() <= MOST);
        }
        let last = start + Duration::from_millis(5 * MOST as u64);
        assert!(cache.get(&key(5 * MOST - 1), last).is_some());
    }
}
