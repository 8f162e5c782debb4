//! How often a Service is written, and what for: large ones less often, and each write says
//! when its cause happened.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::model::Service;
use crate::shared::{Key, PodInfo};

/// What one endpoint adds to the pause after a write, and the longest pause: a thousand
/// pods that become ready one by one are some writes, not a thousand.
const PER_ENDPOINT: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_secs(1);
/// So few endpoints need no pause.
const SMALL: usize = 50;

/// When each large Service may be written again.
#[derive(Default)]
pub struct Pace(Mutex<HashMap<Key, Instant>>);

impl Pace {
    /// How long the Service must rest still.
    pub fn rest(&self, key: &Key) -> Option<Duration> {
        let again = *lock(&self.0).get(key)?;
        again
            .checked_duration_since(Instant::now())
            .filter(|rest| !rest.is_zero())
    }

    /// Notes that a Service of so many endpoints was just looked at.
    pub fn worked(&self, key: &Key, endpoints: usize) {
        let mut again = lock(&self.0);
        if endpoints <= SMALL {
            again.remove(key);
            return;
        }
        let pause = PER_ENDPOINT.saturating_mul(u32::try_from(endpoints).unwrap_or(u32::MAX));
        again.insert(key.clone(), Instant::now() + pause.min(LONGEST));
    }

    pub fn forget(&self, key: &Key) {
        lock(&self.0).remove(key);
    }
}

/// The newest change of each Service's pods that was taken in.
#[derive(Default)]
pub struct Triggers(Mutex<HashMap<Key, Timestamp>>);

impl Triggers {
    /// When the earliest change not yet taken in happened, RFC 3339: for a new Service its
    /// birth, for others that of a pod; `None` if it cannot be told.
    pub fn newest<'a>(
        &self,
        key: &Key,
        service: &Service,
        pods: impl Iterator<Item = &'a PodInfo>,
    ) -> Option<String> {
        let mut known = lock(&self.0);
        let before = known.get(key).copied();
        let mut newest = before.unwrap_or(Timestamp::UNIX_EPOCH);
        let mut earliest: Option<Timestamp> = None;
        for turned in pods.filter_map(|pod| pod.ready_since) {
            if before.is_some_and(|before| turned > before) {
                earliest = Some(earliest.map_or(turned, |at| at.min(turned)));
            }
            newest = newest.max(turned);
        }
        known.insert(key.clone(), newest);
        match before {
            None => service.metadata.creation_timestamp.clone(),
            Some(_) => earliest.map(|at| at.to_string()),
        }
    }

    pub fn forget(&self, key: &Key) {
        lock(&self.0).remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changed in single steps, so a poisoned lock is still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record as _;
    use serde_json::json;

    #[test]
    fn small_services_do_not_rest() {
        let (pace, key) = (Pace::default(), Key::new("d", "web"));
        pace.worked(&key, SMALL);
        assert_eq!(pace.rest(&key), None);
        pace.worked(&key, 5000);
        assert!(pace.rest(&key).is_some_and(|rest| rest <= LONGEST));
        pace.forget(&key);
        assert_eq!(pace.rest(&key), None);
    }

    #[test]
    fn the_cause_is_the_earliest_change_not_yet_told() {
        let (triggers, key) = (Triggers::default(), Key::new("d", "web"));
        let service: Service = serde_json::from_value(
            json!({"metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"}}),
        )
        .unwrap();
        let pod = |at: &str| {
            PodInfo::of(
                serde_json::from_value(json!({
                "metadata": {"name": at}, "status": {"conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": at}]}}))
                .unwrap(),
            )
        };
        let (a, b) = (pod("2026-01-01T00:00:05Z"), pod("2026-01-01T00:00:07Z"));
        let c = pod("2026-01-01T00:00:09Z");
        let newest = |pods: &[&PodInfo]| triggers.newest(&key, &service, pods.iter().copied());
        assert_eq!(newest(&[&a]).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(newest(&[&a]), None);
        assert_eq!(
            newest(&[&a, &b, &c]).as_deref(),
            Some("2026-01-01T00:00:07Z")
        );
    }
}
