//! What is known of a kind's objects, as a watch tells it: complete after its first list,
//! and replaced as a whole when the watch starts over.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

/// What is kept of each object, by its key.
#[derive(Debug)]
pub struct Listed<V> {
    now: BTreeMap<String, V>,
    coming: BTreeMap<String, V>,
    complete: bool,
}

impl<V> Default for Listed<V> {
    fn default() -> Self {
        Self {
            now: BTreeMap::new(),
            coming: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<V: PartialEq> Listed<V> {
    /// Takes in a message of objects with their keys, and tells whether what is known is
    /// different now.
    pub fn apply(&mut self, event: Event<(String, V)>) -> bool {
        match event {
            Event::Init => {
                self.coming.clear();
                false
            }
            Event::InitApply((key, value)) => {
                self.coming.insert(key, value);
                false
            }
            Event::InitDone => {
                let new = std::mem::take(&mut self.coming);
                let changed = !self.complete || new != self.now;
                self.now = new;
                self.complete = true;
                changed
            }
            Event::Apply((key, value)) => {
                let changed = self.now.get(&key) != Some(&value);
                self.now.insert(key, value);
                changed
            }
            Event::Delete((key, _)) => self.now.remove(&key).is_some(),
        }
    }

    /// Whether the first list has arrived.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is known, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &V)> {
        self.now.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_picture_holds_until_the_new_is_complete() {
        let mut listed = Listed::default();
        let object = |key: &str, value: u8| (key.to_owned(), value);
        assert!(!listed.apply(Event::Init));
        assert!(!listed.apply(Event::InitApply(object("a", 1))));
        assert!(!listed.is_complete() && listed.apply(Event::InitDone));
        assert!(!listed.apply(Event::Apply(object("a", 1))));
        assert!(listed.apply(Event::Apply(object("b", 2))));
        listed.apply(Event::Init);
        listed.apply(Event::InitApply(object("b", 2)));
        assert_eq!(listed.iter().count(), 2);
        assert!(listed.apply(Event::InitDone));
        let left: Vec<(&String, &u8)> = listed.iter().collect();
        assert_eq!(left, [(&"b".to_owned(), &2)]);
        assert!(listed.apply(Event::Delete(object("b", 2))));
        assert!(!listed.apply(Event::Delete(object("b", 2))));
    }
}
