//! What is asked of the server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::Result;
use super::super::client::{Client, Connection, get, post, with_body};
use super::pods::name;

const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";
/// Between two questions of one kind.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// When a request was sent, and when it was answered.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    pub sent: Instant,
    pub answered: Instant,
}

/// Milliseconds between two moments of each pod.
pub fn times(pairs: impl Iterator<Item = (Instant, Instant)>) -> Vec<f64> {
    pairs
        .map(|(from, to)| to.saturating_duration_since(from).as_secs_f64() * 1e3)
        .collect()
}

async fn exchange(connection: &mut Connection, request: &[u8]) -> Result<Exchange> {
    let sent = Instant::now();
    let code = connection.exchange(request).await?;
    if !(200..300).contains(&code) {
        let body = String::from_utf8_lossy(connection.body()).into_owned();
        return Err(format!("answered {code}: {body}").into());
    }
    Ok(Exchange {
        sent,
        answered: Instant::now(),
    })
}

/// A node that is an object only, ready and roomy.
pub async fn make_node(client: &Client, number: usize) -> Result<()> {
    let name = format!("node-{number}");
    let room = json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady"}]}});
    let mut connection = client.connect().await?;
    exchange(&mut connection, &post("/api/v1/nodes", &node.to_string())).await?;
    Ok(())
}

/// Waits until so many nodes are ready and free of taints.
pub async fn until_ready(client: &Client, nodes: usize, patience: Duration) -> Result<()> {
    let give_up = Instant::now() + patience;
    let mut connection = client.connect().await?;
    loop {
        exchange(&mut connection, &get("/api/v1/nodes")).await?;
        let list: Value = serde_json::from_slice(connection.body())?;
        let items = list["items"].as_array().map(Vec::as_slice);
        let ready = items.unwrap_or_default().iter().filter(|n| is_ready(n));
        let ready = ready.count();
        if ready >= nodes {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(format!("{ready} of {nodes} nodes are ready").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    node["spec"].get("taints").is_none()
        && conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Written as text: the client shares the cores with the server it measures.
fn pod(series: &str, number: usize) -> String {
    let name = name(series, number);
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"{series}"}}}},"spec":{{"automountServiceAccountToken":false,"terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"registry.k8s.io/pause:3.10","resources":{{"requests":{{"cpu":"1m","memory":"1Mi"}}}}}}]}}}}"#
    )
}

/// Creates pods over some connections: as fast as it goes, or so many a second.
pub async fn create(
    client: &Client,
    series: &str,
    count: usize,
    connections: usize,
    rate: Option<u32>,
) -> Result<Vec<Exchange>> {
    let mut open = vec![];
    for _ in 0..connections {
        open.push(client.connect().await?);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (first, mut connection) in open.into_iter().enumerate() {
        let series = series.to_owned();
        tasks.spawn(async move {
            let mut done = vec![];
            for number in (first..count).step_by(connections) {
                if let Some(rate) = rate {
                    let due = Duration::from_secs_f64(number as f64 / f64::from(rate));
                    tokio::time::sleep_until((began + due).into()).await;
                }
                let request = post(PODS, &pod(&series, number));
                done.push((number, exchange(&mut connection, &request).await?));
            }
            Result::Ok(done)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, exchange)| exchange).collect())
}

/// Asks for this and that while pods are created: verbs and how long each answer took,
/// milliseconds.
pub async fn ask(
    client: Client,
    series: &'static str,
    pods: usize,
    rate: u32,
) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(pods as f64 / f64::from(rate));
    let mut tasks = JoinSet::new();
    for verb in ["get", "list", "patch", "delete"] {
        let mut connection = client.connect().await?;
        tasks.spawn(async move {
            let mut taken = vec![];
            let mut ticks = tokio::time::interval(ASK_EVERY);
            // Something must be there that can be asked for.
            tokio::time::sleep(Duration::from_secs(1)).await;
            for number in 0.. {
                ticks.tick().await;
                if Instant::now() > until {
                    break;
                }
                let request = question(&mut connection, verb, series, number).await?;
                let asked = exchange(&mut connection, &request).await?;
                taken.push((asked.sent, asked.answered));
            }
            Result::Ok((verb, times(taken.into_iter())))
        });
    }
    let mut all = vec![];
    while let Some(done) = tasks.join_next().await {
        all.push(done??);
    }
    Ok(all)
}

/// A request of one verb; what it needs is made first.
async fn question(
    connection: &mut Connection,
    verb: &str,
    series: &str,
    number: usize,
) -> Result<Vec<u8>> {
    let one = format!("{PODS}/{}", name(series, number % 10));
    Ok(match verb {
        "get" => get(&one),
        "list" => get(&format!("{PODS}?limit=500")),
        "patch" => {
            let body = json!({"metadata": {"labels": {"asked": number.to_string()}}});
            with_body("PATCH", &one, MERGE, &body.to_string())
        }
        _ => {
            let maps = "/api/v1/namespaces/default/configmaps";
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("gone-{number}")}});
            exchange(connection, &post(maps, &map.to_string())).await?;
            with_body(
                "DELETE",
                &format!("{maps}/gone-{number}"),
                "application/json",
                "",
            )
        }
    })
}
