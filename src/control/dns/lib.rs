//! DNS of the cluster, after the Kubernetes DNS-Based Service Discovery specification 1.1.
//!
//! ```text
//!   API ──watch──► object ──► records ◄──look── desk ◄── server ◄── pods
//!                             (pure)              │
//!                                                 └──► forward ──► this machine's servers
//! ```
//! It runs in the agent of every node, at the Service's own address: pods reach it without a
//! packet leaving their node or being rewritten, and go on resolving while the control plane is
//! away. [`service`] is the other half, run beside the controllers: it keeps the Service
//! `kube-system/kube-dns`.

mod cache;
mod desk;
mod forward;
#[cfg(test)]
mod fuzz;
mod message;
mod object;
pub mod records;
mod resolvers;
mod server;
pub mod service;
#[cfg(test)]
mod tests;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use kube::Client;
use tokio_util::sync::CancellationToken;

use desk::Desk;
use forward::Forwarder;
use records::{Zone, ZoneConfig, ZoneError};
use server::{BindError, Door};

/// Port of DNS.
pub const PORT: u16 = 53;
/// The domain of clusters that say nothing else.
pub const DOMAIN: &str = "cluster.local";

/// What the server must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to answer at. Questions forwarded to them are not forwarded again.
    pub listen: Vec<SocketAddr>,
    /// Address of the DNS Service.
    pub address: Ipv4Addr,
    /// The cluster's domain, e.g. `cluster.local`.
    pub domain: String,
    /// IPv4 ranges of Services and pods: nobody else can name those addresses.
    pub ranges: Vec<String>,
    /// A resolv.conf(5) that names the servers for all other names.
    pub resolv_conf: PathBuf,
}

/// Why there is no DNS.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error("cannot tell where the DNS server listens: {0}")]
    Address(#[source] std::io::Error),
}

/// A server with open sockets.
#[derive(Debug)]
pub struct Server {
    doors: Vec<Door>,
    desk: Desk,
}

impl Server {
    /// Opens every address.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn bind(config: &Config) -> Result<Server, DnsError> {
        let zone = Zone::new(&ZoneConfig {
            domain: config.domain.clone(),
            server: config.address,
            ranges: config.ranges.clone(),
        })?;
        let mut doors = Vec::with_capacity(config.listen.len());
        let mut own = vec![SocketAddr::from((config.address, PORT))];
        for address in &config.listen {
            let door = Door::open(*address).await?;
            own.push(door.address().map_err(DnsError::Address)?);
            doors.push(door);
        }
        Ok(Server {
            doors,
            desk: Desk {
                zone: Arc::new(RwLock::new(zone)),
                forwarder: Arc::new(Forwarder::new(config.resolv_conf.clone(), own)),
            },
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`DnsError::Address`].
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, DnsError> {
        let doors = self.doors.iter();
        doors
            .map(|door| door.address().map_err(DnsError::Address))
            .collect()
    }

    /// Follows the cluster and answers until `shutdown`.
    pub async fn run(self, client: Client, shutdown: CancellationToken) {
        let zone = Arc::clone(&self.desk.zone);
        let doors = self.doors.into_iter();
        let serving = doors.map(|door| door.serve(self.desk.clone(), shutdown.clone()));
        let following = watch::follow(client, zone, shutdown.clone());
        tokio::join!(futures::future::join_all(serving), following);
    }
}
