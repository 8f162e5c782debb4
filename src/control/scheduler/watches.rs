//! Everything the scheduler watches, in one stream of messages.

use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, TryStreamExt};
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::groups::{budget, namespace_labels};
use crate::pod::Change;
use crate::wire;

/// One message of a watch.
#[derive(Debug)]
pub enum Message {
    Pod(Box<Event<wire::Pod>>),
    Node(Box<Event<wire::Node>>),
    Namespace(Event<wire::Namespace>),
    Service(Event<wire::Service>),
    ReplicationController(Event<wire::ReplicationController>),
    ReplicaSet(Event<wire::ReplicaSet>),
    StatefulSet(Event<wire::StatefulSet>),
    Budget(Event<wire::Budget>),
    Claim(Box<Event<wire::Claim>>),
    Volume(Box<Event<wire::PersistentVolume>>),
    Class(Event<wire::StorageClass>),
}

/// All of them.
pub type Messages = SelectAll<BoxStream<'static, Result<Message, watcher::Error>>>;

fn one<K>(
    client: &Client,
    message: impl Fn(Event<K>) -> Message + Send + 'static,
) -> BoxStream<'static, Result<Message, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    watch(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .map_ok(message)
        .boxed()
}

/// Begins to watch.
pub fn all(client: &Client) -> Messages {
    futures::stream::select_all([
        one(client, |e| Message::Pod(Box::new(e))),
        one(client, |e| Message::Node(Box::new(e))),
        one(client, Message::Namespace),
        one(client, Message::Service),
        one(client, Message::ReplicationController),
        one(client, Message::ReplicaSet),
        one(client, Message::StatefulSet),
        one(client, Message::Budget),
        one(client, |e| Message::Claim(Box::new(e))),
        one(client, |e| Message::Volume(Box::new(e))),
        one(client, Message::Class),
    ])
}

impl Cache {
    /// Takes in a message.
    pub fn apply(&mut self, message: Message) {
        match message {
            Message::Pod(event) => self.apply_pod(*event),
            Message::Node(event) => self.apply_node(*event),
            Message::Namespace(event) => {
                let touched = self.namespaces.apply(event, namespace_labels);
                if !touched.is_empty() {
                    self.changes.push_back(Change::Namespace);
                }
            }
            Message::Service(event) => self.groups.apply_service(event),
            Message::ReplicationController(event) => {
                self.groups.apply_replication_controller(event);
            }
            Message::ReplicaSet(event) => self.groups.apply_replica_set(event),
            Message::StatefulSet(event) => self.groups.apply_stateful_set(event),
            Message::Budget(event) => drop(self.budgets.apply(event, budget)),
            Message::Claim(event) => {
                let touched = self.storage.apply_claim(*event);
                self.changes.extend(touched.into_iter().map(Change::Claim));
            }
            Message::Volume(event) => {
                if self.storage.apply_volume(*event) {
                    self.changes.push_back(Change::Volume);
                }
            }
            Message::Class(event) => {
                if self.storage.apply_class(event) {
                    self.changes.push_back(Change::Class);
                }
            }
        }
    }
}
