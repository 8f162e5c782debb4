//! Follows classes and Ingresses, and, where an Ingress is ours, what stands behind it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::certificates;
use crate::state::{Inner, Key, Namespace, State};

enum Change {
    Class(Box<Event<IngressClass>>),
    Ingress(Box<Event<Ingress>>),
}

/// Names a watch has shown, and those of the list that is coming in.
#[derive(Debug, Default)]
struct Shown {
    now: HashSet<Key>,
    listed: HashSet<Key>,
}

/// One object set, or one gone.
enum Step<K> {
    Set(Key, Box<K>),
    Gone(Key),
}

impl Shown {
    /// What a message of a watch means for the objects that are known.
    fn steps<K: Resource>(&mut self, event: Event<K>) -> Vec<Step<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.insert(key(&object));
                vec![Step::Set(key(&object), Box::new(object))]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = self
                    .now
                    .difference(&listed)
                    .cloned()
                    .map(Step::Gone)
                    .collect();
                self.now = listed;
                gone
            }
            Event::Apply(object) => {
                self.now.insert(key(&object));
                vec![Step::Set(key(&object), Box::new(object))]
            }
            Event::Delete(object) => {
                self.now.remove(&key(&object));
                vec![Step::Gone(key(&object))]
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&meta.namespace), text(&meta.name))
}

/// Follows the cluster until `shutdown`.
pub async fn follow(client: Client, state: Arc<State>, shutdown: CancellationToken) {
    let config = watcher::Config::default();
    let classes = watcher(Api::<IngressClass>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(|event| Change::Class(Box::new(event)));
    let ingresses = watcher(Api::<Ingress>::all(client.clone()), config)
        .default_backoff()
        .modify(|ingress| ingress.metadata.managed_fields = None)
        .map_ok(|event| Change::Ingress(Box::new(event)));
    let mut changes = pin!(stream::select(classes, ingresses));
    let mut shown = (Shown::default(), Shown::default());
    let mut followed: HashMap<String, CancellationToken> = HashMap::new();
    let tasks = TaskTracker::new();
    loop {
        let mut change = tokio::select! {
            () = shutdown.cancelled() => break,
            change = changes.next() => match change {
                Some(change) => Some(change),
                None => break,
            },
        };
        let wanted = {
            let mut inner = state.write();
            let mut changed = false;
            // What has already arrived is taken too, so that one table serves many changes.
            while let Some(next) = change {
                match next {
                    Ok(next) => changed |= take(&mut inner, &mut shown, next),
                    Err(error) => warn!(%error, "a watch of Ingresses was interrupted"),
                }
                change = changes.next().now_or_never().flatten();
            }
            if !changed {
                continue;
            }
            inner.rebuild();
            let wanted = inner.wanted();
            inner.namespaces.retain(|name, _| wanted.contains(name));
            wanted
        };
        followed.retain(|name, stop| {
            let kept = wanted.contains(name);
            if !kept {
                stop.cancel();
            }
            kept
        });
        for name in wanted {
            if let Entry::Vacant(place) = followed.entry(name.clone()) {
                let stop = shutdown.child_token();
                state
                    .write()
                    .namespaces
                    .insert(name.clone(), Namespace::default());
                let following = behind(
                    client.clone(),
                    name.clone(),
                    Arc::clone(&state),
                    stop.clone(),
                );
                tasks.spawn(following);
                place.insert(stop);
            }
        }
    }
    for stop in followed.into_values() {
        stop.cancel();
    }
    tasks.close();
    tasks.wait().await;
}

/// True if rules may have changed.
fn take(inner: &mut Inner, (classes, ingresses): &mut (Shown, Shown), change: Change) -> bool {
    let mut changed = false;
    match change {
        Change::Class(event) => {
            inner.complete[0] |= matches!(*event, Event::InitDone);
            for step in classes.steps(*event) {
                changed = true;
                match step {
                    Step::Set((_, name), class) => inner.classes.set(name, &class),
                    Step::Gone((_, name)) => inner.classes.remove(&name),
                }
            }
        }
        Change::Ingress(event) => {
            inner.complete[1] |= matches!(*event, Event::InitDone);
            for step in ingresses.steps(*event) {
                match step {
                    Step::Set(key, ingress) => {
                        let before = inner.ingresses.insert(key, (*ingress).clone());
                        // Our own word in its status changes no rule.
                        changed |= before.is_none_or(|before| {
                            before.spec != ingress.spec
                                || before.metadata.annotations != ingress.metadata.annotations
                                || before.metadata.uid != ingress.metadata.uid
                        });
                    }
                    Step::Gone(key) => changed |= inner.ingresses.remove(&key).is_some(),
                }
            }
        }
    }
    changed
}

enum Behind {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
    Secret(Box<Event<Secret>>),
}

/// Follows what stands behind the Ingresses of one namespace until `stop`.
async fn behind(client: Client, namespace: String, state: Arc<State>, stop: CancellationToken) {
    let config = watcher::Config::default();
    let services = Api::<Service>::namespaced(client.clone(), &namespace);
    let services = watcher(services, config.clone())
        .default_backoff()
        .map_ok(|event| Behind::Service(Box::new(event)));
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), &namespace);
    let slices = watcher(slices, config.clone())
        .default_backoff()
        .map_ok(|event| Behind::Slice(Box::new(event)));
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let secrets = watcher(secrets, config.fields("type=kubernetes.io/tls"))
        .default_backoff()
        .map_ok(|event| Behind::Secret(Box::new(event)));
    let mut changes = pin!(stream::select(services, stream::select(slices, secrets)));
    let mut shown = (Shown::default(), Shown::default(), Shown::default());
    info!(namespace, "serving its Ingresses");
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.next() => change,
        };
        match change {
            Some(Ok(change)) => {
                let mut inner = state.write();
                if stop.is_cancelled() {
                    return;
                }
                let known = inner.namespaces.entry(namespace.clone()).or_default();
                learn(known, &mut shown, change);
            }
            Some(Err(error)) => {
                warn!(namespace, %error, "a watch behind Ingresses was interrupted")
            }
            None => return,
        }
    }
}

fn learn(
    known: &mut Namespace,
    (services, slices, secrets): &mut (Shown, Shown, Shown),
    change: Behind,
) {
    match change {
        Behind::Service(event) => {
            for step in services.steps(*event) {
                match step {
                    Step::Set((_, name), service) => known.backends.set_service(&name, &service),
                    Step::Gone((_, name)) => known.backends.remove_service(&name),
                }
            }
        }
        Behind::Slice(event) => {
            for step in slices.steps(*event) {
                match step {
                    Step::Set((_, name), slice) => known.backends.set_slice(&name, &slice),
                    Step::Gone((_, name)) => known.backends.remove_slice(&name),
                }
            }
        }
        Behind::Secret(event) => {
            for step in secrets.steps(*event) {
                match step {
                    Step::Set((namespace, name), secret) => {
                        match certificates::of_secret(&secret) {
                            Ok(pair) => {
                                known.certificates.insert(name, pair);
                            }
                            Err(error) => {
                                warn!(secret = %format!("{namespace}/{name}"), %error,
                                    "hosts of this Secret get a certificate nobody vouches for");
                                known.certificates.remove(&name);
                            }
                        }
                    }
                    Step::Gone((_, name)) => {
                        known.certificates.remove(&name);
                    }
                }
            }
        }
    }
}
