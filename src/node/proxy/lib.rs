//! The service network of one node: Services and NetworkPolicies as one nftables table.
//!
//! ```text
//!   watch                 set_…             refresh          commit
//!  API ───► watch.rs ──► services/ policy/ ───────► table.rs ──────► nft.rs ──► kernel
//!                        (pure: what is wanted)     (pure: what changes)
//! ```
//!
//! The table is made anew at start, once everything is known; until then what an earlier
//! run left stays in force. Then each batch of changes is one transaction with only what
//! is different. Names and order of things are in [`base`], [`services`] and [`policy`].

pub mod base;
pub mod conntrack;
mod health;
mod healthz;
pub mod nft;
pub mod policy;
pub mod services;
pub mod table;
mod watch;

pub use watch::run;

/// What the proxy must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this machine's Node object.
    pub node_name: String,
    /// Addresses of all pods of the cluster, e.g. `10.244.0.0/16`.
    pub cluster_cidr: String,
    /// Cluster IPs of Services, e.g. `10.96.0.0/12`.
    pub service_cidr: String,
    /// Statements for the pod network's own chains in the same table, put in whenever the
    /// table is made anew.
    pub pod_rules: String,
}

/// A failed act of this room.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// `nft` could not be started or talked to.
    #[error("could not run nft: {0}")]
    Spawn(#[source] std::io::Error),
    /// `nft` refused a transaction; nothing of it is in force.
    #[error("nft refused the rules: {0}")]
    Refused(String),
    /// `nft` answered something unknown.
    #[error("nft answered something unknown: {0}")]
    Answer(#[source] serde_json::Error),
    /// The kernel's table of connections could not be read or changed.
    #[error("could not forget connections: {0}")]
    Conntrack(#[source] std::io::Error),
    /// A Service's port for health checks is taken.
    #[error("could not listen on health check port {port}: {source}")]
    HealthPort { port: u16, source: std::io::Error },
}
