//! What a watch has listed, so that what went unseen while it was interrupted is noticed.

use std::collections::HashSet;

use kube::runtime::watcher::Event;

/// Which objects a watch has listed since it started over.
pub(super) struct Listing<K> {
    seen: Option<HashSet<K>>,
    /// Whether there has been a whole list.
    pub(super) complete: bool,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self {
            seen: None,
            complete: false,
        }
    }
}

/// One object, or all that are known and were not listed.
pub(super) enum Step<O> {
    Set(O),
    Gone(O),
    Rest,
    Nothing,
}

impl<K: std::hash::Hash + Eq> Listing<K> {
    /// What a message amounts to.
    pub(super) fn step<O>(&mut self, event: Event<O>, key: impl Fn(&O) -> K) -> Step<O> {
        match event {
            Event::Init => {
                self.seen = Some(HashSet::new());
                Step::Nothing
            }
            Event::InitApply(object) => {
                self.seen.get_or_insert_default().insert(key(&object));
                Step::Set(object)
            }
            Event::InitDone => {
                self.complete = true;
                Step::Rest
            }
            Event::Apply(object) => Step::Set(object),
            Event::Delete(object) => Step::Gone(object),
        }
    }

    /// Those of `known` that the list did not have.
    pub(super) fn rest(&mut self, known: impl Iterator<Item = K>) -> Vec<K> {
        let seen = self.seen.take().unwrap_or_default();
        known.filter(|key| !seen.contains(key)).collect()
    }
}
