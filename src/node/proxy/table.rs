//! The nftables table as values, and the one transaction that leads from what the kernel
//! has to what is wanted.
//!
//! Everything is named by its content (a chain `pick-tcp-3` has the same rule wherever it is
//! used), so nothing is ever changed in place: things are counted, and appear with their
//! first owner and go with their last. Lists of endpoints are kept as lists, because one
//! of them may have thousands of entries of which one changes.

mod transaction;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use transaction::Transaction;

/// Family and name of the one table.
pub const TABLE: &str = "ip cadet";

/// A transport protocol Services know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// From the API's word; absent means TCP.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP" | "") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Where a connection is sent: address and port of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Backend {
    pub ip: Ipv4Addr,
    pub port: u16,
}

/// Key of an element.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Ip(Ipv4Addr),
    Text(Box<str>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// One thing in the table. Two owners that want the same thing share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// A set or map; a declaration with a `:` makes a map.
    Set {
        name: Arc<str>,
        declaration: Arc<str>,
    },
    /// A chain: its hook if the kernel calls it, and its rules, one a line.
    Chain {
        name: Arc<str>,
        hook: Option<Arc<str>>,
        rules: Arc<str>,
    },
    /// An element of a set, or with a value of a map.
    Element {
        set: Arc<str>,
        key: Key,
        value: Option<Arc<str>>,
    },
}

impl Item {
    /// An element of a map.
    #[must_use]
    pub fn entry(set: &str, key: String, value: &str) -> Self {
        Self::Element {
            set: set.into(),
            key: Key::Text(key.into()),
            value: Some(value.into()),
        }
    }

    /// An element of a set.
    #[must_use]
    pub fn member(set: &str, key: Key) -> Self {
        Self::Element {
            set: set.into(),
            key,
            value: None,
        }
    }

    /// A chain other chains and maps lead to.
    #[must_use]
    pub fn chain(name: &str, rules: &str) -> Self {
        Self::Chain {
            name: name.into(),
            hook: None,
            rules: rules.into(),
        }
    }

    /// A set or map.
    #[must_use]
    pub fn set(name: &str, declaration: &str) -> Self {
        Self::Set {
            name: name.into(),
            declaration: declaration.into(),
        }
    }
}

/// Names a list of endpoints: the map it stands in, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    pub map: Arc<str>,
    pub slots: Slots,
}

/// What the elements of a list of endpoints are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slots {
    /// The map has other lists too. This comes before the slot in the keys of this one,
    /// e.g. `10.96.0.1 . 80`.
    After(Box<str>),
    /// The map has only this list: keys are slots, values are addresses.
    Addresses,
    /// The map has only this list: keys are slots, values are addresses and ports.
    Backends,
}

/// What one owner (a Service, a policy, a pod) puts into the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    pub items: BTreeSet<Item>,
    pub pools: BTreeMap<PoolKey, Vec<Backend>>,
}

/// Puts `wanted` in an order in which as many as possible stay where `old` has them: gaps
/// are filled with newcomers, then from the end.
#[must_use]
pub fn arrange(old: &[Backend], wanted: &BTreeSet<Backend>) -> Vec<Backend> {
    let mut slots: Vec<Option<Backend>> = old
        .iter()
        .map(|backend| wanted.contains(backend).then_some(*backend))
        .collect();
    let known: BTreeSet<Backend> = slots.iter().flatten().copied().collect();
    let mut fresh = wanted.difference(&known).copied();
    for slot in &mut slots {
        if slot.is_none() {
            *slot = fresh.next();
        }
    }
    slots.extend(fresh.map(Some));
    let mut at = 0;
    while at < slots.len() {
        if slots[at].is_some() {
            at += 1;
        } else {
            slots.swap_remove(at);
        }
    }
    slots.into_iter().flatten().collect()
}

/// The table as wanted, and what of it the kernel does not have yet.
#[derive(Debug, Default)]
pub struct Table {
    items: HashMap<Item, u32>,
    pools: HashMap<PoolKey, Vec<Backend>>,
    /// Items changed since the last commit, and whether the kernel has them.
    touched: BTreeMap<Item, bool>,
    /// Lists changed since the last commit, as the kernel has them.
    before: BTreeMap<PoolKey, Vec<Backend>>,
}

impl Table {
    /// One more owner of `item`.
    pub fn add(&mut self, item: Item) {
        let count = self.items.entry(item.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.touched.entry(item).or_insert(false);
        }
    }

    /// One owner of `item` less.
    pub fn remove(&mut self, item: &Item) {
        let Entry::Occupied(mut entry) = self.items.entry(item.clone()) else {
            return;
        };
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            let (item, _) = entry.remove_entry();
            self.touched.entry(item).or_insert(true);
        }
    }

    /// Replaces what an owner has by what it shall have.
    pub fn replace(&mut self, old: &Fragment, new: &Fragment) {
        self.release(old, new);
        self.claim(old, new);
    }

    /// Takes away what an owner shall have no longer. Of several owners all come first here,
    /// then all in [`Table::claim`]: a list may go from one to the other.
    pub fn release(&mut self, old: &Fragment, new: &Fragment) {
        for item in old.items.difference(&new.items) {
            self.remove(item);
        }
        for key in old.pools.keys() {
            if !new.pools.contains_key(key) {
                self.touch_pool(key);
                self.pools.remove(key);
            }
        }
    }

    /// Adds what an owner did not have.
    pub fn claim(&mut self, old: &Fragment, new: &Fragment) {
        for item in new.items.difference(&old.items) {
            self.add(item.clone());
        }
        for (key, list) in &new.pools {
            if old.pools.get(key) != Some(list) {
                self.touch_pool(key);
                self.pools.insert(key.clone(), list.clone());
            }
        }
    }

    fn touch_pool(&mut self, key: &PoolKey) {
        if !self.before.contains_key(key) {
            let now = self.pools.get(key).cloned().unwrap_or_default();
            self.before.insert(key.clone(), now);
        }
    }

    /// The transaction that brings the kernel up to date, if anything has changed since
    /// the last one. Whoever takes it and fails must go on with [`Table::whole`].
    pub fn commit(&mut self) -> Option<String> {
        let mut text = Transaction::default();
        for (item, had) in std::mem::take(&mut self.touched) {
            let has = self.items.contains_key(&item);
            match (had, has) {
                (false, true) => text.add(&item),
                (true, false) => text.delete(&item),
                _ => {}
            }
        }
        for (key, old) in std::mem::take(&mut self.before) {
            let new = self.pools.get(&key).map_or(&[][..], Vec::as_slice);
            text.pool(&key, &old, new);
        }
        text.write()
    }

    /// Everything, for a table that has just been made.
    pub fn whole(&mut self) -> String {
        self.touched.clear();
        self.before.clear();
        let mut text = Transaction::default();
        for item in self.items.keys() {
            text.add(item);
        }
        for (key, list) in &self.pools {
            text.pool(key, &[], list);
        }
        text.write().unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
