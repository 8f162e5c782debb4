//! The newest entries, in strictly rising time, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::Entry;
use crate::moment::Moment;

/// Most entries kept.
const ENTRIES: usize = 4096;
/// Most bytes kept: long names must not fill the memory.
const BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    /// Newest time given to an entry or a reader.
    last: Moment,
}

impl Ring {
    /// Gives the entry its time and keeps it. No two have the same, whatever the clock
    /// does, so a reader who names the last time he saw misses nothing and sees nothing
    /// twice.
    pub(super) fn push(&mut self, mut entry: Entry) {
        self.last = Moment::now().max(self.last.next());
        entry.time = self.last;
        self.bytes += entry.size();
        self.entries.push_back(Arc::new(entry));
        while (self.entries.len() > ENTRIES || self.bytes > BYTES)
            && let Some(gone) = self.entries.pop_front()
        {
            self.bytes -= gone.size();
        }
    }

    /// Now: not before any entry, and before every later one.
    pub(super) fn mark(&mut self) -> Moment {
        self.last = Moment::now().max(self.last);
        self.last
    }

    pub(super) fn after(&self, since: Moment) -> Vec<Arc<Entry>> {
        let start = self.entries.partition_point(|entry| entry.time <= since);
        self.entries.range(start..).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            ..Entry::default()
        }
    }

    fn names(ring: &Ring, since: Moment) -> Vec<String> {
        let entries = ring.after(since);
        entries.iter().map(|entry| entry.name.clone()).collect()
    }

    #[test]
    fn whoever_names_the_last_time_he_saw_misses_nothing_and_sees_nothing_twice() {
        let mut ring = Ring::default();
        ring.push(named("a"));
        let seen = ring.mark();
        // Within the same microsecond, most likely.
        ring.push(named("b"));
        ring.push(named("c"));
        assert_eq!(names(&ring, Moment::default()), ["a", "b", "c"]);
        assert_eq!(names(&ring, seen), ["b", "c"]);
        let last = ring.after(seen)[0].time;
        assert_eq!(names(&ring, last), ["c"]);
        let times: Vec<Moment> = ring.entries.iter().map(|e| e.time).collect();
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    }

    #[test]
    fn a_clock_set_back_does_not_mix_the_order() {
        let mut ring = Ring {
            last: Moment::parse("2999-01-01T00:00:00Z").expect("a time"),
            ..Ring::default()
        };
        ring.push(named("a"));
        ring.push(named("b"));
        assert_eq!(names(&ring, Moment::now()), ["a", "b"]);
        assert!(ring.entries[0].time < ring.entries[1].time);
    }

    #[test]
    fn the_ring_is_bounded_in_number_and_bytes() {
        let mut ring = Ring::default();
        for n in 0..ENTRIES + 10 {
            ring.push(named(&n.to_string()));
        }
        assert_eq!(ring.entries.len(), ENTRIES);
        assert_eq!(ring.entries[0].name, "10");
        for _ in 0..100 {
            ring.push(named(&"x".repeat(BYTES / 10)));
        }
        assert!(ring.bytes <= BYTES && ring.entries.len() < 10);
        let counted: usize = ring.entries.iter().map(|e| e.size()).sum();
        assert_eq!(ring.bytes, counted);
        ring.push(named(&"x".repeat(BYTES)));
        assert_eq!((ring.entries.len(), ring.bytes), (0, 0));
    }
}
