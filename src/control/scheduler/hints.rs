//! Whether a change may help a pod that fits nowhere: asked of those who said no, as
//! upstream's queueing hints. A pod nobody's change concerns is not tried again.

use crate::ask::{Ask, Term};
use crate::cache::Cache;
use crate::filter::{Plugin, Plugins};
use crate::mirror::full_name;
use crate::pod::Change;

/// Whether the pod should be tried again after the change.
pub fn may_help(cache: &Cache, ask: &Ask, plugins: Plugins, change: &Change) -> bool {
    match change {
        Change::Waits(_) | Change::Rests(_) => false,
        Change::Node(slot) => node(cache, ask, *slot),
        Change::Placed(other) => placed(cache, ask, plugins, other),
        Change::Left { ask: other, slot } => left(cache, ask, plugins, other, *slot),
        Change::Claim(name) => {
            let storage = [
                Plugin::VolumeBinding,
                Plugin::VolumeRestrictions,
                Plugin::VolumeZone,
            ];
            storage.into_iter().any(|p| plugins.has(p))
                && ask
                    .mounts
                    .iter()
                    .any(|m| full_name(&ask.namespace, &m.claim) == *name)
        }
        Change::Volume => plugins.has(Plugin::VolumeBinding) || plugins.has(Plugin::VolumeZone),
        Change::Class => plugins.has(Plugin::VolumeBinding),
        Change::Namespace => {
            let by_label = |t: &Term| t.by_label.is_some();
            plugins.has(Plugin::InterPodAffinity)
                && ask.near.iter().chain(&ask.apart).any(|t| by_label(t))
        }
    }
}

/// A node helps if it does not say no for itself any more, whoever said no before: it may not
/// have been there then, or have said no for another reason.
fn node(cache: &Cache, ask: &Ask, slot: usize) -> bool {
    let Some(node) = cache.nodes.get(slot) else {
        return false;
    };
    node.facts.as_ref().is_some_and(|facts| {
        !facts.is_closed_to(ask)
            && facts.repelling(ask).is_none()
            && ask.admits(&facts.name, &facts.labels)
            && node.load.has_room(facts, ask)
    })
}

fn means(cache: &Cache, term: &Term, other: &Ask) -> bool {
    crate::filter::means(cache, term, other)
}

fn spread_counts(ask: &Ask, other: &Ask) -> bool {
    ask.namespace == other.namespace
        && ask
            .spread
            .iter()
            .any(|s| s.required && s.pods.matches(&other.labels))
}

fn placed(cache: &Cache, ask: &Ask, plugins: Plugins, other: &Ask) -> bool {
    (plugins.has(Plugin::InterPodAffinity) && ask.near.iter().any(|t| means(cache, t, other)))
        || (plugins.has(Plugin::PodTopologySpread) && spread_counts(ask, other))
}

fn left(cache: &Cache, ask: &Ask, plugins: Plugins, other: &Ask, slot: usize) -> bool {
    let room = |cache: &Cache| {
        let node = cache.nodes.get(slot);
        node.and_then(|n| Some((n.facts.as_ref()?, &n.load)))
            .is_some_and(|(facts, load)| load.has_room(facts, ask))
    };
    let clears_ports = || {
        let clash = |p: &crate::ask::HostPort| other.host_ports.iter().any(|q| p.clashes(q));
        ask.host_ports.iter().any(clash)
    };
    (plugins.has(Plugin::NodeResourcesFit) && room(cache))
        || (plugins.has(Plugin::NodePorts) && clears_ports())
        || (plugins.has(Plugin::VolumeRestrictions)
            && ask.namespace == other.namespace
            && ask.mounts.iter().any(|m| other.mounts.contains(m)))
        || (plugins.has(Plugin::InterPodAffinity)
            && (ask.apart.iter().any(|t| means(cache, t, other))
                || other.apart.iter().any(|t| means(cache, t, ask))))
        || (plugins.has(Plugin::PodTopologySpread) && spread_counts(ask, other))
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
