//! Claims and volumes: which nodes a pod's data can be reached from, or made for.

use std::collections::HashSet;
use std::sync::Arc;

use crate::ask::Ask;
use crate::filter::{Obstacle, Plugin};
use crate::mirror::full_name;
use crate::node::Facts;
use crate::storage::{Claim, Storage, Volume};

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const AWAY: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const LOST: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const OTHER_ZONE: &str = "node(s) had no available volume zone";
const ONE_POD: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
/// Labels of a volume that its node must share.
const ZONES: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
/// Between the zones of a volume that is in several.
const ZONE_SEPARATOR: &str = "__";

/// What is to be done so that a pod's claims are bound, once a node is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Claim and volume, by full name and name.
    pub matched: Vec<(String, String)>,
    /// Claims whose volume somebody must make, by full name.
    pub provisioned: Vec<String>,
}

impl Bindings {
    pub fn is_empty(&self) -> bool {
        self.matched.is_empty() && self.provisioned.is_empty()
    }

    /// The full names of all claims concerned.
    pub fn claims(&self) -> impl Iterator<Item = &String> {
        let matched = self.matched.iter().map(|(claim, _)| claim);
        matched.chain(&self.provisioned)
    }
}

/// The claims of one pod.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    bound: Vec<Arc<Volume>>,
    /// A claim's volume does not exist (any more).
    has_lost: bool,
    /// Bound when the pod's node is known.
    delayed: Vec<Claim>,
    /// Claims for one pod that another uses.
    taken: Vec<String>,
}

impl Claims {
    /// Looks at the pod's claims.
    ///
    /// # Errors
    /// Who objects, and the sentence, if no node could help.
    pub fn of(storage: &Storage, ask: &Ask) -> Result<Claims, (Plugin, String)> {
        let mut out = Claims::default();
        for mount in &ask.mounts {
            let name = full_name(&ask.namespace, &mount.claim);
            let no = |words: String| Err((Plugin::VolumeBinding, words));
            let Some(claim) = storage.claims.get(&name) else {
                let short = &mount.claim;
                return no(if mount.ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the \
                         persistentvolumeclaim \"{short}\""
                    )
                } else {
                    format!("persistentvolumeclaim \"{short}\" not found")
                });
            };
            if claim.is_lost {
                return no(format!(
                    "persistentvolumeclaim \"{}\" bound to non-existent persistentvolume \"{}\"",
                    claim.name, claim.volume
                ));
            }
            if claim.leaving {
                return no(format!(
                    "persistentvolumeclaim \"{}\" is being deleted",
                    claim.name
                ));
            }
            if claim.is_for_one_pod() && storage.is_used(&name) {
                out.taken.push(name.clone());
            }
            if claim.is_bound {
                match storage.volumes.get(&format!("/{}", claim.volume)) {
                    Some(volume) => out.bound.push(volume.clone()),
                    None => out.has_lost = true,
                }
            } else if claim.volume.is_empty() && waits(storage, claim) {
                out.delayed.push(claim.clone());
            } else {
                return no(UNBOUND.to_owned());
            }
        }
        Ok(out)
    }

    /// As if another pod came (`n` = 1) or went (-1).
    pub fn shift(&mut self, storage: &Storage, ask: &Ask, other: &Ask, n: i64) {
        if other.namespace != ask.namespace {
            return;
        }
        for mount in ask.mounts.iter().filter(|m| other.mounts.contains(m)) {
            let name = full_name(&ask.namespace, &mount.claim);
            if n < 0 {
                self.taken.retain(|taken| *taken != name);
            } else if storage.claims.get(&name).is_some_and(Claim::is_for_one_pod) {
                self.taken.push(name);
            }
        }
    }

    /// What keeps the pod from a node.
    pub fn check(&self, storage: &Storage, facts: &Facts) -> Option<Obstacle> {
        if !self.taken.is_empty() {
            return Some(Obstacle::soft(Plugin::VolumeRestrictions, ONE_POD));
        }
        if self.has_lost {
            return Some(Obstacle::hard(Plugin::VolumeBinding, LOST));
        }
        let away = |v: &Arc<Volume>| !v.reaches(&facts.name, &facts.labels);
        if self.bound.iter().any(away) {
            return Some(Obstacle::hard(Plugin::VolumeBinding, AWAY));
        }
        if self.bind(storage, facts).is_none() {
            return Some(Obstacle::hard(Plugin::VolumeBinding, NO_VOLUME));
        }
        if self.bound.iter().any(|v| !shares_zone(v, facts)) {
            return Some(Obstacle::hard(Plugin::VolumeZone, OTHER_ZONE));
        }
        None
    }

    /// How the claims not yet bound can be on a node; `None` if they cannot.
    pub fn bind(&self, storage: &Storage, facts: &Facts) -> Option<Bindings> {
        let mut out = Bindings::default();
        if self.delayed.is_empty() {
            return Some(out);
        }
        let mut taken = HashSet::new();
        // Small claims first, so that they do not take what only they could leave.
        let mut claims: Vec<&Claim> = self.delayed.iter().collect();
        claims.sort_by_key(|claim| claim.size);
        for claim in claims {
            let selected = claim.selected_node.as_ref();
            if selected.is_some_and(|node| *node != facts.name) {
                return None;
            }
            let found = match selected {
                // Somebody is at work on it already.
                Some(_) => None,
                None => storage.find(claim, (&facts.name, &facts.labels), &taken),
            };
            if let Some(volume) = found {
                taken.insert(volume.name.clone());
                out.matched.push((claim.full_name(), volume.name.clone()));
                continue;
            }
            let class = storage.classes.get(&format!("/{}", claim.class))?;
            if !class.serves(&facts.labels) {
                return None;
            }
            out.provisioned.push(claim.full_name());
        }
        Some(out)
    }
}

fn waits(storage: &Storage, claim: &Claim) -> bool {
    !claim.class.is_empty()
        && storage
            .classes
            .get(&format!("/{}", claim.class))
            .is_some_and(|class| class.waits_for_pod)
}

fn shares_zone(volume: &Volume, facts: &Facts) -> bool {
    // Nodes without any zone are not in a cloud: nothing is known about distances.
    if !ZONES.iter().any(|key| facts.labels.contains_key(*key)) {
        return true;
    }
    ZONES.iter().all(|key| {
        let Some(zones) = volume.labels.get(*key) else {
            return true;
        };
        facts
            .labels
            .get(*key)
            .is_some_and(|zone| zones.split(ZONE_SEPARATOR).any(|z| z == zone))
    })
}
