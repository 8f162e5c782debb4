//! What the node and its containers use: read from the kernel when somebody asks, never
//! otherwise. Rates are taken between two questions; the first one waits a moment for a
//! second look.

mod cgroup;
mod machine;
mod metrics;
mod summary;

pub use cgroup::{Cgroups, Usage};
pub use machine::{FileSystem, MachineUsage};

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::observed::Observed;
use crate::pods::PodTable;
use crate::runtime::{ContainerInfo, Result, Runtime, State};

/// Between the two looks of a first question.
const MOMENT: Duration = Duration::from_millis(100);
/// A look older than this says nothing about now.
const STALE: Duration = Duration::from_secs(10 * 60);
/// Under this key the whole machine's CPU time is remembered.
const MACHINE: &str = "";

/// What one container uses.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    pub name: String,
    pub started_at: Option<Timestamp>,
    pub usage: Usage,
    /// Billionths of a CPU per second, lately.
    pub cpu_rate: Option<u64>,
}

/// What one pod uses.
#[derive(Debug, Clone)]
pub struct PodUsage {
    pub pod: Arc<Pod>,
    pub containers: Vec<ContainerUsage>,
    /// The pause process: part of the pod, none of its containers.
    pub sandbox: Option<ContainerUsage>,
    /// Bytes received and sent; none for pods on the host's network.
    pub network: Option<(u64, u64)>,
}

impl PodUsage {
    /// Sum over everything that runs for the pod.
    #[must_use]
    pub fn total(&self) -> (Usage, Option<u64>) {
        let all = self.containers.iter().chain(&self.sandbox);
        let mut rate = None;
        let mut total = Usage::default();
        for container in all {
            total.add(&container.usage);
            if let Some(own) = container.cpu_rate {
                rate = Some(rate.unwrap_or(0) + own);
            }
        }
        (total, rate)
    }
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub at: Timestamp,
    pub machine: MachineUsage,
    pub machine_rate: Option<u64>,
    pub pods: Vec<PodUsage>,
}

/// Answers questions about usage. See the file's head.
pub struct Stats {
    node_name: String,
    /// Where pods' directories lie.
    pods_dir: PathBuf,
    cgroups: Cgroups,
    /// CPU nanoseconds by container id, and when they were read.
    seen: Mutex<HashMap<String, (u64, Instant)>>,
}

impl Stats {
    #[must_use]
    pub fn new(node_name: &str, pods_dir: PathBuf) -> Self {
        Self {
            node_name: node_name.to_owned(),
            pods_dir,
            cgroups: Cgroups::default(),
            seen: Mutex::default(),
        }
    }

    /// What everything uses now.
    ///
    /// # Errors
    /// If the engine does not list its containers.
    pub async fn snapshot(&self, runtime: &dyn Runtime, table: &PodTable) -> Result<Snapshot> {
        let containers = runtime.all_containers().await?;
        if self.is_first(&containers) {
            self.remember(&containers);
            tokio::time::sleep(MOMENT).await;
        }
        let rates = self.remember(&containers);
        let mut by_pod: HashMap<String, Vec<ContainerInfo>> = HashMap::new();
        for info in containers {
            if let Some(uid) = info.label(crate::labels::POD_UID) {
                by_pod.entry(uid.to_owned()).or_default().push(info);
            }
        }
        let root = runtime.info().await.map(|info| info.root_dir);
        let pods = table.pods().into_iter().filter_map(|pod| {
            let uid = pod.metadata.uid.as_deref()?;
            let seen = Observed::new(by_pod.remove(uid)?);
            Some(self.pod(pod, &seen, &rates))
        });
        let mut pods: Vec<PodUsage> = pods.collect();
        pods.sort_by(|a, b| {
            let name = |usage: &PodUsage| {
                let meta = &usage.pod.metadata;
                (meta.namespace.clone(), meta.name.clone())
            };
            name(a).cmp(&name(b))
        });
        Ok(Snapshot {
            at: Timestamp::now(),
            machine: MachineUsage::read(&self.pods_dir, root.as_deref().unwrap_or("/")),
            machine_rate: rates.get(MACHINE).copied(),
            pods,
        })
    }

    /// `GET /stats/summary`, upstream's form.
    ///
    /// # Errors
    /// As [`Stats::snapshot`].
    pub async fn summary(&self, runtime: &dyn Runtime, table: &PodTable) -> Result<Value> {
        let snapshot = self.snapshot(runtime, table).await?;
        Ok(summary::json(&self.node_name, &snapshot))
    }

    /// `GET /metrics/resource`, upstream's names.
    ///
    /// # Errors
    /// As [`Stats::snapshot`].
    pub async fn metrics(&self, runtime: &dyn Runtime, table: &PodTable) -> Result<String> {
        Ok(metrics::text(&self.snapshot(runtime, table).await?))
    }

    fn pod(&self, pod: Arc<Pod>, seen: &Observed, rates: &HashMap<String, u64>) -> PodUsage {
        let usage = |info: &ContainerInfo| {
            Some(ContainerUsage {
                name: info.container_name().to_owned(),
                started_at: info.started_at,
                usage: self.cgroups.of_process(info.pid)?,
                cpu_rate: rates.get(&info.id).copied(),
            })
        };
        let mut containers: Vec<ContainerUsage> = seen.running().filter_map(usage).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let sandbox = seen.sandbox();
        PodUsage {
            pod,
            containers,
            network: sandbox
                .filter(|sandbox| sandbox.pod_ip().is_some())
                .and_then(|sandbox| machine::traffic(sandbox.pid)),
            sandbox: sandbox.and_then(usage),
        }
    }

    fn is_first(&self, containers: &[ContainerInfo]) -> bool {
        let seen = lock(&self.seen);
        let known = |id: &str| seen.get(id).is_some_and(|(_, at)| at.elapsed() < STALE);
        !known(MACHINE)
            || containers
                .iter()
                .any(|info| info.state == State::Running && !known(&info.id))
    }

    /// Notes everybody's CPU time and returns the rates since the last note.
    fn remember(&self, containers: &[ContainerInfo]) -> HashMap<String, u64> {
        let running = containers
            .iter()
            .filter(|info| info.state == State::Running)
            .filter_map(|info| {
                let used = self.cgroups.of_process(info.pid)?;
                Some((info.id.clone(), used.cpu_nanos))
            });
        let now: HashMap<String, u64> = running
            .chain(machine::cpu_nanos().map(|nanos| (MACHINE.to_owned(), nanos)))
            .collect();
        let mut seen = lock(&self.seen);
        let mut rates = HashMap::new();
        let at = Instant::now();
        for (id, nanos) in &now {
            if let Some((before, since)) = seen.get(id)
                && since.elapsed() < STALE
                && let Some(rate) = rate(nanos.saturating_sub(*before), since.elapsed())
            {
                rates.insert(id.clone(), rate);
            }
        }
        // Those that ended are forgotten.
        *seen = now
            .into_iter()
            .map(|(id, nanos)| (id, (nanos, at)))
            .collect();
        rates
    }
}

/// Billionths of a CPU for `nanos` of CPU time within `elapsed`.
fn rate(nanos: u64, elapsed: Duration) -> Option<u64> {
    let elapsed = elapsed.as_nanos();
    if elapsed == 0 {
        return None;
    }
    u64::try_from(u128::from(nanos) * 1_000_000_000 / elapsed).ok()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_cpu_time_per_time() {
        assert_eq!(
            rate(50_000_000, Duration::from_millis(100)),
            Some(500_000_000)
        );
        assert_eq!(rate(5, Duration::ZERO), None);
    }

    #[tokio::test]
    async fn an_idle_node_is_described_at_the_first_question() {
        let world = crate::testing::World::new();
        let stats = Stats::new("n1", world.home.path().to_owned());
        let runtime = world.runtime.as_ref();
        let table = PodTable::default();
        let summary = stats.summary(runtime, &table).await.unwrap();
        assert_eq!(summary["node"]["nodeName"], "n1");
        assert!(summary["node"]["cpu"]["usageCoreNanoSeconds"].as_u64() > Some(0));
        assert!(summary["node"]["cpu"]["usageNanoCores"].is_u64());
        assert!(summary["node"]["memory"]["workingSetBytes"].as_u64() > Some(0));
        assert!(summary["node"]["fs"]["capacityBytes"].as_u64() > Some(0));
        assert_eq!(summary["pods"], serde_json::json!([]));
        let metrics = stats.metrics(runtime, &table).await.unwrap();
        assert!(
            metrics.contains("\nnode_cpu_usage_seconds_total "),
            "{metrics}"
        );
    }
}
