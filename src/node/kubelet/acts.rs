//! The steps a pod worker takes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;

use cadet_network::NetworkError;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::env::ConfigError;
use crate::events::Severity;
use crate::labels;
use crate::manifest::{field_path, find_container, host_ports};
use crate::observed::Observed;
use crate::pause::PauseError;
use crate::plan::{Act, KillReason};
use crate::resources;
use crate::runtime::{ContainerInfo, RuntimeError};
use crate::spec;
use crate::status::full_name;
use crate::stop::Stopper;
use crate::verdict::Over;
use crate::volumes::{MountError, Places, VolumeError};
use crate::worker::Worker;

/// Names the node knows without asking.
const NODE_HOSTS: &str = "/etc/hosts";

/// A step that could not be taken; the worker looks again after a while.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

type Result<T> = std::result::Result<T, ActError>;

impl Worker {
    pub(crate) async fn act(&mut self, pod: &Pod, seen: &Observed, act: Act) -> Result<()> {
        match act {
            Act::ClearSandbox => self.clear_sandbox(pod, seen).await,
            Act::Mount => {
                self.mount(pod).await;
                Ok(())
            }
            Act::CreateSandbox { attempt } => {
                let made = self.create_sandbox(pod, attempt).await;
                self.note_sandbox(pod, made);
                Ok(())
            }
            Act::Wire { sandbox } => {
                let wired = self.wire(pod, seen, &sandbox).await;
                self.note_sandbox(pod, wired);
                Ok(())
            }
            Act::Discard { id } => Ok(self.shared.runtime.remove(&id).await?),
            Act::Start {
                name,
                role,
                attempt,
            } => self.start(pod, seen, &name, role, attempt).await,
            Act::Resize { id, name } => self.resize(pod, id, &name).await,
            Act::Kill { id, name, why } => self.kill(pod, seen, &id, &name, &why).await,
        }
    }

    async fn clear_sandbox(&mut self, pod: &Pod, seen: &Observed) -> Result<()> {
        if let Some(sandbox) = seen.sandboxes.first()
            && self.memory.tell_once(format!("changed {}", sandbox.id))
        {
            let words = "Pod sandbox changed, it will be killed and re-created.";
            self.shared
                .events
                .pod(pod, None, Severity::Normal, "SandboxChanged", words);
        }
        self.memory.wired = None;
        for info in seen.running() {
            // Its network is gone; there is nothing it could finish in peace.
            self.shared.runtime.kill(&info.id).await?;
        }
        for sandbox in &seen.sandboxes {
            self.remove_sandbox(sandbox).await?;
        }
        Ok(())
    }

    /// Removes a sandbox and gives its address back.
    pub(crate) async fn remove_sandbox(&self, sandbox: &ContainerInfo) -> Result<()> {
        self.shared.network.unpublish(&sandbox.id).await?;
        self.shared.network.detach(&sandbox.id).await?;
        self.shared.runtime.remove(&sandbox.id).await?;
        if let Some(address) = sandbox.pod_ip() {
            self.shared.network.release(address);
        }
        Ok(())
    }

    fn note_sandbox(&mut self, pod: &Pod, result: Result<()>) {
        match result {
            Ok(()) => self.memory.sandbox_works(),
            Err(error) => {
                let words = format!("Failed to create pod sandbox: {error}");
                tracing::warn!(pod = full_name(pod), "{words}");
                self.shared.events.pod(
                    pod,
                    None,
                    Severity::Warning,
                    "FailedCreatePodSandBox",
                    words.as_str(),
                );
                self.memory.sandbox_failed(Timestamp::now(), words);
            }
        }
    }

    async fn create_sandbox(&self, pod: &Pod, attempt: i32) -> Result<()> {
        let runtime = self.shared.runtime.as_ref();
        let image = self.shared.pause.ensure(runtime).await?.to_owned();
        let address = if on_host_network(pod) {
            None
        } else {
            Some(self.shared.network.allocate()?)
        };
        let made = self.make_sandbox(pod, &image, attempt, address).await;
        if made.is_err() {
            if let Some(address) = address {
                self.shared.network.release(address);
            }
            self.shared.pause.forget().await;
        }
        made
    }

    /// Also on the host's network: a policy may want the cluster's names there.
    fn write_resolver(&self, pod: &Pod) -> Result<()> {
        let shared = &self.shared;
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let (text, warnings) =
            crate::resolv::for_pod(pod, &shared.resolv_conf, shared.dns.as_ref())?;
        for (reason, words) in warnings {
            let severity = Severity::Warning;
            shared.events.pod(pod, None, severity, reason, words);
        }
        shared.volumes.write(uid, "resolv.conf", &text)?;
        Ok(())
    }

    /// What the pod's RuntimeClass says is to run it.
    async fn handler(&self, pod: &Pod) -> Result<Option<String>> {
        let spec = pod.spec.as_ref();
        let class = spec.and_then(|spec| spec.runtime_class_name.as_deref());
        let Some(class) = class.filter(|class| !class.is_empty()) else {
            return Ok(None);
        };
        let found = self.shared.config.runtime_handler(class).await?;
        let missing = || ConfigError::Missing {
            kind: "RuntimeClass",
            name: class.to_owned(),
        };
        Ok(Some(found.ok_or_else(missing)?))
    }

    async fn make_sandbox(
        &self,
        pod: &Pod,
        image: &str,
        attempt: i32,
        address: Option<Ipv4Addr>,
    ) -> Result<()> {
        let runtime = &self.shared.runtime;
        let handler = self.handler(pod).await?;
        let spec = pod.spec.as_ref();
        if spec.and_then(|spec| spec.host_users) == Some(false) {
            return Err(ConfigError::UserNamespaces(handler.unwrap_or_default()).into());
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let domain = self.shared.domain();
        let hosts = match address {
            Some(address) => spec::hosts_file(pod, &address.to_string(), domain),
            None => {
                // A node without such a file has nothing to add.
                let own = std::fs::read_to_string(NODE_HOSTS).unwrap_or_default();
                spec::hosts_file_of_the_node(pod, &own)
            }
        };
        self.shared.volumes.write(uid, "hosts", &hosts)?;
        self.write_resolver(pod)?;
        let ip = address.map(|address| address.to_string());
        let name = spec::kernel_name(pod, self.shared.domain())?;
        let mut spec = spec::sandbox(pod, image, attempt, ip.as_deref(), name);
        if let Some(handler) = handler {
            spec.labels.insert(labels::RUNTIME.into(), handler.clone());
            spec.runtime = Some(handler);
        }
        let id = runtime.create(&spec).await?;
        if let Err(error) = runtime.start(&id).await {
            runtime.remove(&id).await?;
            return Err(error.into());
        }
        Ok(())
    }

    async fn wire(&mut self, pod: &Pod, seen: &Observed, id: &str) -> Result<()> {
        let Some(sandbox) = seen.sandbox().filter(|sandbox| sandbox.id == id) else {
            return Ok(());
        };
        let network = &self.shared.network;
        if let (false, Some(address)) = (on_host_network(pod), sandbox.pod_ip()) {
            if !network.is_attached(id).await? {
                network.attach(id, sandbox.pid, address).await?;
            }
            let ports = host_ports(pod);
            if !ports.is_empty() {
                network.publish(id, address, ports).await?;
            }
        }
        self.memory.wired = Some(id.to_owned());
        Ok(())
    }

    async fn resize(&mut self, pod: &Pod, id: String, name: &str) -> Result<()> {
        let (Some(spec), Some(container)) = (&pod.spec, find_container(pod, name)) else {
            return Ok(());
        };
        let limits = resources::limits(spec, &container, self.shared.node_memory);
        self.shared.runtime.update(&id, &limits).await?;
        self.memory.resized.insert(id, resources::label(&limits));
        Ok(())
    }

    async fn kill(
        &mut self,
        pod: &Pod,
        seen: &Observed,
        id: &str,
        name: &str,
        why: &KillReason,
    ) -> Result<()> {
        let words = match why {
            KillReason::Changed => {
                format!("Container {name} definition changed, will be restarted")
            }
            KillReason::Resized => format!("Container {name} resize requires restart"),
            KillReason::Unhealthy(probe) => {
                format!("Container {name} failed {probe} probe, will be restarted")
            }
        };
        self.tell(pod, name, Severity::Normal, "Killing", &words);
        let Some(container) = find_container(pod, name) else {
            return Ok(());
        };
        // The probe that gave up may allow less time than the pod has.
        let probe = match why {
            KillReason::Unhealthy(kind) if kind == "startup" => container.startup_probe.as_ref(),
            KillReason::Unhealthy(_) => container.liveness_probe.as_ref(),
            KillReason::Changed | KillReason::Resized => None,
        };
        let grace = probe
            .and_then(|probe| probe.termination_grace_period_seconds)
            .unwrap_or_else(|| spec::grace(pod));
        if seen.all().any(|info| info.id == id) {
            let address = self.address(seen);
            let stopper = self.stopper(pod, &address);
            stopper.one(Some(&container), id, grace).await?;
        }
        Ok(())
    }

    /// Nothing may run again: the sandbox goes, the ended containers stay for their logs.
    pub(crate) async fn finish(&mut self, pod: &Pod, seen: &Observed) -> Option<Timestamp> {
        let done = async {
            self.probes = None;
            let running: Vec<ContainerInfo> = seen.running().cloned().collect();
            // An evicted pod must make room at once.
            let evicted = self.memory.over.as_ref().is_some_and(Over::evicted);
            let grace = if evicted { 0 } else { spec::grace(pod) };
            for info in &running {
                let name = info.container_name();
                if self.memory.tell_once(format!("stopping {}", info.id)) {
                    let words = format!("Stopping container {name}");
                    self.tell(pod, name, Severity::Normal, "Killing", &words);
                }
            }
            let address = self.address(seen);
            self.stopper(pod, &address).all(&running, grace).await?;
            let seen = self.look(pod).await?;
            // The status first: it still knows the address.
            let retry = self.publish(pod, &seen, false).await;
            for sandbox in &seen.sandboxes {
                self.shared.runtime.kill(&sandbox.id).await?;
                self.remove_sandbox(sandbox).await?;
            }
            Ok::<_, ActError>(retry)
        };
        match done.await {
            Ok(retry) => retry,
            Err(error) => {
                tracing::warn!(pod = full_name(pod), %error, "cannot clean up a finished pod");
                Some(Timestamp::now() + crate::worker::RETRY)
            }
        }
    }

    /// Makes the pod's volumes, or notes why that is not possible.
    async fn mount(&mut self, pod: &Pod) {
        match self.prepare_volumes(pod).await {
            Ok(places) => {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                self.memory.mounted(places);
                self.memory.manifest = Some(fingerprint(pod));
                self.memory.configs = self.shared.pods.changes(uid);
            }
            Err(problems) => {
                for problem in &problems {
                    let (reason, words) = (problem.event(), problem.to_string());
                    self.shared
                        .events
                        .pod(pod, None, Severity::Warning, reason, words);
                }
                let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.memory.mount_failed(Timestamp::now(), words.join("; "));
            }
        }
    }

    async fn prepare_volumes(&self, pod: &Pod) -> std::result::Result<Places, Vec<MountError>> {
        let facts = self.shared.facts(String::new());
        let source = self.shared.config.as_ref();
        self.shared.volumes.prepare(pod, &facts, source).await
    }

    /// Follows ConfigMaps, Secrets and tokens while containers use them; the running set
    /// of files is replaced as a whole. Returns when the next token is to be renewed.
    pub(crate) async fn refresh_volumes(
        &mut self,
        pod: &Pod,
        seen: &Observed,
    ) -> Option<Timestamp> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let has_volumes = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_ref())
            .is_some_and(|volumes| !volumes.is_empty());
        if !has_volumes || seen.running().next().is_none() {
            return None;
        }
        let now = Timestamp::now();
        let changes = self.shared.pods.changes(uid);
        let manifest = Some(fingerprint(pod));
        let renewal = self.shared.config.renewal(uid);
        let fresh = self.memory.places.is_some()
            && changes == self.memory.configs
            && manifest == self.memory.manifest
            && renewal.is_none_or(|at| at > now);
        if fresh {
            return renewal;
        }
        match self.prepare_volumes(pod).await {
            Ok(places) => {
                self.memory.mounted(places);
                self.memory.configs = changes;
                self.memory.manifest = manifest;
                self.shared.config.renewal(uid)
            }
            Err(problems) => {
                // What is mounted stays as it is, as with upstream.
                for problem in problems {
                    tracing::debug!(pod = full_name(pod), %problem, "cannot refresh a volume");
                }
                Some(now + crate::worker::RETRY)
            }
        }
    }

    /// The pod's address, or the node's if it has none of its own.
    pub(crate) fn address(&self, seen: &Observed) -> String {
        let own = seen.sandbox().and_then(ContainerInfo::pod_ip);
        own.map_or_else(|| self.shared.host_ip.clone(), |ip| ip.to_string())
    }

    pub(crate) fn stopper<'a>(&'a self, pod: &'a Pod, pod_ip: &'a str) -> Stopper<'a> {
        Stopper {
            runtime: self.shared.runtime.as_ref(),
            events: &self.shared.events,
            pod,
            pod_ip,
        }
    }

    pub(crate) fn tell(
        &self,
        pod: &Pod,
        container: &str,
        severity: Severity,
        reason: &'static str,
        words: &str,
    ) {
        let path = Some(field_path(pod, container));
        self.shared.events.pod(pod, path, severity, reason, words);
    }
}

pub(crate) fn on_host_network(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| spec.host_network == Some(true))
}

/// Tells apart what files of the pod may show: its labels and annotations.
fn fingerprint(pod: &Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    pod.metadata.labels.hash(&mut hasher);
    pod.metadata.annotations.hash(&mut hasher);
    hasher.finish()
}
