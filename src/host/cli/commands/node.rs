//! `cadet node`: the machines of a profile, one by one.

use std::time::{Duration, Instant};

use cadet_state::{Profile, ProfileLock, Worker};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::Context;
use crate::cluster::{Cluster, Failure};
use crate::commands::delete::may_go;
use crate::commands::start::{self as whole, StartArgs};
use crate::defaults::Defaults;
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{kubeconfig, machine, servers, start, ui};

/// Flags of `cadet node`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  cadet node add --memory 768m     one more machine, which joins the cluster\n  cadet node stop cadet-2          see what the cluster does without it\n  cadet node start cadet-2\n  cadet node delete cadet-2        machine, disk and Node object\n  cadet node list"
)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

/// What to do with machines.
#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Make one more machine and let it join the cluster
    #[command(after_help = "Examples:\n  cadet node add\n  cadet node add --memory 768m --cpus 1")]
    Add(AddArgs),
    /// Boot machines that are off
    #[command(
        after_help = "Examples:\n  cadet node start cadet-2\n  cadet node start cadet-2 cadet-3"
    )]
    Start {
        /// Names of nodes, such as cadet-2
        #[arg(required = true, value_name = "NODE")]
        names: Vec<String>,
        /// How long to wait for each of them
        #[arg(long, value_parser = crate::args::duration, default_value = "6m", value_name = "TIME")]
        wait_timeout: Duration,
    },
    /// Shut machines down; what they hold stays on their disks
    #[command(
        after_help = "Example:\n  cadet node stop cadet-2      its pods move to other nodes after a while"
    )]
    Stop {
        /// Names of nodes, such as cadet-2
        #[arg(required = true, value_name = "NODE")]
        names: Vec<String>,
        /// How long a machine may take to shut down before it is switched off
        #[arg(long, value_parser = crate::args::duration, default_value = "90s", value_name = "TIME")]
        timeout: Duration,
    },
    /// Remove machines with their disks, and their nodes from the cluster
    #[command(visible_alias = "rm")]
    #[command(
        after_help = "Examples:\n  cadet node delete cadet-2\n  cadet node delete cadet-2 cadet-3 --yes"
    )]
    Delete {
        /// Names of nodes, such as cadet-2
        #[arg(required = true, value_name = "NODE")]
        names: Vec<String>,
        /// Do not ask
        #[arg(short = 'y', long, visible_alias = "force")]
        yes: bool,
    },
    /// List the machines of the profile
    #[command(visible_alias = "ls")]
    #[command(after_help = "Examples:\n  cadet node list\n  cadet node list -o json")]
    List,
}

/// Flags of `cadet node add`.
#[derive(Debug, Args)]
struct AddArgs {
    /// Processors [default: as many as the first machine has]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory: 2g, 1536m, or plain MiB [default: as much as the first machine has]
    #[arg(short, long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    memory: Option<u64>,
    /// Virtual size of the disk [default: as the first machine's]
    #[arg(long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    disk_size: Option<u64>,
    /// How long to wait for it
    #[arg(long, value_parser = crate::args::duration, default_value = "6m", value_name = "TIME")]
    wait_timeout: Duration,
}

/// Does it.
pub async fn run(cx: &Context, args: NodeArgs) -> Result<u8> {
    match args.command {
        NodeCommand::Add(args) => add(cx, args).await,
        NodeCommand::Start {
            names,
            wait_timeout,
        } => boot(cx, &names, wait_timeout).await,
        NodeCommand::Stop { names, timeout } => stop(cx, &names, timeout).await,
        NodeCommand::Delete { names, yes } => delete(cx, &names, yes).await,
        NodeCommand::List => list(cx).await,
    }
}

async fn add(cx: &Context, args: AddArgs) -> Result<u8> {
    let began = Instant::now();
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "node add")?;
    let mut profile = machine::sound(cx)?;
    if profile.server.is_some() {
        return Err(servers::no_machine(
            "be made",
            "nodes of this profile are servers you have; a further one is named",
            &machine::again(cx, "start --worker USER@SERVER"),
        ));
    }
    let wishes = StartArgs {
        cpus: args.cpus,
        memory: args.memory,
        disk_size: args.disk_size,
        ..StartArgs::as_it_is(args.wait_timeout)
    };
    let spec = whole::wanted(&wishes, Some(&profile.spec), &Defaults::default())?;
    start::fits(&spec)?;
    nodes::check_count(cx, nodes::all(&profile).len() as u64 + 1)?;
    let Some(number) = nodes::free_numbers(&profile, 1).first().copied() else {
        return Err(CliError::new("PROGRAM_INTERNAL", "no number is free"));
    };
    profile.workers.push(Worker::new(number, spec));
    profile.workers.sort_by_key(|w| w.number);
    whole::fit(&profile)?;
    let node = Node::new(&profile.name, number);
    bring_up(cx, profile, vec![node], args.wait_timeout, began).await
}

async fn boot(cx: &Context, names: &[String], wait_timeout: Duration) -> Result<u8> {
    let began = Instant::now();
    let profile = machine::profile(cx)?;
    let which = workers(cx, &profile, names, "started", "start")?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "node start")?;
    let profile = machine::sound(cx)?;
    bring_up(cx, profile, which, wait_timeout, began).await
}

/// A start that leaves the other workers as they are.
async fn bring_up(
    cx: &Context,
    profile: Profile,
    which: Vec<Node>,
    wait_timeout: Duration,
    began: Instant,
) -> Result<u8> {
    let names = nodes::names(&which);
    let args = StartArgs::as_it_is(wait_timeout);
    let mut v = whole::voyage(cx, &args, profile, began);
    v.workers = which;
    v.quiet = true;
    whole::finish(&mut v).await?;
    let seconds = began.elapsed().as_secs_f64();
    if cx.ui.json() {
        let names: Vec<_> = v.workers.iter().map(|n| &n.name).collect();
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "nodes": names,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        }));
    } else {
        cx.ui.line(format!(
            "{names} joined in {seconds:.1} s.\n  next: kubectl get nodes -o wide"
        ));
    }
    Ok(0)
}

async fn stop(cx: &Context, names: &[String], timeout: Duration) -> Result<u8> {
    let profile = machine::profile(cx)?;
    workers(cx, &profile, names, "stopped", "stop")?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "node stop")?;
    let mut profile = machine::sound(cx)?;
    let which = workers(cx, &profile, names, "stopped", "stop")?;
    for (index, node) in which.iter().enumerate() {
        cx.ui.step_started("machine", index + 1, which.len());
        let how = machine::power_off(cx, &profile, node, timeout).await?;
        servers::note_stopped(cx, &mut profile, node, true)?;
        cx.ui
            .step_done(&format!("{}: {}", node.name, how.told()), None);
    }
    if cx.ui.json() {
        let names: Vec<_> = which.iter().map(|n| &n.name).collect();
        cx.ui
            .object(&json!({"type": "done", "profile": cx.name.as_str(), "stopped": names}));
    } else {
        cx.ui.line(format!(
            "Stopped {}. The cluster notices within a minute.\n  next: kubectl get nodes --watch\n        {}",
            nodes::names(&which),
            machine::again(cx, &format!("node start {}", names.join(" ")))
        ));
    }
    Ok(0)
}

async fn delete(cx: &Context, names: &[String], yes: bool) -> Result<u8> {
    let profile = machine::profile(cx)?;
    let which = workers(cx, &profile, names, "deleted", "delete")?;
    // The cluster must forget the node, too; its pods move then.
    machine::running(cx).await?;
    if !may_go(cx, yes, &nodes::names(&which))? {
        return Ok(0);
    }
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "node delete")?;
    let mut profile = machine::sound(cx)?;
    let which = workers(cx, &profile, names, "deleted", "delete")?;
    let files = cx.world.files(&cx.name);
    for (index, node) in which.iter().enumerate() {
        cx.ui.step_started("node", index + 1, which.len());
        cx.ui
            .progress(&format!("{}: switching off", node.name), None);
        // The machine first: an agent that lives would make its node again.
        machine::destroy(cx, &profile, node).await?;
        forget(cx, node).await?;
        machine::remove_dir(node.files(&files).dir())?;
        profile.workers.retain(|w| w.number != node.number);
        machine::save(cx, &profile)?;
        cx.ui.step_done(&format!("{} is gone", node.name), None);
    }
    if profile.workers.is_empty() {
        machine::remove_dir(&files.nodes())?;
    }
    if cx.ui.json() {
        let names: Vec<_> = which.iter().map(|n| &n.name).collect();
        cx.ui
            .object(&json!({"type": "done", "profile": cx.name.as_str(), "deleted": names}));
    } else {
        let what = match profile.server {
            Some(_) => "the node, and what Cadet put on its server",
            None => "machine, disk and node",
        };
        cx.ui
            .line(format!("Deleted {}: {what}.", nodes::names(&which)));
    }
    Ok(0)
}

/// Deletes the Node object; one that never was is no error.
async fn forget(cx: &Context, node: &Node) -> Result<()> {
    let file = cx.world.files(&cx.name).kubeconfig();
    let Some(access) = kubeconfig::read_alone(&file, cx.name.as_str())? else {
        // The first start never came so far that a node could join.
        return Ok(());
    };
    let path = format!("/api/v1/nodes/{}", node.name);
    match Cluster::new(&access)?.delete(&path).await {
        Ok(_) | Err(Failure::Status { code: 404, .. }) => Ok(()),
        Err(failure) => Err(failure.told(&path)),
    }
}

async fn list(cx: &Context) -> Result<u8> {
    let profile = machine::profile(cx)?;
    let files = cx.world.files(&cx.name);
    if !cx.ui.json() {
        cx.ui.line(format!(
            "{:<16} {:<14} {:<10} {:>5} {:>9}  {:<11} PODS",
            "NAME", "ROLE", "MACHINE", "CPUS", "MEMORY", "ADDRESS"
        ));
    }
    for node in nodes::all(&profile) {
        let state = machine::state_of_node(&files, &profile, &node).await;
        let Some(kept) = node.kept(&profile) else {
            continue;
        };
        let role = if node.is_first() {
            "control-plane"
        } else {
            "worker"
        };
        // Without the card between machines it has the address that every machine has inside.
        let server = profile.server(node.number);
        let address = match (server, &kept.segment, node.is_first()) {
            (Some(server), ..) => server.address.map_or("-".to_owned(), |a| a.to_string()),
            (None, None, true) => "-".to_owned(),
            _ => node.address().to_string(),
        };
        if cx.ui.json() {
            cx.ui.object(&json!({
                "name": node.name, "role": role, "machine": state.word(), "reason": state.reason(),
                "cpus": kept.spec.cpus, "memoryMiB": kept.spec.memory_mib,
                "address": address, "podCIDR": node.pod_cidr(),
            }));
            continue;
        }
        cx.ui.line(format!(
            "{:<16} {role:<14} {:<10} {:>5} {:>9}  {address:<11} {}",
            node.name,
            state.word(),
            kept.spec.cpus,
            ui::mib(kept.spec.memory_mib),
            node.pod_cidr()
        ));
    }
    Ok(0)
}

/// The machines with these names, each once; none may be the first.
fn workers(
    cx: &Context,
    profile: &Profile,
    names: &[String],
    act: &str,
    whole: &str,
) -> Result<Vec<Node>> {
    let mut found: Vec<Node> = Vec::new();
    for name in names {
        let node = nodes::find_worker(cx, profile, name, act, whole)?;
        if !found.contains(&node) {
            found.push(node);
        }
    }
    Ok(found)
}
