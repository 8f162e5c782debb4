//! Ingress, built in: what Ingresses of the class `cadet` promise, kept at ports 80 and 443.
//!
//! ```text
//!   API ──watch──► rules, backends, certificates ◄── proxy ◄── listen ◄── browsers
//!                  (pure)                              │
//!    ▲                                                 └──► endpoints
//!    └── status: where this cluster's Ingresses are reached
//! ```
//! It runs in the server, not in agents: it needs the private keys in the cluster's TLS
//! Secrets, which no node may read. A cluster without an Ingress costs one watch; Services,
//! EndpointSlices and Secrets are only followed in namespaces that have one.

mod backends;
mod certificates;
mod class;
mod listen;
mod pages;
mod proxy;
mod rules;
mod state;
pub mod status;
mod upload;
mod watch;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use certificates::CertificateError;

use listen::Scheme;
use proxy::Proxy;
use state::State;

/// Name of the class.
pub const CLASS: &str = "cadet";
/// Which classes are ours: `spec.controller` of an IngressClass.
pub const CONTROLLER: &str = "cadet.dev/ingress";
/// Wait until a port is tried again that another program has.
const RETRY: Duration = Duration::from_secs(10);

/// Where to listen. Port 0 is a free one.
#[derive(Debug, Clone)]
pub struct Config {
    pub address: IpAddr,
    /// `None`: not at all.
    pub http: Option<u16>,
    /// `None`: not at all.
    pub https: Option<u16>,
}

impl Default for Config {
    /// Every address, the ports that browsers know.
    fn default() -> Config {
        Config {
            address: Ipv4Addr::UNSPECIFIED.into(),
            http: Some(80),
            https: Some(443),
        }
    }
}

/// Why there is no Ingress.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    #[error(
        "cannot serve Ingresses at {address}; another program may listen there, and node.json may name another port: {source}"
    )]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A server of one port or two.
#[derive(Debug)]
pub struct Server {
    doors: Vec<Door>,
    state: Arc<State>,
}

/// A port, and its listener unless another program has the port.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    scheme: Scheme,
    listener: Option<TcpListener>,
}

impl Door {
    async fn open(&mut self) -> Result<(), IngressError> {
        let address = self.address;
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| IngressError::Bind { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(scheme = self.scheme.name(), %address, "serving Ingresses");
        self.listener = Some(listener);
        Ok(())
    }

    /// The listener, as soon as the port is free; `None` at `shutdown`.
    async fn opened(mut self, shutdown: &CancellationToken) -> Option<TcpListener> {
        while self.listener.is_none() {
            // Nothing tells that a port has become free.
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
            if let Err(error) = self.open().await {
                tracing::debug!(%error, "still");
            }
        }
        self.listener
    }
}

impl Server {
    /// Opens the ports. One that another program has keeps nothing else from working; it is
    /// tried again for as long as the server runs.
    ///
    /// # Errors
    /// [`IngressError::Certificate`].
    pub async fn bind(config: &Config) -> Result<Server, IngressError> {
        let mut doors = Vec::new();
        for (port, scheme) in [(config.http, Scheme::Http), (config.https, Scheme::Https)] {
            let Some(port) = port else { continue };
            let mut door = Door {
                address: SocketAddr::new(config.address, port),
                scheme,
                listener: None,
            };
            if let Err(error) = door.open().await {
                tracing::error!(%error, "a port of Ingresses is not served");
            }
            doors.push(door);
        }
        let state = Arc::new(State::new()?);
        Ok(Server { doors, state })
    }

    /// Where it listens: `http` or `https`, and the address.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let open = |door: &Door| {
            let listener = door.listener.as_ref()?;
            Some((door.scheme.name(), listener.local_addr().ok()?))
        };
        self.doors.iter().filter_map(open)
    }

    /// Follows the cluster and serves until `shutdown`.
    pub async fn run(self, client: Client, shutdown: CancellationToken) {
        let Server { doors, state } = self;
        let proxy = Proxy::new(Arc::clone(&state));
        let following = watch::follow(client, Arc::clone(&state), shutdown.clone());
        let serving = doors.into_iter().map(|door| {
            let (proxy, certificates) = (proxy.clone(), Arc::clone(&state));
            let shutdown = shutdown.clone();
            async move {
                let scheme = door.scheme;
                if let Some(listener) = door.opened(&shutdown).await {
                    listen::serve(listener, scheme, proxy, certificates, shutdown).await;
                }
            }
        });
        tokio::join!(futures::future::join_all(serving), following);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_keeps_the_other_from_nothing() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let config = Config {
            address: Ipv4Addr::LOCALHOST.into(),
            http: Some(other.local_addr().unwrap().port()),
            https: Some(0),
        };
        let server = Server::bind(&config).await.unwrap();
        let open: Vec<_> = server.addresses().map(|(scheme, _)| scheme).collect();
        assert_eq!(open, ["https"]);
    }

    #[tokio::test]
    async fn an_end_does_not_wait_for_a_port() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let door = Door {
            address: other.local_addr().unwrap(),
            scheme: Scheme::Http,
            listener: None,
        };
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        assert!(door.opened(&shutdown).await.is_none());
    }
}
