//! Keeps the zone true: three watches, each object applied as it comes.
//!
//! While a list comes in anew, what is known stays; what the list did not hold goes at its end.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::object::{NamespaceObject, ServiceObject, SliceObject};
use crate::records::{Part, Zone};

enum Change {
    Namespace(Event<NamespaceObject>),
    Service(Event<ServiceObject>),
    Slice(Event<SliceObject>),
}

/// Namespace and name.
type Key = (String, String);

/// What a watch has shown, and what its present list has shown so far.
#[derive(Debug, Default)]
struct Shown {
    now: HashSet<Key>,
    listed: HashSet<Key>,
}

/// Follows the cluster until `shutdown`.
pub async fn follow(client: Client, zone: Arc<RwLock<Zone>>, shutdown: CancellationToken) {
    let config = watcher::Config::default();
    let namespaces = watcher(Api::<NamespaceObject>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(Change::Namespace);
    let services = watcher(Api::<ServiceObject>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(Change::Service);
    let slices = watcher(Api::<SliceObject>::all(client), config)
        .default_backoff()
        .map_ok(Change::Slice);
    let all = stream::select(namespaces, stream::select(services, slices));
    let mut changes = pin!(all);
    let mut shown = [Shown::default(), Shown::default(), Shown::default()];
    loop {
        let change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => change,
        };
        match change {
            Some(Ok(change)) => {
                let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
                take(&mut zone, &mut shown, change);
            }
            // The watcher starts over by itself, with a growing pause.
            Some(Err(error)) => warn!(%error, "a watch of the cluster's names was interrupted"),
            None => return,
        }
    }
}

fn take(zone: &mut Zone, shown: &mut [Shown; 3], change: Change) {
    let [namespaces, services, slices] = shown;
    match change {
        Change::Namespace(event) => apply(
            (zone, namespaces, Part::Namespaces),
            event,
            |zone, (_, name), _| zone.set_namespace(name),
            |zone, (_, name)| zone.remove_namespace(name),
        ),
        Change::Service(event) => apply(
            (zone, services, Part::Services),
            event,
            |zone, (namespace, name), object| zone.set_service(namespace, name, object.service()),
            |zone, (namespace, name)| zone.remove_service(namespace, name),
        ),
        Change::Slice(event) => apply(
            (zone, slices, Part::Slices),
            event,
            |zone, (namespace, name), object| match object.slice() {
                Some((service, slice)) => zone.set_slice(namespace, name, &service, slice),
                None => zone.remove_slice(namespace, name),
            },
            |zone, (namespace, name)| zone.remove_slice(namespace, name),
        ),
    }
}

fn apply<K: Resource>(
    (zone, shown, part): (&mut Zone, &mut Shown, Part),
    event: Event<K>,
    set: impl Fn(&mut Zone, &Key, K),
    remove: impl Fn(&mut Zone, &Key),
) {
    match event {
        Event::Init => shown.listed.clear(),
        Event::InitApply(object) => {
            let key = key(&object);
            set(zone, &key, object);
            shown.listed.insert(key);
        }
        Event::InitDone => {
            let listed = std::mem::take(&mut shown.listed);
            for gone in shown.now.difference(&listed) {
                remove(zone, gone);
            }
            shown.now = listed;
            zone.complete(part);
        }
        Event::Apply(object) => {
            let key = key(&object);
            set(zone, &key, object);
            shown.now.insert(key);
        }
        Event::Delete(object) => {
            let key = key(&object);
            remove(zone, &key);
            shown.now.remove(&key);
        }
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&meta.namespace), text(&meta.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Answer, Asked, ZoneConfig};
    use serde_json::json;

    fn service(name: &str) -> ServiceObject {
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": name}, "spec": {"clusterIP": "10.96.0.7"}}))
        .unwrap()
    }

    #[test]
    fn a_new_list_takes_away_what_it_does_not_hold() {
        let mut zone = Zone::new(&ZoneConfig {
            domain: "cluster.local".into(),
            server: "10.96.0.10".parse().unwrap(),
            ranges: vec![],
        })
        .unwrap();
        let mut shown = [Shown::default(), Shown::default(), Shown::default()];
        let mut tell = |event| take(&mut zone, &mut shown, Change::Service(event));
        for event in [
            Event::Init,
            Event::InitApply(service("a")),
            Event::InitDone,
            Event::Apply(service("b")),
            Event::Init,
            Event::InitApply(service("b")),
            Event::InitDone,
        ] {
            tell(event);
        }
        for part in [Part::Namespaces, Part::Slices] {
            zone.complete(part);
        }
        let there = |name: &str| {
            let name = format!("{name}.d.svc.cluster.local");
            matches!(zone.answer(&name, Asked::A), Answer::Found { .. })
        };
        assert!(!there("a") && there("b"));
    }
}
