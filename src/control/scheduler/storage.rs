//! Claims, volumes and classes, as far as they have a say in where a pod goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::amounts::Amounts;
use crate::ask::Ask;
use crate::labels::{Labels, NodeTerm, Selector};
use crate::mirror::{Mirror, full_name};
use crate::wire;

/// On a claim: the node its pod was given, for whoever makes the volume.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim: its volume is bound for good.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// A class or claim without a provisioner waits for somebody to make volumes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Name of its volume, or "".
    pub volume: String,
    pub is_bound: bool,
    pub is_lost: bool,
    pub leaving: bool,
    pub class: String,
    pub access_modes: Vec<String>,
    pub is_block: bool,
    pub selector: Option<Selector>,
    /// Bytes.
    pub size: i64,
    pub selected_node: Option<String>,
}

/// Only one pod may use the claim.
const ONE_POD: &str = "ReadWriteOncePod";

impl Claim {
    fn of(given: wire::Claim) -> Claim {
        let annotation = |key: &str| given.metadata.annotations.as_ref()?.get(key).cloned();
        let volume = given.spec.volume_name.clone().unwrap_or_default();
        let phase = given.status.phase.as_deref();
        let requests = given.spec.resources.as_ref();
        Claim {
            namespace: given.metadata.namespace.clone().unwrap_or_default(),
            name: given.name_any(),
            uid: given.metadata.uid.clone().unwrap_or_default(),
            is_bound: !volume.is_empty()
                && (phase == Some("Bound") || annotation(BIND_COMPLETED).is_some()),
            is_lost: phase == Some("Lost"),
            leaving: given.metadata.deletion_timestamp.is_some(),
            selected_node: annotation(SELECTED_NODE),
            volume,
            class: given.spec.storage_class_name.unwrap_or_default(),
            access_modes: given.spec.access_modes.unwrap_or_default(),
            is_block: given.spec.volume_mode.as_deref() == Some("Block"),
            selector: given.spec.selector.as_ref().map(of_selector),
            size: requests.map_or(0, |r| Amounts::of(r.requests.as_ref()).get("storage")),
        }
    }

    pub fn full_name(&self) -> String {
        full_name(&self.namespace, &self.name)
    }

    pub fn is_for_one_pod(&self) -> bool {
        self.access_modes.iter().any(|mode| mode == ONE_POD)
    }
}

fn of_selector(given: &LabelSelector) -> Selector {
    Selector::of(Some(given))
}

/// A PersistentVolume.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    pub name: String,
    pub labels: Labels,
    /// Nodes it can be reached from; `None`: all.
    pub nodes: Option<Vec<NodeTerm>>,
    /// Bytes.
    pub size: i64,
    pub class: String,
    pub access_modes: Vec<String>,
    pub is_block: bool,
    /// Uid of the claim it is for; "" if only its name is known.
    pub claimed: Option<(String, String)>,
    pub is_available: bool,
}

impl Volume {
    fn of(given: wire::PersistentVolume) -> Volume {
        let name = given.name_any();
        let terms = given.spec.node_affinity.as_ref().and_then(|a| a.terms());
        Volume {
            nodes: terms.map(|terms| terms.iter().map(NodeTerm::of).collect()),
            size: Amounts::of(given.spec.capacity.as_ref()).get("storage"),
            class: given.spec.storage_class_name.unwrap_or_default(),
            access_modes: given.spec.access_modes.unwrap_or_default(),
            is_block: given.spec.volume_mode.as_deref() == Some("Block"),
            claimed: given.spec.claim_ref.map(|claim| {
                let text = |t: Option<String>| t.unwrap_or_default();
                let name = full_name(&text(claim.namespace), &text(claim.name));
                (name, text(claim.uid))
            }),
            is_available: matches!(
                given.status.phase.as_deref(),
                None | Some("Available" | "Pending")
            ),
            labels: given.metadata.labels.unwrap_or_default(),
            name,
        }
    }

    /// Whether it can be reached from a node.
    pub fn reaches(&self, name: &str, labels: &Labels) -> bool {
        self.nodes
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }

    /// Whether it could be the claim's, wherever that is used.
    fn suits(&self, claim: &Claim) -> bool {
        let free = match &self.claimed {
            None => self.is_available,
            // Kept for this very claim beforehand.
            Some((name, uid)) => {
                *name == claim.full_name() && (uid.is_empty() || *uid == claim.uid)
            }
        };
        free && self.class == claim.class
            && self.is_block == claim.is_block
            && self.size >= claim.size
            && claim
                .access_modes
                .iter()
                .all(|mode| self.access_modes.contains(mode))
            && claim
                .selector
                .as_ref()
                .is_none_or(|s| s.matches(&self.labels))
    }
}

/// A StorageClass.
#[derive(Debug, Clone, Default)]
pub struct Class {
    pub waits_for_pod: bool,
    pub provisions: bool,
    /// Where it can make volumes: each list names labels with the values they may have.
    pub places: Vec<Vec<(String, Vec<String>)>>,
}

impl Class {
    fn of(given: wire::StorageClass) -> Class {
        Class {
            waits_for_pod: given.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisions: !matches!(given.provisioner.as_str(), "" | NO_PROVISIONER),
            places: given
                .allowed_topologies
                .into_iter()
                .flatten()
                .map(|term| {
                    let all = term.match_label_expressions.unwrap_or_default();
                    all.into_iter().map(|e| (e.key, e.values)).collect()
                })
                .collect(),
        }
    }

    /// Whether it can make a volume for a node of these labels.
    pub fn serves(&self, labels: &Labels) -> bool {
        self.provisions
            && (self.places.is_empty()
                || self.places.iter().any(|all| {
                    all.iter()
                        .all(|(key, values)| labels.get(key).is_some_and(|v| values.contains(v)))
                }))
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Storage {
    pub claims: Mirror<Claim>,
    pub volumes: Mirror<Arc<Volume>>,
    pub classes: Mirror<Class>,
    /// How many placed pods use a claim.
    used: HashMap<String, usize>,
    /// Volumes promised to claims before the API says so, and the claim's name.
    promised: HashMap<String, String>,
}

impl Storage {
    pub fn is_complete(&self) -> bool {
        self.claims.is_complete() && self.volumes.is_complete() && self.classes.is_complete()
    }

    pub fn apply_claim(&mut self, event: Event<wire::Claim>) -> Vec<String> {
        let touched = self.claims.apply(event, Claim::of);
        let claims = &self.claims;
        // A promise ends when it is kept, or its claim is gone.
        self.promised
            .retain(|_, claim| claims.get(claim).is_some_and(|claim| !claim.is_bound));
        touched
    }

    pub fn apply_volume(&mut self, event: Event<wire::PersistentVolume>) -> bool {
        !self
            .volumes
            .apply(event, |volume| Arc::new(Volume::of(volume)))
            .is_empty()
    }

    pub fn apply_class(&mut self, event: Event<wire::StorageClass>) -> bool {
        !self.classes.apply(event, Class::of).is_empty()
    }

    /// A pod with claims was placed (`up`), or is no more.
    pub fn use_claims(&mut self, ask: &Ask, up: bool) {
        for mount in &ask.mounts {
            let name = full_name(&ask.namespace, &mount.claim);
            if up {
                *self.used.entry(name).or_default() += 1;
            } else if let Some(n) = self.used.get_mut(&name) {
                *n -= 1;
                if *n == 0 {
                    self.used.remove(&name);
                }
            }
        }
    }

    /// Whether some placed pod uses a claim.
    pub fn is_used(&self, claim: &str) -> bool {
        self.used.contains_key(claim)
    }

    /// Keeps volumes for claims until the API says so.
    pub fn promise(&mut self, volume: &str, claim: &Claim) {
        self.promised.insert(volume.to_owned(), claim.full_name());
    }

    /// Takes promises to a claim back.
    pub fn withdraw(&mut self, claim: &str) {
        self.promised.retain(|_, promised| promised != claim);
    }

    /// The smallest free volume that suits the claim and can be reached from the node, but
    /// for those in `taken`.
    pub fn find(
        &self,
        claim: &Claim,
        node: (&str, &Labels),
        taken: &HashSet<String>,
    ) -> Option<Arc<Volume>> {
        let promised = |name: &str| {
            self.promised
                .get(name)
                .is_some_and(|to| *to != claim.full_name())
        };
        self.volumes
            .iter()
            .map(|(_, volume)| volume)
            .filter(|v| v.suits(claim) && v.reaches(node.0, node.1))
            .filter(|v| !taken.contains(&v.name) && !promised(&v.name))
            // One kept for this claim beforehand goes first.
            .min_by_key(|v| (v.claimed.is_none(), v.size, v.name.clone()))
            .cloned()
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
