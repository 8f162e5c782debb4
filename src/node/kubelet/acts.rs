//! The steps a pod worker takes.

use std::net::Ipv4Addr;

use cadet_network::NetworkError;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::env::Addresses;
use crate::events::Severity;
use crate::observed::Observed;
use crate::pause::PauseError;
use crate::plan::{Act, KillReason};
use crate::runtime::{ContainerInfo, RuntimeError};
use crate::spec;
use crate::status::full_name;
use crate::stop::stop;
use crate::volumes::VolumeError;
use crate::worker::Worker;

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
}

type Result<T> = std::result::Result<T, ActError>;

impl Worker {
    pub(crate) async fn act(&mut self, pod: &Pod, seen: &Observed, act: Act) -> Result<()> {
        match act {
            Act::ClearSandbox => self.clear_sandbox(pod, seen).await,
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

    async fn make_sandbox(
        &self,
        pod: &Pod,
        image: &str,
        attempt: i32,
        address: Option<Ipv4Addr>,
    ) -> Result<()> {
        let runtime = &self.shared.runtime;
        if let Some(address) = address {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let hosts = spec::hosts_file(pod, &address.to_string());
            self.shared.volumes.write(uid, "hosts", &hosts)?;
            let resolv = crate::resolv::for_pod(pod, &self.shared.resolv_conf)?;
            self.shared.volumes.write(uid, "resolv.conf", &resolv)?;
        }
        let ip = address.map(|address| address.to_string());
        let spec = spec::sandbox(pod, image, attempt, ip.as_deref());
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
        if let (false, Some(address)) = (on_host_network(pod), sandbox.pod_ip())
            && !network.is_attached(id).await?
        {
            network.attach(id, sandbox.pid, address).await?;
        }
        self.memory.wired = Some(id.to_owned());
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
            KillReason::Unhealthy(probe) => {
                format!("Container {name} failed {probe} probe, will be restarted")
            }
        };
        self.tell(pod, name, Severity::Normal, "Killing", &words);
        let Some(container) = find_container(pod, name) else {
            return Ok(());
        };
        let runtime = self.shared.runtime.as_ref();
        let grace = spec::grace(pod);
        if seen.all().any(|info| info.id == id) {
            stop(
                runtime,
                &self.shared.events,
                pod,
                Some(container),
                id,
                grace,
            )
            .await?;
        }
        Ok(())
    }

    /// Nothing may run again: the sandbox goes, the ended containers stay for their logs.
    pub(crate) async fn finish(&mut self, pod: &Pod, seen: &Observed) -> Option<Timestamp> {
        let done = async {
            self.probes = None;
            for info in seen.running() {
                let container = find_container(pod, info.container_name());
                let runtime = self.shared.runtime.as_ref();
                let grace = spec::grace(pod);
                stop(
                    runtime,
                    &self.shared.events,
                    pod,
                    container,
                    &info.id,
                    grace,
                )
                .await?;
            }
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

    /// Follows ConfigMaps and Secrets while containers use them; the running set of files
    /// is replaced as a whole.
    pub(crate) async fn refresh_volumes(&self, pod: &Pod, seen: &Observed) {
        let has_volumes = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_ref())
            .is_some_and(|volumes| !volumes.is_empty());
        if !has_volumes || seen.running().next().is_none() {
            return;
        }
        let host_ip = self.shared.host_ip.clone();
        let pod_ip = seen.sandbox().and_then(ContainerInfo::pod_ip);
        let pod_ip = pod_ip.map_or_else(|| host_ip.clone(), |ip| ip.to_string());
        let addresses = Addresses { pod_ip, host_ip };
        let source = self.shared.config.as_ref();
        if let Err(error) = self.shared.volumes.prepare(pod, &addresses, source).await {
            tracing::debug!(pod = full_name(pod), %error, "cannot refresh the volumes");
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
        let path = Some(format!("spec.containers{{{container}}}"));
        self.shared.events.pod(pod, path, severity, reason, words);
    }
}

pub(crate) fn on_host_network(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| spec.host_network == Some(true))
}

/// The container of that name in the manifest.
pub(crate) fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    all.find(|container| container.name == name)
}
