//! Pod networking of one node: the bridge, a veth pair per pod, addresses, and the
//! firewall rules that let pods out.
//!
//! ```text
//!  pod netns            host netns
//!  ┌────────┐  veth   ┌─────────────┐   masquerade    ┌──────┐
//!  │ eth0   ├─────────┤ cadet0 (.1) ├────────────────►│ NIC  │
//!  └────────┘         └─────────────┘                 └──────┘
//! ```
//!
//! A pod has its address as `/32` and knows nobody but the bridge: packets between two pods
//! of one node are routed here as all others are, and meet the rules for Services and
//! policies, on the way back as well.
//!
//! Nothing is remembered between runs: links are looked up by names derived from the
//! pod, and addresses in use are told by the caller at start ([`Network::reserve`]). Pods of
//! other nodes are reached by plain routes over a network between the nodes
//! ([`set_up_card`], [`Network::lead_to_nodes`]).

mod address;
mod card;
mod cidr;
mod dial;
mod firewall;
mod host_ports;
mod ipam;
mod link;
mod local;
mod netns;
mod routes;
mod teardown;

pub use address::{RouteAddressError, route_address};
pub use card::set_up_card;
pub use cidr::{Cidr, CidrError};
pub use dial::dial;
pub use host_ports::{HostPort, Protocol};
pub use ipam::IpamError;
pub use teardown::teardown;

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use host_ports::HostPorts;
use ipam::Ipam;
use link::Links;
use tokio::sync::watch;

/// Name of the bridge all pods of the node are attached to.
pub const BRIDGE: &str = "cadet0";

/// What [`Network::setup`] needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Addresses of this node's pods; the first one becomes the bridge's (the gateway).
    pub pod_cidr: Cidr,
    /// Addresses of all pods of the cluster; traffic to them is never masqueraded.
    pub cluster_cidr: Cidr,
}

/// A failed act of this room.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A netlink request was refused or could not be sent.
    #[error("could not {act}: {source}")]
    Netlink {
        act: String,
        source: rtnetlink::Error,
    },
    /// The netlink socket could not be opened.
    #[error("could not open a netlink socket: {0}")]
    Socket(#[source] std::io::Error),
    /// The machine has no card of that hardware address (yet).
    #[error("this machine has no network card {0}")]
    NoCard(String),
    /// A link that must exist does not.
    #[error("network link {0} does not exist")]
    NoLink(String),
    /// The pod's network namespace could not be entered.
    #[error("could not enter the network namespace of process {pid}: {source}")]
    EnterNamespace { pid: u32, source: std::io::Error },
    /// The thread working inside the namespace ended without an answer.
    #[error("the thread working in the network namespace of process {0} died")]
    ThreadDied(u32),
    /// A kernel setting could not be written.
    #[error("could not set {setting}: {source}")]
    Sysctl {
        setting: &'static str,
        source: std::io::Error,
    },
    /// `nft` or `iptables` could not be started.
    #[error("could not run {program}: {source}")]
    Spawn {
        program: &'static str,
        source: std::io::Error,
    },
    /// `nft` or `iptables` refused the rules.
    #[error("{program} refused the pod network's rules: {stderr}")]
    Rules {
        program: &'static str,
        stderr: String,
    },
    /// The kernel's table of connections could not be read or changed.
    #[error("could not forget connections: {0}")]
    Conntrack(#[source] std::io::Error),
    /// No address could be given out or kept.
    #[error(transparent)]
    Ipam(#[from] IpamError),
}

/// The pod network of this node.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    links: Links,
    ipam: Mutex<Ipam>,
    rebuilt: watch::Sender<u64>,
    /// See [`Network::answer_at`].
    local: Mutex<Option<Ipv4Addr>>,
    /// Locked while the rules are written, so that they never say what was.
    host_ports: tokio::sync::Mutex<HostPorts>,
}

impl Network {
    /// Opens netlink and makes bridge, forwarding and firewall rules what they must be.
    /// Safe to call again at every start; pods attached earlier keep running.
    ///
    /// # Errors
    /// Needs `CAP_NET_ADMIN`, `nft` and (where Docker runs) `iptables` on the path.
    pub async fn setup(config: NetworkConfig) -> Result<Self, NetworkError> {
        let links = Links::open()?;
        let network = Self {
            ipam: Mutex::new(Ipam::new(config.pod_cidr)),
            local: Mutex::new(None),
            links,
            config,
            rebuilt: watch::Sender::new(0),
            host_ports: tokio::sync::Mutex::default(),
        };
        network.prepare().await?;
        firewall::apply(&network.config).await?;
        Ok(network)
    }

    /// Puts bridge and rules back if something (a firewall reload, a restarted Docker)
    /// took them away.
    ///
    /// # Errors
    /// As [`Network::setup`].
    pub async fn ensure(&self) -> Result<(), NetworkError> {
        self.prepare().await?;
        if firewall::restore(&self.config).await? {
            self.rebuilt.send_modify(|times| *times += 1);
        }
        self.host_ports.lock().await.restore().await?;
        let local = *lock(&self.local);
        match local {
            Some(address) => local::apply(&self.links, address).await,
            None => Ok(()),
        }
    }

    async fn prepare(&self) -> Result<(), NetworkError> {
        let is_new = self
            .links
            .ensure_bridge(BRIDGE, self.gateway(), self.config.pod_cidr.prefix())
            .await?;
        if is_new {
            // Pods wired to one that was taken away hang in the air.
            for link in self.links.ours().await? {
                self.links.join_bridge(&link, BRIDGE).await?;
            }
        }
        firewall::enable_forwarding()?;
        firewall::disable_redirects()
    }

    /// Tells whenever the nftables table was found missing and made anew with nothing but
    /// the pods' own rules in it.
    #[must_use]
    pub fn rebuilt(&self) -> watch::Receiver<u64> {
        self.rebuilt.subscribe()
    }

    /// Statements for the pods' own rules, for whoever makes the table `cadet` anew.
    #[must_use]
    pub fn rules(&self) -> String {
        firewall::pod_rules(&self.config)
    }

    /// Makes an address of the Service range one of this machine's own, for the cluster's DNS
    /// server on it: pods reach it over their bridge, and no packet to its port 53 is rewritten
    /// or tracked, whatever rules there are for Services.
    ///
    /// # Errors
    /// As [`Network::setup`].
    pub async fn answer_at(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        *lock(&self.local) = Some(address);
        local::apply(&self.links, address).await
    }

    /// Address of the bridge: the pods' default gateway.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.config.pod_cidr.nth(1)
    }

    /// Makes these the ways to pods of other nodes, and no others: ranges of pods, each with
    /// the address of its node.
    ///
    /// # Errors
    /// If the kernel refuses one, as it does when a node's address is in no network of this
    /// machine; the others are then made all the same.
    pub async fn lead_to_nodes(
        &self,
        ways: &BTreeSet<(Cidr, Ipv4Addr)>,
    ) -> Result<(), NetworkError> {
        routes::apply(&self.links, ways).await
    }

    /// Marks `address` as in use, as found on a pod that was already running.
    ///
    /// # Errors
    /// If it lies outside the node's range or another pod holds it.
    pub fn reserve(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        Ok(self.lock().reserve(address)?)
    }

    /// Takes a free address. Addresses given back last are reused last.
    ///
    /// # Errors
    /// If all addresses of the node are in use.
    pub fn allocate(&self) -> Result<Ipv4Addr, NetworkError> {
        Ok(self.lock().allocate()?)
    }

    /// Gives an address back; unknown ones are ignored.
    pub fn release(&self, address: Ipv4Addr) {
        self.lock().release(address);
    }

    /// Wires the network namespace of process `pid` to the bridge as `address`:
    /// `eth0`, the default route and loopback. A half-made earlier attempt for the same
    /// `key` (any text that names the pod's sandbox) is replaced.
    ///
    /// # Errors
    /// If the process is gone or the kernel refuses a step.
    pub async fn attach(&self, key: &str, pid: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
        let host_end = link::host_end(key);
        let pod_end = link::pod_end(key);
        self.links.remove(&host_end).await?;
        self.links.make_pair(&host_end, &pod_end, address).await?;
        let inside = async {
            self.links.move_to_process(&pod_end, pid).await?;
            netns::configure(
                pid,
                netns::PodLink {
                    current_name: pod_end.clone(),
                    address,
                    gateway: self.gateway(),
                },
            )
            .await
        }
        .await;
        if let Err(error) = inside {
            // Half a pair would make `is_attached` lie after a restart.
            if let Err(cleanup) = self.links.remove(&host_end).await {
                tracing::warn!(%cleanup, link = host_end, "could not remove a half-made link");
            }
            return Err(error);
        }
        // Joining the bridge is the last step, so a link on the bridge is a finished one.
        self.links.join_bridge(&host_end, BRIDGE).await
    }

    /// Whether [`Network::attach`] finished for `key` and the link still stands.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub async fn is_attached(&self, key: &str) -> Result<bool, NetworkError> {
        self.links.is_on_bridge(&link::host_end(key), BRIDGE).await
    }

    /// Makes ports of this machine lead to the pod at `address`; they replace what was
    /// published for the same `key`.
    ///
    /// # Errors
    /// If the rules are refused.
    pub async fn publish(
        &self,
        key: &str,
        address: Ipv4Addr,
        ports: Vec<HostPort>,
    ) -> Result<(), NetworkError> {
        let mut published = self.host_ports.lock().await;
        published.set(key, address, ports);
        published.apply().await
    }

    /// Takes note of ports a pod has had since before this program started. The rules of
    /// that time, if they still stand, do so until the next look or change.
    pub async fn keep_published(&self, key: &str, address: Ipv4Addr, ports: Vec<HostPort>) {
        self.host_ports.lock().await.set(key, address, ports);
    }

    /// Takes a pod's ports back.
    ///
    /// # Errors
    /// If the rules are refused.
    pub async fn unpublish(&self, key: &str) -> Result<(), NetworkError> {
        let mut published = self.host_ports.lock().await;
        published.remove(key);
        published.apply().await
    }

    /// Removes the pod's link, if it is still there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn detach(&self, key: &str) -> Result<(), NetworkError> {
        self.links.remove(&link::host_end(key)).await
    }

    /// Removes links of pods that no longer exist: all of ours but those of `keys`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn remove_strays(&self, keys: &HashSet<String>) -> Result<(), NetworkError> {
        let kept: HashSet<String> = keys.iter().map(|key| link::host_end(key)).collect();
        for name in self.links.ours().await? {
            if !kept.contains(&name) {
                tracing::info!(link = name, "removing the link of a pod that is gone");
                self.links.remove(&name).await?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ipam> {
        lock(&self.ipam)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
