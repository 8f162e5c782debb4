//! Which nodes are together, by the value of a label: numbers instead of names, so that
//! sums over all nodes are sums over arrays.

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::Node;

/// The number of no place: the node lacks the label, or does not exist.
pub const NOWHERE: u32 = u32::MAX;

/// The values of one label.
#[derive(Debug, Default)]
pub struct Topology {
    /// Number of the value of each node, by slot.
    pub of: Vec<u32>,
    /// How many values there are.
    pub places: usize,
}

impl Topology {
    fn new(key: &str, nodes: &[Node]) -> Topology {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut of = Vec::with_capacity(nodes.len());
        for node in nodes {
            let value = node.facts.as_ref().and_then(|f| f.labels.get(key));
            let number = value.map(|value| {
                let next = u32::try_from(numbers.len()).unwrap_or(NOWHERE);
                *numbers.entry(value.as_str()).or_insert(next)
            });
            of.push(number.unwrap_or(NOWHERE));
        }
        Topology {
            places: numbers.len(),
            of,
        }
    }

    /// The place of a node, if it has one.
    pub fn place(&self, slot: usize) -> Option<usize> {
        let number = self.of.get(slot).copied().unwrap_or(NOWHERE);
        usize::try_from(number).ok().filter(|n| *n < self.places)
    }
}

/// Topologies by label, made when first asked for and until a node's labels change.
#[derive(Debug, Default)]
pub struct Topologies(HashMap<String, Arc<Topology>>);

impl Topologies {
    /// The topology of a label.
    pub fn get(&mut self, key: &str, nodes: &[Node]) -> Arc<Topology> {
        if let Some(known) = self.0.get(key) {
            return known.clone();
        }
        let made = Arc::new(Topology::new(key, nodes));
        self.0.insert(key.to_owned(), made.clone());
        made
    }

    /// Nodes came, went or changed their labels.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// Something summed up by place.
#[derive(Debug, Clone)]
pub struct Sums {
    pub topology: Arc<Topology>,
    pub by_place: Vec<i64>,
}

impl Sums {
    pub fn new(topology: Arc<Topology>) -> Sums {
        Sums {
            by_place: vec![0; topology.places],
            topology,
        }
    }

    /// Adds to the place of a node; no place, no sum.
    pub fn add(&mut self, slot: usize, n: i64) {
        if let Some(place) = self.topology.place(slot) {
            self.by_place[place] += n;
        }
    }

    /// The sum at the place of a node.
    pub fn at(&self, slot: usize) -> Option<i64> {
        self.topology.place(slot).map(|place| self.by_place[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Facts;

    #[test]
    fn nodes_of_one_value_are_one_place() {
        let node = |zone: Option<&str>| Node {
            facts: Some(Arc::new(Facts {
                labels: zone
                    .map(|z| ("z".to_owned(), z.to_owned()))
                    .into_iter()
                    .collect(),
                ..Facts::default()
            })),
            ..Node::default()
        };
        let nodes = [
            node(Some("a")),
            node(Some("b")),
            node(None),
            node(Some("a")),
        ];
        let mut all = Topologies::default();
        let topology = all.get("z", &nodes);
        assert_eq!(
            (topology.places, topology.place(2), topology.place(9)),
            (2, None, None)
        );
        let mut sums = Sums::new(topology);
        for slot in 0..4 {
            sums.add(slot, 1);
        }
        assert_eq!(
            (sums.at(0), sums.at(1), sums.at(2)),
            (Some(2), Some(1), None)
        );
    }
}
