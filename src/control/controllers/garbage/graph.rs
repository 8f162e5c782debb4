//! Who owns whom: what changes of objects ask the collector to look at. Pure.
//!
//! An object's owners are named by uid. The graph knows every object the collector watches,
//! and for each uid who says to be owned by it, also when that owner was never seen.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cadet_api::meta::OwnerReference;

/// A uid, 128 bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u128);

impl Uid {
    /// Reads a UUID; anything else is hashed.
    pub fn of(text: &str) -> Uid {
        let digits = text.bytes().filter(|b| *b != b'-');
        let read = digits.clone().try_fold(0_u128, |n, b| {
            Some(n << 4 | u128::from(char::from(b).to_digit(16)?))
        });
        match read.filter(|_| digits.count() == 32) {
            Some(number) => Uid(number),
            // FNV-1a.
            None => Uid(text
                .bytes()
                .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |n, b| {
                    (n ^ u128::from(b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
                })),
        }
    }
}

/// What the graph is told of an object.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub uid: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub owners: &'a [OwnerReference],
    pub deleting: bool,
    /// Has the finalizer that holds it until what it owns is gone.
    pub foreground: bool,
    /// Has the finalizer that holds it until what it owns is let go of.
    pub orphan: bool,
}

/// Number of a watched kind.
pub type KindNumber = u16;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub kind: KindNumber,
    pub namespace: Arc<str>,
    pub name: Box<str>,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    owners: Vec<Owned>,
    pub deleting: bool,
    /// Being deleted, and held until what it owns is gone.
    pub foreground: bool,
    /// Being deleted, and held until what it owns is let go of.
    pub orphaning: bool,
}

/// One owner of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owned {
    by: Uid,
    /// The owner must not go before this.
    blocks: bool,
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Does it still have an owner? Is it held for nothing?
    Check(Uid),
    /// What it owns is to be let go of.
    Orphan(Uid),
}

#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
    namespaces: HashMap<Box<str>, Arc<str>>,
}

impl Graph {
    pub fn get(&self, uid: Uid) -> Option<&Node> {
        self.nodes.get(&uid)
    }

    /// Whether every owner it names is there, and none waits for it: nothing to ask for.
    pub fn is_settled(&self, node: &Node) -> bool {
        node.owners.iter().all(|owned| {
            let owner = self.nodes.get(&owned.by);
            owner.is_some_and(|owner| {
                let near = owner.place.namespace.is_empty()
                    || owner.place.namespace == node.place.namespace;
                near && !owner.foreground
            })
        })
    }

    /// Who says to be owned by it.
    pub fn dependents(&self, uid: Uid) -> Vec<Uid> {
        self.dependents
            .get(&uid)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// Those of them without whom it must not go.
    pub fn blockers(&self, uid: Uid) -> Vec<Uid> {
        let blocks = |dependent: &Uid| {
            let node = self.nodes.get(dependent);
            node.is_some_and(|node| node.owners.iter().any(|o| o.by == uid && o.blocks))
        };
        let mut all = self.dependents(uid);
        all.retain(blocks);
        all
    }

    /// An object is there, or has changed.
    pub fn put(&mut self, kind: KindNumber, facts: Facts<'_>) -> Vec<Work> {
        let uid = Uid::of(facts.uid);
        let owners = facts.owners.iter().map(|owner| Owned {
            by: Uid::of(&owner.uid),
            blocks: owner.block_owner_deletion,
        });
        let node = Node {
            place: Place {
                kind,
                namespace: self.namespace(facts.namespace),
                name: facts.name.into(),
            },
            owners: owners.collect(),
            deleting: facts.deleting,
            foreground: facts.deleting && facts.foreground,
            orphaning: facts.deleting && facts.orphan,
        };
        let mut work = Vec::new();
        let old = self.nodes.get(&uid);
        let before = old.map(|old| old.owners.as_slice()).unwrap_or_default();
        let (left, come): (Vec<Owned>, Vec<Owned>) = (
            before
                .iter()
                .filter(|o| !node.owners.contains(o))
                .copied()
                .collect(),
            node.owners
                .iter()
                .filter(|o| !before.contains(o))
                .copied()
                .collect(),
        );
        let begins_foreground = node.foreground && old.is_none_or(|old| !old.foreground);
        if node.orphaning && old.is_none_or(|old| !old.orphaning) {
            work.push(Work::Orphan(uid));
        }
        for owned in left {
            let owner = self.nodes.get(&owned.by);
            // Perhaps this was the last that held it.
            if owner.is_some_and(|owner| owner.foreground) {
                work.push(Work::Check(owned.by));
            }
            if !node.owners.iter().any(|o| o.by == owned.by) {
                self.release(owned.by, uid);
            }
        }
        let was_here = self.nodes.insert(uid, node).is_some();
        for owned in come {
            self.dependents.entry(owned.by).or_default().insert(uid);
            match self.nodes.get(&owned.by) {
                None => work.push(Work::Check(uid)),
                Some(owner) if owner.foreground => {
                    work.push(Work::Check(uid));
                }
                Some(_) => {}
            }
        }
        if begins_foreground {
            work.extend(self.dependents(uid).into_iter().map(Work::Check));
            work.push(Work::Check(uid));
        }
        // Who was thought to have no owner has one now.
        if !was_here {
            let waiting = self.dependents(uid).into_iter();
            work.extend(waiting.map(Work::Check));
        }
        work
    }

    /// An object is gone.
    pub fn remove(&mut self, uid: Uid) -> Vec<Work> {
        let mut work = Vec::new();
        if let Some(node) = self.nodes.remove(&uid) {
            for owned in node.owners {
                self.release(owned.by, uid);
                if self
                    .nodes
                    .get(&owned.by)
                    .is_some_and(|owner| owner.foreground)
                {
                    work.push(Work::Check(owned.by));
                }
            }
        }
        work.extend(self.dependents(uid).into_iter().map(Work::Check));
        work
    }

    /// A kind was listed as a whole: what was there of it and is not in `listed` is gone.
    pub fn keep_only(&mut self, kind: KindNumber, listed: &BTreeSet<Uid>) -> Vec<Work> {
        let gone: Vec<Uid> = self
            .nodes
            .iter()
            .filter(|(uid, node)| node.place.kind == kind && !listed.contains(uid))
            .map(|(uid, _)| *uid)
            .collect();
        gone.into_iter().flat_map(|uid| self.remove(uid)).collect()
    }

    fn release(&mut self, owner: Uid, dependent: Uid) {
        if let Some(all) = self.dependents.get_mut(&owner) {
            all.remove(&dependent);
            if all.is_empty() {
                self.dependents.remove(&owner);
            }
        }
    }

    /// Names of namespaces are kept once.
    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return Arc::clone(known);
        }
        let kept: Arc<str> = name.into();
        self.namespaces.insert(name.into(), Arc::clone(&kept));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    /// An object named by its uid, its owners and whether they wait for it, and which
    /// finalizer holds it while it is deleted.
    fn put(graph: &mut Graph, uid: &str, owners: &[(&str, bool)], held: Option<&str>) -> Vec<Work> {
        let owners: Vec<OwnerReference> = owners
            .iter()
            .map(|(uid, blocks)| OwnerReference {
                uid: (*uid).to_owned(),
                block_owner_deletion: *blocks,
                ..OwnerReference::default()
            })
            .collect();
        let facts = Facts {
            uid,
            namespace: "d",
            name: uid,
            owners: &owners,
            deleting: held.is_some(),
            foreground: held == Some("foreground"),
            orphan: held == Some("orphan"),
        };
        graph.put(0, facts)
    }

    fn check(uid: &str) -> Work {
        Work::Check(Uid::of(uid))
    }

    #[test]
    fn uids_are_numbers_whatever_they_are() {
        let uid = Uid::of("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
        assert_eq!(uid.0, 0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);
        assert_ne!(Uid::of("a"), Uid::of("b"));
    }

    #[test]
    fn dependents_of_who_goes_are_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(put(&mut graph, "a", &[], None), []);
        assert_eq!(put(&mut graph, "b", &[("a", true)], None), []);
        assert_eq!(
            put(&mut graph, "c", &[("never", false)], None),
            [check("c")]
        );
        assert!(graph.is_settled(graph.get(Uid::of("b")).unwrap()));
        assert!(!graph.is_settled(graph.get(Uid::of("c")).unwrap()));
        assert_eq!(graph.remove(Uid::of("a")), [check("b")]);
        assert_eq!(
            put(&mut graph, "never", &[], None),
            [check("c")],
            "there after all"
        );
        assert_eq!(put(&mut graph, "c", &[], None), []);
        assert_eq!(graph.remove(Uid::of("never")), []);
    }

    #[test]
    fn who_waits_for_dependents_is_looked_at_when_they_go_or_let_it_go() {
        let mut graph = Graph::default();
        put(&mut graph, "a", &[], None);
        put(&mut graph, "b", &[("a", true)], None);
        put(&mut graph, "c", &[("a", false)], None);
        let work = put(&mut graph, "a", &[], Some("foreground"));
        assert_eq!(work.len(), 3);
        assert!(
            [check("a"), check("b"), check("c")]
                .iter()
                .all(|w| work.contains(w))
        );
        assert_eq!(put(&mut graph, "a", &[], Some("foreground")), [], "once");
        assert_eq!(graph.blockers(Uid::of("a")), [Uid::of("b")]);
        // It blocks no more.
        let work = put(&mut graph, "b", &[("a", false)], None);
        assert_eq!(work, [check("a"), check("b")]);
        assert!(graph.blockers(Uid::of("a")).is_empty());
        assert_eq!(graph.remove(Uid::of("b")), [check("a")]);
        assert_eq!(graph.dependents(Uid::of("a")), [Uid::of("c")]);
    }

    #[test]
    fn orphaning_begins_once() {
        let mut graph = Graph::default();
        assert_eq!(
            put(&mut graph, "a", &[], Some("orphan")),
            [Work::Orphan(Uid::of("a"))]
        );
        assert_eq!(put(&mut graph, "a", &[], Some("orphan")), []);
    }

    #[test]
    fn a_new_list_shows_what_is_gone() {
        let mut graph = Graph::default();
        for (uid, owners) in [("a", &[][..]), ("x", &[]), ("b", &[("a", true)])] {
            put(&mut graph, uid, owners, None);
        }
        let listed = BTreeSet::from([Uid::of("x"), Uid::of("b")]);
        assert_eq!(graph.keep_only(0, &listed), [check("b")]);
        assert!(graph.get(Uid::of("a")).is_none() && graph.get(Uid::of("x")).is_some());
    }
}
