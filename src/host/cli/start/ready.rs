//! Step `ready`: the API server answers with the profile's credentials, the node is Ready.

use std::time::Duration;

use async_trait::async_trait;
use cadet_api::keeper::{Ask, Told};
use cadet_api::kubeconfig::Access;
use cadet_tunnel::Tunnel;

use super::{Arrival, Note, Step, Voyage, install};
use crate::cluster::{self, Cluster};
use crate::commands::start::WaitFor;
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, keeper, kubeconfig, line, machine};

/// See the module.
pub struct Ready;

/// For the keeper's answer with the kubeconfig; it gives up before.
const CREDENTIALS: Duration = Duration::from_secs(15);
/// For its answer without. A machine of an older Cadet never answers.
const HELLO: Duration = Duration::from_secs(2);

#[async_trait]
impl Step for Ready {
    fn name(&self) -> &'static str {
        "ready"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        Ok(match v.args.wait {
            WaitFor::Node => format!("wait until node {} is Ready", v.cx.name),
            WaitFor::Api => "wait until the API answers".into(),
            WaitFor::None => "fetch credentials, wait for nothing".into(),
        })
    }

    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> {
        // Asking is all there is to do; on a ready cluster it takes milliseconds.
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let tunnel = v
            .tunnel
            .clone()
            .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "the line is not open"))?;
        let ports = v
            .profile
            .ports
            .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "no ports are chosen"))?;
        v.cx.ui.progress("fetching credentials", None);
        let server = format!("https://127.0.0.1:{}", ports.api);
        let access = match kept(v, &server)? {
            Some(access) => access,
            None => {
                let text = fetched(v, &tunnel).await?;
                let access = kubeconfig::from_guest(&text, v.cx.name.as_str(), server)?;
                kubeconfig::write_alone(&v.files.kubeconfig(), &access)?;
                access
            }
        };
        let cluster = Cluster::new(&access)?;
        v.access = Some(access);
        if v.args.wait == WaitFor::None {
            return Ok(Note::new("credentials fetched; not waiting"));
        }
        let last = std::sync::Mutex::new("no answer yet".to_string());
        let api = cluster.wait_ready(|text| {
            v.cx.ui.progress(text, None);
            *last
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = text.to_string();
        });
        if tokio::time::timeout(v.args.wait_timeout, api)
            .await
            .is_err()
        {
            let why = last
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone();
            return Err(CliError::new(
                "CLUSTER_API_TIMEOUT",
                "the API server did not answer in time",
            )
            .why(why)
            .fix(machine::again(v.cx, "start"))
            .log(machine::again(v.cx, "logs")));
        }
        if v.args.wait == WaitFor::Api {
            return Ok(Note::new("API answers"));
        }
        v.cx.ui.progress("API answers, waiting for the node", None);
        let name = v.cx.name.as_str();
        let patience = v.args.wait_timeout;
        let first = Node::first(name);
        is_ready(v.cx, &cluster, &tunnel, &first, patience).await?;
        Ok(Note::new(format!("API answers, node {name} is Ready")))
    }
}

/// The credentials of the last start, for a cluster that goes on where it was.
fn kept(v: &Voyage<'_>, server: &str) -> Result<Option<Access>> {
    let first = Node::first(&v.profile.name);
    if !matches!(v.arrivals.get(&first.number), Some(Arrival::Woke { .. })) {
        return Ok(None);
    }
    let access = kubeconfig::read_alone(&v.files.kubeconfig(), v.cx.name.as_str())?;
    Ok(access.filter(|access| access.server == server))
}

/// The administrator's kubeconfig out of the machine. The keeper of one that was just copied has
/// it as soon as it is made; a login, sudo and a program of its own take an emulated machine, which
/// has much to do then, a second.
async fn fetched(v: &Voyage<'_>, tunnel: &Tunnel) -> Result<String> {
    let first = Node::first(&v.profile.name);
    if v.arrivals.get(&first.number) == Some(&Arrival::Copied) {
        let socket = first.files(&v.files).keeper();
        let told = keeper::ask(&socket, Ask::Credentials, CREDENTIALS).await;
        if let Ok(Told {
            kubeconfig: Some(text),
            ..
        }) = told
        {
            return Ok(text);
        }
        // Why there are none is told by what keeps the server from running.
        install::ensure(v.cx, &first, tunnel, true).await?;
    }
    line::guest(tunnel, "sudo /usr/local/bin/cadet-node kubeconfig").await
}

/// Which boot of its machine this is, as the keeper tells; else by the line into it.
async fn boot_id(cx: &Context, node: &Node, tunnel: &Tunnel) -> Result<String> {
    let socket = node.files(&cx.world.files(&cx.name)).keeper();
    if let Ok(told) = keeper::ask(&socket, Ask::Hello, HELLO).await
        && !told.boot_id.is_empty()
    {
        return Ok(told.boot_id);
    }
    let told = line::guest(tunnel, "cat /proc/sys/kernel/random/boot_id").await?;
    Ok(told.trim().to_owned())
}

/// Waits until `node`, into whose machine `tunnel` leads, is Ready.
///
/// # Errors
/// CLUSTER_NODE_NOT_READY with what it said last.
pub(super) async fn is_ready(
    cx: &Context,
    cluster: &Cluster,
    tunnel: &Tunnel,
    node: &Node,
    patience: Duration,
) -> Result<()> {
    // After a boot the API still tells what the node said before it: only a report of
    // this boot counts.
    let boot = boot_id(cx, node, tunnel).await?;
    let name = node.name.as_str();
    let mut why = "the node has not registered yet".to_string();
    let waited = {
        let node = cluster.wait_for("/api/v1/nodes", |node| {
            if node["metadata"]["name"] != name {
                return false;
            }
            if node["status"]["nodeInfo"]["bootID"] != boot.as_str() {
                why = "the agent has not reported since this boot".into();
                return false;
            }
            if let Some(condition) = cluster::condition(node, "Ready") {
                why = condition["message"]
                    .as_str()
                    .unwrap_or("no message")
                    .to_string();
            }
            cluster::is_ready(node)
        });
        tokio::time::timeout(patience, node).await
    };
    match waited {
        Ok(node) => node.map(drop),
        Err(_) => Err(CliError::new(
            "CLUSTER_NODE_NOT_READY",
            format!("node {name} is not Ready"),
        )
        .why(why)
        .fix("kubectl describe node")
        .log(machine::again(cx, "logs"))),
    }
}
