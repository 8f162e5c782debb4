//! A set of objects as a watch tells it: complete after its first list, and replaced as a
//! whole when the watch starts over.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// Objects by `namespace/name`.
#[derive(Debug)]
pub struct Mirror<K> {
    now: BTreeMap<String, K>,
    coming: BTreeMap<String, K>,
    complete: bool,
}

impl<K> Default for Mirror<K> {
    fn default() -> Self {
        Mirror {
            now: BTreeMap::new(),
            coming: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<K: ResourceExt> Mirror<K> {
    /// Takes in one message of the watch.
    pub fn apply(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.coming.clear(),
            Event::InitApply(o) => {
                self.coming.insert(key(&o), o);
            }
            Event::InitDone => {
                self.now = std::mem::take(&mut self.coming);
                self.complete = true;
            }
            Event::Apply(o) => {
                self.now.insert(key(&o), o);
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

    /// The objects.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
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
            m.apply(e);
        }
        assert!(m.is_complete());
        m.apply(Event::Init);
        m.apply(Event::InitApply(ns("c")));
        assert_eq!(names(&m), ["a", "b"]);
        m.apply(Event::InitDone);
        assert_eq!(names(&m), ["c"]);
        m.apply(Event::Delete(ns("c")));
        assert!(names(&m).is_empty());
    }
}
