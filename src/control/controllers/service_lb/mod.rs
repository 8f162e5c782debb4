//! Gives Services of type LoadBalancer an address: what a cloud does elsewhere. The
//! service network of every node answers at it; there is nothing else to set up or to
//! clean up, so no finalizer is needed.
//!
//! Events are those of upstream's service controller.

mod assign;
mod listed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Service};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::errors::overtaken;
use assign::{Pool, Port, Wish, assign};
use listed::Listed;

/// Wait before an address that could not be written is written again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// What a node serves itself: SSH, etcd, the kubelet, the proxy's health.
const NODE_PORTS: [i32; 5] = [22, 2379, 2380, 10_250, 10_256];

/// A Service as this controller keeps it.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    /// Absent: it wants no address of ours.
    wish: Option<Wish>,
    /// It has, and is of another type now.
    leftover: bool,
    reference: ObjectReference,
}

enum Change {
    Service(Box<watcher::Event<Service>>),
    Node(Box<watcher::Event<Node>>),
}

/// Gives addresses until `shutdown`: of the range `cidr`, or of the nodes, but for ports
/// the node itself serves, `api_port` among them.
pub async fn run(client: Client, cidr: Option<String>, api_port: u16, shutdown: CancellationToken) {
    let range = cidr.as_deref().and_then(Pool::range);
    if let Some(cidr) = cidr.filter(|_| range.is_none()) {
        warn!(
            cidr,
            "no range for load balancers; they get addresses of nodes"
        );
    }
    let services = watcher(
        Api::<Service>::all(client.clone()),
        watcher::Config::default(),
    );
    let mut changes = stream::SelectAll::new();
    changes.push(
        services
            .default_backoff()
            .map(|e| e.map(|e| Change::Service(Box::new(e))))
            .boxed(),
    );
    if range.is_none() {
        let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
        changes.push(
            nodes
                .default_backoff()
                .map(|e| e.map(|e| Change::Node(Box::new(e))))
                .boxed(),
        );
    }
    let mut balancers = Balancers {
        recorder: Recorder::new(
            client.clone(),
            Reporter {
                controller: "service-controller".into(),
                instance: None,
            },
        ),
        client,
        range,
        needed: NODE_PORTS
            .into_iter()
            .chain([api_port.into()])
            .map(|port| ("TCP".to_owned(), port))
            .collect(),
        services: Listed::default(),
        nodes: Listed::default(),
        refused: BTreeMap::new(),
    };
    let mut failed = false;
    loop {
        let retry = async {
            if failed {
                tokio::time::sleep(RETRY).await;
            } else {
                std::future::pending().await
            }
        };
        let mut changed = failed;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = retry => {}
            Some(change) = changes.next() => {
                changed = balancers.take(change);
                while let Some(Some(change)) = changes.next().now_or_never() {
                    changed |= balancers.take(change);
                }
            }
        }
        if changed {
            failed = !balancers.balance().await;
        }
    }
}

struct Balancers {
    client: Client,
    recorder: Recorder,
    range: Option<Pool>,
    needed: BTreeSet<Port>,
    services: Listed<Known>,
    /// Address of each node, and whether it is ready.
    nodes: Listed<Option<(bool, Ipv4Addr)>>,
    /// Why a Service has no address, as its last event says.
    refused: BTreeMap<String, String>,
}

impl Balancers {
    /// Whether the change may matter.
    fn take(&mut self, change: Result<Change, watcher::Error>) -> bool {
        match change {
            Ok(Change::Service(event)) => {
                let event = map(*event, |service| {
                    let namespace = service.namespace().unwrap_or_default();
                    let key = format!("{namespace}/{}", service.name_any());
                    (key, known(&service))
                });
                relevant(event).is_some_and(|event| self.services.apply(event))
            }
            Ok(Change::Node(event)) => self
                .nodes
                .apply(map(*event, |node| (node.name_any(), address(&node)))),
            Err(error) => {
                warn!(%error, "a watch for load balancers was interrupted");
                false
            }
        }
    }

    fn pool(&self) -> Option<Pool> {
        if let Some(range) = &self.range {
            return Some(range.clone());
        }
        if !self.nodes.is_complete() {
            return None;
        }
        let nodes = self.nodes.iter();
        let mut nodes: Vec<(bool, Ipv4Addr)> = nodes.filter_map(|(_, known)| *known).collect();
        // Ready ones first.
        nodes.sort_by_key(|(ready, ip)| (!ready, *ip));
        let nodes = nodes.into_iter().map(|(_, ip)| ip).collect();
        Some(Pool::Nodes(nodes, self.needed.clone()))
    }

    /// Writes what is not as it should be; false if some of it must be tried again.
    async fn balance(&mut self) -> bool {
        let Some(pool) = self.pool().filter(|_| self.services.is_complete()) else {
            return true;
        };
        let wishes: BTreeMap<String, Wish> = self
            .services
            .iter()
            .filter_map(|(key, known)| Some((key.clone(), known.wish.clone()?)))
            .collect();
        self.refused.retain(|key, _| wishes.contains_key(key));
        let given = assign(&pool, &wishes);
        let mut work: Vec<(ObjectReference, Option<Ipv4Addr>)> = Vec::new();
        let mut complaints: Vec<(ObjectReference, String)> = Vec::new();
        for (key, known) in self.services.iter() {
            match given.get(key.as_str()) {
                Some(Ok(ip)) => {
                    self.refused.remove(key);
                    if wishes[key].has != [*ip] {
                        work.push((known.reference.clone(), Some(*ip)));
                    }
                }
                Some(Err(why)) => {
                    if !wishes[key].has.is_empty() {
                        work.push((known.reference.clone(), None));
                    }
                    if self.refused.insert(key.clone(), why.clone()).as_ref() != Some(why) {
                        complaints.push((known.reference.clone(), why.clone()));
                    }
                }
                None if known.leftover => work.push((known.reference.clone(), None)),
                None => {}
            }
        }
        for (reference, why) in complaints {
            let note =
                format!("Error syncing load balancer: failed to ensure load balancer: {why}");
            self.tell(
                &reference,
                EventType::Warning,
                "SyncLoadBalancerFailed",
                note,
            )
            .await;
        }
        let mut done = true;
        for (reference, ip) in work {
            done &= self.write(&reference, ip).await;
        }
        done
    }

    async fn write(&self, reference: &ObjectReference, ip: Option<Ipv4Addr>) -> bool {
        let (begun, done) = match ip {
            Some(_) => (
                ("EnsuringLoadBalancer", "Ensuring load balancer"),
                ("EnsuredLoadBalancer", "Ensured load balancer"),
            ),
            None => (
                ("DeletingLoadBalancer", "Deleting load balancer"),
                ("DeletedLoadBalancer", "Deleted load balancer"),
            ),
        };
        self.note(reference, begun).await;
        let balancer = match ip {
            Some(ip) => json!({"ingress": [{"ip": ip, "ipMode": "VIP"}]}),
            None => serde_json::Value::Null,
        };
        let patch = json!({
            "metadata": {"uid": reference.uid},
            "status": {"loadBalancer": balancer},
        });
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let name = reference.name.as_deref().unwrap_or_default();
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let written = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match written {
            Ok(_) => {
                info!(namespace, name, address = ?ip, "load balancer");
                self.note(reference, done).await;
                true
            }
            Err(error) if overtaken(&error) => true,
            Err(error) => {
                warn!(namespace, name, %error, "the load balancer's address was not written");
                false
            }
        }
    }

    async fn note(&self, about: &ObjectReference, (reason, note): (&str, &str)) {
        self.tell(about, EventType::Normal, reason, note.to_owned())
            .await;
    }

    async fn tell(&self, about: &ObjectReference, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            warn!(%error, reason, "an event was lost");
        }
    }
}

/// Most Services are no balancers, and are as good as absent.
fn relevant(event: watcher::Event<(String, Known)>) -> Option<watcher::Event<(String, Known)>> {
    let matters = |known: &Known| known.wish.is_some() || known.leftover;
    match event {
        watcher::Event::InitApply((_, known)) if !matters(&known) => None,
        watcher::Event::Apply((key, known)) if !matters(&known) => {
            Some(watcher::Event::Delete((key, known)))
        }
        event => Some(event),
    }
}

/// The same message with what is kept of its object.
fn map<K, V>(event: watcher::Event<K>, keep: impl FnOnce(K) -> V) -> watcher::Event<V> {
    match event {
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(object) => watcher::Event::InitApply(keep(object)),
        watcher::Event::InitDone => watcher::Event::InitDone,
        watcher::Event::Apply(object) => watcher::Event::Apply(keep(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(keep(object)),
    }
}

fn known(service: &Service) -> Known {
    let spec = service.spec.as_ref();
    let status = service.status.as_ref();
    let has: Vec<Ipv4Addr> = status
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
        .collect();
    let balancer = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    // A class names somebody else (KEP-1959).
    let ours = spec.is_some_and(|spec| spec.load_balancer_class.is_none());
    let ends = service.metadata.deletion_timestamp.is_some();
    let wish = spec.filter(|_| balancer && ours && !ends).map(|spec| Wish {
        ports: spec
            .ports
            .iter()
            .flatten()
            .map(|port| {
                (
                    port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    port.port,
                )
            })
            .collect(),
        asks: spec
            .load_balancer_ip
            .as_deref()
            .and_then(|ip| ip.parse().ok()),
        has: has.clone(),
    });
    Known {
        wish,
        leftover: !balancer && !has.is_empty(),
        reference: ObjectReference {
            // The version changes with every write, ours among them.
            resource_version: None,
            ..service.object_ref(&())
        },
    }
}

fn address(node: &Node) -> Option<(bool, Ipv4Addr)> {
    let status = node.status.as_ref()?;
    let internal = status.addresses.iter().flatten();
    let ip = internal
        .filter(|address| address.type_ == "InternalIP")
        .find_map(|address| address.address.parse().ok())?;
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    let labels = node.labels();
    // Asked to be left out, as with any load balancer.
    (!labels.contains_key("node.kubernetes.io/exclude-from-external-load-balancers"))
        .then_some((ready, ip))
}
