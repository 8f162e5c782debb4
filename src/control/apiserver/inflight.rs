//! How many requests are answered at once: each may hold a body and what is made of it, so
//! their number bounds the server's memory.
//!
//! Watches and streams are not counted, they stay; nor are the cluster's masters and the
//! server's own loops, which must get through when everybody else waits (as upstream's
//! exempt priority level).

use std::sync::Arc;
use std::time::Duration;

use cadet_api::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{self, User};

/// See the module's opening.
pub struct InFlight {
    free: Arc<Semaphore>,
    patience: Duration,
}

impl InFlight {
    pub fn new(limit: usize, patience: Duration) -> InFlight {
        InFlight {
            free: Arc::new(Semaphore::new(limit)),
            patience,
        }
    }

    /// A place for one request of `user`, kept until its answer begins; `None` for whom no
    /// limit holds.
    ///
    /// # Errors
    /// 429 if none became free in time.
    pub async fn enter(&self, user: &User) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if access::is_almighty(user) {
            return Ok(None);
        }
        let place = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(self.patience, place).await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(Status::too_many_requests(1)),
        }
    }
}
