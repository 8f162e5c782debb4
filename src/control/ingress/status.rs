//! Says in every Ingress of ours where it is reached, and keeps the class they are of. One
//! server does this for all.
//!
//! The addresses are the servers' own, as the Endpoints of `kubernetes` list them: each of them
//! serves Ingresses.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::class::{self, Classes, DEFAULT};
use crate::state::Key;
use crate::{CLASS, CONTROLLER};

/// Wait after a failed write.
const RETRY: Duration = Duration::from_secs(5);

enum Change {
    Class(Event<IngressClass>),
    Ingress(Box<Event<Ingress>>),
    Servers(Event<Endpoints>),
}

/// An Ingress as far as its status is concerned.
#[derive(Debug)]
struct Seen {
    class: Option<String>,
    told: Value,
}

#[derive(Debug, Default)]
struct World {
    classes: Classes,
    ingresses: BTreeMap<Key, Seen>,
    servers: BTreeSet<IpAddr>,
    /// Lists that are here: classes, Ingresses.
    complete: [bool; 2],
    /// What lists that are coming in have shown.
    listed: [HashSet<Key>; 2],
}

/// Keeps statuses and class until `shutdown`.
pub async fn run(client: Client, shutdown: CancellationToken) {
    let config = watcher::Config::default();
    let classes = watcher(Api::<IngressClass>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(Change::Class);
    let ingresses = watcher(Api::<Ingress>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(|event| Change::Ingress(Box::new(event)));
    let servers = Api::<Endpoints>::namespaced(client.clone(), "default");
    let servers = watcher(servers, config.fields("metadata.name=kubernetes"))
        .default_backoff()
        .map_ok(Change::Servers);
    let mut changes = pin!(stream::select(classes, stream::select(ingresses, servers)));
    let mut world = World::default();
    let mut class_made = false;
    let mut again = None;
    loop {
        let mut change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => match change {
                Some(change) => Some(change),
                None => return,
            },
            () = wait(again) => None,
        };
        while let Some(next) = change {
            match next {
                Ok(next) => world.take(next),
                Err(error) => warn!(%error, "watch interrupted"),
            }
            change = changes.next().now_or_never().flatten();
        }
        again = None;
        if !class_made {
            match make_class(&client).await {
                Ok(()) => class_made = true,
                Err(error) => {
                    warn!(%error, "the IngressClass {CLASS} could not be made");
                    again = Some(Instant::now() + RETRY);
                }
            }
        }
        let (wanted, due) = world.due();
        for (namespace, name) in due {
            let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &namespace);
            let patch = json!({"status": {"loadBalancer": {"ingress": wanted}}});
            let sent = ingresses
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            match sent {
                // The watch says so as well, but perhaps only after its next news.
                Ok(_) => world.said(&(namespace, name), &wanted),
                // Gone meanwhile; the watch tells.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    warn!(ingress = %format!("{namespace}/{name}"), %error, "its status was not written");
                    again = Some(Instant::now() + RETRY);
                }
            }
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl World {
    fn take(&mut self, change: Change) {
        match change {
            Change::Class(Event::Init) => self.listed[0].clear(),
            Change::Class(Event::InitApply(class)) => {
                self.listed[0].insert((String::new(), class.name_any()));
                self.classes.set(class.name_any(), &class);
            }
            Change::Class(Event::InitDone) => {
                let listed = std::mem::take(&mut self.listed[0]);
                self.classes
                    .keep(|name| listed.contains(&(String::new(), name.to_owned())));
                self.complete[0] = true;
            }
            Change::Class(Event::Apply(class)) => self.classes.set(class.name_any(), &class),
            Change::Class(Event::Delete(class)) => self.classes.remove(&class.name_any()),
            Change::Ingress(event) => match *event {
                Event::Init => self.listed[1].clear(),
                Event::InitApply(ingress) => {
                    self.listed[1].insert(key(&ingress));
                    self.note(&ingress);
                }
                Event::InitDone => {
                    let listed = std::mem::take(&mut self.listed[1]);
                    self.ingresses.retain(|key, _| listed.contains(key));
                    self.complete[1] = true;
                }
                Event::Apply(ingress) => self.note(&ingress),
                Event::Delete(ingress) => {
                    self.ingresses.remove(&key(&ingress));
                }
            },
            Change::Servers(Event::InitApply(endpoints) | Event::Apply(endpoints)) => {
                let subsets = endpoints.subsets.unwrap_or_default();
                let addresses = subsets
                    .into_iter()
                    .flat_map(|s| s.addresses.unwrap_or_default());
                self.servers = addresses.filter_map(|a| a.ip.parse().ok()).collect();
            }
            // Without servers nobody would be here; the old ones are the best guess.
            Change::Servers(Event::Init | Event::InitDone | Event::Delete(_)) => {}
        }
    }

    fn note(&mut self, ingress: &Ingress) {
        let told = ingress
            .status
            .as_ref()
            .and_then(|s| s.load_balancer.as_ref());
        let told = told.and_then(|balancer| balancer.ingress.as_ref());
        let seen = Seen {
            class: class::of(ingress).map(str::to_owned),
            told: serde_json::to_value(told).unwrap_or_default(),
        };
        self.ingresses.insert(key(ingress), seen);
    }

    fn said(&mut self, key: &Key, told: &Value) {
        if let Some(seen) = self.ingresses.get_mut(key) {
            seen.told = told.clone();
        }
    }

    /// The addresses, and the Ingresses that say something else.
    fn due(&self) -> (Value, Vec<Key>) {
        let addresses = self.servers.iter().map(|ip| json!({"ip": ip.to_string()}));
        let wanted = Value::Array(addresses.collect());
        if self.complete != [true, true] || self.servers.is_empty() {
            return (wanted, Vec::new());
        }
        let due = self
            .ingresses
            .iter()
            .filter(|(_, seen)| seen.told != wanted && self.classes.own(seen.class.as_deref()));
        let due = due.map(|(key, _)| key.clone()).collect();
        (wanted, due)
    }
}

fn key(ingress: &Ingress) -> Key {
    (ingress.namespace().unwrap_or_default(), ingress.name_any())
}

/// Makes the class unless there is one of that name; the default, unless another one is.
async fn make_class(client: &Client) -> kube::Result<()> {
    let classes: Api<IngressClass> = Api::all(client.clone());
    let there = classes.list(&Default::default()).await?;
    if there.items.iter().any(|class| class.name_any() == CLASS) {
        return Ok(());
    }
    let is_default = |class: &IngressClass| {
        class
            .annotations()
            .get(DEFAULT)
            .is_some_and(|value| value == "true")
    };
    let default = !there.items.iter().any(is_default);
    let class = json!({
        "metadata": {"name": CLASS, "annotations": {DEFAULT: default.to_string()}},
        "spec": {"controller": CONTROLLER},
    });
    let class = serde_json::from_value(class).map_err(kube::Error::SerdeError)?;
    match classes.create(&PostParams::default(), &class).await {
        Ok(_) => {
            info!("made the IngressClass {CLASS}");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingress(name: &str, class: &str, address: Option<&str>) -> Change {
        let told = address.map(|ip| json!([{"ip": ip}]));
        let ingress = serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": name},
            "spec": {"ingressClassName": class},
            "status": {"loadBalancer": {"ingress": told}}}));
        Change::Ingress(Box::new(Event::Apply(ingress.unwrap())))
    }

    #[test]
    fn every_ingress_of_ours_is_told_once() {
        let mut world = World::default();
        let class = json!({"metadata": {"name": "cadet"}, "spec": {"controller": CONTROLLER}});
        world.take(Change::Class(Event::Apply(
            serde_json::from_value(class).unwrap(),
        )));
        world.take(ingress("new", "cadet", None));
        world.take(ingress("told", "cadet", Some("10.0.2.15")));
        world.take(ingress("old", "cadet", Some("10.0.2.14")));
        world.take(ingress("other", "nginx", None));
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.2.15"}]}]});
        world.take(Change::Servers(Event::Apply(
            serde_json::from_value(endpoints).unwrap(),
        )));
        assert!(world.due().1.is_empty(), "the lists are not here yet");
        world.complete = [true, true];
        let (wanted, due) = world.due();
        assert_eq!(wanted, json!([{"ip": "10.0.2.15"}]));
        let names: Vec<_> = due.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["new", "old"]);
    }
}
