//! The cluster's API as lessons use it: found anew for each use, so that a cluster that was
//! stopped, deleted and made again in the middle of a lesson is simply the next one.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::{Context, kubeconfig, machine};

/// The way to the API server of a profile.
#[derive(Clone)]
pub struct Api {
    cx: Arc<Context>,
}

impl Api {
    /// The API of the context's profile.
    pub fn new(cx: Arc<Context>) -> Self {
        Self { cx }
    }

    /// A client with today's credentials.
    ///
    /// # Errors
    /// GUEST_NOT_FOUND and GUEST_NOT_RUNNING when there is none.
    pub async fn cluster(&self) -> Result<Cluster> {
        let file = self.cx.world.files(&self.cx.name).kubeconfig();
        match kubeconfig::read_alone(&file, self.cx.name.as_str())? {
            Some(access) => Cluster::new(&access),
            None => Err(self.trouble().await),
        }
    }

    /// Why nothing answers, in the words of the machine if it is off.
    pub async fn trouble(&self) -> CliError {
        match machine::running(&self.cx).await {
            Err(e) => e,
            Ok(_) => CliError::new("CLUSTER_API_TIMEOUT", "the API server does not answer")
                .why("the machine runs; its server is starting, or it has ended")
                .fix(machine::again(&self.cx, "start")),
        }
    }
}
