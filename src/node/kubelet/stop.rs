//! Stopping a container the polite way: hook, signal, patience, kill.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::{Instant, timeout, timeout_at};

use crate::events::{EventSink, Severity};
use crate::runtime::{Result, Runtime, RuntimeError};

/// After SIGKILL the engine needs a moment; on a slow machine a long one.
const AFTER_KILL: Duration = Duration::from_secs(60);

/// Ends a container within about `grace` seconds and returns when it has ended. A hook
/// counts against the grace, as upstream's does.
///
/// # Errors
/// If the engine fails, or the container survives even SIGKILL.
pub(crate) async fn stop(
    runtime: &dyn Runtime,
    events: &EventSink,
    pod: &Pod,
    container: Option<&Container>,
    id: &str,
    grace: i64,
) -> Result<()> {
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    let deadline = Instant::now() + grace;
    if !grace.is_zero() {
        if let Some(container) = container {
            // A hook that outlives the grace is cut off with its container.
            let _ = timeout_at(deadline, pre_stop(runtime, events, pod, container, id)).await;
        }
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

async fn pre_stop(
    runtime: &dyn Runtime,
    events: &EventSink,
    pod: &Pod,
    container: &Container,
    id: &str,
) {
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(hook) = hook else { return };
    let failure = if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(
            u64::try_from(sleep.seconds).unwrap_or(0),
        ))
        .await;
        return;
    } else if let Some(command) = hook.exec.as_ref().and_then(|exec| exec.command.as_ref()) {
        match runtime.exec(id, command).await {
            Ok(outcome) if outcome.exit_code == 0 => return,
            Ok(outcome) => format!("exited with {}: {}", outcome.exit_code, outcome.output),
            Err(error) => error.to_string(),
        }
    } else {
        "only exec and sleep hooks are served by this version of Cadet".to_owned()
    };
    let path = Some(format!("spec.containers{{{}}}", container.name));
    let words = format!("PreStopHook failed: {failure}");
    events.pod(pod, path, Severity::Warning, "FailedPreStopHook", words);
}
