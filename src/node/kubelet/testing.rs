//! The world of a pod worker in tests: fakes behind every seam.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cadet_api::install::LessonImage;
use cadet_network::NetworkError;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, PodStatus, Secret,
    ServiceAccountTokenProjection,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::admission::Room;
use crate::env::{ConfigError, ConfigSource};
use crate::events::{EventSink, Note};
use crate::images::Images;
use crate::lessons::Lessons;
use crate::pause::PauseImage;
use crate::pods::PodTable;
use crate::runtime::fake::FakeRuntime;
use crate::shared::{ApiFailure, PodApi, PodNetwork, Shared};
use crate::volumes::Volumes;

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Addresses counted up from 10.244.0.2; attachments remembered.
#[derive(Default)]
pub struct FakeNetwork {
    pub used: Mutex<HashSet<Ipv4Addr>>,
    pub attached: Mutex<HashSet<String>>,
}

#[async_trait]
impl PodNetwork for FakeNetwork {
    fn allocate(&self) -> Result<Ipv4Addr, NetworkError> {
        let mut used = lock(&self.used);
        let free = (2..255)
            .map(|n| Ipv4Addr::new(10, 244, 0, n))
            .find(|ip| !used.contains(ip));
        let address = free.ok_or_else(|| NetworkError::NoLink("all in use".into()))?;
        used.insert(address);
        Ok(address)
    }

    fn reserve(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        lock(&self.used).insert(address);
        Ok(())
    }

    fn release(&self, address: Ipv4Addr) {
        lock(&self.used).remove(&address);
    }

    async fn is_attached(&self, key: &str) -> Result<bool, NetworkError> {
        Ok(lock(&self.attached).contains(key))
    }

    async fn attach(&self, key: &str, _: u32, _: Ipv4Addr) -> Result<(), NetworkError> {
        lock(&self.attached).insert(key.to_owned());
        Ok(())
    }

    async fn detach(&self, key: &str) -> Result<(), NetworkError> {
        lock(&self.attached).remove(key);
        Ok(())
    }

    async fn ensure(&self) -> Result<(), NetworkError> {
        Ok(())
    }
}

/// An API server that keeps the last status and remembers deletions.
#[derive(Default)]
pub struct FakeApi {
    pub statuses: Mutex<Vec<PodStatus>>,
    pub deleted: Mutex<Vec<String>>,
    pub mirrored: Mutex<Vec<String>>,
    pub config_maps: Mutex<BTreeMap<String, ConfigMap>>,
    pub secrets: Mutex<BTreeMap<String, Secret>>,
    pub claims: Mutex<BTreeMap<String, PersistentVolumeClaim>>,
    pub volumes: Mutex<BTreeMap<String, PersistentVolume>>,
}

impl FakeApi {
    pub fn last(&self) -> PodStatus {
        lock(&self.statuses).last().cloned().unwrap_or_default()
    }
}

#[async_trait]
impl PodApi for FakeApi {
    async fn publish(&self, _: &Pod, patch: Value) -> Result<Option<u64>, ApiFailure> {
        let status = serde_json::from_value(patch["status"].clone())
            .map_err(|error| ApiFailure::Other(error.to_string()))?;
        let mut statuses = lock(&self.statuses);
        statuses.push(status);
        Ok(Some(statuses.len() as u64))
    }

    async fn mirror(&self, pod: &Pod) -> Result<(), ApiFailure> {
        lock(&self.mirrored).push(pod.metadata.name.clone().unwrap_or_default());
        Ok(())
    }

    async fn confirm_deleted(&self, pod: &Pod) -> Result<(), ApiFailure> {
        lock(&self.deleted).push(pod.metadata.uid.clone().unwrap_or_default());
        Ok(())
    }
}

#[async_trait]
impl ConfigSource for FakeApi {
    async fn config_map(&self, _: &Pod, name: &str) -> Result<Option<Arc<ConfigMap>>, ConfigError> {
        Ok(lock(&self.config_maps).get(name).cloned().map(Arc::new))
    }

    async fn secret(&self, _: &Pod, name: &str) -> Result<Option<Arc<Secret>>, ConfigError> {
        Ok(lock(&self.secrets).get(name).cloned().map(Arc::new))
    }

    async fn claim(
        &self,
        _: &Pod,
        name: &str,
    ) -> Result<Option<PersistentVolumeClaim>, ConfigError> {
        Ok(lock(&self.claims).get(name).cloned())
    }

    async fn persistent_volume(&self, name: &str) -> Result<Option<PersistentVolume>, ConfigError> {
        Ok(lock(&self.volumes).get(name).cloned())
    }

    async fn runtime_handler(&self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok((name == "careful").then(|| "runsc".into()))
    }

    async fn token(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, ConfigError> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let audience = wanted.audience.as_deref().unwrap_or("the server");
        Ok(format!("{name} to {audience}"))
    }
}

/// Everything a worker needs, with the fakes at hand.
pub struct World {
    pub runtime: Arc<FakeRuntime>,
    pub network: Arc<FakeNetwork>,
    pub api: Arc<FakeApi>,
    pub shared: Arc<Shared>,
    pub home: tempfile::TempDir,
    notes: mpsc::Receiver<Note>,
}

impl World {
    pub fn new() -> Self {
        Self::with_lessons(&[])
    }

    pub fn with_lessons(entries: &[LessonImage]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("cadet-node"), "ELF").unwrap();
        std::fs::write(path("resolv.conf"), "nameserver 10.0.2.3\n").unwrap();
        write_lessons(home.path(), entries);
        let runtime = Arc::new(FakeRuntime::default());
        let network = Arc::new(FakeNetwork::default());
        let api = Arc::new(FakeApi::default());
        let (events, notes) = EventSink::new();
        let lessons = Lessons::load(home.path()).unwrap();
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            network: network.clone(),
            api: api.clone(),
            config: api.clone(),
            events: events.clone(),
            images: Images::new(runtime.clone(), api.clone(), lessons, events),
            volumes: Volumes::new(path("pods")),
            pause: PauseImage::new(path("cadet-node"), "v1"),
            host_ip: "10.0.2.15".into(),
            node_memory: 1 << 30,
            resolv_conf: path("resolv.conf"),
            dns: None,
            pods: PodTable::default(),
            room: Room {
                cpu_millis: 2000,
                memory: 1 << 30,
                pods: 110,
                labels: BTreeMap::new(),
            },
            seccomp_dir: path("seccomp"),
        });
        Self {
            runtime,
            network,
            api,
            shared,
            home,
            notes,
        }
    }

    /// `Reason: message` of everything told since the last call.
    pub fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.notes.try_recv().ok())
            .map(|note| format!("{}: {}", note.reason, note.message))
            .collect()
    }
}

fn write_lessons(dir: &Path, entries: &[LessonImage]) {
    std::fs::write(
        dir.join("lessons.json"),
        serde_json::to_vec(entries).unwrap(),
    )
    .unwrap();
    std::fs::create_dir_all(dir.join("lessons")).unwrap();
    for entry in entries {
        std::fs::write(dir.join(format!("lessons/{}.tar", entry.context)), "tar").unwrap();
    }
}

/// A pod named `web` in `shop` with this spec.
pub fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": spec,
    }))
    .unwrap()
}

/// Ready, and so on: the value of a condition.
pub fn condition(status: &PodStatus, type_: &str) -> String {
    let conditions = status.conditions.iter().flatten();
    let found = conditions
        .into_iter()
        .find(|condition| condition.type_ == type_);
    found
        .map(|condition| condition.status.clone())
        .unwrap_or_default()
}

/// `running`, or the reason of waiting or of the end, of one container.
pub fn state(status: &PodStatus, container: &str) -> String {
    let lists = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .chain(&status.ephemeral_container_statuses);
    let found = lists.flatten().find(|status| status.name == container);
    let Some(state) = found.and_then(|status| status.state.clone()) else {
        return String::new();
    };
    match (state.waiting, state.terminated) {
        (Some(waiting), _) => waiting.reason.unwrap_or_default(),
        (_, Some(ended)) => ended.reason.unwrap_or_default(),
        _ => "running".into(),
    }
}

/// A container that ended, with nothing else to tell.
pub fn exited(id: &str) -> crate::runtime::ContainerInfo {
    crate::runtime::ContainerInfo {
        id: id.to_owned(),
        labels: std::collections::HashMap::new(),
        state: crate::runtime::State::Exited,
        pid: 0,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        created_at: None,
        started_at: None,
        finished_at: None,
        image: String::new(),
        image_id: String::new(),
    }
}
