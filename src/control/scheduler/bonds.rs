//! What placed pods demand or wish of their neighbours, counted by demand: a pod to be
//! placed is compared with each demand once, not with each pod.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ask::{Ask, Term};

/// How strong a bond is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bond {
    /// Must be apart.
    Apart,
    /// Had to be near when placed; counts as a small wish from then on.
    Near,
    /// Weight of a wish; negative ones keep apart.
    Wish(i32),
}

impl Bond {
    /// What it adds to the score of a node near the pod that has it.
    pub fn weight(self) -> i64 {
        match self {
            Bond::Apart => 0,
            // Upstream's hardPodAffinityWeight.
            Bond::Near => 1,
            Bond::Wish(weight) => i64::from(weight),
        }
    }
}

/// The bonds of a pod.
pub fn of(ask: &Ask) -> impl Iterator<Item = (Bond, &Arc<Term>)> {
    let apart = ask.apart.iter().map(|t| (Bond::Apart, t));
    let near = ask.near.iter().map(|t| (Bond::Near, t));
    let wishes = ask.wishes.iter().map(|(w, t)| (Bond::Wish(*w), t));
    apart.chain(near).chain(wishes)
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Bonds(HashMap<(Bond, Arc<Term>), HashMap<usize, u32>>);

impl Bonds {
    /// A pod came to stand on a node, or stands there no more.
    pub fn change(&mut self, ask: &Ask, slot: usize, up: bool) {
        for (bond, term) in of(ask) {
            let key = (bond, term.clone());
            if up {
                *self.0.entry(key).or_default().entry(slot).or_default() += 1;
                continue;
            }
            let Some(by_slot) = self.0.get_mut(&key) else {
                continue;
            };
            if let Some(n) = by_slot.get_mut(&slot) {
                *n -= 1;
                if *n == 0 {
                    by_slot.remove(&slot);
                }
            }
            if by_slot.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Every bond with how many pods of each node have it.
    pub fn iter(&self) -> impl Iterator<Item = (Bond, &Term, &HashMap<usize, u32>)> {
        self.0
            .iter()
            .map(|((bond, term), by_slot)| (*bond, term.as_ref(), by_slot))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
