//! Starting one container of a pod: image, volumes, environment, create, start, hook.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::acts::{ActError, on_host_network};
use crate::backoff::go_duration;
use crate::block;
use crate::env::resolve;
use crate::events::Severity;
use crate::hooks;
use crate::labels;
use crate::manifest::{ephemeral, find_container};
use crate::observed::Observed;
use crate::runtime::{BindMount, ContainerInfo, Role, State};
use crate::spec;
use crate::status::full_name;
use crate::volumes::{Places, VolumeError, mounts};
use crate::worker::Worker;

/// Files of the pod's own mounted into every container.
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
        let image = match self.shared.images.ensure(pod, &container).await {
            Ok(image) => image,
            Err(error) => {
                let now = Timestamp::now();
                self.memory
                    .failed(name, now, error.reason, error.message, error.later);
                return Ok(());
            }
        };
        // A debugger joins the processes of the container it was aimed at.
        let target = ephemeral(pod, name)
            .and_then(|debugger| debugger.target_container_name.as_deref())
            .and_then(|target| seen.latest(target))
            .filter(|info| info.state == State::Running)
            .map(|info| info.id.clone());
        let launch = Launch {
            pod,
            container: &container,
            sandbox,
            target,
            role,
            attempt,
            image,
        };
        match self.launch(&launch).await {
            Ok(id) => {
                self.memory.started(name);
                self.after_start(pod, &container, &id, seen).await;
            }
            Err((reason, message)) => {
                let words = format!("Error: {message}");
                self.tell(pod, name, Severity::Warning, "Failed", &words);
                self.could_not_run(pod, name, reason, message);
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
            target,
            role,
            attempt,
            image,
        } = launch;
        let pod_ip = sandbox.pod_ip().map(|ip| ip.to_string());
        let facts = self
            .shared
            .facts(pod_ip.unwrap_or_else(|| self.shared.host_ip.clone()));
        let source = self.shared.config.as_ref();
        let nowhere = Places::new();
        let places = self.memory.places.as_ref().unwrap_or(&nowhere);
        let variables = resolve(pod, container, &facts, places, source)
            .await
            .map_err(|error| config(&error))?;
        let mut all = mounts(pod, container, places, &variables).map_err(|error| config(&error))?;
        self.add_own_mounts(pod, container, *attempt, &mut all)
            .map_err(|error| config(&error))?;
        let devices = block::devices(pod, container, places).map_err(|error| config(&error))?;
        let image_user = if spec::asks_for_the_images_user(pod, container) {
            let found = self.shared.runtime.image(image).await;
            let found = found.map_err(|error| config(&error))?;
            found.map(|info| info.user)
        } else {
            None
        };
        let parts = spec::Parts {
            role: *role,
            attempt: *attempt,
            sandbox: &sandbox.id,
            image: image.clone(),
            variables: &variables,
            mounts: all,
            devices,
            node_memory: self.shared.node_memory,
            image_user: image_user.as_deref(),
            target: target.as_deref(),
            seccomp_dir: &self.shared.seccomp_dir,
        };
        let mut spec = spec::container(pod, container, parts).map_err(|error| config(&error))?;
        spec.runtime = sandbox.label(labels::RUNTIME).map(str::to_owned);
        let runtime = &self.shared.runtime;
        let id = runtime
            .create(&spec)
            .await
            .map_err(|error| ("CreateContainerError", error.to_string()))?;
        let name = &container.name;
        self.tell(pod, name, Severity::Normal, "Created", "Container created");
        runtime.start(&id).await.map_err(|error| {
            (
                "RunContainerError",
                format!("failed to start container \"{name}\": {error}"),
            )
        })?;
        self.tell(pod, name, Severity::Normal, "Started", "Container started");
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
        for (name, path) in [("hosts", HOSTS), ("resolv.conf", RESOLV_CONF)] {
            let file = dir.join(name);
            // A sandbox on the host's network that an older version made has none.
            if !on_host_network(pod) || file.exists() {
                own.push((file, path));
            }
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

    /// Notes a failed start. One that keeps failing shows as a crash loop, as upstream's.
    fn could_not_run(&mut self, pod: &Pod, name: &str, reason: &'static str, message: String) {
        let now = Timestamp::now();
        let loops = matches!(reason, "RunContainerError" | "PostStartHookError");
        let later = loops.then(|| {
            let wait = go_duration(self.memory.next_wait(name, now));
            let words = format!(
                "back-off {wait} restarting failed container={name} pod={}",
                full_name(pod)
            );
            ("CrashLoopBackOff", words)
        });
        self.memory.failed(name, now, reason, message, later);
    }

    /// The container is not ready for anything before its hook has ended; one whose hook
    /// fails is killed.
    async fn after_start(&mut self, pod: &Pod, container: &Container, id: &str, seen: &Observed) {
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref());
        let Some(hook) = hook else { return };
        let address = self.address(seen);
        let runtime = self.shared.runtime.as_ref();
        let Err(failure) = hooks::run(hook, runtime, container, id, &address).await else {
            return;
        };
        let name = &container.name;
        let tell = |severity, reason, words| self.tell(pod, name, severity, reason, words);
        tell(
            Severity::Warning,
            "FailedPostStartHook",
            "PostStartHook failed",
        );
        tell(Severity::Normal, "Killing", "FailedPostStartHook");
        let stopper = self.stopper(pod, &address);
        if let Err(error) = stopper.one(Some(container), id, spec::grace(pod)).await {
            tracing::warn!(pod = full_name(pod), %error, "cannot kill after a failed hook");
        }
        self.could_not_run(pod, name, "PostStartHookError", failure);
    }
}

struct Launch<'a> {
    pod: &'a Pod,
    container: &'a Container,
    sandbox: &'a ContainerInfo,
    /// Container whose processes are to be seen.
    target: Option<String>,
    role: Role,
    attempt: i32,
    image: String,
}
