//! Stopping containers the polite way: hook, turn, signal, patience, kill.
//!
//! ```text
//!   app containers ──────────► stopped together
//!   sidecar n ─ hook ─ waits for them ──► … ──► sidecar 1 waits for sidecar 2
//! ```

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::events::{EventSink, Severity};
use crate::hooks;
use crate::manifest::{field_path, find_container, is_sidecar};
use crate::runtime::{ContainerInfo, Result, Runtime, RuntimeError};

/// After SIGKILL the engine needs a moment; on a slow machine a long one.
const AFTER_KILL: Duration = Duration::from_secs(60);
/// What a signal is worth however little grace is left, upstream's figure.
const LEAST: Duration = Duration::from_secs(2);

/// What stopping needs of its surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Stopper<'a> {
    pub runtime: &'a dyn Runtime,
    pub events: &'a EventSink,
    pub pod: &'a Pod,
    /// Where the pod's hooks reach it.
    pub pod_ip: &'a str,
}

impl Stopper<'_> {
    /// Ends all of `running`, sidecars after the containers they serve, within about
    /// `grace` seconds; returns when all have ended.
    ///
    /// # Errors
    /// If the engine fails, or a container survives even SIGKILL.
    pub(crate) async fn all(&self, running: &[ContainerInfo], grace: i64) -> Result<()> {
        let names: Vec<&str> = running.iter().map(ContainerInfo::container_name).collect();
        let spec = self.pod.spec.clone().unwrap_or_default();
        let before = prerequisites(&spec, &names);
        let ended: Vec<CancellationToken> =
            names.iter().map(|_| CancellationToken::new()).collect();
        let stops = running.iter().enumerate().map(|(index, info)| {
            let (ended, before) = (&ended, &before[index]);
            async move {
                let turn = async {
                    for other in before {
                        ended[*other].cancelled().await;
                    }
                };
                let container = find_container(self.pod, info.container_name());
                let stopped = self.when(container.as_deref(), &info.id, grace, turn).await;
                ended[index].cancel();
                stopped
            }
        });
        join_all(stops).await.into_iter().collect()
    }

    /// Ends one container within about `grace` seconds and returns when it has ended.
    ///
    /// # Errors
    /// As [`Stopper::all`].
    pub(crate) async fn one(
        &self,
        container: Option<&Container>,
        id: &str,
        grace: i64,
    ) -> Result<()> {
        self.when(container, id, grace, async {}).await
    }

    /// A hook counts against the grace, as upstream's does, and so does the wait for
    /// `turn`.
    async fn when(
        &self,
        container: Option<&Container>,
        id: &str,
        grace: i64,
        turn: impl Future<Output = ()>,
    ) -> Result<()> {
        let runtime = self.runtime;
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let deadline = Instant::now() + grace;
        if !grace.is_zero() {
            if let Some(container) = container {
                // A hook that outlives the grace is cut off with its container.
                let _ = timeout_at(deadline, self.pre_stop(container, id)).await;
            }
            // Who is not on time does not keep the others waiting.
            let _ = timeout_at(deadline, turn).await;
            let deadline = deadline.max(Instant::now() + LEAST);
            runtime.ask_to_stop(id).await?;
            if let Ok(ended) = timeout_at(deadline, runtime.wait(id)).await {
                return ended;
            }
        }
        runtime.kill(id).await?;
        timeout(AFTER_KILL, runtime.wait(id))
            .await
            .map_err(|_| RuntimeError::Failed {
                act: "stop a container",
                reason: format!("{id} survived SIGKILL for {} s", AFTER_KILL.as_secs()),
            })?
    }

    async fn pre_stop(&self, container: &Container, id: &str) {
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let Some(hook) = hook else { return };
        if let Err(error) = hooks::run(hook, self.runtime, container, id, self.pod_ip).await {
            tracing::info!(container = container.name, error, "a preStop hook failed");
            let path = Some(field_path(self.pod, &container.name));
            let words = "PreStopHook failed";
            self.events.pod(
                self.pod,
                path,
                Severity::Warning,
                "FailedPreStopHook",
                words,
            );
        }
    }
}

/// For each of `names` the indices of those that must end first: a sidecar outlives the
/// pod's own containers and the sidecars declared after it.
fn prerequisites(spec: &PodSpec, names: &[&str]) -> Vec<Vec<usize>> {
    let sidecars: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let place = |name: &str| sidecars.iter().position(|sidecar| *sidecar == name);
    let is_app = |name: &str| spec.containers.iter().any(|app| app.name == name);
    names
        .iter()
        .map(|name| {
            let Some(own) = place(name) else {
                return Vec::new();
            };
            let first = |other: &str| is_app(other) || place(other).is_some_and(|at| at > own);
            let others = names.iter().enumerate();
            others
                .filter(|(_, other)| first(other))
                .map(|(index, _)| index)
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sidecars_end_last_in_reverse_order() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "setup"},
                {"name": "log", "restartPolicy": "Always"},
                {"name": "proxy", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "app"}, {"name": "db"}],
        }))
        .unwrap();
        let names = ["log", "app", "proxy", "db", "debug"];
        let before = prerequisites(&spec, &names);
        assert_eq!(before[0], [1, 2, 3], "log waits for all but the debugger");
        assert_eq!(before[2], [1, 3]);
        assert!(before[1].is_empty() && before[3].is_empty() && before[4].is_empty());
    }
}
