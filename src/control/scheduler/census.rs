//! How many pods of some kind stand on each node. Spreading and affinity ask that for every
//! pod anew; counting all pods each time would cost more than everything else together, so
//! counts once asked for are kept true from then on.

use std::collections::HashMap;

use crate::ask::Ask;
use crate::labels::{Labels, Selector};

/// Kinds kept at most; those not asked for longest go first.
const KEPT: usize = 1024;
/// The namespace that stands for all of them.
pub const EVERYWHERE: &str = "";

/// Pods of one kind on one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub all: u32,
    /// Of these, being deleted.
    pub leaving: u32,
}

impl Count {
    /// Those that stay.
    pub fn staying(self) -> i64 {
        i64::from(self.all) - i64::from(self.leaving)
    }

    fn change(&mut self, leaving: bool, up: bool) {
        let step = |n: &mut u32| *n = if up { *n + 1 } else { n.saturating_sub(1) };
        step(&mut self.all);
        if leaving {
            step(&mut self.leaving);
        }
    }
}

#[derive(Debug)]
struct Kind {
    pods: Selector,
    by_slot: Vec<Count>,
    asked: u64,
}

impl Kind {
    fn at(&mut self, slot: usize) -> &mut Count {
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, Count::default());
        }
        &mut self.by_slot[slot]
    }
}

/// A placed pod as the census sees it.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    pub slot: usize,
    pub namespace: &'a str,
    pub labels: &'a Labels,
    pub leaving: bool,
}

impl<'a> Placed<'a> {
    pub fn of(ask: &'a Ask, slot: usize, leaving: bool) -> Placed<'a> {
        Placed {
            slot,
            namespace: &ask.namespace,
            labels: &ask.labels,
            leaving,
        }
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Census {
    by_namespace: HashMap<String, Vec<Kind>>,
    kinds: usize,
    clock: u64,
}

impl Census {
    /// Counts by slot (slots behind the end have none); `pods` are all placed pods, for a
    /// kind not asked for before.
    pub fn count<'a>(
        &mut self,
        namespace: &str,
        selector: &Selector,
        pods: impl Iterator<Item = Placed<'a>>,
    ) -> &[Count] {
        self.clock += 1;
        let known = self.by_namespace.get(namespace);
        let at = known.and_then(|kinds| kinds.iter().position(|kind| kind.pods == *selector));
        let at = match at {
            Some(at) => at,
            None => self.begin(namespace, selector, pods),
        };
        let Some(kind) = self
            .by_namespace
            .get_mut(namespace)
            .and_then(|kinds| kinds.get_mut(at))
        else {
            return &[];
        };
        kind.asked = self.clock;
        &kind.by_slot
    }

    fn begin<'a>(
        &mut self,
        namespace: &str,
        selector: &Selector,
        pods: impl Iterator<Item = Placed<'a>>,
    ) -> usize {
        if self.kinds >= KEPT {
            self.drop_old();
        }
        let mut kind = Kind {
            pods: selector.clone(),
            by_slot: Vec::new(),
            asked: self.clock,
        };
        for pod in pods {
            if (namespace == EVERYWHERE || pod.namespace == namespace)
                && selector.matches(pod.labels)
            {
                kind.at(pod.slot).change(pod.leaving, true);
            }
        }
        self.kinds += 1;
        let kinds = self.by_namespace.entry(namespace.to_owned()).or_default();
        kinds.push(kind);
        kinds.len() - 1
    }

    /// Half of the kinds: so it does not happen again soon.
    fn drop_old(&mut self) {
        let mut asked: Vec<u64> = self
            .by_namespace
            .values()
            .flatten()
            .map(|k| k.asked)
            .collect();
        asked.sort_unstable();
        let line = asked.get(asked.len() / 2).copied().unwrap_or(0);
        for kinds in self.by_namespace.values_mut() {
            kinds.retain(|kind| kind.asked > line);
        }
        self.by_namespace.retain(|_, kinds| !kinds.is_empty());
        self.kinds = self.by_namespace.values().map(Vec::len).sum();
    }

    /// A pod came to stand on a node (`up`) or stands there no more.
    pub fn change(&mut self, pod: Placed<'_>, up: bool) {
        for namespace in [pod.namespace, EVERYWHERE] {
            for kind in self.by_namespace.get_mut(namespace).into_iter().flatten() {
                if kind.pods.matches(pod.labels) {
                    kind.at(pod.slot).change(pod.leaving, up);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(app: &str) -> Labels {
        Labels::from([("app".into(), app.into())])
    }

    #[test]
    fn counts_stay_true() {
        let mut census = Census::default();
        let (web, db) = (labels("web"), labels("db"));
        let at = |slot, namespace, labels, leaving| Placed {
            slot,
            namespace,
            labels,
            leaving,
        };
        let placed = [
            at(0, "a", &web, false),
            at(2, "b", &web, true),
            at(2, "a", &db, false),
        ];
        let is_web = Selector::of_map(&web);
        let here = census.count("a", &is_web, placed.into_iter()).to_vec();
        assert_eq!(here.iter().map(|c| c.all).collect::<Vec<_>>(), [1]);
        let all = census.count(EVERYWHERE, &is_web, placed.into_iter());
        assert_eq!((all[0].all, all[2].all, all[2].staying()), (1, 1, 0));
        census.change(at(1, "a", &web, false), true);
        census.change(at(0, "a", &web, false), false);
        census.change(at(0, "a", &db, false), true);
        // Pods are counted once only: from now on changes are enough.
        let here = census.count("a", &is_web, std::iter::empty());
        assert_eq!(here.iter().map(|c| c.all).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn kinds_nobody_asks_for_go() {
        let mut census = Census::default();
        for n in 0..=KEPT {
            census.count(
                "a",
                &Selector::of_map(&labels(&n.to_string())),
                std::iter::empty(),
            );
        }
        assert!(census.kinds <= KEPT / 2 + 1);
        let newest = Selector::of_map(&labels(&KEPT.to_string()));
        assert!(census.by_namespace["a"].iter().any(|k| k.pods == newest));
    }
}
