//! Hollow nodes: the real agent over an engine that is a table, so that one machine can
//! play a cluster of a thousand nodes. A hollow node registers, renews its lease, runs
//! pods and reports them as any other; it has no containers, network, volumes or server.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cadet_network::{IpamError, NetworkError};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machine::Machine;
use crate::runtime::fake::FakeRuntime;
use crate::shared::PodNetwork;
use crate::{Config, KubeletError, PORT};

/// Addresses of one hollow node: a /24 of 10.128.0.0/9.
const RANGE: u32 = 256;
const FIRST: u32 = u32::from_be_bytes([10, 128, 0, 0]);
/// As many nodes have ranges of their own.
pub const MOST: u32 = (1 << 23) / RANGE;

/// What a hollow node says of itself.
#[derive(Debug, Clone)]
pub struct Hollow {
    /// Name of the Node object.
    pub name: String,
    /// Which of the address ranges is the node's; below [`MOST`].
    pub index: u32,
    /// Reported as the kubelet's version.
    pub version: String,
    pub cpus: usize,
    /// Bytes.
    pub memory: i64,
}

impl Hollow {
    /// A node with this machine's size.
    ///
    /// # Errors
    /// If this machine's memory cannot be read.
    pub fn new(name: String, index: u32, version: String) -> Result<Self, KubeletError> {
        let machine = Machine::read()?;
        Ok(Self {
            name,
            index,
            version,
            cpus: machine.cpus,
            memory: machine.memory,
        })
    }

    /// Runs the node until `shutdown`. `runtime` is the table of its containers, for whoever
    /// wants to let one of them end.
    ///
    /// # Errors
    /// If this machine's facts cannot be read.
    pub async fn run(
        self,
        client: Client,
        runtime: Arc<FakeRuntime>,
        shutdown: CancellationToken,
    ) -> Result<(), KubeletError> {
        let machine = Machine {
            cpus: self.cpus,
            memory: self.memory,
            machine_id: self.name.clone(),
            system_uuid: self.name.clone(),
            ..Machine::read()?
        };
        let first = FIRST + (self.index % MOST) * RANGE;
        let config = Config {
            node_name: self.name,
            host_ip: Ipv4Addr::LOCALHOST,
            pod_cidr: format!("{}/24", Ipv4Addr::from(first)),
            version: self.version,
            pods_dir: None,
            lessons_dir: PathBuf::from("/nonexistent"),
            pause_program: PathBuf::from("/nonexistent"),
            resolv_conf: PathBuf::from("/dev/null"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            tls: None,
            machine: Some(machine),
            dns: None,
            static_pods: None,
        };
        let network = Arc::new(Addresses {
            first,
            state: Mutex::default(),
        });
        crate::run(config, client, runtime, network, shutdown).await
    }
}

/// Runs a node for each of `clients`, named `prefix0`, `prefix1`, …, until `shutdown`.
///
/// # Errors
/// If one of them cannot start; the others are stopped then.
pub async fn run_many(
    prefix: &str,
    version: &str,
    clients: Vec<Client>,
    shutdown: CancellationToken,
) -> Result<(), KubeletError> {
    let stop = shutdown.child_token();
    let mut nodes = JoinSet::new();
    for (index, client) in (0..).zip(clients) {
        let node = Hollow::new(format!("{prefix}{index}"), index, version.to_owned())?;
        let runtime = Arc::new(FakeRuntime::hollow());
        nodes.spawn(node.run(client, runtime, stop.clone()));
    }
    let mut outcome = Ok(());
    while let Some(ended) = nodes.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                stop.cancel();
                outcome = Err(error);
            }
            Err(error) => tracing::error!(%error, "a hollow node failed"),
        }
    }
    outcome
}

/// Hands out the addresses of one node's range; nothing is wired to them.
#[derive(Debug)]
struct Addresses {
    /// Address of the network itself.
    first: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: HashSet<u32>,
    /// Sandboxes that count as attached.
    attached: HashSet<String>,
    /// Offset that was handed out last; a freed address rests as long as possible.
    last: u32,
}

impl Addresses {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offset(&self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.first)?;
        (offset < RANGE).then_some(offset)
    }
}

#[async_trait]
impl PodNetwork for Addresses {
    fn allocate(&self) -> Result<Ipv4Addr, NetworkError> {
        let mut state = self.state();
        // The first two are the network's and the gateway's, the last is for broadcasts.
        let usable = RANGE - 3;
        let free = (1..=usable)
            .map(|step| 2 + (state.last + step) % usable)
            .find(|offset| !state.used.contains(offset));
        let range = format!("{}/24", Ipv4Addr::from(self.first));
        let offset = free.ok_or(IpamError::Exhausted(usable, range))?;
        state.used.insert(offset);
        state.last = offset - 2;
        Ok(Ipv4Addr::from(self.first + offset))
    }

    fn reserve(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        if let Some(offset) = self.offset(address) {
            self.state().used.insert(offset);
        }
        Ok(())
    }

    fn release(&self, address: Ipv4Addr) {
        if let Some(offset) = self.offset(address) {
            self.state().used.remove(&offset);
        }
    }

    async fn is_attached(&self, key: &str) -> Result<bool, NetworkError> {
        Ok(self.state().attached.contains(key))
    }

    async fn attach(&self, key: &str, _: u32, _: Ipv4Addr) -> Result<(), NetworkError> {
        self.state().attached.insert(key.to_owned());
        Ok(())
    }

    async fn detach(&self, key: &str) -> Result<(), NetworkError> {
        self.state().attached.remove(key);
        Ok(())
    }

    async fn ensure(&self) -> Result<(), NetworkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_and_rest_before_they_are_given_again() {
        let addresses = Addresses {
            first: FIRST,
            state: Mutex::default(),
        };
        let first = addresses.allocate().unwrap();
        let second = addresses.allocate().unwrap();
        assert_ne!(first, second);
        addresses.release(first);
        let rest: HashSet<Ipv4Addr> = (0..252).map(|_| addresses.allocate().unwrap()).collect();
        assert_eq!(rest.len(), 252);
        assert!(rest.contains(&first) && !rest.contains(&second));
        assert!(rest.iter().all(|ip| ip.octets()[..3] == [10, 128, 0]));
        assert!(addresses.allocate().is_err());
    }
}
