//! One transaction as text for `nft -f`, in an order the kernel can take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::{Backend, Item, PoolKey, Slots, TABLE};

/// A chain's hook, if it has one, and its rules.
type Chain = (Option<Arc<str>>, Arc<str>);

/// Statements by the order in which the kernel can take them: a thing is there before it
/// is named, and no longer named when it goes.
#[derive(Default)]
pub(super) struct Transaction {
    sets: BTreeMap<Arc<str>, Arc<str>>,
    chains: BTreeMap<Arc<str>, Chain>,
    gone_elements: BTreeMap<Arc<str>, Elements>,
    emptied: BTreeSet<Arc<str>>,
    elements: BTreeMap<Arc<str>, Elements>,
    gone_chains: BTreeSet<Arc<str>>,
    gone_sets: BTreeMap<Arc<str>, bool>,
}

/// The comma-separated elements of one statement.
#[derive(Default)]
struct Elements {
    text: String,
}

impl Elements {
    fn push(&mut self, element: fmt::Arguments<'_>) {
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(element);
    }
}

impl Transaction {
    pub(super) fn add(&mut self, item: &Item) {
        match item.clone() {
            Item::Set { name, declaration } => {
                self.sets.insert(name, declaration);
            }
            Item::Chain { name, hook, rules } => {
                self.chains.insert(name, (hook, rules));
            }
            Item::Element { set, key, value } => {
                let elements = self.elements.entry(set).or_default();
                match value {
                    Some(value) => elements.push(format_args!("{key} : {value}")),
                    None => elements.push(format_args!("{key}")),
                }
            }
        }
    }

    pub(super) fn delete(&mut self, item: &Item) {
        match item.clone() {
            Item::Set { name, declaration } => {
                self.gone_sets.insert(name, declaration.contains(" : "));
            }
            Item::Chain { name, .. } => {
                self.gone_chains.insert(name);
            }
            Item::Element { set, key, .. } => {
                let elements = self.gone_elements.entry(set).or_default();
                elements.push(format_args!("{key}"));
            }
        }
    }

    /// After all items: with a map goes what is in it.
    pub(super) fn pool(&mut self, key: &PoolKey, old: &[Backend], new: &[Backend]) {
        if self.gone_sets.contains_key(&key.map) {
            return;
        }
        let is_alone = !matches!(key.slots, Slots::After(_));
        let mut old = old;
        if is_alone && is_better_emptied(old, new) {
            self.emptied.insert(key.map.clone());
            old = &[];
        }
        for slot in 0..old.len().max(new.len()) {
            let (had, has) = (old.get(slot), new.get(slot));
            if had == has {
                continue;
            }
            let at = Slot(&key.slots, slot);
            if had.is_some() {
                let gone = self.gone_elements.entry(key.map.clone()).or_default();
                gone.push(format_args!("{at}"));
            }
            if let Some(Backend { ip, port }) = has {
                let here = self.elements.entry(key.map.clone()).or_default();
                match key.slots {
                    Slots::Addresses => here.push(format_args!("{at} : {ip}")),
                    _ => here.push(format_args!("{at} : {ip} . {port}")),
                }
            }
        }
    }

    pub(super) fn write(self) -> Option<String> {
        let mut out = String::new();
        let kind = |is_map: bool| if is_map { "map" } else { "set" };
        // Writing to a String cannot fail.
        for (name, declaration) in &self.sets {
            let kind = kind(declaration.contains(" : "));
            let _ = writeln!(out, "add {kind} {TABLE} {name} {{ {declaration}; }}");
        }
        for (name, (hook, _)) in &self.chains {
            let _ = match hook {
                Some(hook) => writeln!(out, "add chain {TABLE} {name} {{ {hook}; }}"),
                None => writeln!(out, "add chain {TABLE} {name}"),
            };
        }
        for (name, (_, rules)) in &self.chains {
            for rule in rules.lines() {
                let _ = writeln!(out, "add rule {TABLE} {name} {rule}");
            }
        }
        // The elements of a set that goes as a whole need no statement of their own, but
        // a map's may still name chains that go as well.
        for (name, elements) in &self.gone_elements {
            let _ = writeln!(out, "delete element {TABLE} {name} {{ {} }}", elements.text);
        }
        for name in &self.emptied {
            let _ = writeln!(out, "flush map {TABLE} {name}");
        }
        for (name, elements) in &self.elements {
            let _ = writeln!(out, "add element {TABLE} {name} {{ {} }}", elements.text);
        }
        // All are emptied first: they may lead to each other.
        for name in &self.gone_chains {
            let _ = writeln!(out, "flush chain {TABLE} {name}");
        }
        for name in &self.gone_chains {
            let _ = writeln!(out, "delete chain {TABLE} {name}");
        }
        for (name, is_map) in &self.gone_sets {
            let _ = writeln!(out, "delete {} {TABLE} {name}", kind(*is_map));
        }
        (!out.is_empty()).then_some(out)
    }
}

/// Whether to empty a map and put all of `new` in costs less than to take out one by one
/// what changes: an element that goes is about half of one that comes.
fn is_better_emptied(old: &[Backend], new: &[Backend]) -> bool {
    let stay = old.iter().zip(new).filter(|(had, has)| had == has).count();
    old.len() - stay > 2 * stay
}

/// Key of an element of a list.
struct Slot<'a>(&'a Slots, usize);

impl fmt::Display for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Slots::After(front) => write!(f, "{front} . {}", self.1),
            Slots::Addresses | Slots::Backends => self.1.fmt(f),
        }
    }
}
