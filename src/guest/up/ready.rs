//! Waiting until the node is Ready: by a watch, as `kubectl wait` does.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;

use super::tree::{AGENT, Report, log_file};
use super::trouble::Trouble;
use crate::Failure;

/// A node that is not Ready by then will hardly become so by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// So often may a process end before it is taken for broken.
const ENDS: usize = 3;
/// Keeps pods away until the agent has looked around.
const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";

/// A client with a kubeconfig's credentials.
///
/// # Errors
/// If the kubeconfig is unusable.
pub async fn client(kubeconfig: Value) -> Result<Client, Failure> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let settings = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(settings)?)
}

/// Returns when the agent has called the node Ready since `since`.
///
/// # Errors
/// A process that ends again and again, or a node that does not become ready in time.
pub async fn node_ready(
    client: Client,
    node: &str,
    since: Timestamp,
    reports: &mut mpsc::UnboundedReceiver<Report>,
    data: &std::path::Path,
) -> Result<(), Trouble> {
    let api: Api<Node> = Api::all(client);
    let ready = await_condition(api, node, |found: Option<&Node>| {
        found.is_some_and(|node| is_ready(node, since))
    });
    tokio::select! {
        seen = ready => match seen {
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::new("CLUSTER_NOT_READY", 102, "the API server stopped answering")
                .why(error.to_string())
                .fix("cadet-node up")),
        },
        trouble = broken(reports, data) => Err(trouble),
        () = tokio::time::sleep(PATIENCE) => {
            let what = format!("node {node} was not Ready within {} s", PATIENCE.as_secs());
            Err(Trouble::new("CLUSTER_NOT_READY", 102, what)
                .fix(format!("kubectl describe node {node}")))
        }
    }
}

/// Returns when the API server answers.
///
/// # Errors
/// A server that ends again and again.
pub async fn serving(
    reports: &mut mpsc::UnboundedReceiver<Report>,
    data: &std::path::Path,
) -> Result<(), Trouble> {
    let mut ends = 0;
    loop {
        match reports.recv().await {
            Some(Report::Serving) => return Ok(()),
            Some(Report::Ended(name, how)) => {
                ends += 1;
                if ends >= ENDS {
                    return Err(ended(name, &how, data));
                }
            }
            None => return Err(supervisor_gone(data)),
        }
    }
}

async fn broken(reports: &mut mpsc::UnboundedReceiver<Report>, data: &std::path::Path) -> Trouble {
    let mut ends = 0;
    while let Some(report) = reports.recv().await {
        if let Report::Ended(name, how) = report {
            ends += 1;
            if ends >= ENDS {
                return ended(name, &how, data);
            }
        }
    }
    supervisor_gone(data)
}

fn supervisor_gone(data: &std::path::Path) -> Trouble {
    let what = "the process that keeps server and agent running has ended";
    Trouble::new("CLUSTER_SERVER_ENDED", 103, what)
        .fix("cadet-node up --foreground")
        .log(log_file(data, "supervisor").display().to_string())
}

/// A process that does not stay, with its last words.
fn ended(name: &str, how: &str, data: &std::path::Path) -> Trouble {
    let log = log_file(data, name);
    let words = std::fs::read_to_string(&log).unwrap_or_default();
    let last = words.lines().rev().find(|line| !line.trim().is_empty());
    let (id, exit) = match name {
        AGENT => ("NODE_AGENT_ENDED", 83),
        _ => ("CLUSTER_SERVER_ENDED", 103),
    };
    Trouble::new(
        id,
        exit,
        format!("the {name} ends as soon as it is started ({how})"),
    )
    .why(last.unwrap_or("it said nothing").trim())
    .fix(format!("tail -n 50 {}", log.display()))
    .log(log.display().to_string())
}

fn is_ready(node: &Node, since: Timestamp) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let fresh = conditions.into_iter().any(|condition| {
        let beat = condition.last_heartbeat_time.as_ref();
        condition.type_ == "Ready"
            && condition.status == "True"
            // Times of the API have no fractions.
            && beat.is_some_and(|beat| beat.0.as_second() >= since.as_second())
    });
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    fresh && taints.into_iter().all(|taint| taint.key != NOT_READY_TAINT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_old_word_is_not_taken_for_a_new_one() {
        let node = |status: &str, taints: Value| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": "n"}, "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": status,
                    "lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}))
            .unwrap()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, later) = (at("2026-01-01T00:00:10.9Z"), at("2026-01-01T00:00:11Z"));
        assert!(is_ready(&node("True", json!([])), before));
        assert!(!is_ready(&node("True", json!([])), later));
        assert!(!is_ready(&node("False", json!([])), before));
        let taint = json!([{"key": NOT_READY_TAINT, "effect": "NoSchedule"}]);
        assert!(!is_ready(&node("True", taint), before));
        let taint = json!([{"key": "mine", "effect": "NoSchedule"}]);
        assert!(is_ready(&node("True", taint), before));
    }

    #[test]
    fn the_last_words_of_a_process_are_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        std::fs::write(log_file(dir.path(), AGENT), "start\nno such device\n\n").unwrap();
        let text = ended(AGENT, "exit status: 1", dir.path()).to_string();
        assert!(
            text.starts_with("error NODE_AGENT_ENDED (exit 83): the agent ends"),
            "{text}"
        );
        assert!(text.contains("why   no such device"), "{text}");
    }
}
