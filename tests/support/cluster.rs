//! A cluster in the test's own process. Everything in it speaks to the API as it does in
//! `cadet-node server`; only the nodes are thin: they say of their pods what the image's
//! name asks for, see [`node`].

#![allow(dead_code)] // each suite uses its part

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cadet_api::resource;
use cadet_apiserver::{App, Config, Keys, User};
use cadet_controllers::Authority;
use cadet_store::{LocalStore, MemoryDisk, Options};
use futures::TryStreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[path = "agent.rs"]
pub mod agent;
#[path = "node.rs"]
pub mod node;
#[path = "../../src/control/apiserver/tests/api/program/mod.rs"]
pub mod program;
#[path = "../../src/control/apiserver/tests/api/tls/mod.rs"]
pub mod tls;

/// A test that waits longer has failed; what it waited for is in the message.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// See the module's opening. Ends when dropped.
pub struct Cluster {
    pub app: App,
    /// A cluster administrator's.
    pub client: Client,
    authority: tls::Authority,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cluster {
    /// With one node, `node-1`.
    pub async fn start() -> Cluster {
        Cluster::with_nodes(1).await
    }

    /// With nodes `node-1`, `node-2` …, each with 64 cores and 256 GiB for 500 pods.
    pub async fn with_nodes(count: usize) -> Cluster {
        let mut cluster = Cluster::bare().await;
        for number in 1..=count {
            cluster.add_node(&format!("node-{number}")).await;
        }
        cluster
    }

    /// Without nodes.
    pub async fn bare() -> Cluster {
        let mut config = Config::new("10.96.0.0/12", "10.0.2.15:6443".parse().expect("address"));
        let key = rcgen::KeyPair::generate().expect("key");
        config.token_keys = Some(Arc::new(Keys::new(&key.serialize_der()).expect("P-256")));
        let authority = tls::Authority::new();
        let pair = authority.pair();
        config.authority = pair.certificate.clone();
        config.kubelet_tls = Some(authority.towards_agents());
        let signer = Authority::new(pair.certificate, &pair.key).expect("authority");
        let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
        let app = App::start(config, Arc::new(store)).await.expect("start");
        let client = |user: &str, group: &str| {
            let user = User::new(user, &[group, "system:authenticated"]);
            Client::new(app.service(user), "default")
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let control = client("system:kube-controller-manager", "system:authenticated");
        tasks.spawn(cadet_controllers::run(
            control,
            Arc::new(signer),
            stop.clone(),
        ));
        let schedule = client("system:kube-scheduler", "system:authenticated");
        tasks.spawn(cadet_scheduler::run(schedule, stop.clone()));
        Cluster {
            client: client("admin", "system:masters"),
            app,
            authority,
            stop,
            tasks,
        }
    }

    /// Adds a node and waits until it may be used.
    pub async fn add_node(&mut self, name: &str) {
        let user = User::new(
            format!("system:node:{name}"),
            &["system:nodes", "system:authenticated"],
        );
        let client = Client::new(self.app.service(user), "default");
        let node = node::Node::register(&client, name).await;
        self.tasks.spawn(node.run(client, self.stop.clone()));
        self.until_cluster::<k8s_openapi::api::core::v1::Node>(name, |node| {
            let spec = node.and_then(|node| node.spec.as_ref());
            node.is_some() && spec.is_none_or(|spec| spec.taints.iter().flatten().next().is_none())
        })
        .await;
    }

    /// Gives a node an agent that can be asked.
    pub async fn agent(&self, node: &str) -> agent::Agent {
        let agent = agent::Agent::start(self.authority.server()).await;
        let status = serde_json::json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": agent.port}}}});
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.client.clone());
        let params = PatchParams::default();
        let patch = Patch::Merge(status);
        let patched = nodes.patch_status(node, &params, &patch);
        patched.await.expect("status of the node");
        agent
    }

    /// Server-side apply of YAML or JSON, one or more documents; gives the last object.
    pub async fn apply(&self, text: &str) -> DynamicObject {
        let mut last = None;
        for value in documents(text) {
            let (api, name) = self.api_of(&value);
            let params = PatchParams::apply("test").force();
            let applied = api.patch(&name, &params, &Patch::Apply(&value)).await;
            last = Some(applied.unwrap_or_else(|error| panic!("{error}: {value}")));
        }
        last.expect("a document")
    }

    /// Creates what YAML or JSON says, in whatever version; gives the last object.
    pub async fn create(&self, text: &str) -> DynamicObject {
        let mut last = None;
        for value in documents(text) {
            let (api, _) = self.api_of(&value);
            let object = serde_json::from_value(value.clone()).expect("an object");
            let born = api.create(&PostParams::default(), &object).await;
            last = Some(born.unwrap_or_else(|error| panic!("{error}: {value}")));
        }
        last.expect("a document")
    }

    fn api_of(&self, value: &Value) -> (Api<DynamicObject>, String) {
        let text = |path: &str| {
            value
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let row = resource::find_kind(version, kind);
        let row = row.unwrap_or_else(|| panic!("no kind {kind} in {version}"));
        let kind = kube::api::ApiResource {
            group: row.gv.group.to_owned(),
            version: row.gv.version.to_owned(),
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            plural: row.plural.to_owned(),
        };
        let namespace = match text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let client = self.client.clone();
        let api = match row.namespaced {
            true => Api::namespaced_with(client, namespace, &kind),
            false => Api::all_with(client, &kind),
        };
        (api, text("/metadata/name").to_owned())
    }

    /// The objects of a kind in the namespace `default`.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Watches one object until `fits`; `None` is that it is not there. Gives what fitted.
    pub async fn until<K>(
        &self,
        namespace: &str,
        name: &str,
        fits: impl FnMut(Option<&K>) -> bool,
    ) -> Option<K>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        until_in(Api::namespaced(self.client.clone(), namespace), name, fits).await
    }

    /// The same for a kind without namespaces.
    pub async fn until_cluster<K>(
        &self,
        name: &str,
        fits: impl FnMut(Option<&K>) -> bool,
    ) -> Option<K>
    where
        K: Kind + Resource<Scope = k8s_openapi::ClusterResourceScope>,
    {
        until_in(Api::all(self.client.clone()), name, fits).await
    }

    /// Watches all objects with these labels (`a=b`; "" is all) in the namespace `default`
    /// until `fits` of them, by name.
    pub async fn until_all<K>(&self, labels: &str, mut fits: impl FnMut(&[K]) -> bool) -> Vec<K>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let config = watcher::Config::default().labels(labels);
        watch_until(self.api(), config, |all: Vec<K>| {
            if fits(&all) { Ok(all) } else { Err(all) }
        })
        .await
    }

    /// The events about an object of that name, as `Reason: message`, oldest first.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let params = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut found = self
            .api::<Event>()
            .list(&params)
            .await
            .expect("events")
            .items;
        found.sort_by_key(|event| event.metadata.creation_timestamp.clone().map(|time| time.0));
        found.iter().map(told).collect()
    }

    /// Waits for an event that begins so (`Reason: message`) about an object of that name.
    pub async fn until_event(&self, name: &str, begin: &str) {
        let config = watcher::Config::default().fields(&format!("involvedObject.name={name}"));
        watch_until(self.api::<Event>(), config, |all| {
            match all.iter().any(|event| told(event).starts_with(begin)) {
                true => Ok(()),
                false => Err(all),
            }
        })
        .await;
    }

    pub fn is_ready(pod: &Pod) -> bool {
        let conditions = pod
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        pod.metadata.deletion_timestamp.is_none()
            && conditions
                .into_iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
    }

    /// The API over TLS on loopback, and a kubectl that may do everything there.
    pub async fn kubectl(&self) -> (tls::Served, program::Kubectl) {
        let served = tls::Served::start_under(tls::Authority::new(), self.app.clone()).await;
        let identity = served.identity("admin", "system:masters");
        let kubeconfig = served.kubeconfig(&identity);
        let program = program::kubectls().pop().expect("a kubectl");
        (served, program::Kubectl::new(&program, &kubeconfig))
    }
}

/// What can be watched for.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

fn told(event: &Event) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}: {}", text(&event.reason), text(&event.message))
}

fn documents(text: &str) -> Vec<Value> {
    let parts = text.split("\n---").filter(|part| !part.trim().is_empty());
    parts
        .map(|part| serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{error}: {part}")))
        .collect()
}

async fn until_in<K: Kind>(
    api: Api<K>,
    name: &str,
    mut fits: impl FnMut(Option<&K>) -> bool,
) -> Option<K> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watch_until(api, config, |mut all: Vec<K>| match fits(all.first()) {
        true => Ok(all.pop()),
        false => Err(all),
    })
    .await
}

/// Calls `look` with all objects after each change until it is content.
async fn watch_until<K: Kind, T>(
    api: Api<K>,
    config: watcher::Config,
    mut look: impl FnMut(Vec<K>) -> Result<T, Vec<K>>,
) -> T {
    let mut changes = pin!(watcher(api, config).default_backoff());
    let mut all: BTreeMap<(Option<String>, String), K> = BTreeMap::new();
    let mut complete = false;
    let mut last = Vec::new();
    let search = async {
        loop {
            let event = match changes.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => unreachable!("watches do not end"),
                // A watch that fell behind starts over by itself.
                Err(error) => {
                    tracing::warn!(%error, "a test's watch");
                    continue;
                }
            };
            let key = |object: &K| (object.namespace(), object.name_any());
            match event {
                watcher::Event::Init => all.clear(),
                watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                    all.insert(key(&object), object);
                }
                watcher::Event::Delete(object) => {
                    all.remove(&key(&object));
                }
                watcher::Event::InitDone => complete = true,
            }
            if complete {
                match look(all.values().cloned().collect()) {
                    Ok(found) => return found,
                    Err(all) => last = all,
                }
            }
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain; last seen: {last:#?}"),
    }
}
