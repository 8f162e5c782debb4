//! The loops that keep promises: each looks at what is and moves it towards what is wanted.
//!
//! One file or folder per controller. All are ordinary clients of the API, take no input but a
//! wake-up, and look at everything again when woken, so a missed event does no harm. `shared`
//! is what they have in common, and says how to write one.

mod autoscale;
mod batches;
mod certificates;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod errors;
mod eviction;
mod garbage;
mod go_selector;
mod history;
mod job;
mod namespace;
mod node;
mod node_facts;
mod node_pods;
mod node_ttl;
mod pod_gc;
mod replicas;
mod root_ca;
pub mod service_lb;
mod serviceaccount;
mod shared;
mod statefulset;
mod statuses;
mod taints;
mod token_secrets;
mod ttl;
mod volumes;
mod wire;

use std::sync::Arc;

pub use certificates::{Authority, Unusable};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use shared::Shared;

/// Runs every controller until `shutdown`, and returns when all have stopped. `authority`
/// is the cluster's own: pods trust it, and it signs what was approved.
pub async fn run(client: Client, authority: Arc<Authority>, shutdown: CancellationToken) {
    info!("controllers started");
    let trusted = authority.certificate().to_owned();
    let shared = Shared::new(client.clone(), shutdown.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(namespace::run(shared.clone()));
    tasks.spawn(serviceaccount::run(client.clone(), shutdown.clone()));
    tasks.spawn(root_ca::run(client.clone(), trusted, shutdown.clone()));
    tasks.spawn(certificates::run(client, authority, shutdown));
    tasks.spawn(node::run(shared.clone()));
    tasks.spawn(pod_gc::run(shared.clone()));
    tasks.spawn(replicas::run_sets(shared.clone()));
    tasks.spawn(replicas::run_controllers(shared.clone()));
    tasks.spawn(deployment::run(shared.clone()));
    tasks.spawn(disruption::run(shared.clone()));
    tasks.spawn(job::run(shared.clone()));
    tasks.spawn(cronjob::run(shared.clone()));
    tasks.spawn(ttl::run(shared.clone()));
    tasks.spawn(statefulset::run(shared.clone()));
    tasks.spawn(daemonset::run(shared.clone()));
    tasks.spawn(endpoints::run(shared.clone()));
    tasks.spawn(garbage::run(shared.clone()));
    tasks.spawn(volumes::run(shared.clone()));
    tasks.spawn(eviction::run(shared.clone()));
    tasks.spawn(node_pods::run(shared.clone()));
    tasks.spawn(autoscale::run(shared.clone()));
    tasks.spawn(token_secrets::run(shared.clone()));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            error!(%error, "a controller failed");
        }
    }
    shared.ended().await;
    info!("controllers stopped");
}
