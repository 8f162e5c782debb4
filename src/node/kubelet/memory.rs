//! What a pod worker remembers between looks at the engine: only waiting times and what
//! it has already told. Losing it costs a shorter wait, never a container.

use std::collections::{HashMap, HashSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::backoff::Backoff;
use crate::verdict::Over;
use crate::volumes::Places;

/// How long `ErrImagePull` stands before the status says `ImagePullBackOff`.
const FRESH: SignedDuration = SignedDuration::from_secs(3);
/// Wait before a configuration is looked up again; somebody may have created it.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Waits between attempts to mount volumes, upstream's: doubled each time.
const MOUNT_FIRST: SignedDuration = SignedDuration::from_millis(500);
const MOUNT_MAX: SignedDuration = SignedDuration::from_secs(122);

/// Why a container (or the sandbox) could not be started, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Reason of the waiting state, e.g. `ErrImagePull`.
    pub reason: &'static str,
    pub message: String,
    pub since: Timestamp,
    pub retry_at: Timestamp,
    /// Reason and message the status turns to after a moment.
    pub later: Option<(&'static str, String)>,
}

impl Trouble {
    /// Reason and message at `now`.
    #[must_use]
    pub fn shown(&self, now: Timestamp) -> (&'static str, &str) {
        match &self.later {
            Some((reason, message)) if now >= self.since + FRESH => (reason, message),
            _ => (self.reason, &self.message),
        }
    }

    /// The next moment at which something changes: the text or the retry.
    #[must_use]
    pub fn wakes_at(&self, now: Timestamp) -> Timestamp {
        let change = self.since + FRESH;
        if self.later.is_some() && now < change {
            change.min(self.retry_at)
        } else {
            self.retry_at
        }
    }
}

/// Why a running pod does not get the resources its manifest asks for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Infeasible`: never on this node. `Deferred`: not while others have them.
    pub reason: &'static str,
    pub message: String,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Memory {
    /// Restarts by container name.
    pub restarts: HashMap<String, Backoff>,
    /// Failed attempts to get an image or to create a container, by name.
    attempts: HashMap<String, Backoff>,
    troubles: HashMap<String, Trouble>,
    /// Key of the sandbox in `troubles`-like bookkeeping.
    sandbox: Option<Trouble>,
    sandbox_attempts: Backoff,
    /// Sandbox whose network is known to stand.
    pub wired: Option<String>,
    /// Where the pod's volumes lie, once they are made.
    pub places: Option<Places>,
    mount: Option<(Trouble, SignedDuration)>,
    /// Sidecars that run but whose startup probe has not succeeded, by container id.
    pub starting: HashSet<String>,
    /// Limits given to running containers since they were made, by container id.
    pub resized: HashMap<String, String>,
    /// Other resources are asked for and not given.
    pub pending: Option<Pending>,
    /// The pod is over, whatever its containers do.
    pub over: Option<Over>,
    /// The pod was looked at before it got anything of this node.
    pub admitted: bool,
    /// Changes that were taken for a reason to try again.
    pub noticed: u64,
    /// Changes of the pod's ConfigMaps and Secrets that have been looked at.
    pub configs: u64,
    /// What of the manifest the volumes were last made for: the pod's own fields may be
    /// files, too.
    pub manifest: Option<u64>,
    /// Containers to be killed because a liveness or startup probe gave up, with the words.
    pub unhealthy: HashMap<String, String>,
    told: HashSet<String>,
}

impl Memory {
    /// The trouble a container is in.
    #[must_use]
    pub fn trouble(&self, container: &str) -> Option<&Trouble> {
        self.troubles.get(container)
    }

    /// The trouble the sandbox is in.
    #[must_use]
    pub fn sandbox_trouble(&self) -> Option<&Trouble> {
        self.sandbox.as_ref()
    }

    /// The trouble the volumes are in.
    #[must_use]
    pub fn mount_trouble(&self) -> Option<&Trouble> {
        self.mount.as_ref().map(|(trouble, _)| trouble)
    }

    /// Notes volumes that could not be made.
    pub fn mount_failed(&mut self, now: Timestamp, message: String) {
        let wait = match &self.mount {
            Some((_, wait)) => (*wait * 2).min(MOUNT_MAX),
            None => MOUNT_FIRST,
        };
        let trouble = Trouble {
            reason: "ContainerCreating",
            message,
            since: now,
            retry_at: now + wait,
            later: None,
        };
        self.mount = Some((trouble, wait));
    }

    /// The volumes stand.
    pub fn mounted(&mut self, places: Places) {
        self.places = Some(places);
        self.mount = None;
    }

    /// Something the pod refers to changed: what failed for its lack is tried at once.
    pub fn config_changed(&mut self) {
        self.mount = None;
        self.troubles
            .retain(|_, trouble| trouble.reason != "CreateContainerConfigError");
    }

    /// Notes a failed start; the wait grows with every one in a row.
    pub fn failed(
        &mut self,
        container: &str,
        now: Timestamp,
        reason: &'static str,
        message: String,
        later: Option<(&'static str, String)>,
    ) {
        let backoff = self.attempts.entry(container.to_owned()).or_default();
        backoff.advance(now);
        let retry_at = backoff.due(now).map_or(now, |(due, _)| due);
        let retry_at = if reason == "CreateContainerConfigError" {
            now + CONFIG_RETRY
        } else {
            retry_at
        };
        let trouble = Trouble {
            reason,
            message,
            since: now,
            retry_at,
            later,
        };
        self.troubles.insert(container.to_owned(), trouble);
    }

    /// How long the wait after a failed start at `now` will be.
    #[must_use]
    pub fn next_wait(&self, container: &str, now: Timestamp) -> SignedDuration {
        let mut backoff = self.attempts.get(container).copied().unwrap_or_default();
        backoff.advance(now);
        backoff
            .due(now)
            .map_or(SignedDuration::ZERO, |(_, wait)| wait)
    }

    /// Notes a failed sandbox.
    pub fn sandbox_failed(&mut self, now: Timestamp, message: String) {
        self.sandbox_attempts.advance(now);
        let retry_at = self.sandbox_attempts.due(now).map_or(now, |(due, _)| due);
        self.sandbox = Some(Trouble {
            reason: "ContainerCreating",
            message,
            since: now,
            retry_at,
            later: None,
        });
    }

    /// The sandbox stands.
    pub fn sandbox_works(&mut self) {
        self.sandbox = None;
    }

    /// The container started: its troubles are over.
    pub fn started(&mut self, container: &str) {
        self.troubles.remove(container);
        self.attempts.remove(container);
    }

    /// True the first time it is called with `what`: for events told once.
    pub fn tell_once(&mut self, what: String) -> bool {
        self.told.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pull_turns_into_back_off_and_waits_longer_each_time() {
        let start: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let mut memory = Memory::default();
        let fail = |memory: &mut Memory, now| {
            let later = Some(("ImagePullBackOff", "Back-off pulling".to_owned()));
            memory.failed("web", now, "ErrImagePull", "no such host".into(), later);
        };
        fail(&mut memory, start);
        let trouble = memory.trouble("web").unwrap();
        assert_eq!(trouble.shown(start).0, "ErrImagePull");
        let woken = trouble.wakes_at(start);
        assert!(woken < trouble.retry_at);
        assert_eq!(trouble.shown(woken).0, "ImagePullBackOff");
        assert_eq!(trouble.wakes_at(woken), trouble.retry_at);
        assert_eq!(trouble.retry_at.duration_since(start).as_secs(), 10);
        let second = trouble.retry_at;
        fail(&mut memory, second);
        let trouble = memory.trouble("web").unwrap();
        assert_eq!(trouble.retry_at.duration_since(second).as_secs(), 20);
        memory.started("web");
        assert_eq!(memory.trouble("web"), None);
    }
}
