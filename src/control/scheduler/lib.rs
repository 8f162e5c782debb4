//! Chooses a node for each pod that has none.
//!
//! ```text
//!  watches ──▶ cache ──changes──▶ queue ──▶ cycle: filter ─┬─ some fit ─▶ score ─▶ bind ──┐
//!               ▲  ▲               ▲  ▲                    └─ none fits ─▶ preempt ─▶ say │ tasks
//!               │  └─ assumed ─────┼──┼───────────────────────────────────────────────────┤
//!               └──────────────────┴──┴──────────────── outcomes ◀────────────────────────┘
//! ```
//! One task decides, on a picture of the cluster that each event changes where it happened;
//! requests are sent by tasks beside it, while the next pod is looked at. Nothing is
//! remembered that the API does not know, but for pods just bound ("assumed") and pods just
//! told to go, whose change has not come back yet.
//!
//! Deciding is pure: [`cycle`], [`filter`], [`score`], [`preempt`], [`queue`] and [`hints`]
//! know no clock and no network.

mod acts;
mod amounts;
mod ask;
mod bonds;
mod cache;
mod census;
mod claims;
mod cycle;
mod filter;
mod groups;
mod hints;
mod intake;
mod labels;
mod mirror;
mod node;
mod pod;
mod preempt;
mod queue;
mod report;
mod requests;
mod rng;
mod scheduler;
mod score;
mod storage;
#[cfg(test)]
mod testing;
mod topology;
mod watches;
mod wire;

use kube::Client;
use tokio_util::sync::CancellationToken;

/// `spec.schedulerName` of the pods that are ours.
pub const NAME: &str = "default-scheduler";

/// What kept the scheduler's word from the API.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the request could not be written")]
    Request(#[from] http::Error),
    #[error("the body could not be written")]
    Body(#[from] serde_json::Error),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Error {
    /// The code of the server's refusal.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Error::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// Schedules until `shutdown`. Failed requests are retried; nothing ends the loop early.
pub async fn run(client: Client, shutdown: CancellationToken) {
    scheduler::run(client, shutdown).await;
}
