//! What a controller could not do, and when it tries again.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tracing::warn;

/// Wait before a failed reconciliation is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// A failed act. The source says why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {what}: {source}")]
    Read { what: String, source: kube::Error },
    #[error("writing {what}: {source}")]
    Write { what: String, source: kube::Error },
    #[error("deleting {what}: {source}")]
    Delete { what: String, source: kube::Error },
    #[error("{what} is being deleted")]
    Going { what: String },
}

impl Error {
    /// Whether somebody else was faster: the caches will tell, and it is tried again.
    pub fn is_conflict(&self) -> bool {
        match self {
            Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Delete { source, .. } => {
                matches!(source, kube::Error::Api(status) if status.code == 409)
            }
            Error::Going { .. } => false,
        }
    }
}

/// Whether the API says that what we wanted to change is gone, changed by somebody else or
/// being deleted: no failure, the watch will wake us with the new state.
pub fn overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(s) if matches!(s.code, 404 | 409))
}

/// Logs a failed reconciliation and asks for another one.
pub fn again<K, C>(object: Arc<K>, error: &Error, _: Arc<C>) -> Action
where
    K: Resource,
{
    warn!(object = %object.name_any(), %error, "reconciliation failed");
    Action::requeue(RETRY)
}
