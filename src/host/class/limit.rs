//! How often one address may ask: token buckets, in a table that does not grow with the flood.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most addresses that are remembered at once.
const MOST: usize = 4096;

/// A steady rate, and how much may come at once.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

/// One bucket: full at first, filled at a rate, one drop taken for each thing that is allowed.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    drops: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            drops: rate.burst,
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.drops = (self.drops + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }

    /// Takes a drop, or says how long there is none.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.fill(rate, now);
        if self.drops >= 1.0 {
            self.drops -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.drops) / rate.per_second;
        Err(Duration::from_secs_f64(missing))
    }
}

/// What each address may do, and what all may do together.
#[derive(Debug)]
pub struct Limit {
    each: Rate,
    all: Rate,
    together: Option<Bucket>,
    of: HashMap<IpAddr, Bucket>,
}

impl Limit {
    pub fn new(each: Rate, all: Rate) -> Self {
        Self {
            each,
            all,
            together: None,
            of: HashMap::new(),
        }
    }

    /// One more from `address`.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.of.len() >= MOST && !self.of.contains_key(&address) {
            self.forget(now);
        }
        let (each, all) = (self.each, self.all);
        let own = self
            .of
            .entry(address)
            .or_insert_with(|| Bucket::full(each, now));
        own.take(each, now)?;
        // An address that is over its own limit takes nothing from the others.
        self.together
            .get_or_insert_with(|| Bucket::full(all, now))
            .take(all, now)
    }

    /// True if `address` has nothing left; takes nothing.
    pub fn is_spent(&mut self, address: IpAddr, now: Instant) -> bool {
        let each = self.each;
        self.of.get_mut(&address).is_some_and(|bucket| {
            bucket.fill(each, now);
            bucket.drops < 1.0
        })
    }

    /// Makes room: full buckets say nothing, and if none is full the fullest go.
    fn forget(&mut self, now: Instant) {
        let each = self.each;
        self.of.retain(|_, bucket| {
            bucket.fill(each, now);
            bucket.drops < each.burst
        });
        if self.of.len() < MOST {
            return;
        }
        let mut levels: Vec<f64> = self.of.values().map(|bucket| bucket.drops).collect();
        levels.sort_by(f64::total_cmp);
        let median = levels[levels.len() / 2];
        self.of.retain(|_, bucket| bucket.drops < median);
        if self.of.len() >= MOST {
            self.of.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Rate = Rate {
        per_second: 2.0,
        burst: 5.0,
    };
    const ALL: Rate = Rate {
        per_second: 1000.0,
        burst: 1000.0,
    };

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut limit = Limit::new(EACH, ALL);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for _ in 0..5 {
            limit.take(address(1), at(0)).unwrap();
        }
        assert!(limit.is_spent(address(1), at(0)));
        let wait = limit.take(address(1), at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert!(limit.take(address(1), at(499)).is_err());
        limit.take(address(1), at(501)).unwrap();
        // Others are not held up.
        limit.take(address(2), at(0)).unwrap();
        assert!(!limit.is_spent(address(2), at(0)));
    }

    #[test]
    fn all_together_have_a_limit_too() {
        let all = Rate {
            per_second: 1.0,
            burst: 10.0,
        };
        let mut limit = Limit::new(EACH, all);
        let now = Instant::now();
        let taken = (0..100).filter(|n| limit.take(address(*n), now).is_ok());
        assert_eq!(taken.count(), 10);
    }

    #[test]
    fn a_flood_of_addresses_does_not_fill_the_memory() {
        let mut limit = Limit::new(EACH, ALL);
        let now = Instant::now();
        for n in 0..50_000 {
            // Refusals are part of it.
            let _ = limit.take(address(n), now);
            assert!(limit.of.len() <= MOST);
        }
    }
}
