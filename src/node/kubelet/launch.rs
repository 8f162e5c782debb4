//! Starting one container of a pod: image, volumes, environment, create, start, hook.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::acts::{ActError, find_container, on_host_network};
use crate::env::{Addresses, resolve};
use crate::events::Severity;
use crate::observed::Observed;
use crate::runtime::{BindMount, ContainerInfo, Role};
use crate::spec;
use crate::status::full_name;
use crate::volumes::{VolumeError, mounts};
use crate::worker::Worker;

/// Host files mounted into every container of a pod with its own network.
const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where containers write their last words unless the manifest says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";

impl Worker {
    pub(crate) async fn start(
        &mut self,
        pod: &Pod,
        seen: &Observed,
        name: &str,
        role: Role,
        attempt: i32,
    ) -> Result<(), ActError> {
        let Some(container) = find_container(pod, name) else {
            return Ok(());
        };
        let Some(sandbox) = seen.sandbox() else {
            return Ok(());
        };
        // The newest ended one stays: `logs --previous` and the last state need it.
        for old in seen.containers.get(name).into_iter().flatten().skip(1) {
            self.shared.runtime.remove(&old.id).await?;
        }
        let now = Timestamp::now();
        if seen.latest(name).is_some() && self.memory.trouble(name).is_none() {
            self.memory
                .restarts
                .entry(name.to_owned())
                .or_default()
                .advance(now);
        }
        let image = match self.shared.images.ensure(pod, container).await {
            Ok(image) => image,
            Err(error) => {
                let now = Timestamp::now();
                self.memory
                    .failed(name, now, error.reason, error.message, error.later);
                return Ok(());
            }
        };
        let launch = Launch {
            pod,
            container,
            sandbox,
            role,
            attempt,
            image,
        };
        match self.launch(&launch).await {
            Ok(id) => {
                self.memory.started(name);
                self.after_start(pod, container, &id).await;
            }
            Err((reason, message)) => {
                let words = format!("Error: {message}");
                self.tell(pod, name, Severity::Warning, "Failed", &words);
                self.memory
                    .failed(name, Timestamp::now(), reason, message, None);
            }
        }
        Ok(())
    }

    /// Creates and starts a container.
    ///
    /// # Errors
    /// Reason and message for its waiting state.
    async fn launch(&self, launch: &Launch<'_>) -> Result<String, (&'static str, String)> {
        let config =
            |error: &dyn std::fmt::Display| ("CreateContainerConfigError", error.to_string());
        let Launch {
            pod,
            container,
            sandbox,
            role,
            attempt,
            image,
        } = launch;
        let host_ip = self.shared.host_ip.clone();
        let pod_ip = sandbox
            .pod_ip()
            .map_or_else(|| host_ip.clone(), |ip| ip.to_string());
        let addresses = Addresses { pod_ip, host_ip };
        let source = self.shared.config.as_ref();
        let places = self
            .shared
            .volumes
            .prepare(pod, &addresses, source)
            .await
            .map_err(|error| {
                let words = format!("MountVolume.SetUp failed: {error}");
                self.shared
                    .events
                    .pod(pod, None, Severity::Warning, "FailedMount", words);
                config(&error)
            })?;
        let variables = resolve(pod, container, &addresses, source)
            .await
            .map_err(|error| config(&error))?;
        let mut all = mounts(container, &places, &variables).map_err(|error| config(&error))?;
        self.add_own_mounts(pod, container, *attempt, &mut all)
            .map_err(|error| config(&error))?;
        let parts = spec::Parts {
            role: *role,
            attempt: *attempt,
            sandbox: &sandbox.id,
            image: image.clone(),
            variables: &variables,
            mounts: all,
            node_memory: self.shared.node_memory,
        };
        let spec = spec::container(pod, container, parts).map_err(|error| config(&error))?;
        let runtime = &self.shared.runtime;
        let id = runtime
            .create(&spec)
            .await
            .map_err(|error| ("CreateContainerError", error.to_string()))?;
        let name = &container.name;
        self.tell(
            pod,
            name,
            Severity::Normal,
            "Created",
            &format!("Created container: {name}"),
        );
        runtime.start(&id).await.map_err(|error| {
            (
                "RunContainerError",
                format!("failed to start container \"{name}\": {error}"),
            )
        })?;
        self.tell(
            pod,
            name,
            Severity::Normal,
            "Started",
            &format!("Started container {name}"),
        );
        Ok(id)
    }

    fn add_own_mounts(
        &self,
        pod: &Pod,
        container: &Container,
        attempt: i32,
        all: &mut Vec<BindMount>,
    ) -> Result<(), VolumeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let dir = self.shared.volumes.pod_dir(uid)?;
        let mut own = Vec::new();
        if !on_host_network(pod) {
            own.push((dir.join("hosts"), HOSTS));
            own.push((dir.join("resolv.conf"), RESOLV_CONF));
        }
        let words = self
            .shared
            .volumes
            .termination_file(uid, &container.name, attempt)?;
        let path = container
            .termination_message_path
            .as_deref()
            .unwrap_or(TERMINATION_LOG);
        own.push((words, path));
        for (host_path, container_path) in own {
            // What the manifest mounts itself wins.
            if all
                .iter()
                .all(|mount| mount.container_path != container_path)
            {
                all.push(BindMount {
                    host_path: host_path.to_string_lossy().into_owned(),
                    container_path: container_path.to_owned(),
                    read_only: false,
                    propagation: None,
                });
            }
        }
        Ok(())
    }

    async fn after_start(&self, pod: &Pod, container: &Container, id: &str) {
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref());
        let Some(hook) = hook else { return };
        let Some(command) = hook.exec.as_ref().and_then(|exec| exec.command.clone()) else {
            let words = "only exec hooks are served by this version of Cadet; ignoring postStart";
            self.tell(
                pod,
                &container.name,
                Severity::Warning,
                "FailedPostStartHook",
                words,
            );
            return;
        };
        let failure = match self.shared.runtime.exec(id, &command).await {
            Ok(outcome) if outcome.exit_code == 0 => return,
            Ok(outcome) => format!("exited with {}: {}", outcome.exit_code, outcome.output),
            Err(error) => error.to_string(),
        };
        let words = format!("PostStartHook failed: {failure}");
        self.tell(
            pod,
            &container.name,
            Severity::Warning,
            "FailedPostStartHook",
            &words,
        );
        if let Err(error) = self.shared.runtime.kill(id).await {
            tracing::warn!(pod = full_name(pod), %error, "cannot kill after a failed hook");
        }
    }
}

struct Launch<'a> {
    pod: &'a Pod,
    container: &'a Container,
    sandbox: &'a ContainerInfo,
    role: Role,
    attempt: i32,
    image: String,
}
