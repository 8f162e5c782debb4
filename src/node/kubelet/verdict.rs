//! Sentences from which a pod does not recover: not admitted, too long active, evicted.

/// What the message of a pod begins with that was not admitted.
pub(crate) const REJECTED: &str = "Pod was rejected: ";
/// Reason of all who must make room.
const EVICTED: &str = "Evicted";

/// Why a pod is over although its containers might run on; reason and message of its
/// status, whose phase becomes `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// E.g. `Evicted`.
    pub reason: &'static str,
    pub message: String,
    /// The kubelet ended a healthy pod: its status carries `DisruptionTarget`.
    pub disruption: bool,
}

impl Over {
    /// The deadline of `spec.activeDeadlineSeconds` has passed.
    #[must_use]
    pub fn deadline() -> Self {
        Self {
            reason: "DeadlineExceeded",
            message: "Pod was active on the node longer than the specified deadline".into(),
            disruption: false,
        }
    }

    /// The pod never starts here.
    #[must_use]
    pub fn rejected(reason: &'static str, why: &str) -> Self {
        Self {
            reason,
            message: format!("{REJECTED}{why}"),
            disruption: false,
        }
    }

    /// Killed to save the node.
    #[must_use]
    pub fn for_the_node(message: String) -> Self {
        Self {
            reason: EVICTED,
            message,
            disruption: true,
        }
    }

    /// Killed because it held more than it may.
    #[must_use]
    pub fn greedy(message: String) -> Self {
        Self {
            reason: EVICTED,
            message,
            disruption: false,
        }
    }

    /// Whether what it held is wanted back at once.
    #[must_use]
    pub fn evicted(&self) -> bool {
        self.reason == EVICTED
    }
}
