//! `metrics.k8s.io`: what nodes and pods use now, asked from their agents when somebody asks.
//!
//! ```text
//!   GET nodes, pods ─▶ which nodes ─▶ sample young enough? ── yes ─▶ answer
//!                                       └─ no ─▶ GET /stats/summary of the agent ─▶ keep
//! ```
//! Nothing is asked while nobody asks. An agent answers as upstream's kubelet does (its
//! Summary API): `usageNanoCores` and `workingSetBytes` of the node and of each container;
//! where only `usageCoreNanoSeconds` is there, two samples tell the rate.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use cadet_api::json::str_at;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{clock, meta};
use cadet_store::Entry;
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::admission::find;
use crate::app::App;
use crate::connect;
use crate::object::{Object, key_of, to_stored};

/// How long a sample is good; metrics-server looks every 15 s.
const GOOD: Duration = Duration::from_secs(10);
/// Longest an agent may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How many agents are asked at a time.
const AT_ONCE: usize = 32;
/// Largest answer read, in bytes: some hundred pods take some hundred KiB.
const LARGEST: usize = 16 << 20;
/// What samples are averaged over, if the agent does not say.
const WINDOW: Duration = Duration::from_secs(10);

/// The newest sample of each node.
#[derive(Default)]
pub struct Usage {
    samples: Mutex<HashMap<String, (Instant, Arc<Sample>)>>,
}

/// What an agent said.
#[derive(Debug, Default, PartialEq)]
struct Sample {
    node: Option<Use>,
    /// By namespace and name of the pod: name and use of its containers.
    pods: HashMap<(String, String), Vec<(String, Use)>>,
    /// Seconds averaged over.
    window: f64,
}

/// What one thing uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Use {
    nano_cores: u64,
    bytes: u64,
    /// Counted since its start, and when: unix nanoseconds. 0 if not said.
    core_nanos: u64,
    at: i128,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Summary {
    node: Part,
    pods: Vec<PodPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodPart {
    pod_ref: PodRef,
    containers: Vec<Part>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodRef {
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    name: String,
    cpu: Cpu,
    memory: Memory,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Cpu {
    time: String,
    usage_nano_cores: Option<u64>,
    usage_core_nano_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Memory {
    working_set_bytes: Option<u64>,
}

impl Part {
    /// What it uses, if that can be told; `before` is what it used an earlier time.
    fn usage(&self, before: Option<&Use>) -> Option<Use> {
        let at = clock::parse(&self.cpu.time).map_or(0, OffsetDateTime::unix_timestamp_nanos);
        let core_nanos = self.cpu.usage_core_nano_seconds.unwrap_or(0);
        let counted = || {
            let before = before.filter(|b| b.core_nanos > 0 && at > b.at)?;
            let spent = i128::from(core_nanos.checked_sub(before.core_nanos)?);
            u64::try_from(spent * 1_000_000_000 / (at - before.at)).ok()
        };
        Some(Use {
            // A counter without an earlier one says nothing yet, but memory is known.
            nano_cores: self
                .cpu
                .usage_nano_cores
                .or_else(counted)
                .or_else(|| self.cpu.usage_core_nano_seconds.map(|_| 0))?,
            bytes: self.memory.working_set_bytes?,
            core_nanos,
            at,
        })
    }
}

impl Sample {
    fn of(summary: &Summary, before: Option<&Sample>) -> Sample {
        let node = summary.node.usage(before.and_then(|b| b.node.as_ref()));
        let pods = summary.pods.iter().filter_map(|pod| {
            let key = (pod.pod_ref.namespace.clone(), pod.pod_ref.name.clone());
            let earlier = before.and_then(|before| before.pods.get(&key));
            let containers = pod.containers.iter().map(|container| {
                let mut earlier = earlier.into_iter().flatten();
                let earlier = earlier.find(|(name, _)| *name == container.name);
                let usage = container.usage(earlier.map(|(_, usage)| usage))?;
                Some((container.name.clone(), usage))
            });
            // Half a pod is none: its sum would be wrong.
            let containers: Option<Vec<_>> = containers.collect();
            Some((key, containers.filter(|all| !all.is_empty())?))
        });
        let since = before.and_then(|b| b.node).filter(|b| b.at > 0);
        let span = node.zip(since).map(|(now, before)| now.at - before.at);
        let span = span.filter(|nanos| *nanos > 0 && summary.node.cpu.usage_nano_cores.is_none());
        Sample {
            node,
            pods: pods.collect(),
            window: span.map_or(WINDOW.as_secs_f64(), |nanos| nanos as f64 / 1e9),
        }
    }
}

/// All objects of a computed kind in a namespace ("" is all), with this name if one is
/// given; `None` for other kinds.
pub async fn objects(
    app: &App,
    kind: &'static Resource,
    namespace: &str,
    name: Option<&str>,
) -> Option<Result<Vec<Arc<Object>>, Status>> {
    if !app.config.metrics {
        let why = "metrics are switched off: cadet addons enable metrics";
        return Some(Err(Status::unavailable(why)));
    }
    match kind.id() {
        ("metrics.k8s.io", "NodeMetrics") => Some(of_nodes(app, kind, name).await),
        ("metrics.k8s.io", "PodMetrics") => Some(of_pods(app, kind, namespace, name).await),
        _ => None,
    }
}

async fn of_nodes(
    app: &App,
    kind: &'static Resource,
    name: Option<&str>,
) -> Result<Vec<Arc<Object>>, Status> {
    let nodes = app.world.list(find("nodes")?, None).objects;
    let wanted = nodes
        .iter()
        .filter(|node| name.is_none_or(|name| node.name() == name));
    let names: BTreeSet<String> = wanted.clone().map(|node| node.name().to_owned()).collect();
    let samples = sample(app, names).await;
    let mut out = Vec::new();
    for node in wanted {
        let Some(sample) = samples.get(node.name()) else {
            continue;
        };
        if let Some(usage) = &sample.node {
            let mut value = framed(node, usage.at, sample.window);
            value["usage"] = amounts(usage);
            out.push(object(app, kind, &value)?);
        }
    }
    Ok(out)
}

async fn of_pods(
    app: &App,
    kind: &'static Resource,
    namespace: &str,
    name: Option<&str>,
) -> Result<Vec<Arc<Object>>, Status> {
    let kind_of_pods = find("pods")?;
    let pods = match name {
        Some(name) => app
            .world
            .get(kind_of_pods, namespace, name)
            .into_iter()
            .collect(),
        None => {
            let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
            app.world.list(kind_of_pods, namespace).objects
        }
    };
    let running = |pod: &&Arc<Object>| pod.field("status.phase") == Some("Running");
    let pods: Vec<&Arc<Object>> = pods.iter().filter(running).collect();
    let nodes = pods.iter().filter_map(|pod| pod.node().map(str::to_owned));
    let samples = sample(app, nodes.collect()).await;
    let mut out = Vec::new();
    for pod in pods {
        let key = (pod.namespace().to_owned(), pod.name().to_owned());
        let sample = pod.node().and_then(|node| samples.get(node));
        let Some((sample, containers)) = sample.and_then(|s| Some((s, s.pods.get(&key)?))) else {
            continue;
        };
        let at = containers
            .iter()
            .map(|(_, usage)| usage.at)
            .max()
            .unwrap_or(0);
        let mut value = framed(pod, at, sample.window);
        let containers = containers
            .iter()
            .map(|(name, usage)| json!({"name": name, "usage": amounts(usage)}));
        value["containers"] = containers.collect();
        out.push(object(app, kind, &value)?);
    }
    Ok(out)
}

/// An object about another: its name, namespace and labels, and the time.
fn framed(about: &Object, at: i128, window: f64) -> Value {
    let at = OffsetDateTime::from_unix_timestamp_nanos(at).ok();
    let at = at.filter(|at| at.unix_timestamp() > 0);
    let at = clock::rfc3339(at.unwrap_or_else(OffsetDateTime::now_utc));
    let mut value = json!({
        "metadata": {"name": about.name(), "creationTimestamp": clock::rfc3339(OffsetDateTime::now_utc())},
        "timestamp": at,
        "window": format!("{}s", (window * 1000.0).round() / 1000.0),
    });
    let labels = about.labels();
    if !labels.is_empty() {
        meta::set(&mut value, "labels", json!(labels));
    }
    if !about.namespace().is_empty() {
        meta::set(&mut value, "namespace", about.namespace().to_owned());
    }
    value
}

/// As metrics-server writes them: billionths of a core, KiB.
fn amounts(usage: &Use) -> Value {
    let mut amounts = Map::new();
    amounts.insert("cpu".into(), json!(format!("{}n", usage.nano_cores)));
    amounts.insert("memory".into(), json!(format!("{}Ki", usage.bytes / 1024)));
    Value::Object(amounts)
}

fn object(app: &App, kind: &'static Resource, value: &Value) -> Result<Arc<Object>, Status> {
    let revision = app.world.revision();
    let (namespace, name) = (
        str_at(value, "/metadata/namespace"),
        str_at(value, "/metadata/name"),
    );
    let entry = Entry {
        key: key_of(kind, namespace, name).into(),
        value: to_stored(kind, value),
        created: revision,
        modified: revision,
    };
    let object = Object::from_entry(&entry, app.world.kinds());
    object.map(Arc::new).map_err(Status::internal)
}

/// Samples of these nodes; a node that does not answer is left out.
async fn sample(app: &App, nodes: BTreeSet<String>) -> HashMap<String, Arc<Sample>> {
    let asked: Vec<_> = nodes
        .into_iter()
        .map(|node| async move {
            let sample = sample_of(app, &node).await;
            (node, sample)
        })
        .collect();
    let answers: Vec<(String, Result<Arc<Sample>, Status>)> = futures::stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut out = HashMap::new();
    for (node, answer) in answers {
        match answer {
            Ok(sample) => {
                out.insert(node, sample);
            }
            Err(status) => {
                tracing::debug!(node, %status, "no figures of what is used");
            }
        }
    }
    out
}

async fn sample_of(app: &App, node: &str) -> Result<Arc<Sample>, Status> {
    let before = {
        let samples = app.usage.lock();
        match samples.get(node) {
            Some((taken, sample)) if taken.elapsed() < GOOD => return Ok(Arc::clone(sample)),
            older => older.map(|(_, sample)| Arc::clone(sample)),
        }
    };
    let asked = tokio::time::timeout(ANSWER, ask(app, node)).await;
    let summary = asked.map_err(|_| Status::timeout("the agent takes too long to answer"))??;
    let sample = Arc::new(Sample::of(&summary, before.as_deref()));
    let mut samples = app.usage.lock();
    samples.insert(node.to_owned(), (Instant::now(), Arc::clone(&sample)));
    // Nodes that are gone are not asked again, and need no place.
    let long_ago = GOOD * 30;
    samples.retain(|_, (taken, _)| taken.elapsed() < long_ago);
    Ok(sample)
}

async fn ask(app: &App, node: &str) -> Result<Summary, Status> {
    let request = Request::get("/stats/summary")
        .body(Body::empty())
        .map_err(Status::internal)?;
    let answer = connect::ask_agent(app, node, request).await?;
    if !answer.status().is_success() {
        let code = answer.status().as_u16();
        return Err(Status::internal(format!("the agent answers {code}")));
    }
    let body = http_body_util::Limited::new(answer.into_body(), LARGEST);
    let body = body.collect().await.map_err(Status::internal)?.to_bytes();
    serde_json::from_slice(&body).map_err(Status::internal)
}

impl Usage {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Arc<Sample>)>> {
        // Changed in single steps, so a poisoned lock is still sound.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(at: &str, node: Value, container: Value) -> Summary {
        let mut summary = json!({
            "node": {"nodeName": "n", "cpu": node, "memory": {"workingSetBytes": 2048}},
            "pods": [{"podRef": {"name": "p", "namespace": "d", "uid": "u"}, "containers": [
                {"name": "c", "cpu": container, "memory": {"workingSetBytes": 1024}}]}],
        });
        summary["node"]["cpu"]["time"] = json!(at);
        summary["pods"][0]["containers"][0]["cpu"]["time"] = json!(at);
        serde_json::from_value(summary).expect("a summary")
    }

    #[tokio::test]
    async fn what_is_switched_off_says_so() {
        use crate::app::Config;
        use cadet_store::{LocalStore, MemoryDisk, Options};
        let kind = cadet_api::resource::find("metrics.k8s.io", "v1beta1", "nodes");
        let kind = kind.expect("the kind");
        for on in [true, false] {
            let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
            let address = "127.0.0.1:6443".parse().expect("address");
            let mut config = Config::new("10.96.0.0/12", address);
            config.metrics = on;
            let app = App::start(config, Arc::new(store)).await.expect("start");
            let answer = objects(&app, kind, "", None)
                .await
                .expect("a computed kind");
            match on {
                true => assert_eq!(answer.map(|all| all.len()).ok(), Some(0)),
                false => assert_eq!(answer.err().map(|status| status.code), Some(503)),
            }
        }
    }

    #[test]
    fn rates_are_taken_as_said() {
        let said = json!({"usageNanoCores": 5_000_000, "usageCoreNanoSeconds": 77});
        let sample = Sample::of(&summary("2026-01-01T00:00:00Z", said.clone(), said), None);
        let pod = &sample.pods[&("d".to_owned(), "p".to_owned())];
        assert_eq!((pod[0].1.nano_cores, pod[0].1.bytes), (5_000_000, 1024));
        assert_eq!(sample.window, 10.0);
        assert_eq!(
            amounts(&sample.node.expect("node")),
            json!({"cpu": "5000000n", "memory": "2Ki"})
        );
    }

    #[test]
    fn counters_become_rates_with_the_second_sample() {
        let count = |nanos: u64| json!({"usageCoreNanoSeconds": nanos});
        let first = summary("2026-01-01T00:00:00Z", count(1_000_000_000), count(10));
        let first = Sample::of(&first, None);
        assert_eq!(first.node.map(|n| n.nano_cores), Some(0));
        let second = summary("2026-01-01T00:00:20Z", count(3_000_000_000), count(20));
        let second = Sample::of(&second, Some(&first));
        assert_eq!(second.node.map(|n| n.nano_cores), Some(100_000_000));
        assert_eq!(second.window, 20.0);
    }

    #[test]
    fn a_pod_with_a_container_of_unknown_use_is_left_out() {
        let none = json!({});
        let sample = Sample::of(&summary("2026-01-01T00:00:00Z", none.clone(), none), None);
        assert!(sample.node.is_none() && sample.pods.is_empty());
    }
}
