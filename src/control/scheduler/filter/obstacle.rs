//! Why a node cannot take a pod, in upstream's words.

use std::collections::HashMap;

/// Who says no; upstream's names of its plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plugin {
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
}

/// A set of plugins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plugins(u16);

impl Plugins {
    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u16;
    }

    pub fn has(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u16) != 0
    }
}

/// One sentence part that is counted over all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    Words(&'static str),
    /// Name of the resource there is too little of.
    Insufficient(String),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Words(words) => f.write_str(words),
            Reason::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

/// What keeps a pod from one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub plugin: Plugin,
    /// No pod less on the node would help.
    pub is_final: bool,
    pub reasons: Vec<Reason>,
}

impl Obstacle {
    /// One that other pods' going might remove.
    pub fn soft(plugin: Plugin, words: &'static str) -> Obstacle {
        Obstacle {
            plugin,
            is_final: false,
            reasons: vec![Reason::Words(words)],
        }
    }

    /// One that would stay whichever pods went.
    pub fn hard(plugin: Plugin, words: &'static str) -> Obstacle {
        Obstacle {
            is_final: true,
            ..Obstacle::soft(plugin, words)
        }
    }
}

/// What is said after the sentence when nobody's going would help. The claims are devices'
/// (DRA), whose plugin speaks first even if the pod asks for none; upstream drops its words
/// with 1.37 (kubernetes pull request 140222).
pub fn with_preemption(words: &str, why: &str) -> String {
    format!("{words} no new claims to deallocate, preemption: {why}")
}

/// What is said after the sentence if somebody objected before any node was asked. Upstream
/// (1.34 to 1.37 at least) then misses what the same plugin notes only later, says no more
/// than that, and does not come to preemption.
pub fn before_preemption(words: &str) -> String {
    format!("{words} not found")
}

/// `0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu.`
pub fn sentence(nodes: usize, counts: &HashMap<Reason, usize>) -> String {
    let mut parts: Vec<String> = counts.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    if parts.is_empty() {
        return format!("0/{nodes} nodes are available:");
    }
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_sorted_as_text() {
        let counts = HashMap::from([
            (Reason::Insufficient("cpu".into()), 10),
            (Reason::Words("node(s) had untolerated taint(s)"), 2),
            (Reason::Words("Too many pods"), 2),
        ]);
        assert_eq!(
            sentence(14, &counts),
            "0/14 nodes are available: 10 Insufficient cpu, 2 Too many pods, \
             2 node(s) had untolerated taint(s)."
        );
    }

    #[test]
    fn the_whole_sentence_is_that_of_1_36() {
        let words = "0/1 nodes are available: 1 node(s) had untolerated taint(s).";
        let why = "0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        assert_eq!(
            with_preemption(words, why),
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to \
             deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for \
             scheduling."
        );
    }

    #[test]
    fn an_early_objection_ends_as_upstreams() {
        let words = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
        assert_eq!(before_preemption(words), format!("{words} not found"));
    }

    #[test]
    fn a_set_of_plugins() {
        let mut set = Plugins::default();
        set.insert(Plugin::InterPodAffinity);
        assert!(set.has(Plugin::InterPodAffinity) && !set.has(Plugin::NodePorts));
    }
}
