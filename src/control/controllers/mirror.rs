//! What a controller wants to know of a set of objects, as a watch tells it: complete after
//! its first list, and replaced as a whole when the watch starts over.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// What is kept of each object, by `namespace/name`.
#[derive(Debug)]
pub struct Mirror<V> {
    now: BTreeMap<String, V>,
    coming: BTreeMap<String, V>,
    complete: bool,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Mirror {
            now: BTreeMap::new(),
            coming: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<V> Mirror<V> {
    /// Takes in one message of the watch; `keep` picks what is kept of an object.
    pub fn apply<K: ResourceExt>(&mut self, event: Event<K>, keep: impl FnOnce(K) -> V) {
        match event {
            Event::Init => self.coming.clear(),
            Event::InitApply(o) => {
                self.coming.insert(key(&o), keep(o));
            }
            Event::InitDone => {
                self.now = std::mem::take(&mut self.coming);
                self.complete = true;
            }
            Event::Apply(o) => {
                self.now.insert(key(&o), keep(o));
            }
            Event::Delete(o) => {
                self.now.remove(&key(&o));
            }
        }
    }

    /// Whether the first list has arrived.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is kept, in the order of namespaces and names.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.now.values()
    }
}

fn key<K: ResourceExt>(o: &K) -> String {
    format!("{}/{}", o.namespace().unwrap_or_default(), o.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Namespace;

    fn ns(name: &str) -> Namespace {
        let mut n = Namespace::default();
        n.metadata.name = Some(name.into());
        n
    }

    #[test]
    fn the_old_picture_holds_until_the_new_is_complete() {
        let mut m = Mirror::default();
        let names = |m: &Mirror<Namespace>| m.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        for e in [
            Event::Init,
            Event::InitApply(ns("a")),
            Event::InitDone,
            Event::Apply(ns("b")),
        ] {
            m.apply(e, |n| n);
        }
        assert!(m.is_complete());
        m.apply(Event::Init, |n: Namespace| n);
        m.apply(Event::InitApply(ns("c")), |n| n);
        assert_eq!(names(&m), ["a", "b"]);
        m.apply(Event::InitDone, |n: Namespace| n);
        assert_eq!(names(&m), ["c"]);
        m.apply(Event::Delete(ns("c")), |n| n);
        assert!(names(&m).is_empty());
    }
}
