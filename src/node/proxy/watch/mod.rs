//! The loop: watches feed the indexes, and each batch of changes becomes one transaction.

mod apply;
mod listing;
mod peers;

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{SelectAll, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Node, Service as ApiService};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::health::HealthServers;
use crate::healthz::{self, Pulse};
use crate::policy::{PodObject, Policies};
use crate::services::{
    Consequences, HEADLESS_LABEL, ObjectName, PROXY_NAME_LABEL, Place, SERVICE_NAME_LABEL, Service,
    Services, Slice, ZONE_LABEL,
};
use crate::table::Table;
use listing::{Listing, Step};

/// First wait after a refused transaction, and the longest one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Most changes in one transaction, so that the first ones do not wait for ever.
const BATCH: usize = 5_000;

/// A message of one of the watches.
enum Change {
    Node(Event<PartialObjectMeta<Node>>),
    Service(Box<Event<ApiService>>),
    Slice(Event<EndpointSlice>),
    Policy(Event<NetworkPolicy>),
    Namespace(Event<PartialObjectMeta<Namespace>>),
    Pod(Event<PodObject>),
}

type Changes = Pin<Box<dyn Stream<Item = Change> + Send>>;

/// Keeps this node's rules as the cluster wants them, until `shutdown`. The rules stay.
/// `rebuilt` tells that somebody else has taken the table away.
pub async fn run(
    client: Client,
    config: Config,
    mut rebuilt: tokio::sync::watch::Receiver<u64>,
    shutdown: CancellationToken,
) {
    let mut proxy = Proxy::new(client, config);
    tokio::spawn(healthz::serve(proxy.pulse.clone(), shutdown.child_token()));
    rebuilt.mark_unchanged();
    // Whoever could tell may end before us; then nobody takes it away either.
    let mut watched = true;
    loop {
        let due = proxy.retry.map(|retry| retry.at);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            gone = rebuilt.changed(), if watched => {
                watched = gone.is_ok();
                proxy.whole |= watched;
            }
            Some(change) = proxy.changes.next() => {
                proxy.take(change);
                for _ in 0..BATCH {
                    match proxy.changes.next().now_or_never() {
                        Some(Some(change)) => proxy.take(change),
                        _ => break,
                    }
                }
            }
        }
        // Not interrupted: a transaction takes milliseconds.
        proxy.apply().await;
    }
}

/// When something that failed is tried again, and how long that was after it.
#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Retry {
    fn after(wait: Duration) -> Option<Self> {
        let at = Instant::now() + wait;
        Some(Self { at, wait })
    }
}

struct Proxy {
    client: Client,
    config: Config,
    changes: SelectAll<Changes>,
    place: Place,
    services: Services,
    policies: Policies,
    table: Table,
    servers: HealthServers,
    pulse: Pulse,
    listed_node: bool,
    listed_services: Listing<ObjectName>,
    listed_slices: Listing<ObjectName>,
    listed_policies: Listing<ObjectName>,
    listed_namespaces: Listing<Box<str>>,
    listed_pods: Listing<ObjectName>,
    /// Ends the watch of slices, which are read as seen from [`Proxy::place`].
    slices: Option<CancellationToken>,
    /// Ends the watches of pods and namespaces; there while there are policies.
    peers: Option<CancellationToken>,
    /// The kernel must be given everything.
    whole: bool,
    /// The kernel has been given everything once.
    in_force: bool,
    retry: Option<Retry>,
    /// What is still to be done beside the table.
    todo: Consequences,
}

impl Proxy {
    fn new(client: Client, config: Config) -> Self {
        let mut proxy = Self {
            changes: SelectAll::new(),
            place: Place {
                node: config.node_name.clone(),
                zone: None,
            },
            services: Services::new(&config.cluster_cidr),
            policies: Policies::default(),
            table: Table::default(),
            servers: HealthServers::default(),
            pulse: Pulse::default(),
            listed_node: false,
            listed_services: Listing::default(),
            listed_slices: Listing::default(),
            listed_policies: Listing::default(),
            listed_namespaces: Listing::default(),
            listed_pods: Listing::default(),
            slices: None,
            peers: None,
            whole: true,
            in_force: false,
            retry: None,
            todo: Consequences::default(),
            client,
            config,
        };
        let own = format!("metadata.name={}", proxy.config.node_name);
        let node = Api::<PartialObjectMeta<Node>>::all(proxy.client.clone());
        let node = watcher(node, watcher::Config::default().fields(&own));
        proxy.watch(node, Change::Node, None);
        let services = Api::<ApiService>::all(proxy.client.clone());
        proxy.watch(
            watcher(services, ours()),
            |e| Change::Service(Box::new(e)),
            None,
        );
        let policies = Api::<NetworkPolicy>::all(proxy.client.clone());
        let policies = watcher(policies, watcher::Config::default());
        proxy.watch(policies, Change::Policy, None);
        proxy
    }

    /// Adds a watch; it starts over by itself whenever the server ends it.
    fn watch<K: 'static>(
        &mut self,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
        wrap: fn(Event<K>) -> Change,
        until: Option<&CancellationToken>,
    ) {
        let changes = events.default_backoff().filter_map(move |event| {
            let change = match event {
                Ok(event) => Some(wrap(event)),
                Err(error) => {
                    tracing::warn!(%error, "a watch of the proxy was interrupted");
                    None
                }
            };
            std::future::ready(change)
        });
        let changes: Changes = match until {
            Some(token) => Box::pin(changes.take_until(token.clone().cancelled_owned())),
            None => Box::pin(changes),
        };
        self.changes.push(changes);
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Node(event) => self.take_node(event),
            Change::Service(event) => match self.listed_services.step(*event, name_of) {
                Step::Set(object) => {
                    self.set_service(&name_of(&object), Service::read(&object));
                }
                Step::Gone(object) => self.set_service(&name_of(&object), None),
                Step::Rest => {
                    let known = self.services.service_names().cloned();
                    for name in self.listed_services.rest(known) {
                        self.set_service(&name, None);
                    }
                }
                Step::Nothing => {}
            },
            Change::Slice(event) => self.take_slice(event),
            Change::Policy(event) => self.take_policy(event),
            Change::Namespace(event) => self.take_namespace(event),
            Change::Pod(event) => self.take_pod(event),
        }
    }

    fn set_service(&mut self, name: &ObjectName, service: Option<Service>) {
        self.note_dns(name, service.as_ref());
        self.services.set_service(name, service);
    }

    /// The zone decides which hints of endpoints are for us.
    fn take_node(&mut self, event: Event<PartialObjectMeta<Node>>) {
        let zone = match &event {
            Event::InitApply(node) | Event::Apply(node) => node.labels().get(ZONE_LABEL).cloned(),
            // Not registered yet, or no longer: without a zone there are no hints.
            Event::InitDone if !self.listed_node => None,
            _ => return,
        };
        if self.listed_node && zone == self.place.zone {
            return;
        }
        self.listed_node = true;
        self.place.zone = zone;
        if let Some(before) = self.slices.take() {
            before.cancel();
        }
        let token = CancellationToken::new();
        let slices = Api::<EndpointSlice>::all(self.client.clone());
        self.watch(watcher(slices, ours()), Change::Slice, Some(&token));
        self.slices = Some(token);
    }

    fn take_slice(&mut self, event: Event<EndpointSlice>) {
        match self.listed_slices.step(event, name_of) {
            Step::Set(object) => {
                let owner = object.labels().get(SERVICE_NAME_LABEL);
                let slice = owner.and_then(|owner| {
                    Some((owner.as_str().into(), Slice::read(&object, &self.place)?))
                });
                self.services.set_slice(&name_of(&object), slice);
            }
            Step::Gone(object) => self.services.set_slice(&name_of(&object), None),
            Step::Rest => {
                let known = self.services.slice_names().cloned();
                for name in self.listed_slices.rest(known) {
                    self.services.set_slice(&name, None);
                }
            }
            Step::Nothing => {}
        }
    }

    /// Whether everything is known that rules are made of. Rules made of less would cut
    /// off Services that are there, or let through what a policy forbids.
    fn is_complete(&self) -> bool {
        self.listed_services.complete
            && self.listed_slices.complete
            && self.listed_policies.complete
            && (self.knows_peers() || self.in_force)
    }

    /// Whether policies can be made into rules. When the first policy has just come, the
    /// Services need not wait until all pods are known.
    fn knows_peers(&self) -> bool {
        self.peers.is_none() || self.listed_namespaces.complete && self.listed_pods.complete
    }
}

/// Services and slices that are not left to another proxy and not headless.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("!{PROXY_NAME_LABEL},!{HEADLESS_LABEL}"))
}

fn name_of<K: ResourceExt>(object: &K) -> ObjectName {
    let namespace = object.namespace().unwrap_or_default();
    (namespace.into(), object.name_any().into())
}
