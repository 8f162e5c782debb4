//! Services as containers are told of them at their start: `NAME_SERVICE_HOST` and its
//! kin, the oldest way to find one another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Longest wait for the first list of Services.
const PATIENCE: Duration = Duration::from_secs(10);
/// The API server's own Service is told to every pod.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub name: String,
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A Service with a cluster address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLink {
    pub name: String,
    pub address: String,
    pub ports: Vec<ServicePort>,
}

/// The variables that tell a container of `links` (documentation of Services, "environment
/// variables").
#[must_use]
pub fn variables(links: &[ServiceLink]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for link in links {
        let name = link.name.to_uppercase().replace('-', "_");
        let address = &link.address;
        let Some(first) = link.ports.first() else {
            continue;
        };
        all.push((format!("{name}_SERVICE_HOST"), address.clone()));
        all.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in link.ports.iter().filter(|port| !port.name.is_empty()) {
            let port_name = port.name.to_uppercase().replace('-', "_");
            let key = format!("{name}_SERVICE_PORT_{port_name}");
            all.push((key, port.port.to_string()));
        }
        // The form of Docker's links.
        for (index, port) in link.ports.iter().enumerate() {
            let protocol = port.protocol.to_lowercase();
            let number = port.port;
            let url = format!("{protocol}://{address}:{number}");
            if index == 0 {
                all.push((format!("{name}_PORT"), url.clone()));
            }
            let prefix = format!("{name}_PORT_{number}_{}", port.protocol.to_uppercase());
            all.push((prefix.clone(), url));
            all.push((format!("{prefix}_PROTO"), protocol));
            all.push((format!("{prefix}_PORT"), number.to_string()));
            all.push((format!("{prefix}_ADDR"), address.clone()));
        }
    }
    all
}

/// What of a Service matters here; headless and external ones have no address to tell.
fn link(service: &Service) -> Option<ServiceLink> {
    let spec = service.spec.as_ref()?;
    let address = spec.cluster_ip.clone()?;
    let told = !address.is_empty() && address != "None";
    let external = spec.type_.as_deref() == Some("ExternalName");
    (told && !external).then(|| ServiceLink {
        name: service.metadata.name.clone().unwrap_or_default(),
        address,
        ports: spec
            .ports
            .iter()
            .flatten()
            .map(|port| ServicePort {
                name: port.name.clone().unwrap_or_default(),
                port: port.port,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            })
            .collect(),
    })
}

/// By namespace and name.
type Table = Arc<Mutex<BTreeMap<(String, String), ServiceLink>>>;

/// All Services with an address, watched from the first container on.
pub(crate) struct Services {
    client: Client,
    table: Table,
    follower: Mutex<Option<(watch::Receiver<bool>, AbortHandle)>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            table: Table::default(),
            follower: Mutex::default(),
        }
    }

    /// The Services a pod of `namespace` is told of; only the API server's without `links`.
    ///
    /// # Errors
    /// In upstream's words if the API server has not listed them yet.
    pub(crate) async fn of(
        &self,
        namespace: &str,
        links: bool,
    ) -> Result<Vec<ServiceLink>, String> {
        let mut listed = self.listed();
        let ready = tokio::time::timeout(PATIENCE, listed.wait_for(|ready| *ready)).await;
        if !matches!(ready, Ok(Ok(_))) {
            let why = "services have not yet been read at least once, cannot construct envs";
            return Err(why.into());
        }
        Ok(told(&lock(&self.table), namespace, links))
    }

    fn listed(&self) -> watch::Receiver<bool> {
        let mut follower = lock(&self.follower);
        let (ready, _) = follower.get_or_insert_with(|| {
            let (sender, ready) = watch::channel(false);
            let api = Api::all(self.client.clone());
            let task = tokio::spawn(follow(api, self.table.clone(), sender));
            (ready, task.abort_handle())
        });
        ready.clone()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some((_, task)) = lock(&self.follower).take() {
            task.abort();
        }
    }
}

fn told(
    table: &BTreeMap<(String, String), ServiceLink>,
    namespace: &str,
    links: bool,
) -> Vec<ServiceLink> {
    let (master_namespace, master) = MASTER;
    let mut told: Vec<ServiceLink> = Vec::new();
    if links {
        let from = (namespace.to_owned(), String::new());
        let own = table.range(from..);
        let own = own.take_while(|((in_namespace, _), _)| in_namespace == namespace);
        told.extend(own.map(|(_, link)| link.clone()));
    }
    let key = (master_namespace.to_owned(), master.to_owned());
    // One's own Service of that name wins.
    if let Some(link) = table.get(&key)
        && told.iter().all(|own| own.name != master)
    {
        told.push(link.clone());
    }
    told
}

async fn follow(api: Api<Service>, table: Table, ready: watch::Sender<bool>) {
    let mut events =
        std::pin::pin!(watch_objects(api, watcher::Config::default()).default_backoff());
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let key = |service: &Service| {
            let meta = &service.metadata;
            (
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            )
        };
        match event {
            Ok(Event::Init) => listed = BTreeMap::new(),
            Ok(Event::InitApply(service)) => {
                if let Some(link) = link(&service) {
                    listed.insert(key(&service), link);
                }
            }
            Ok(Event::InitDone) => {
                *lock(&table) = std::mem::take(&mut listed);
                ready.send_replace(true);
            }
            Ok(Event::Apply(service)) => {
                let mut table = lock(&table);
                match link(&service) {
                    Some(link) => table.insert(key(&service), link),
                    None => table.remove(&key(&service)),
                };
            }
            Ok(Event::Delete(service)) => {
                lock(&table).remove(&key(&service));
            }
            Err(error) => tracing::debug!(%error, "the watch of Services broke; retrying"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: serde_json::Value) -> Option<ServiceLink> {
        let service = json!({"metadata": {"name": "redis-primary"}, "spec": spec});
        link(&serde_json::from_value(service).unwrap())
    }

    #[test]
    fn a_service_is_told_as_the_documentation_shows() {
        let redis = service(json!({"clusterIP": "10.0.0.11", "ports": [
            {"port": 6379, "protocol": "TCP", "name": "db"}]}))
        .unwrap();
        let told = variables(&[redis]);
        let expected = [
            ("REDIS_PRIMARY_SERVICE_HOST", "10.0.0.11"),
            ("REDIS_PRIMARY_SERVICE_PORT", "6379"),
            ("REDIS_PRIMARY_SERVICE_PORT_DB", "6379"),
            ("REDIS_PRIMARY_PORT", "tcp://10.0.0.11:6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP", "tcp://10.0.0.11:6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_PRIMARY_PORT_6379_TCP_PORT", "6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP_ADDR", "10.0.0.11"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(told, expected);
        assert_eq!(service(json!({"clusterIP": "None"})), None);
        let external = json!({"type": "ExternalName", "externalName": "a.example"});
        assert_eq!(service(external), None);
    }

    #[test]
    fn a_pod_hears_of_its_namespace_and_of_the_api_server() {
        let link = |name: &str| ServiceLink {
            name: name.into(),
            address: "10.0.0.1".into(),
            ports: Vec::new(),
        };
        let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        let table = BTreeMap::from([
            (key("default", "kubernetes"), link("kubernetes")),
            (key("default", "other"), link("other")),
            (key("shop", "db"), link("db")),
            (key("shop2", "far"), link("far")),
        ]);
        let names = |links: Vec<ServiceLink>| -> Vec<String> {
            links.into_iter().map(|link| link.name).collect()
        };
        assert_eq!(names(told(&table, "shop", true)), ["db", "kubernetes"]);
        assert_eq!(names(told(&table, "shop", false)), ["kubernetes"]);
        assert_eq!(
            names(told(&table, "default", true)),
            ["kubernetes", "other"]
        );
    }
}
