//! The Service `kube-system/kube-dns`: by it learners see that there is DNS, and where.
//!
//! Each node answers at the Service's address itself, so nothing needs to be forwarded there;
//! its endpoints are the same servers at their bridges' addresses, reachable from every node.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::pin;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
/// Who writes these slices, in upstream's label for that.
const MANAGER: &str = "dns.cadet.dev";
/// Most endpoints a slice may hold (validation's limit).
const SLICE: usize = 1000;
/// Wait after a failed write.
const RETRY: Duration = Duration::from_secs(5);

/// The DNS server of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    address: Ipv4Addr,
    ready: bool,
}

/// The address of the cluster's DNS in a Service range such as `10.96.0.0/12`: the tenth, as
/// kubeadm chooses it. `None` if the range has none.
#[must_use]
pub fn address(service_cidr: &str) -> Option<Ipv4Addr> {
    let (base, bits) = service_cidr.split_once('/')?;
    let (base, bits): (Ipv4Addr, u32) = (base.parse().ok()?, bits.parse().ok()?);
    let roomy = (1..=28).contains(&bits);
    roomy.then(|| Ipv4Addr::from((u32::from(base) & (u32::MAX << (32 - bits))) + 10))
}

/// Keeps the Service and its endpoints until `shutdown`.
pub async fn run(client: Client, address: Ipv4Addr, shutdown: CancellationToken) {
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
    let mut changes = pin!(nodes.default_backoff().modify(|node| {
        // A list of nodes is large mostly by what is not needed here.
        node.metadata.managed_fields = None;
    }));
    let mut servers = BTreeMap::new();
    let mut coming = BTreeMap::new();
    let mut written: Option<Vec<Value>> = None;
    let mut again = None;
    let mut complete = false;
    loop {
        let mut change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => match change {
                Some(change) => Some(change),
                None => return,
            },
            () = wait(again) => None,
        };
        let retry = change.is_none();
        while let Some(event) = change {
            match event {
                Ok(Event::Init) => coming = BTreeMap::new(),
                Ok(Event::InitApply(node)) => note(&mut coming, &node),
                Ok(Event::InitDone) => {
                    servers = std::mem::take(&mut coming);
                    complete = true;
                }
                Ok(Event::Apply(node)) => note(&mut servers, &node),
                Ok(Event::Delete(node)) => {
                    servers.remove(&node.name_any());
                }
                Err(error) => warn!(%error, "watch interrupted"),
            }
            change = changes.next().now_or_never().flatten();
        }
        let wanted = slices(&servers);
        if !complete || (written.as_ref() == Some(&wanted) && !retry) {
            continue;
        }
        again = match write(&client, address, &wanted).await {
            Ok(()) => {
                written = Some(wanted);
                None
            }
            Err(error) => {
                warn!(%error, "the Service {NAMESPACE}/{NAME} is not as it should be");
                Some(Instant::now() + RETRY)
            }
        };
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn note(servers: &mut BTreeMap<String, Server>, node: &Node) {
    let range = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref());
    // The bridge has the first address of the node's pods.
    let first = range
        .and_then(|range| range.split('/').next())
        .and_then(|base| base.parse::<Ipv4Addr>().ok())
        .and_then(|base| u32::from(base).checked_add(1));
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let name = node.name_any();
    match first {
        Some(first) => {
            let address = Ipv4Addr::from(first);
            servers.insert(name, Server { address, ready });
        }
        None => {
            servers.remove(&name);
        }
    }
}

/// The slices of these servers, by node.
fn slices(servers: &BTreeMap<String, Server>) -> Vec<Value> {
    let endpoints: Vec<Value> = servers
        .iter()
        .map(|(node, server)| {
            json!({
                "addresses": [server.address.to_string()],
                "conditions": {"ready": server.ready, "serving": server.ready, "terminating": false},
                "nodeName": node,
            })
        })
        .collect();
    let chunks = endpoints.chunks(SLICE).enumerate();
    chunks
        .map(|(n, endpoints)| {
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{NAME}-{n}"),
                    "namespace": NAMESPACE,
                    "labels": {
                        "kubernetes.io/service-name": NAME,
                        "endpointslice.kubernetes.io/managed-by": MANAGER,
                        "k8s-app": NAME,
                    },
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            })
        })
        .collect()
}

/// The Service in the words of kubeadm's manifest; without a selector, for no pods stand behind.
fn service(address: Ipv4Addr) -> serde_json::Result<Service> {
    serde_json::from_value(json!({
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {
                "k8s-app": NAME,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
            "annotations": {
                "kubernetes.io/description": "Names of Services and pods. Every node answers at this address itself.",
            },
        },
        "spec": {
            "clusterIP": address.to_string(),
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }))
}

async fn write(client: &Client, address: Ipv4Addr, wanted: &[Value]) -> kube::Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    if services.get_opt(NAME).await?.is_none() {
        let service = service(address).map_err(kube::Error::SerdeError)?;
        services.create(&PostParams::default(), &service).await?;
        info!(%address, "made the Service {NAMESPACE}/{NAME}");
    }
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let ours = format!("endpointslice.kubernetes.io/managed-by={MANAGER}");
    let there = slices.list(&ListParams::default().labels(&ours)).await?;
    for (n, slice) in wanted.iter().enumerate() {
        let apply = PatchParams::apply(MANAGER).force();
        let name = format!("{NAME}-{n}");
        slices.patch(&name, &apply, &Patch::Apply(slice)).await?;
    }
    for old in there.items.iter().map(|slice| slice.name_any()) {
        let kept = (0..wanted.len()).any(|n| old == format!("{NAME}-{n}"));
        if !kept {
            slices.delete(&old, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_address_is_dns() {
        let of = |range| address(range).map(|address| address.to_string());
        assert_eq!(of("10.96.0.0/12").as_deref(), Some("10.96.0.10"));
        assert_eq!(of("10.43.0.0/16").as_deref(), Some("10.43.0.10"));
        for bad in ["10.96.0.0", "10.96.0.0/29", "x/12", "fd00::/108"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_node_is_an_endpoint_at_its_bridge() {
        let node = |range: Option<&str>, ready: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": "n1"}, "spec": {"podCIDR": range},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap()
        };
        let mut servers = BTreeMap::new();
        note(&mut servers, &node(Some("10.244.3.0/24"), "Unknown"));
        assert_eq!(
            slices(&servers)[0]["endpoints"],
            json!([{"addresses": ["10.244.3.1"], "nodeName": "n1",
                "conditions": {"ready": false, "serving": false, "terminating": false}}])
        );
        note(&mut servers, &node(Some("10.244.3.0/24"), "True"));
        assert_eq!(
            slices(&servers)[0]["endpoints"][0]["conditions"]["ready"],
            true
        );
        note(&mut servers, &node(None, "True"));
        assert!(slices(&servers).is_empty());
    }

    #[test]
    fn many_nodes_fill_several_slices() {
        let servers = (0..1500u32).map(|n| {
            let address = Ipv4Addr::from(0x0af4_0000 + n * 256 + 1);
            let ready = true;
            (format!("n{n:04}"), Server { address, ready })
        });
        let slices = slices(&servers.collect());
        let sizes = slices
            .iter()
            .map(|s| s["endpoints"].as_array().unwrap().len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1000, 500]);
    }
}
