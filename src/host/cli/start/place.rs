//! Steps `install` and `workers` on servers: what is missing comes by apt, cadet-node over the
//! line, and systemd runs both.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cadet_api::install::NodeConfig;
use cadet_seed::Lesson;
use cadet_state::{Profile, Server};
use cadet_tunnel::Tunnel;
use serde_json::{Value, json};

use super::{Note, Step, Voyage, install, look, seed, workers};
use crate::addons::Choices;
use crate::error::{CliError, Result};
use crate::from_rooms::chain;
use crate::nodes::{self, Node};
use crate::servers::{self, scripts};
use crate::{Context, images, line, machine, programs};

/// The first server becomes control plane and node.
pub struct Place;

/// The other servers become nodes.
pub struct Followers;

#[async_trait]
impl Step for Place {
    fn name(&self) -> &'static str {
        "install"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok(format!(
            "Docker by apt if it is missing, cadet-node {} as cadet-server and cadet-agent",
            env!("CARGO_PKG_VERSION")
        ))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        let first = Node::first(&v.profile.name);
        Ok(is_placed(v, &first)
            .await?
            .then(|| Note::there(told("the server"))))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let first = Node::first(&v.profile.name);
        put(v, &first, None).await?;
        Ok(Note::new(told("the server")))
    }

    async fn undo(&self, cx: &Context, profile: &Profile) -> Result<()> {
        let mut first = Ok(());
        // The control plane goes last, so that it sees the others go.
        for node in nodes::all(profile).iter().rev() {
            let gone = machine::destroy(cx, profile, node).await;
            // One that cannot be reached must not keep the others.
            first = first.and(gone);
        }
        first
    }
}

#[async_trait]
impl Step for Followers {
    fn name(&self) -> &'static str {
        "workers"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        let names = nodes::names(&v.workers);
        Ok(format!("cadet-node as cadet-agent on {names}"))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        for node in v.workers.clone() {
            if !is_placed(v, &node).await? {
                return Ok(None);
            }
        }
        let names = nodes::names(&v.workers);
        Ok(Some(Note::there(told(&names))))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let tunnel = v
            .tunnel
            .clone()
            .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "the line is not open"))?;
        for node in v.workers.clone() {
            if is_placed(v, &node).await? {
                continue;
            }
            let address = address(&v.profile, &node)?;
            let pki = workers::enroll(&tunnel, &node.name, address).await?;
            put(v, &node, Some(&pki)).await?;
        }
        Ok(Note::new(told(&nodes::names(&v.workers))))
    }
}

fn told(which: &str) -> String {
    format!("cadet-node {} runs on {which}", env!("CARGO_PKG_VERSION"))
}

fn address(profile: &Profile, node: &Node) -> Result<std::net::Ipv4Addr> {
    let server = profile.server(node.number);
    server.and_then(|server| server.address).ok_or_else(|| {
        CliError::new(
            "PROGRAM_INTERNAL",
            format!("{} was not looked at", node.name),
        )
    })
}

/// Whether a server runs this program's cadet-node with today's configuration.
async fn is_placed(v: &Voyage<'_>, node: &Node) -> Result<bool> {
    let server = look::of(v, node)?;
    if !server.placed || server.stopped {
        return Ok(false);
    }
    let tunnel = servers::connect(server).await?;
    let same = async {
        if !install::is_current(v.cx, node, &tunnel).await? {
            return Ok(false);
        }
        let there = line::guest(&tunnel, "cat /etc/cadet/node.json").await?;
        let ours = node_json(v.cx, &v.profile, node)?;
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        Ok::<_, CliError>(parsed(&there) == parsed(&ours))
    };
    let same = same.await;
    tunnel.close().await;
    same
}

/// Makes a node of a server. May be cut off at any moment: the mark is there before anything
/// else, and the record knows of it before the mark.
async fn put(
    v: &mut Voyage<'_>,
    node: &Node,
    pki: Option<&BTreeMap<String, String>>,
) -> Result<()> {
    if let Some(server) = v.profile.server_mut(node.number) {
        server.placed = true;
    }
    machine::save(v.cx, &v.profile)?;
    let server = look::of(v, node)?.clone();
    let name = servers::name_of(&server);
    let pieces = pieces(v.cx, &v.profile, node, pki)?;

    let tunnel = servers::connect(&server).await?;
    let placed = place(v, &server, &name, &tunnel, &pieces).await;
    tunnel.close().await;
    placed?;

    // The groups of a user are those of the moment of signing in.
    let tunnel = servers::connect(&server).await?;
    let up = install::ensure(v.cx, node, &tunnel, true).await;
    tunnel.close().await;
    up.map_err(|e| {
        let logs = format!("logs --node {}", node.name);
        CliError {
            what: format!("cadet-node did not come up on {name}"),
            ..e.fix(machine::again(v.cx, "start"))
                .log(machine::again(v.cx, &logs))
        }
    })?;
    servers::note_stopped(v.cx, &mut v.profile, node, false)
}

async fn place(
    v: &Voyage<'_>,
    server: &Server,
    name: &str,
    tunnel: &Tunnel,
    pieces: &[u8],
) -> Result<()> {
    let ui = &v.cx.ui;
    ui.progress(&format!("{name}: packages"), None);
    let prepare = scripts::prepare(&server.mark, &server.user);
    servers::run_there(tunnel, server, "get what a node needs", &prepare, &[]).await?;
    ui.progress(&format!("{name}: sending cadet-node"), None);
    let place = scripts::place(&server.mark);
    servers::run_there(tunnel, server, "take cadet-node in", &place, pieces).await?;
    Ok(())
}

/// What travels, as a tar archive.
fn pieces(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    pki: Option<&BTreeMap<String, String>>,
) -> Result<Vec<u8>> {
    let program = programs::cadet_node(&cx.world)?;
    let cadet_node = std::fs::read(&program).map_err(|e| machine::io("read", &program, &e))?;
    let contexts = images::contexts::all(&cx.world)?;
    // As `cadet-node up` writes it: `cadet-node down` reads it there.
    let record = json!({
        "docker": "/var/run/docker.sock", "config": "/etc/cadet/node.json", "systemd": true,
    });
    let record = record.to_string();
    let config = node_json(cx, profile, node)?;
    let table = seed::lessons_table()?;
    let server = cadet_seed::Server {
        cadet_node: &cadet_node,
        node_config: &config,
        record: &record,
        lessons_table: &table,
        lessons: contexts
            .iter()
            .map(|(name, tar)| Lesson { name, tar })
            .collect(),
        pki,
    };
    let broken = |e: &dyn std::error::Error| {
        CliError::new("PROGRAM_INTERNAL", "what travels could not be packed")
            .why(chain(e))
            .fix("cadet doctor")
    };
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in server.files().map_err(|e| broken(&e))? {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        archive
            .append_data(&mut header, path, content)
            .map_err(|e| broken(&e))?;
    }
    archive.into_inner().map_err(|e| broken(&e))
}

/// `node.json` of a server, with what the user chose for the cluster.
fn node_json(cx: &Context, profile: &Profile, node: &Node) -> Result<String> {
    let first = address(profile, &Node::first(&profile.name))?;
    let config = node_config(&profile.name, node, first, address(profile, node)?);
    let text = serde_json::to_string(&config).map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "node.json could not be made").why(e.to_string())
    })?;
    Choices::read(&cx.world.files(&cx.name))?.applied(&text)
}

/// As a machine's, but for the network: a server has its own addresses, and its own way to names.
fn node_config(
    cluster: &str,
    node: &Node,
    first: std::net::Ipv4Addr,
    own: std::net::Ipv4Addr,
) -> NodeConfig {
    NodeConfig {
        host_dns: false,
        address: Some(own),
        server: (!node.is_first()).then(|| format!("{first}:{}", machine::GUEST_API)),
        ..seed::cluster_config(cluster, node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_on_servers_know_each_other_by_the_servers_addresses() {
        let (first, own) = ([10, 0, 0, 4].into(), [10, 0, 0, 5].into());
        let config = node_config("shop", &Node::first("shop"), first, first);
        assert_eq!((config.server, config.address), (None, Some(first)));
        assert_eq!(config.pod_cidr, "10.244.0.0/24");
        let config = node_config("shop", &Node::new("shop", 2), first, own);
        assert_eq!(config.node_name, "shop-2");
        assert_eq!(config.server.as_deref(), Some("10.0.0.4:6443"));
        assert_eq!(config.address, Some(own));
        assert_eq!(config.pod_cidr, "10.244.1.0/24");
        // The card is the server's own, and so is what it asks for names.
        assert_eq!(config.node_network, None);
        assert!(!config.host_dns);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NodeConfig>(&text).unwrap(), config);
    }
}
