//! The loops that keep promises: each looks at what is and moves it towards what is wanted.
//!
//! One file or folder per controller. All are ordinary clients of the API, take no input but a
//! wake-up, and look at everything again when woken, so a missed event does no harm.

mod certificates;
mod errors;
mod mirror;
mod namespace;
mod node;
mod pod_gc;
mod root_ca;
mod serviceaccount;
mod taints;

use std::sync::Arc;

pub use certificates::{Authority, Unusable};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Runs every controller until `shutdown`, and returns when all have stopped. `authority`
/// is the cluster's own: pods trust it, and it signs what was approved.
pub async fn run(client: Client, authority: Arc<Authority>, shutdown: CancellationToken) {
    info!("controllers started");
    let trusted = authority.certificate().to_owned();
    tokio::join!(
        namespace::run(client.clone(), shutdown.clone()),
        serviceaccount::run(client.clone(), shutdown.clone()),
        root_ca::run(client.clone(), trusted, shutdown.clone()),
        certificates::run(client.clone(), authority, shutdown.clone()),
        node::run(client.clone(), shutdown.clone()),
        pod_gc::run(client, shutdown),
    );
    info!("controllers stopped");
}
