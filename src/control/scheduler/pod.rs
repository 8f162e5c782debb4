//! A pod as the scheduler keeps it, and what may happen to others by it.

use std::sync::Arc;

use crate::NAME;
use crate::ask::Ask;
use crate::wire;

/// Where a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere yet.
    Open,
    /// Chosen by us; the API has not said so yet.
    Assumed(usize),
    /// As the API says.
    On(usize),
}

impl Place {
    pub fn slot(self) -> Option<usize> {
        match self {
            Place::Open => None,
            Place::Assumed(slot) | Place::On(slot) => Some(slot),
        }
    }
}

/// What is kept of a pod.
#[derive(Debug, Clone)]
pub struct Pod {
    pub uid: String,
    pub name: String,
    pub ask: Arc<Ask>,
    pub place: Place,
    /// Being deleted.
    pub leaving: bool,
    /// Being deleted for a more important pod.
    pub preempted: bool,
    /// When it started, or was made: seconds since 1970.
    pub since: i64,
    /// Waits for this scheduler, and nothing forbids trying.
    pub waits: bool,
    /// Message of its condition PodScheduled, if that is False.
    pub said: String,
    /// The node it preempted others on.
    pub nominated: Option<usize>,
    /// The same as the API said last; what we decide comes round later.
    pub heard: Option<usize>,
}

/// Something happened that may matter to pods that wait.
#[derive(Debug, Clone)]
pub enum Change {
    /// A pod waits that did not, or asks for something else.
    Waits(usize),
    /// A pod waits no more.
    Rests(usize),
    /// A node came, or more than its heartbeat changed.
    Node(usize),
    Placed(Arc<Ask>),
    Left {
        ask: Arc<Ask>,
        slot: usize,
    },
    /// Full name.
    Claim(String),
    Volume,
    Class,
    Namespace,
}

/// Whether a pod waits for this scheduler to place it.
pub fn is_ours(pod: &wire::Pod) -> bool {
    let spec = &pod.spec;
    let name = spec.scheduler_name.as_deref().unwrap_or(NAME);
    let gates = spec.scheduling_gates.as_ref();
    name == NAME && gates.is_none_or(Vec::is_empty) && pod.metadata.deletion_timestamp.is_none()
}

/// What the conditions of a pod tell.
pub struct Conditions {
    /// Message of PodScheduled, if that is False.
    pub said: Option<String>,
    /// Told to go for a more important pod.
    pub preempted: bool,
}

impl Conditions {
    pub fn of(status: &wire::PodStatus) -> Conditions {
        let mut out = Conditions {
            said: None,
            preempted: false,
        };
        for c in status.conditions.iter().flatten() {
            match (c.type_.as_str(), c.status.as_str()) {
                ("PodScheduled", "False") => out.said = c.message.clone(),
                ("DisruptionTarget", "True") => {
                    out.preempted = c.reason.as_deref() == Some("PreemptionByScheduler");
                }
                _ => {}
            }
        }
        out
    }
}
