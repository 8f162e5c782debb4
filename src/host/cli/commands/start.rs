//! `cadet start`: make or find the record, then run the steps that are not done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cadet_state::{Phase, Profile, ProfileLock, Spec, Store, Worker};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::Context;
use crate::addons::Choices;
use crate::cluster::Cluster;
use crate::defaults::Defaults;
use crate::error::{CliError, Result};
use crate::frozen::{snapshot, suspend};
use crate::nodes::{self, Node};
use crate::servers::{self, Address};
use crate::start::{self, Arrival, Voyage};
use crate::{images, machine, mirror, ui};

/// What `start` waits for before it calls the cluster ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// The node is Ready
    Node,
    /// The API server answers
    Api,
    /// Nothing
    None,
}

/// Where a profile's machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// Cadet makes them, in QEMU on this computer
    Qemu,
    /// They are servers you have, reached by SSH
    Ssh,
}

/// Flags of `cadet start`.
#[derive(Debug, Args)]
#[command(
    after_help = "`cadet config set memory 3g` and the like choose the defaults of new profiles.\n\nExamples:\n  cadet start\n  cadet start -p shop --cpus 2 --memory 2g --disk-size 30g\n  cadet start --image ubuntu-24.04\n  cadet start --nodes 3 --memory 768m      three machines of that size, one cluster\n  cadet start --download-only      fetch everything, so that the next start needs no network\n  cadet start -o json              one event per line, for programs\n  cadet start --driver ssh --host me@10.0.0.4      on a server you have"
)]
pub struct StartArgs {
    /// Number of machines; the first runs the control plane [default: 1, or what there is]
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
    /// Processors of the machine, of each if several [default: 2, or what the computer has]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory of the machine, of each if several: 2g, 1536m, or plain MiB [default: 2g]
    #[arg(short, long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Virtual size of the disk; the file grows only as needed [default: 20g]
    #[arg(long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    pub disk_size: Option<u64>,
    /// Guest image, see `cadet image list` [default: Ubuntu, or a Debian guest built
    /// here where Ubuntu's host cannot be reached]
    #[arg(long, env = "CADET_IMAGE", value_name = "NAME")]
    pub image: Option<String>,
    /// Where the machines come from [default: qemu, or what the profile has]
    #[arg(long, value_enum, value_name = "DRIVER")]
    pub driver: Option<Driver>,
    /// A Debian or Ubuntu server of yours that runs the control plane; port 22 if none is named
    #[arg(long, value_name = "USER@SERVER[:PORT]")]
    pub host: Option<Address>,
    /// A further server that joins as a node; may be repeated, also later
    #[arg(long, value_name = "USER@SERVER[:PORT]")]
    pub worker: Vec<Address>,
    /// Your private key for the servers [default: ~/.ssh/id_ed25519]
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
    /// Take only host keys listed in this file, of public keys or as known_hosts has them
    #[arg(long, value_name = "FILE", conflicts_with = "accept_host_key")]
    pub host_key: Option<PathBuf>,
    /// Take the host keys that the servers show, without asking
    #[arg(long)]
    pub accept_host_key: bool,
    /// What to wait for
    #[arg(long, value_enum, default_value = "node", value_name = "WHAT")]
    pub wait: WaitFor,
    /// How long to wait for each of them
    #[arg(long, value_parser = crate::args::duration, default_value = "6m", value_name = "TIME")]
    pub wait_timeout: Duration,
    /// Boot a new machine, even where a copy of one that was frozen earlier would take seconds
    #[arg(long)]
    pub cold: bool,
    /// Tell what would be done, do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only fetch or build the image
    #[arg(long)]
    pub download_only: bool,
    /// Do not make Cadet's context the current one of kubectl
    #[arg(long)]
    pub keep_context: bool,
}

impl StartArgs {
    /// As for a start of what is there, without a word about sizes or contexts.
    pub fn as_it_is(wait_timeout: Duration) -> Self {
        Self {
            nodes: None,
            cpus: None,
            memory: None,
            disk_size: None,
            image: None,
            driver: None,
            host: None,
            worker: Vec::new(),
            ssh_key: None,
            host_key: None,
            accept_host_key: false,
            wait: WaitFor::Node,
            wait_timeout,
            cold: false,
            dry_run: false,
            download_only: false,
            keep_context: true,
        }
    }
}

/// Brings the cluster up.
pub async fn run(cx: &Context, args: StartArgs) -> Result<u8> {
    let began = Instant::now();
    if let Some(asked) = servers::asked(cx, &args)? {
        return servers::run(cx, &args, asked, began).await;
    }
    let defaults = Defaults::read(cx)?;
    if let Some(name) = args.image.as_ref().or(defaults.image.as_ref()) {
        images::known(cx, name)?;
    }
    start::fits(&wanted(&args, None, &defaults)?)?;
    if let Some(count) = args.nodes {
        nodes::check_count(cx, count)?;
    }
    if args.dry_run {
        return dry_run(cx, &args, began).await;
    }
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "start")?;
    let old = Store::open(&cx.world.home)?.get(&cx.name)?;
    not_leaving(cx, old.as_ref())?;
    let is_new = old.is_none();
    let profile = record(cx, &args, old).await?;
    let mut v = voyage(cx, &args, profile, began);
    if args.download_only {
        start::run_all(&mut v, Some(&["template", "image"])).await?;
        tell_downloaded(cx, is_new)?;
        return Ok(0);
    }
    finish(&mut v).await?;
    tell_ready(&v);
    Ok(0)
}

/// Refuses a profile that is half deleted.
///
/// # Errors
/// HOST_PROFILE_BUSY.
pub fn not_leaving(cx: &Context, old: Option<&Profile>) -> Result<()> {
    if old.is_none_or(|p| p.phase != Phase::Deleting) {
        return Ok(());
    }
    Err(CliError::new(
        "HOST_PROFILE_BUSY",
        format!("a delete of profile {} did not finish", cx.name),
    )
    .why("its machine or files may be half gone")
    .fix(machine::again(cx, "delete")))
}

/// Runs the steps to the end and notes that the profile runs.
///
/// # Errors
/// The first step's that fails.
pub async fn finish(v: &mut Voyage<'_>) -> Result<()> {
    snapshot::finish_restore(v.cx, &mut v.profile)?;
    v.profile.phase = Phase::Starting;
    start::run_all(v, None).await?;
    if let Some(tunnel) = &v.tunnel {
        let first = Node::first(&v.profile.name).number;
        let choices = Choices::read(&v.files)?;
        // What a machine reads when it boots or is copied, one that woke has to be told.
        if let None | Some(Arrival::Woke { .. }) = v.arrivals.get(&first) {
            choices.tell(tunnel).await?;
        }
        if let Some(access) = &v.access {
            choices
                .make(&Cluster::new(access)?, &v.profile.name)
                .await?;
        }
        if v.profile.server.is_none() {
            mirror::at_start(v.cx, tunnel).await;
        }
    }
    v.profile.phase = Phase::Running;
    v.profile.step = None;
    machine::save(v.cx, &v.profile)
}

/// A start of all machines of the profile.
pub fn voyage<'a>(
    cx: &'a Context,
    args: &'a StartArgs,
    profile: Profile,
    began: Instant,
) -> Voyage<'a> {
    Voyage {
        cx,
        args,
        workers: nodes::workers(&profile),
        quiet: false,
        profile,
        files: cx.world.files(&cx.name),
        began,
        emulator: None,
        was_running: false,
        was_seeded: false,
        arrivals: BTreeMap::new(),
        tunnel: None,
        access: None,
    }
}

fn tell_downloaded(cx: &Context, is_new: bool) -> Result<()> {
    if is_new {
        // The lock made the profiles folder; nothing else was kept.
        let lock = cx.world.home.profile_lock(&cx.name);
        std::fs::remove_file(&lock).map_err(|e| machine::io("remove", &lock, &e))?;
    }
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "downloaded": true}));
    } else {
        cx.ui.line(format!(
            "Everything is here; the next start needs no network.\n  next: {}",
            machine::again(cx, "start")
        ));
    }
    Ok(())
}

/// The last words of a start.
pub fn tell_ready(v: &Voyage<'_>) {
    let seconds = v.began.elapsed().as_secs_f64();
    if v.cx.ui.json() {
        let ports = v.profile.ports;
        v.cx.ui.object(&json!({
            "type": "done", "profile": v.cx.name.as_str(), "seconds": (seconds * 1000.0).round() / 1000.0,
            "server": ports.map(|p| format!("https://127.0.0.1:{}", p.api)),
            "nodes": nodes::all(&v.profile).iter().map(|n| &n.name).collect::<Vec<_>>(),
        }));
        return;
    }
    let context = if v.args.keep_context {
        format!("kubectl --context {}", v.cx.name)
    } else {
        "kubectl".into()
    };
    v.cx.ui.line(format!(
        "Cadet is ready in {seconds:.1} s.\n  next: {context} get nodes\n        {context} create -f tutorials/01-telescope/manifests/telescope-pod.json\n        {}",
        machine::again(v.cx, "open pod/telescope-pod")
    ));
}

/// The record for this start: the old one with the changes that are possible, or a new one.
async fn record(cx: &Context, args: &StartArgs, old: Option<Profile>) -> Result<Profile> {
    let mut profile = match old {
        Some(old) => reshaped(cx, args, old).await?,
        None => new(cx, args)?,
    };
    let there = nodes::all(&profile).len();
    if let Some(count) = args.nodes.and_then(|count| usize::try_from(count).ok()) {
        if count < there {
            return Err(CliError::new(
                "RESOURCE_FIXED",
                format!("{} has {there} machines, and start removes none", cx.name),
            )
            .why("a machine's disk holds data")
            .fix(nodes::workers(&profile).last().map_or_else(
                || machine::again(cx, "node list"),
                |last| machine::again(cx, &format!("node delete {}", last.name)),
            )));
        }
        let spec = profile.spec.clone();
        for number in nodes::free_numbers(&profile, count - there) {
            profile.workers.push(Worker::new(number, spec.clone()));
        }
    }
    fit(&profile)?;
    Ok(profile)
}

/// Refuses a profile whose machines do not fit into the computer together.
///
/// # Errors
/// RESOURCE_MEMORY.
pub fn fit(profile: &Profile) -> Result<()> {
    let workers = profile.workers.iter().map(|w| w.spec.memory_mib);
    let sizes: Vec<_> = std::iter::once(profile.spec.memory_mib)
        .chain(workers)
        .collect();
    start::fit_together(&sizes)
}

fn new(cx: &Context, args: &StartArgs) -> Result<Profile> {
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let spec = wanted(args, None, &Defaults::read(cx)?)?;
    Ok(Profile::begun(cx.name.as_str(), created, spec))
}

/// A profile that is there, with other sizes where those can change.
async fn reshaped(cx: &Context, args: &StartArgs, mut profile: Profile) -> Result<Profile> {
    for node in nodes::all(&profile) {
        let Some(has) = node.kept(&profile).map(|kept| kept.spec.clone()) else {
            continue;
        };
        let wanted = wanted(args, Some(&has), &Defaults::default())?;
        if wanted == has {
            continue;
        }
        may_change(cx, &profile, &node, &wanted).await?;
        if let Some(worker) = profile.worker_mut(node.number) {
            worker.spec = wanted;
        } else {
            if wanted.image != has.image {
                profile.base = None;
            }
            profile.spec = wanted;
        }
    }
    Ok(profile)
}

/// Refuses another size of what has its size for life, or runs.
async fn may_change(cx: &Context, profile: &Profile, node: &Node, wanted: &Spec) -> Result<()> {
    let files = cx.world.files(&cx.name);
    let Some(kept) = node.kept(profile) else {
        return Ok(());
    };
    let has = kept.spec;
    if node.files(&files).disk().exists() && wanted.disk_gib != has.disk_gib {
        let size = format!("{} GiB", has.disk_gib);
        return Err(fixed(cx, node, "disk size", size));
    }
    if node.files(&files).disk().exists() && wanted.image != has.image {
        let base = kept.base.map(|base| base.id.clone());
        return Err(fixed(cx, node, "image", base.unwrap_or(has.image.clone())));
    }
    let state = machine::state_of_node(&files, profile, node).await;
    // What is suspended goes on with the size it had, or is lost.
    let is_suspended = suspend::is(&node.files(&files));
    if state.has_process() || is_suspended {
        let size = format!("{} cores, {}", has.cpus, ui::mib(has.memory_mib));
        let what = if is_suspended {
            "size of a suspended machine"
        } else {
            "size of a running machine"
        };
        let error = fixed(cx, node, what, size);
        return Err(error.fix(format!(
            "{}\n{}",
            machine::again(cx, "stop --poweroff"),
            machine::again(cx, "start ...")
        )));
    }
    Ok(())
}

fn fixed(cx: &Context, node: &Node, what: &str, has: String) -> CliError {
    CliError::new(
        "RESOURCE_FIXED",
        format!("the {what} of an existing profile cannot change"),
    )
    .why(format!("{} has {has}", node.name))
    .fix(format!(
        "cadet start -p NAME ...      another profile\n{}",
        machine::again(cx, "delete")
    ))
}

/// The flags over what the profile has, or over what the user chose for new ones.
///
/// # Errors
/// RESOURCE_DISK.
pub fn wanted(args: &StartArgs, old: Option<&Spec>, defaults: &Defaults) -> Result<Spec> {
    let disk_gib = match args.disk_size {
        Some(mib) if mib % 1024 != 0 => {
            return Err(
                CliError::new("RESOURCE_DISK", "the disk size must be whole GiB")
                    .fix("cadet start --disk-size 20g"),
            );
        }
        Some(mib) => Some(mib / 1024),
        None => None,
    };
    let base = old.cloned().unwrap_or_else(|| defaults.spec());
    Ok(Spec {
        cpus: args.cpus.unwrap_or(base.cpus),
        memory_mib: args.memory.unwrap_or(base.memory_mib),
        disk_gib: disk_gib.unwrap_or(base.disk_gib),
        image: args.image.clone().unwrap_or(base.image),
    })
}

async fn dry_run(cx: &Context, args: &StartArgs, began: Instant) -> Result<u8> {
    let old = if cx.world.home.database().exists() {
        Store::open(&cx.world.home)?.get(&cx.name)?
    } else {
        None
    };
    let profile = record(cx, args, old).await?;
    let mut v = voyage(cx, args, profile, began);
    tell_plan(&mut v).await
}

/// One line for each step of a start.
///
/// # Errors
/// What a step sees already that is in its way.
pub async fn tell_plan(v: &mut Voyage<'_>) -> Result<u8> {
    let cx = v.cx;
    for step in start::steps(&v.profile, !v.workers.is_empty()) {
        if !step.applies(v) {
            continue;
        }
        let plan = step.plan(v).await?;
        if cx.ui.json() {
            cx.ui
                .object(&json!({"type": "plan", "step": step.name(), "message": plan}));
        } else {
            cx.ui.line(format!("· {:<11} {plan}", step.name()));
        }
    }
    if !cx.ui.json() {
        cx.ui.line("Nothing was done.");
    }
    Ok(0)
}
