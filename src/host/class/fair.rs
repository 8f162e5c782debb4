//! Shares the line among learners, whatever each of them opens or how near the Wi-Fi they sit.
//!
//! Bytes are counted per learner's address, not per connection. Who is far ahead of the mean of
//! those who are fetching now waits until the others have come up, but only while the line is
//! full: where others are slow for reasons of their own, holding anybody back would help nobody.
//! Pure: the caller brings the time and does the waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How far ahead of the mean anybody may be.
pub const LEAD: u64 = 2 << 20;
/// Who asked for nothing this long is waited for by nobody.
const STALE: Duration = Duration::from_secs(2);
/// How often the rate of the whole line is looked at.
const WINDOW: Duration = Duration::from_secs(1);
/// How long a leader waits before asking again.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Transfers of one address, and of all.
const EACH: usize = 4;
const ALL: usize = 512;

/// What is said to one who asks for the next piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Go,
    /// Ask again then.
    Wait(Duration),
}

#[derive(Debug)]
struct Client {
    transfers: usize,
    /// Bytes given; whoever begins is put beside the others.
    given: u64,
    asked: Instant,
}

/// The line's book.
#[derive(Debug, Default)]
pub struct Fair {
    clients: HashMap<IpAddr, Client>,
    transfers: usize,
    window: Option<Instant>,
    /// Bytes in this window, rate of the last one, and the best rate that was seen lately.
    bytes: u64,
    rate: u64,
    best: u64,
}

impl Fair {
    /// A transfer begins; false if `address`, or everybody together, has enough of them.
    pub fn begin(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.transfers >= ALL {
            return false;
        }
        let mean = self.mean(now).unwrap_or(0);
        let client = self.clients.entry(address).or_insert(Client {
            transfers: 0,
            given: 0,
            asked: now,
        });
        if client.transfers >= EACH {
            return false;
        }
        if client.transfers == 0 {
            client.given = mean;
            client.asked = now;
        }
        client.transfers += 1;
        self.transfers += 1;
        true
    }

    /// A transfer ended, however it did.
    pub fn end(&mut self, address: IpAddr) {
        let Some(client) = self.clients.get_mut(&address) else {
            return;
        };
        client.transfers -= 1;
        self.transfers -= 1;
        if client.transfers == 0 {
            self.clients.remove(&address);
        }
    }

    /// `address` wants `bytes` more.
    pub fn ask(&mut self, address: IpAddr, bytes: u64, now: Instant) -> Turn {
        self.look(now);
        let Some(client) = self.clients.get_mut(&address) else {
            return Turn::Go;
        };
        client.asked = now;
        let given = client.given;
        let mean = self.mean(now).unwrap_or(given);
        let full = self.rate.saturating_mul(10) >= self.best.saturating_mul(7);
        if full && given > mean.saturating_add(LEAD) {
            return Turn::Wait(PAUSE);
        }
        if let Some(client) = self.clients.get_mut(&address) {
            client.given += bytes;
        }
        self.bytes += bytes;
        Turn::Go
    }

    /// Transfers going on.
    pub fn transfers(&self) -> usize {
        self.transfers
    }

    /// Bytes a second, all together.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    fn mean(&self, now: Instant) -> Option<u64> {
        let active = self
            .clients
            .values()
            .filter(|client| now.saturating_duration_since(client.asked) <= STALE);
        let (count, sum) = active.fold((0u64, 0u128), |(count, sum), client| {
            (count + 1, sum + u128::from(client.given))
        });
        (count > 0).then(|| u64::try_from(sum / u128::from(count)).unwrap_or(u64::MAX))
    }

    fn look(&mut self, now: Instant) {
        let began = *self.window.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed < WINDOW {
            return;
        }
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        self.rate = self.bytes.saturating_mul(1000) / millis;
        // What was possible once fades, as people carry their laptops about.
        self.best = self.rate.max(self.best - self.best / 32);
        self.bytes = 0;
        self.window = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 32 << 10;

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    /// Plays a line that carries `line` pieces each tick; `greed` says how many of them each
    /// learner's connection would take if nobody shared. Returns what each got.
    fn play(ticks: u64, line: u64, greed: &[u64]) -> Vec<u64> {
        let mut fair = Fair::default();
        let start = Instant::now();
        for n in 0..greed.len() {
            assert!(fair.begin(address(n as u8), start));
        }
        let mut got = vec![0; greed.len()];
        for tick in 0..ticks {
            let now = start + Duration::from_millis(tick * 10);
            let mut left = line;
            let mut waits = vec![false; greed.len()];
            // The line gives in proportion to greed, until it is full or nobody wants more.
            while left > 0 && waits.iter().any(|w| !w) {
                for (n, greed) in greed.iter().enumerate() {
                    for _ in 0..*greed {
                        if left == 0 || waits[n] {
                            break;
                        }
                        match fair.ask(address(n as u8), PIECE, now) {
                            Turn::Go => {
                                got[n] += PIECE;
                                left -= 1;
                            }
                            Turn::Wait(_) => waits[n] = true,
                        }
                    }
                }
            }
        }
        got
    }

    #[test]
    fn a_greedy_connection_gets_no_more_than_the_others() {
        let got = play(20_000, 12, &[9, 1, 1, 1]);
        let mean = got.iter().sum::<u64>() / 4;
        for bytes in &got {
            assert!(
                *bytes + 2 * LEAD > mean && *bytes < mean + 2 * LEAD,
                "{got:?}"
            );
        }
    }

    #[test]
    fn who_comes_late_neither_waits_nor_is_waited_for() {
        let mut fair = Fair::default();
        let start = Instant::now();
        fair.begin(address(1), start);
        for n in 0..10_000 {
            let now = start + Duration::from_millis(n);
            assert_eq!(fair.ask(address(1), PIECE, now), Turn::Go, "alone");
        }
        let now = start + Duration::from_secs(10);
        fair.begin(address(2), now);
        assert_eq!(fair.ask(address(1), PIECE, now), Turn::Go);
        assert_eq!(fair.ask(address(2), PIECE, now), Turn::Go);
    }

    #[test]
    fn who_sleeps_holds_nobody_back() {
        let mut fair = Fair::default();
        let start = Instant::now();
        fair.begin(address(1), start);
        fair.begin(address(2), start);
        let mut waited = 0;
        for n in 0..100_000u64 {
            let now = start + Duration::from_millis(n);
            waited += u64::from(fair.ask(address(1), PIECE, now) != Turn::Go);
        }
        // Only until the other is known to sleep.
        assert!(waited <= 2100, "{waited}");
    }

    #[test]
    fn transfers_are_counted_and_bounded() {
        let mut fair = Fair::default();
        let now = Instant::now();
        for _ in 0..EACH {
            assert!(fair.begin(address(1), now));
        }
        assert!(!fair.begin(address(1), now));
        fair.end(address(1));
        assert!(fair.begin(address(1), now));
        for n in 0..200 {
            for _ in 0..EACH {
                fair.begin(IpAddr::from([10, 0, 1, n]), now);
            }
        }
        assert_eq!(fair.transfers(), ALL);
        for _ in 0..EACH {
            fair.end(address(1));
        }
        fair.end(address(1));
        assert_eq!(fair.transfers(), ALL - EACH);
    }
}
