//! ConfigMaps and Secrets of this node's pods, as they are now: one watch for each object
//! that some pod uses, ended with its last user. What changes wakes its users, so nobody
//! asks again and again.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::pods::PodTable;

/// Longest wait for the first look at an object.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of an object: nothing yet, why not, that there is none, or its content.
#[derive(Debug, Clone)]
enum Known<K> {
    NotYet,
    Unreadable(String),
    Is(Option<Arc<K>>),
}

type Users = Arc<Mutex<HashSet<String>>>;

struct Entry<K> {
    known: watch::Receiver<Known<K>>,
    /// UIDs of the pods that refer to it.
    users: Users,
    task: AbortHandle,
}

/// The objects of one kind. See the file's head.
pub(crate) struct Configs<K> {
    client: Client,
    pods: PodTable,
    entries: Mutex<HashMap<(String, String), Entry<K>>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K> Configs<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    pub(crate) fn new(client: Client, pods: PodTable) -> Self {
        Self {
            client,
            pods,
            entries: Mutex::default(),
        }
    }

    /// The object of that name in the pod's namespace, or `None` if there is none. From
    /// then on the pod is woken when that changes.
    ///
    /// # Errors
    /// Why the API server does not say, in its words.
    pub(crate) async fn get(&self, pod: &Pod, name: &str) -> Result<Option<Arc<K>>, String> {
        let mut known = self.entry(pod, name);
        let settled = |known: &Known<K>| matches!(known, Known::Is(_));
        if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, known.wait_for(settled)).await
            && let Known::Is(object) = &*found
        {
            return Ok(object.clone());
        }
        match &*known.borrow() {
            Known::Is(object) => Ok(object.clone()),
            Known::Unreadable(why) => Err(why.clone()),
            Known::NotYet => Err("timed out waiting for the API server".into()),
        }
    }

    fn entry(&self, pod: &Pod, name: &str) -> watch::Receiver<Known<K>> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut entries = lock(&self.entries);
        let entry = entries
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert_with(|| {
                let (changed, known) = watch::channel(Known::NotYet);
                let users = Users::default();
                let api = Api::namespaced(self.client.clone(), namespace);
                let (name, pods) = (name.to_owned(), self.pods.clone());
                let follow = follow(api, name, users.clone(), pods, changed);
                Entry {
                    known,
                    users,
                    task: tokio::spawn(follow).abort_handle(),
                }
            });
        lock(&entry.users).insert(uid);
        entry.known.clone()
    }

    /// A pod is gone; what nobody uses any more is not watched.
    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.entries).retain(|_, entry| {
            let mut users = lock(&entry.users);
            users.remove(uid);
            if users.is_empty() {
                entry.task.abort();
            }
            !users.is_empty()
        });
    }
}

impl<K> Drop for Configs<K> {
    fn drop(&mut self) {
        for entry in lock(&self.entries).values() {
            entry.task.abort();
        }
    }
}

async fn follow<K>(
    api: Api<K>,
    name: String,
    users: Users,
    pods: PodTable,
    changed: watch::Sender<Known<K>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watch_objects(api, config).default_backoff());
    let mut listed = None;
    while let Some(event) = events.next().await {
        let now = match event {
            Ok(Event::Init) => {
                listed = None;
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed = Some(object);
                continue;
            }
            Ok(Event::InitDone) => listed.take(),
            Ok(Event::Apply(object)) => Some(object),
            Ok(Event::Delete(_)) => None,
            Err(error) => {
                let why = error.to_string();
                changed.send_modify(|known| {
                    // What was known once is better than nothing.
                    if !matches!(known, Known::Is(_)) {
                        *known = Known::Unreadable(why);
                    }
                });
                continue;
            }
        };
        let now = now.map(|mut object| {
            object.managed_fields_mut().clear();
            Arc::new(object)
        });
        let before = changed.send_replace(Known::Is(now.clone()));
        let version = |object: &Option<Arc<K>>| object.as_ref().and_then(|o| o.resource_version());
        let news = match &before {
            Known::Is(before) => version(before) != version(&now),
            // Whoever asked in vain is told; whoever still waits has the answer.
            Known::Unreadable(_) => true,
            Known::NotYet => false,
        };
        if news {
            let users: Vec<String> = lock(&users).iter().cloned().collect();
            for uid in users {
                pods.changed(&uid);
            }
        }
    }
}
