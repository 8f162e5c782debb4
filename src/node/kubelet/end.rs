//! The end of a pod: stop its containers, remove everything, tell the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep, sleep_until};

use crate::acts::ActError;
use crate::events::Severity;
use crate::observed::Observed;
use crate::runtime::RuntimeError;
use crate::shared::ApiFailure;
use crate::spec;
use crate::status::full_name;
use crate::worker::Worker;

/// Wait after a failed attempt to end the pod.
const AGAIN: Duration = Duration::from_secs(5);
/// What is left of the grace once the object has been deleted by force.
const HURRY: Duration = Duration::from_secs(2);

impl Worker {
    /// Ends the pod; tries until it is done.
    pub(crate) async fn end(&mut self) {
        // Probes must not restart what is being stopped.
        self.probes = None;
        let pod = self.desired.borrow().pod.clone();
        while let Err(error) = self.end_once(&pod).await {
            tracing::warn!(pod = full_name(&pod), %error, "cannot end the pod yet");
            sleep(AGAIN).await;
        }
        while !self.desired.borrow().gone {
            match self.shared.api.confirm_deleted(&pod).await {
                Ok(()) | Err(ApiFailure::Gone) => return,
                Err(ApiFailure::Other(reason)) => {
                    tracing::warn!(pod = full_name(&pod), reason, "cannot confirm the deletion");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn end_once(&mut self, pod: &Pod) -> Result<(), ActError> {
        let seen = self.look(pod).await?;
        self.stop_all(pod, &seen).await?;
        let seen = self.look(pod).await?;
        if !self.desired.borrow().gone {
            self.publish(pod, &seen, true).await;
        }
        for info in seen.containers.values().flatten() {
            self.shared.runtime.remove(&info.id).await?;
        }
        for sandbox in &seen.sandboxes {
            self.shared.runtime.kill(&sandbox.id).await?;
            self.remove_sandbox(sandbox).await?;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.shared.volumes.remove(uid)?;
        Ok(())
    }

    /// Stops all containers at once. A deletion by force in the meantime shortens the wait.
    async fn stop_all(&mut self, pod: &Pod, seen: &Observed) -> Result<(), RuntimeError> {
        let running: Vec<_> = seen.running().cloned().collect();
        for info in &running {
            let name = info.container_name();
            let words = format!("Stopping container {name}");
            if self.memory.tell_once(format!("stopping {}", info.id)) {
                self.tell(pod, name, Severity::Normal, "Killing", &words);
            }
        }
        let grace = self.grace_left(pod);
        let address = self.address(seen);
        let stopper = self.stopper(pod, &address);
        let stops = stopper.all(&running, grace);
        tokio::pin!(stops);
        let mut desired = self.desired.clone();
        tokio::select! {
            result = &mut stops => result,
            () = shortened(&mut desired, grace) => {
                for info in &running {
                    self.shared.runtime.kill(&info.id).await?;
                }
                (&mut stops).await
            }
        }
    }

    fn grace_left(&self, pod: &Pod) -> i64 {
        spec::grace(&self.desired.borrow().pod).min(spec::grace(pod))
    }
}

/// Returns when less time is left than `grace` promised at the start: the object is gone,
/// or a second deletion asked for a shorter grace and that is over.
async fn shortened(desired: &mut tokio::sync::watch::Receiver<crate::worker::Desired>, grace: i64) {
    let begun = Instant::now();
    let was_gone = desired.borrow().gone;
    loop {
        let (gone, asked) = {
            let now = desired.borrow_and_update();
            (now.gone && !was_gone, spec::grace(&now.pod))
        };
        if gone {
            sleep(HURRY).await;
            return;
        }
        if asked < grace {
            let asked = Duration::from_secs(u64::try_from(asked).unwrap_or(0));
            tokio::select! {
                () = sleep_until(begun + asked) => return,
                changed = desired.changed() => if changed.is_err() { return },
            }
        } else if desired.changed().await.is_err() {
            return;
        }
    }
}
