//! The state in memory: every key now, and a window of what changed before.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::{Entry, Event, Listing, Revision, RevisionError};

/// Most bytes the history keeps alive that nothing else does: a few large values written
/// often would otherwise fill the memory with their past.
const PAST: usize = 64 << 20;

/// Bytes of a value that only its last change still holds.
fn replaced(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |entry| entry.value.len())
}

/// An entry among all, found by the key in it.
#[derive(Debug)]
struct Keyed(Entry);

impl Borrow<str> for Keyed {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl Ord for Keyed {
    fn cmp(&self, other: &Keyed) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Keyed) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Keyed) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Keyed {}

/// Keys, history and the revision both belong to. Only the writer changes it.
#[derive(Debug)]
pub(crate) struct Index {
    revision: Revision,
    /// The oldest revision that can still be listed or watched from.
    oldest: Revision,
    entries: BTreeSet<Keyed>,
    /// All changes after `oldest`, oldest first. Revisions may be missing between them:
    /// an engine that others use as well counts their changes too.
    history: VecDeque<Arc<Event>>,
    /// Bytes of what the changes in the history replaced.
    past: usize,
    window: usize,
}

impl Index {
    pub(crate) fn new(revision: Revision, entries: Vec<Entry>, window: usize) -> Self {
        Index {
            revision,
            oldest: revision,
            entries: entries.into_iter().map(Keyed).collect(),
            history: VecDeque::new(),
            past: 0,
            window,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).map(|keyed| &keyed.0)
    }

    /// All there are, in key order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|keyed| &keyed.0)
    }

    /// Takes one change in; changes come in the order of their revisions.
    pub(crate) fn apply(&mut self, event: Arc<Event>) {
        debug_assert!(event.revision >= self.revision);
        match &event.current {
            Some(entry) => {
                self.entries.replace(Keyed(entry.clone()));
            }
            None => {
                self.entries.remove(event.key().as_ref());
            }
        }
        self.revision = event.revision;
        self.past += replaced(&event);
        self.history.push_back(event);
        while (self.history.len() > self.window || self.past > PAST)
            && let Some(gone) = self.history.pop_front()
        {
            self.past -= replaced(&gone);
            self.oldest = gone.revision;
        }
    }

    fn check(&self, asked: Revision) -> Result<(), RevisionError> {
        if asked > self.revision {
            return Err(RevisionError::Future {
                asked,
                newest: self.revision,
            });
        }
        if asked < self.oldest {
            return Err(RevisionError::TooOld {
                asked,
                oldest: self.oldest,
            });
        }
        Ok(())
    }

    /// Changes after `from`, oldest first.
    pub(crate) fn since(&self, from: Revision) -> Result<VecDeque<Arc<Event>>, RevisionError> {
        self.check(from)?;
        let start = self.history.partition_point(|event| event.revision <= from);
        Ok(self.history.range(start..).cloned().collect())
    }

    pub(crate) fn list(
        &self,
        prefix: &str,
        at: Option<Revision>,
    ) -> Result<Listing, RevisionError> {
        let at = at.unwrap_or(self.revision);
        self.check(at)?;
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let now = self
            .entries
            .range::<str, _>(range)
            .take_while(|keyed| keyed.0.key.starts_with(prefix))
            .map(|keyed| keyed.0.clone());
        if at == self.revision {
            return Ok(Listing {
                revision: at,
                entries: now.collect(),
            });
        }
        // Walk back from now, undoing each later change.
        let mut keys: BTreeMap<Arc<str>, Entry> = now.map(|e| (e.key.clone(), e)).collect();
        for event in self
            .history
            .iter()
            .rev()
            .take_while(|event| event.revision > at)
        {
            if !event.key().starts_with(prefix) {
                continue;
            }
            match &event.previous {
                Some(entry) => {
                    keys.insert(entry.key.clone(), entry.clone());
                }
                None => {
                    keys.remove(event.key());
                }
            }
        }
        Ok(Listing {
            revision: at,
            entries: keys.into_values().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(key: &str, value: &'static str, created: Revision, modified: Revision) -> Entry {
        Entry {
            key: key.into(),
            value: Bytes::from_static(value.as_bytes()),
            created,
            modified,
        }
    }

    /// a created at 1, b created at 2, a changed at 3, b deleted at 4, c created at 5.
    fn index(window: usize) -> Index {
        let mut index = Index::new(0, vec![], window);
        let a1 = entry("/p/a", "1", 1, 1);
        let b2 = entry("/p/b", "2", 2, 2);
        let a3 = entry("/p/a", "3", 1, 3);
        let c5 = entry("/q/c", "5", 5, 5);
        for (revision, current, previous) in [
            (1, Some(a1.clone()), None),
            (2, Some(b2.clone()), None),
            (3, Some(a3), Some(a1)),
            (4, None, Some(b2)),
            (5, Some(c5), None),
        ] {
            index.apply(Arc::new(Event {
                revision,
                current,
                previous,
            }));
        }
        index
    }

    fn seen(index: &Index, prefix: &str, at: Revision) -> String {
        let listing = index.list(prefix, Some(at)).expect("in window");
        let values: Vec<_> = listing
            .entries
            .iter()
            .map(|e| String::from_utf8_lossy(&e.value).into_owned())
            .collect();
        values.join(",")
    }

    #[test]
    fn every_revision_in_the_window_can_be_listed_again() {
        let index = index(100);
        let all: Vec<_> = (0..=5).map(|at| seen(&index, "/", at)).collect();
        assert_eq!(all, ["", "1", "1,2", "3,2", "3", "3,5"]);
        assert_eq!(seen(&index, "/p/", 5), "3");
        assert_eq!(seen(&index, "/p/", 2), "1,2");
    }

    #[test]
    fn compacted_and_future_revisions_are_told_apart() {
        let index = index(2);
        assert_eq!(
            index.list("/", Some(2)).map(|l| l.revision),
            Err(RevisionError::TooOld {
                asked: 2,
                oldest: 3
            })
        );
        assert_eq!(seen(&index, "/", 3), "3,2");
        assert_eq!(
            index.since(6).map(|e| e.len()),
            Err(RevisionError::Future {
                asked: 6,
                newest: 5
            })
        );
        let revisions: Vec<_> = index
            .since(3)
            .expect("in window")
            .iter()
            .map(|e| e.revision)
            .collect();
        assert_eq!(revisions, [4, 5]);
        assert!(index.since(5).expect("now").is_empty());
    }

    #[test]
    fn revisions_that_others_used_up_lose_nothing() {
        let mut index = Index::new(10, vec![], 2);
        for revision in [14, 20, 21] {
            let key = format!("/p/{revision}");
            index.apply(Arc::new(Event {
                revision,
                current: Some(entry(&key, "x", revision, revision)),
                previous: None,
            }));
        }
        let since = |from| {
            let events = index.since(from).expect("in window");
            events.iter().map(|e| e.revision).collect::<Vec<_>>()
        };
        assert_eq!(since(14), [20, 21]);
        assert_eq!(since(17), [20, 21]);
        assert_eq!(since(20), [21]);
        assert_eq!(seen(&index, "/", 19), "x");
        let too_old = RevisionError::TooOld {
            asked: 13,
            oldest: 14,
        };
        assert_eq!(index.since(13).err(), Some(too_old));
    }
}
