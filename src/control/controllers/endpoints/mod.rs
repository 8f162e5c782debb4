//! Endpoints: which addresses stand behind a Service, as EndpointSlices and in the old
//! notation as one Endpoints object; Endpoints made by hand become slices as well.
//!
//! ```text
//!   pods ──▶ members ──▶ Service's name ─▶ queue ─▶ slices::plan ──────▶ EndpointSlices
//!   nodes ─────┘                             ▲  └──▶ subsets::wanted ──▶ Endpoints
//!   Services, slices, Endpoints ─────────────┘
//!   Endpoints of Services without selector ─▶ queue ─▶ mirroring::plan ─▶ EndpointSlices
//! ```
//! A Service with many endpoints is written less often: each write travels to every node.

mod members;
mod mirroring;
mod model;
mod pace;
mod records;
mod slices;
mod subsets;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tracing::debug;

use members::Members;
use model::{MANAGED_BY, SERVICE_NAME, Service, Slice};
use pace::{Pace, Triggers};
use records::{EndpointsRecord, EndpointsWire, Maker, SliceWire, endpoints_body, slice_body};

use crate::errors::Error;
use crate::node_facts::NodeFacts;
use crate::shared::{
    Complete, Key, PodInfo, Queue, Record, Shared, Store, is_namespace_ending, work,
};
use crate::wire::{self, in_namespace, is_gone, written};

/// How many Services are worked on at a time; upstream's figure.
const WORKERS: usize = 5;

struct Context {
    client: Client,
    services: Store<Service>,
    pods: Store<PodInfo>,
    nodes: Store<NodeFacts>,
    slices: Store<Slice>,
    endpoints: Store<EndpointsRecord>,
    members: Members,
    pace: Pace,
    triggers: Triggers,
    /// Versions of objects that were just written here: they are no news.
    ours: Mutex<HashSet<u64>>,
    of_services: Queue,
    of_endpoints: Queue,
}

/// Keeps slices and Endpoints until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        services: shared.store(),
        pods: shared.store(),
        nodes: shared.store(),
        slices: shared.store(),
        endpoints: shared.store(),
        members: Members::default(),
        pace: Pace::default(),
        triggers: Triggers::default(),
        ours: Mutex::default(),
        of_services: Queue::default(),
        of_endpoints: Queue::default(),
    });
    context.listen();
    let caches: [&dyn Complete; 5] = [
        &context.services,
        &context.pods,
        &context.nodes,
        &context.slices,
        &context.endpoints,
    ];
    let of_services = |key: Key| {
        let context = &context;
        async move { context.settle(&key).await }
    };
    let of_endpoints = |key: Key| {
        let context = &context;
        async move { context.mirror(&key).await }
    };
    tokio::join!(
        work(&shared, &context.of_services, &caches, WORKERS, of_services),
        work(
            &shared,
            &context.of_endpoints,
            &caches,
            WORKERS,
            of_endpoints
        ),
    );
}

impl Context {
    fn listen(self: &Arc<Context>) {
        let context = Arc::clone(self);
        self.services.subscribe(move |old, new| {
            let Some(service) = new.or(old) else { return };
            let key = Key::of(service);
            context.of_services.add(key.clone());
            if service.spec.selector.is_none() || old.is_some_and(|o| o.spec.selector.is_none()) {
                context.of_endpoints.add(key);
            }
        });
        let context = Arc::clone(self);
        self.pods.subscribe(move |old, new| {
            let Some(pod) = new.or(old) else { return };
            for name in context.members.changed(old, new) {
                context.of_services.add(Key::new(&pod.namespace, &name));
            }
        });
        let context = Arc::clone(self);
        self.nodes.subscribe(move |old, new| {
            let same = old.zip(new).is_some_and(|(old, new)| old.zone == new.zone);
            let Some(node) = new.or(old).filter(|_| !same) else {
                return;
            };
            for pod in context.pods.on_node(&node.name) {
                for name in context.members.behind(&pod) {
                    context.of_services.add(Key::new(&pod.namespace, &name));
                }
            }
        });
        let context = Arc::clone(self);
        self.slices.subscribe(move |old, new| {
            if new.is_some_and(|slice| context.is_ours(slice.meta().version)) {
                return;
            }
            for slice in [old, new].into_iter().flatten() {
                let (Some(name), Some(keeper)) =
                    (slice.labels.get(SERVICE_NAME), slice.labels.get(MANAGED_BY))
                else {
                    continue;
                };
                let key = Key::new(&slice.namespace, name);
                match keeper.as_str() {
                    slices::CONTROLLER => context.of_services.add(key),
                    mirroring::CONTROLLER => context.of_endpoints.add(key),
                    _ => {}
                }
            }
        });
        let context = Arc::clone(self);
        self.endpoints.subscribe(move |old, new| {
            let Some(endpoints) = new.or(old) else { return };
            if new.is_some_and(|new| context.is_ours(new.meta().version)) {
                return;
            }
            let key = Key::of(endpoints);
            let service = context.services.get(&endpoints.namespace, &endpoints.name);
            match service.is_some_and(|service| service.selects().is_some()) {
                true => context.of_services.add(key),
                false => {
                    // What is left of a Service that went while nobody looked goes as well.
                    context.of_services.add(key.clone());
                    context.of_endpoints.add(key);
                }
            }
        });
    }

    fn is_ours(&self, version: u64) -> bool {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        ours.contains(&version)
    }

    /// Shows what was written in its cache, as no news.
    fn keep<R: Record>(&self, store: &Store<R>, object: R) {
        let lock = || self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let version = object.meta().version;
        lock().insert(version);
        store.written(object);
        lock().remove(&version);
    }

    /// Makes slices and Endpoints of one Service what they should be.
    async fn settle(&self, key: &Key) -> Result<(), Error> {
        if let Some(rest) = self.pace.rest(key) {
            self.of_services.add_after(key.clone(), rest);
            return Ok(());
        }
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            self.members.forget(key);
            self.pace.forget(key);
            self.triggers.forget(key);
            return self.clear(key).await;
        };
        let Some(selector) = service.selects() else {
            self.members.forget(key);
            return Ok(());
        };
        let scan = || self.pods.in_namespace(&key.namespace);
        let names = self.members.of(key, selector, scan).into_iter();
        let pods: Vec<Arc<PodInfo>> = names
            .filter_map(|name| self.pods.get(&key.namespace, &name))
            .collect();
        let pods = || pods.iter().map(AsRef::as_ref);
        let trigger = self.triggers.newest(key, &service, pods());
        let existing: Vec<Arc<Slice>> = self.slices.owned(&service.metadata.uid);
        let ours = |slice: &&Slice| {
            slice
                .labels
                .get(MANAGED_BY)
                .is_some_and(|by| by == slices::CONTROLLER)
                && !slice.terminating
        };
        let existing: Vec<&Slice> = existing.iter().map(AsRef::as_ref).filter(ours).collect();
        let zone = |node: &str| self.nodes.get("", node).map(|node| node.zone.clone());
        let mut plan = slices::plan(&service, pods(), &zone, &existing, trigger.as_deref());
        if service.metadata.is_deleting() {
            plan.create.clear();
        }
        let maker = Maker {
            kind: "Service",
            name: &key.name,
        };
        self.carry_out(key, plan, &maker).await?;
        self.notate(key, &service, pods(), trigger.as_deref())
            .await?;
        self.pace.worked(key, pods().count());
        Ok(())
    }

    /// The Endpoints object of a Service with a selector.
    async fn notate<'a>(
        &self,
        key: &Key,
        service: &Service,
        pods: impl Iterator<Item = &'a PodInfo>,
        trigger: Option<&str>,
    ) -> Result<(), Error> {
        let now = self.endpoints.get(&key.namespace, &key.name);
        let wanted = subsets::wanted(service, pods, now.as_deref().map(|now| &now.said), trigger);
        let path = in_namespace(&EndpointsRecord::path(), &key.namespace);
        let sent: kube::Result<EndpointsWire> = match now.as_deref() {
            Some(now) if now.said.says_as(&wanted) => return Ok(()),
            Some(now) => {
                let version = Some(now.resource_version.as_str());
                let body = endpoints_body(&key.namespace, &key.name, version, &wanted);
                wire::put(&self.client, &format!("{path}/{}", key.name), &body).await
            }
            None if service.metadata.is_deleting() => return Ok(()),
            None => {
                let body = endpoints_body(&key.namespace, &key.name, None, &wanted);
                wire::post(&self.client, &path, &body).await
            }
        };
        match sent {
            Ok(stored) => self.keep(&self.endpoints, EndpointsRecord::of(stored)),
            Err(error) if is_namespace_ending(&error) => {
                debug!(%key, "its namespace is going away")
            }
            Err(error) => return Err(written(format!("endpoints {key}"))(error)),
        }
        Ok(())
    }

    /// Removes the Endpoints of a Service that is gone, if they were made here.
    async fn clear(&self, key: &Key) -> Result<(), Error> {
        let Some(left) = self.endpoints.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let keeper = left.said.labels.get(subsets::MANAGED_BY);
        if keeper.is_none_or(|keeper| keeper != subsets::CONTROLLER) || left.terminating {
            return Ok(());
        }
        let path = in_namespace(&EndpointsRecord::path(), &key.namespace);
        let path = format!("{path}/{}", key.name);
        wire::delete(&self.client, &path, &left.uid, "")
            .await
            .map_err(written(format!("endpoints {key}")))?;
        self.endpoints.deleted(&key.namespace, &key.name, &left.uid);
        Ok(())
    }

    /// Makes the slices of Endpoints that somebody made by hand what they should be.
    async fn mirror(&self, key: &Key) -> Result<(), Error> {
        let service = self.services.get(&key.namespace, &key.name);
        let endpoints = self.endpoints.get(&key.namespace, &key.name);
        let ours = |slice: &Slice| {
            slice
                .labels
                .get(MANAGED_BY)
                .is_some_and(|by| by == mirroring::CONTROLLER)
                && slice
                    .labels
                    .get(SERVICE_NAME)
                    .is_some_and(|name| **name == *key.name)
                && !slice.terminating
        };
        let existing = match &endpoints {
            Some(endpoints) => self.slices.owned(&endpoints.uid),
            None => self.slices.in_namespace(&key.namespace),
        };
        let existing = existing.iter().map(AsRef::as_ref);
        let existing: Vec<&Slice> = existing.filter(|slice: &&Slice| ours(slice)).collect();
        let plan = match endpoints.as_deref() {
            Some(endpoints) if mirroring::is_mirrored(endpoints, service.as_deref()) => {
                mirroring::plan(endpoints, &existing)
            }
            _ => slices::Plan {
                delete: existing.iter().map(|slice| slice.name.clone()).collect(),
                ..slices::Plan::default()
            },
        };
        let maker = Maker {
            kind: "Endpoints",
            name: &key.name,
        };
        self.carry_out(key, plan, &maker).await
    }

    async fn carry_out(
        &self,
        key: &Key,
        plan: slices::Plan,
        maker: &Maker<'_>,
    ) -> Result<(), Error> {
        if plan.is_empty() {
            return Ok(());
        }
        let path = in_namespace(&Slice::path(), &key.namespace);
        let what = || format!("endpoint slices of {key}");
        for slice in &plan.create {
            let body = slice_body(slice, maker);
            match wire::post::<SliceWire>(&self.client, &path, &body).await {
                Ok(stored) => self.keep(&self.slices, Slice::of(stored)),
                Err(error) if is_namespace_ending(&error) => return Ok(()),
                Err(error) => return Err(written(what())(error)),
            }
        }
        for slice in &plan.update {
            let path = format!("{path}/{}", slice.name);
            let body = slice_body(slice, maker);
            match wire::put::<SliceWire>(&self.client, &path, &body).await {
                Ok(stored) => self.keep(&self.slices, Slice::of(stored)),
                // Somebody removed it: the watch says so, and it is planned anew.
                Err(error) if is_gone(&error) => self.of_services.add(key.clone()),
                Err(error) => return Err(written(what())(error)),
            }
        }
        for name in &plan.delete {
            let Some(slice) = self.slices.get(&key.namespace, name) else {
                continue;
            };
            wire::delete(&self.client, &format!("{path}/{name}"), &slice.uid, "")
                .await
                .map_err(written(what()))?;
            self.slices.deleted(&key.namespace, name, &slice.uid);
        }
        Ok(())
    }
}
