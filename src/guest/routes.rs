//! Routes to the pods of other nodes, by their Node objects: the pods' range by the node's
//! address. A node that is silent keeps its route; one that is deleted loses it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cadet_network::{Cidr, Network};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

/// Between two looks at the kernel's table when no node changes: somebody may have emptied it.
const LOOK: Duration = Duration::from_secs(30);
/// Wait after a refused change.
const RETRY: Duration = Duration::from_secs(2);

/// A node's pods, and the address that leads to them.
type Ways = BTreeMap<String, (Cidr, Ipv4Addr)>;

/// Keeps the routes until `shutdown`; they stay, as pods do. `own` is this machine's node.
pub async fn run(client: Client, network: Arc<Network>, own: String, shutdown: CancellationToken) {
    let nodes = watcher(Api::<Node>::all(client), watcher::Config::default());
    let mut changes = pin!(nodes.default_backoff().modify(|node| {
        // A list of nodes is large mostly by what is not needed here.
        node.metadata.managed_fields = None;
        if let Some(status) = &mut node.status {
            status.images = None;
        }
    }));
    let (mut ways, mut coming) = (Ways::new(), Ways::new());
    let mut complete = false;
    let mut pause = LOOK;
    loop {
        let mut change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => match change {
                Some(change) => Some(change),
                None => return,
            },
            () = tokio::time::sleep(pause) => None,
        };
        while let Some(event) = change {
            match event {
                Ok(Event::Init) => coming = Ways::new(),
                Ok(Event::InitApply(node)) => note(&mut coming, &node, &own),
                Ok(Event::InitDone) => {
                    ways = std::mem::take(&mut coming);
                    complete = true;
                }
                Ok(Event::Apply(node)) => note(&mut ways, &node, &own),
                Ok(Event::Delete(node)) => {
                    ways.remove(&node.name_any());
                }
                Err(error) => tracing::warn!(%error, "the watch of nodes was interrupted"),
            }
            change = changes.next().now_or_never().flatten();
        }
        // Routes made of half a list would cut off the other half.
        if !complete {
            continue;
        }
        pause = match network
            .lead_to_nodes(&ways.values().copied().collect())
            .await
        {
            Ok(()) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "the way to another node's pods is not as it should be");
                RETRY
            }
        };
    }
}

fn note(ways: &mut Ways, node: &Node, own: &str) {
    let name = node.name_any();
    if name == own {
        return;
    }
    match way(node) {
        Some(way) => ways.insert(name, way),
        None => ways.remove(&name),
    };
}

/// Both parts, once the node has told them.
fn way(node: &Node) -> Option<(Cidr, Ipv4Addr)> {
    let range = node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let internal = addresses.iter().find(|a| a.type_ == "InternalIP")?;
    Some((range, internal.address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, range: Option<&str>, address: Option<&str>) -> Node {
        let addresses: Vec<_> = address
            .iter()
            .map(|a| serde_json::json!({"type": "InternalIP", "address": a}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name}, "spec": {"podCIDR": range},
            "status": {"addresses": addresses},
        }))
        .unwrap()
    }

    #[test]
    fn other_nodes_that_told_range_and_address_are_led_to() {
        let mut ways = Ways::new();
        let (range, address) = (Some("10.244.1.0/24"), Some("10.89.0.2"));
        note(&mut ways, &node("cadet", range, address), "cadet");
        note(&mut ways, &node("silent", None, address), "cadet");
        note(&mut ways, &node("lost", range, None), "cadet");
        note(
            &mut ways,
            &node("strange", Some("fd00::/64"), address),
            "cadet",
        );
        assert!(ways.is_empty());
        note(&mut ways, &node("cadet-2", range, address), "cadet");
        let way = (
            "10.244.1.0/24".parse().unwrap(),
            Ipv4Addr::new(10, 89, 0, 2),
        );
        assert_eq!(ways.get("cadet-2"), Some(&way));
        // What is no longer told no longer holds.
        note(&mut ways, &node("cadet-2", range, None), "cadet");
        assert!(ways.is_empty());
    }
}
