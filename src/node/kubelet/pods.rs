//! All pods of the node: a worker for each, fed from the API's watch and from the
//! engine's events. Pods the API no longer knows are found by their containers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::labels;
use crate::mirrors::{Mirrors, Step};
use crate::runtime::{ContainerInfo, Role};
use crate::shared::{ApiFailure, Shared};
use crate::static_pods::{is_static, mirrored};
use crate::verdict::Over;
use crate::worker::{Desired, Worker};

/// Wait before the engine's event stream is opened again.
const REOPEN: Duration = Duration::from_secs(2);
/// A slow look at what no event told.
const RESYNC: Duration = Duration::from_secs(5 * 60);

/// What others may know about the pods: read by the server, written by [`Pods`].
#[derive(Debug, Clone, Default)]
pub struct PodTable {
    pods: Arc<Mutex<HashMap<String, Arc<Pod>>>>,
    wakes: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
    /// How often something a pod refers to has changed.
    changes: Arc<Mutex<HashMap<String, u64>>>,
    sentences: Arc<Mutex<HashMap<String, Over>>>,
    /// What the machine is short of, by the names of the Node's conditions.
    pressures: Arc<Mutex<Vec<&'static str>>>,
}

impl PodTable {
    /// All pods bound to this node.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        lock(&self.pods).values().cloned().collect()
    }

    /// The pod of that name.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = lock(&self.pods);
        let found = pods.values().find(|pod| {
            pod.metadata.name.as_deref() == Some(name)
                && pod.metadata.namespace.as_deref() == Some(namespace)
        });
        found.cloned()
    }

    /// Makes a pod known to the server; running it is a worker's business.
    pub fn insert(&self, uid: &str, pod: Arc<Pod>) {
        lock(&self.pods).insert(uid.to_owned(), pod);
    }

    /// How many changes of its ConfigMaps and Secrets a pod has seen.
    #[must_use]
    pub fn changes(&self, uid: &str) -> u64 {
        lock(&self.changes).get(uid).copied().unwrap_or(0)
    }

    /// Something that pod refers to changed.
    pub fn changed(&self, uid: &str) {
        *lock(&self.changes).entry(uid.to_owned()).or_default() += 1;
        self.wake(uid);
    }

    /// Ends a pod for the node's sake.
    pub fn condemn(&self, uid: &str, over: Over) {
        lock(&self.sentences).insert(uid.to_owned(), over);
        self.wake(uid);
    }

    /// Why a pod has been condemned, if it has.
    #[must_use]
    pub fn sentence(&self, uid: &str) -> Option<Over> {
        lock(&self.sentences).get(uid).cloned()
    }

    /// Takes note of what the machine is short of now.
    pub fn press(&self, conditions: Vec<&'static str>) {
        *lock(&self.pressures) = conditions;
    }

    /// The conditions of the Node under which not every pod may start.
    #[must_use]
    pub fn pressures(&self) -> Vec<&'static str> {
        lock(&self.pressures).clone()
    }

    /// The pod's worker has ended.
    fn forget(&self, uid: &str) {
        lock(&self.wakes).remove(uid);
        lock(&self.changes).remove(uid);
        lock(&self.sentences).remove(uid);
    }

    fn wake(&self, uid: &str) {
        if let Some(wake) = lock(&self.wakes).get(uid) {
            wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for wake in lock(&self.wakes).values() {
            wake.notify_one();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the file's head.
pub struct Pods {
    shared: Arc<Shared>,
    table: PodTable,
    workers: HashMap<String, watch::Sender<Desired>>,
    tasks: JoinSet<String>,
    /// Pods that have ended while their object lingers (finalizers).
    ended: HashSet<String>,
    /// Pods seen since the watch began anew.
    listed: HashSet<String>,
    synced: bool,
    mirrors: Mirrors,
    shutdown: CancellationToken,
}

impl Pods {
    #[must_use]
    pub fn new(shared: Arc<Shared>, table: PodTable, shutdown: CancellationToken) -> Self {
        Self {
            shared,
            table,
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            ended: HashSet::new(),
            listed: HashSet::new(),
            synced: false,
            mirrors: Mirrors::default(),
            shutdown,
        }
    }

    /// Serves pods until the shutdown, which leaves all containers running.
    /// `folder` brings the static pods of the node, all of them each time.
    pub async fn run<S>(mut self, changes: S, mut folder: mpsc::Receiver<Vec<Pod>>)
    where
        S: Stream<Item = watcher::Result<watcher::Event<Pod>>>,
    {
        let follower = tokio::spawn(follow_engine(
            self.shared.clone(),
            self.table.clone(),
            self.shutdown.clone(),
        ));
        let mut changes = std::pin::pin!(changes);
        let mut resync = tokio::time::interval(RESYNC);
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                change = changes.next() => match change {
                    Some(Ok(event)) => self.on_change(event).await,
                    Some(Err(error)) => tracing::warn!(%error, "the watch of pods broke; retrying"),
                    None => break,
                },
                Some(pods) = folder.recv() => self.on_folder(pods).await,
                Some(ended) = self.tasks.join_next() => self.on_end(ended),
                _ = resync.tick() => self.resync().await,
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.on_end(ended);
        }
        if let Err(error) = follower.await {
            tracing::error!(%error, "the task following Docker failed");
        }
    }

    async fn on_change(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                self.mirrors.relist();
            }
            watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)
                if mirrored(&pod).is_some() =>
            {
                self.mirrors.shown(Arc::new(pod));
                self.mind_mirrors().await;
            }
            watcher::Event::Delete(pod) if mirrored(&pod).is_some() => {
                self.mirrors.hidden(&pod);
                self.mind_mirrors().await;
            }
            watcher::Event::InitApply(pod) => {
                self.listed.extend(pod.metadata.uid.clone());
                self.apply(pod);
            }
            watcher::Event::Apply(pod) => self.apply(pod),
            watcher::Event::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid.clone() {
                    self.vanish(&uid);
                }
            }
            watcher::Event::InitDone => {
                let vanished: Vec<String> = self
                    .workers
                    .iter()
                    .filter(|(uid, worker)| {
                        !self.listed.contains(*uid) && !is_static(&worker.borrow().pod)
                    })
                    .map(|(uid, _)| uid.clone())
                    .collect();
                for uid in vanished {
                    self.vanish(&uid);
                }
                self.synced = true;
                self.mind_mirrors().await;
                self.adopt_orphans().await;
            }
        }
    }

    /// The node's own folder holds these pods now.
    async fn on_folder(&mut self, pods: Vec<Pod>) {
        let pods: Vec<Arc<Pod>> = pods.into_iter().map(Arc::new).collect();
        for uid in self.mirrors.replace(&pods) {
            self.vanish(&uid);
        }
        for pod in pods {
            self.apply(Arc::unwrap_or_clone(pod));
        }
        self.mind_mirrors().await;
    }

    /// Makes the API show the static pods as they are.
    async fn mind_mirrors(&mut self) {
        if !self.synced {
            return;
        }
        for step in self.mirrors.steps() {
            let done = match &step {
                Step::Make(pod) => self.shared.api.mirror(pod).await,
                Step::Remove(mirror) => self.shared.api.confirm_deleted(mirror).await,
            };
            match (done, step) {
                // A new mirror knows no status yet.
                (Ok(()), Step::Make(pod)) => {
                    let uid = self.mirrors.uid_behind(&pod).unwrap_or_default();
                    if let Some(worker) = self.workers.get(&uid) {
                        worker.send_modify(|desired| desired.mirror += 1);
                    }
                }
                (Ok(()) | Err(ApiFailure::Gone), _) => {}
                // The next look (resync, or the watch) tries again.
                (Err(error), _) => tracing::warn!(%error, "cannot mirror a static pod"),
            }
        }
    }

    fn apply(&mut self, mut pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        // Nobody here asks who wrote which field, and it is half of a small pod.
        pod.metadata.managed_fields = None;
        if self.ended.contains(&uid) {
            return;
        }
        let desired = Desired {
            pod: Arc::new(pod),
            gone: false,
            mirror: 0,
        };
        self.table.insert(&uid, desired.pod.clone());
        self.hand_over(uid, desired);
    }

    fn vanish(&mut self, uid: &str) {
        self.ended.remove(uid);
        lock(&self.table.pods).remove(uid);
        if let Some(worker) = self.workers.get(uid) {
            worker.send_modify(|desired| desired.gone = true);
        }
    }

    fn hand_over(&mut self, uid: String, desired: Desired) {
        if let Some(worker) = self.workers.get(&uid) {
            worker.send_modify(|known| {
                let mirror = known.mirror;
                *known = desired;
                known.mirror = mirror;
            });
            return;
        }
        let (sender, receiver) = watch::channel(desired);
        let wake = Arc::new(Notify::new());
        lock(&self.table.wakes).insert(uid.clone(), wake.clone());
        let worker = Worker::new(self.shared.clone(), receiver, wake);
        let shutdown = self.shutdown.clone();
        self.workers.insert(uid.clone(), sender);
        self.tasks.spawn(async move {
            worker.run(shutdown).await;
            uid
        });
    }

    fn on_end(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                let was_gone = self.workers.remove(&uid).is_some_and(|w| w.borrow().gone);
                self.table.forget(&uid);
                self.shared.config.forget(&uid);
                if !was_gone {
                    self.ended.insert(uid);
                }
            }
            // Which one it was shows at the next resync: a pod with a closed channel.
            Err(error) => tracing::error!(%error, "a pod worker failed"),
        }
    }

    async fn resync(&mut self) {
        let failed: Vec<String> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.is_closed())
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in failed {
            let known = self
                .workers
                .remove(&uid)
                .map(|worker| worker.borrow().clone());
            if let Some(desired) = known.filter(|_| !self.ended.contains(&uid)) {
                self.hand_over(uid, desired);
            }
        }
        if self.synced {
            self.mind_mirrors().await;
            self.adopt_orphans().await;
        }
        if let Err(error) = self.shared.network.ensure().await {
            tracing::warn!(%error, "cannot check the pod network");
        }
    }

    /// Ends pods that exist only as containers or directories: deleted while this agent
    /// was not looking.
    async fn adopt_orphans(&mut self) {
        let containers = match self.shared.runtime.all_containers().await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::warn!(%error, "cannot look for containers of deleted pods");
                return;
            }
        };
        let mut by_uid: HashMap<String, &ContainerInfo> = HashMap::new();
        for info in &containers {
            if let Some(uid) = info.label(labels::POD_UID) {
                by_uid.insert(uid.to_owned(), info);
            }
        }
        let known = |pods: &Self, uid: &str| {
            pods.workers.contains_key(uid) || lock(&pods.table.pods).contains_key(uid)
        };
        for (uid, info) in &by_uid {
            if !known(self, uid) {
                tracing::info!(uid, "ending a pod the API server does not know");
                let pod = Arc::new(pod_from_labels(uid, info));
                let desired = Desired {
                    pod,
                    gone: true,
                    mirror: 0,
                };
                self.hand_over(uid.clone(), desired);
            }
        }
        let uids = self.shared.volumes.uids().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look for directories of deleted pods");
            Vec::new()
        });
        for uid in uids {
            if !known(self, &uid)
                && !by_uid.contains_key(&uid)
                && let Err(error) = self.shared.volumes.remove(&uid)
            {
                tracing::warn!(%error, uid, "cannot remove the directory of a deleted pod");
            }
        }
    }
}

/// What is needed to end a pod whose manifest is lost.
fn pod_from_labels(uid: &str, info: &ContainerInfo) -> Pod {
    let text = |key| info.label(key).map(str::to_owned);
    let mut pod = Pod::default();
    pod.metadata.uid = Some(uid.to_owned());
    pod.metadata.name = text(labels::POD_NAME);
    pod.metadata.namespace = text(labels::POD_NAMESPACE);
    pod.metadata.deletion_grace_period_seconds = info
        .label(labels::GRACE)
        .and_then(|seconds| seconds.parse().ok());
    pod
}

/// Marks the addresses and ports of all sandboxes as in use, dead ones included: each is
/// given back when its sandbox is removed.
pub async fn reserve_addresses(shared: &Shared, containers: &[ContainerInfo]) {
    for info in containers
        .iter()
        .filter(|info| info.role() == Some(Role::Sandbox))
    {
        if let Some(address) = info.pod_ip()
            && let Err(error) = shared.network.reserve(address)
        {
            tracing::warn!(%error, sandbox = info.id, "cannot keep a pod's address");
        }
        if let (Some(address), Some(ports)) = (info.pod_ip(), info.label(labels::HOST_PORTS)) {
            let ports = labels::parse_host_ports(ports);
            shared
                .network
                .keep_published(&info.id, address, ports)
                .await;
        }
    }
}

/// Wakes workers when their containers change; all of them whenever the engine was away.
async fn follow_engine(shared: Arc<Shared>, table: PodTable, shutdown: CancellationToken) {
    loop {
        let follow = async {
            let mut events = shared.runtime.events().await?;
            table.wake_all();
            while let Some(event) = events.next().await {
                table.wake(&event?.pod_uid);
            }
            Ok::<_, crate::runtime::RuntimeError>(())
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            result = follow => {
                if let Err(error) = result {
                    tracing::warn!(%error, "Docker's event stream ended");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REOPEN) => {}
        }
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
