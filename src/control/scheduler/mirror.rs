//! Objects as a watch tells them: complete after its first list, and replaced as a whole
//! when the watch starts over.

use std::collections::{HashMap, HashSet};

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// `namespace/name`, or `/name`.
pub fn name_of<K: ResourceExt>(o: &K) -> String {
    full_name(&o.namespace().unwrap_or_default(), &o.name_any())
}

/// `namespace/name`.
pub fn full_name(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// What is kept of each object, by full name.
#[derive(Debug)]
pub struct Mirror<V> {
    now: HashMap<String, V>,
    /// Names listed since the watch began anew.
    listed: Option<HashSet<String>>,
    complete: bool,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Mirror {
            now: HashMap::new(),
            listed: None,
            complete: false,
        }
    }
}

impl<V> Mirror<V> {
    /// Takes in one message of the watch; `keep` picks what is kept of an object. Returns
    /// the names of the objects that are new, different or gone.
    pub fn apply<K: ResourceExt>(
        &mut self,
        event: Event<K>,
        keep: impl FnOnce(K) -> V,
    ) -> Vec<String> {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitDone => {
                self.complete = true;
                let Some(listed) = self.listed.take() else {
                    return vec![];
                };
                let gone = self.now.keys().filter(|name| !listed.contains(*name));
                let gone: Vec<String> = gone.cloned().collect();
                for name in &gone {
                    self.now.remove(name);
                }
                return gone;
            }
            Event::InitApply(o) | Event::Apply(o) => {
                let name = name_of(&o);
                if let Some(listed) = &mut self.listed {
                    listed.insert(name.clone());
                }
                self.now.insert(name.clone(), keep(o));
                return vec![name];
            }
            Event::Delete(o) => {
                let name = name_of(&o);
                self.now.remove(&name);
                return vec![name];
            }
        }
        vec![]
    }

    /// Whether the first list has arrived.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    pub fn get(&self, name: &str) -> Option<&V> {
        self.now.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.now.iter().map(|(name, v)| (name.as_str(), v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Namespace;

    #[test]
    fn what_a_new_list_does_not_have_is_gone() {
        let ns = |name: &str| {
            let mut n = Namespace::default();
            n.metadata.name = Some(name.into());
            n
        };
        let mut m = Mirror::default();
        for e in [
            Event::Init,
            Event::InitApply(ns("a")),
            Event::InitDone,
            Event::Apply(ns("b")),
        ] {
            m.apply(e, |_| ());
        }
        assert!(m.is_complete() && m.get("/a").is_some());
        m.apply(Event::Init, |_: Namespace| ());
        m.apply(Event::InitApply(ns("c")), |_| ());
        assert_eq!(
            m.iter().count(),
            3,
            "the old picture holds until the new is complete"
        );
        let mut gone = m.apply(Event::InitDone, |_: Namespace| ());
        gone.sort();
        assert_eq!(gone, ["/a", "/b"]);
        assert_eq!(m.apply(Event::Delete(ns("c")), |_| ()), ["/c"]);
        assert_eq!(m.iter().count(), 0);
    }
}
