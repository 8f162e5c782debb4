//! `cadet snapshot`: the whole cluster at one moment, while it runs, and back to it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use cadet_state::{Phase, ProfileLock, ProfileName};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::Context;
use crate::commands::start::{self as whole, StartArgs};
use crate::error::{CliError, Result};
use crate::frozen::{now, snapshot};
use crate::{machine, nodes, ui};

/// For machines whose memory cannot be loaded, and that boot instead.
const BOOT: Duration = Duration::from_secs(360);

/// Flags of `cadet snapshot`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  cadet snapshot create before-upgrade\n  cadet snapshot list\n  cadet snapshot restore before-upgrade      memory, disks and all that runs, as it was\n  cadet snapshot delete before-upgrade"
)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Keep memory and disks of all machines of the profile as they are now
    #[command(
        after_help = "Examples:\n  cadet snapshot create\n  cadet snapshot create before-upgrade"
    )]
    Create {
        /// Its name: a-z, 0-9 and - [default: snapshot-1, snapshot-2 …]
        name: Option<String>,
    },
    /// List the profile's snapshots
    #[command(visible_alias = "ls")]
    #[command(after_help = "Examples:\n  cadet snapshot list\n  cadet snapshot list -o json")]
    List,
    /// Go back: what happened since is lost
    #[command(
        after_help = "Examples:\n  cadet snapshot restore before-upgrade\n  cadet snapshot restore before-upgrade --yes"
    )]
    Restore {
        /// A snapshot's name
        #[arg(value_name = "SNAPSHOT")]
        name: String,
        /// Do not ask
        #[arg(short = 'y', long, visible_alias = "force")]
        yes: bool,
    },
    /// Forget a snapshot; the cluster is not touched
    #[command(visible_alias = "rm")]
    #[command(after_help = "Example:\n  cadet snapshot delete before-upgrade")]
    Delete {
        /// A snapshot's name
        #[arg(value_name = "SNAPSHOT")]
        name: String,
    },
}

/// Does it.
pub async fn run(cx: &Context, args: SnapshotArgs) -> Result<u8> {
    machine::profile(cx)?;
    match args.command {
        SnapshotCommand::Create { name } => create(cx, name).await,
        SnapshotCommand::List => list(cx),
        SnapshotCommand::Restore { name, yes } => restore(cx, &name, yes).await,
        SnapshotCommand::Delete { name } => delete(cx, &name).await,
    }
}

async fn create(cx: &Context, name: Option<String>) -> Result<u8> {
    let began = Instant::now();
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "snapshot create")?;
    let profile = machine::sound(cx)?;
    let name = match name {
        Some(name) => self::name(cx, &name)?,
        None => free_name(cx)?,
    };
    if snapshot::find(cx, &name)?.is_some() {
        return Err(
            CliError::new("SNAPSHOT_EXISTS", format!("there is a snapshot {name}"))
                .why("a snapshot is never written over")
                .fix(format!(
                    "{}\n{}",
                    machine::again(cx, &format!("snapshot delete {name}")),
                    machine::again(cx, "snapshot create ANOTHER-NAME")
                )),
        );
    }
    cx.ui.step_started("snapshot", 1, 1);
    let made = snapshot::create(cx, &profile, &name).await?;
    let bytes: u64 = made.machines.iter().map(|m| m.bytes).sum();
    cx.ui
        .step_done(&format!("{name}, {} of memory", ui::mib(bytes >> 20)), None);
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "snapshot": made.name,
            "bytes": bytes, "seconds": seconds(began),
        }));
    } else {
        cx.ui.line(format!(
            "The cluster goes on; its present state is kept as {name}.\n  next: {}",
            machine::again(cx, &format!("snapshot restore {name}"))
        ));
    }
    Ok(0)
}

fn list(cx: &Context) -> Result<u8> {
    let all = snapshot::list(cx)?;
    if cx.ui.json() {
        for one in all {
            cx.ui.object(&json!({
                "name": one.name, "created": one.created,
                "bytes": one.machines.iter().map(|m| m.bytes).sum::<u64>(),
                "machines": one.machines,
            }));
        }
        return Ok(0);
    }
    if all.is_empty() {
        cx.ui.line(format!(
            "No snapshots yet.\n  next: {}",
            machine::again(cx, "snapshot create")
        ));
        return Ok(0);
    }
    cx.ui.line(format!(
        "{:<24} {:>14} {:>9} {:>9}",
        "NAME", "AGE", "NODES", "MEMORY"
    ));
    for one in all {
        let age = Duration::from_secs(now().saturating_sub(one.created));
        let bytes: u64 = one.machines.iter().map(|m| m.bytes).sum();
        cx.ui.line(format!(
            "{:<24} {:>14} {:>9} {:>9}",
            one.name,
            ui::duration(age),
            one.machines.len(),
            ui::mib(bytes >> 20)
        ));
    }
    Ok(0)
}

async fn restore(cx: &Context, name: &str, yes: bool) -> Result<u8> {
    let name = self::name(cx, name)?;
    let age = Duration::from_secs(now().saturating_sub(there(cx, &name)?.created));
    if !yes && !cx.ui.json() && std::io::stdin().is_terminal() {
        let sure = dialoguer::Confirm::new()
            .with_prompt(format!(
                "Go back to {name} ({} ago)? What happened since is lost.",
                ui::duration(age)
            ))
            .default(false)
            .interact()
            .map_err(|e| {
                CliError::new("PROGRAM_INTERRUPTED", "not confirmed").why(e.to_string())
            })?;
        if !sure {
            cx.ui.line("Nothing was changed.");
            return Ok(0);
        }
    }
    let began = Instant::now();
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "snapshot restore")?;
    let mut profile = machine::sound(cx)?;
    let found = there(cx, &name)?;
    cx.ui.step_started("snapshot", 1, 1);
    let restored = snapshot::restore(cx, &mut profile, &name, &found).await?;
    profile.phase = Phase::Running;
    machine::save(cx, &profile)?;
    cx.ui.step_done(
        &format!("{name}: {}", nodes::names(&nodes::all(&profile))),
        None,
    );
    for (node, why) in &restored.booting {
        let what = format!(
            "the memory of {} cannot be loaded: {why}; booting from its disk as it was",
            node.name
        );
        cx.ui.warn("snapshot", &what);
    }
    if !restored.booting.is_empty() {
        let args = StartArgs::as_it_is(BOOT);
        let mut v = whole::voyage(cx, &args, profile, began);
        v.quiet = true;
        whole::finish(&mut v).await?;
    }
    if cx.ui.json() {
        let booted: Vec<_> = restored.booting.iter().map(|(n, _)| &n.name).collect();
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "snapshot": name.as_str(),
            "booted": booted, "seconds": seconds(began),
        }));
    } else {
        cx.ui.line(format!(
            "The cluster is as it was {} ago.\n  next: kubectl get pods --all-namespaces",
            ui::duration(age)
        ));
    }
    Ok(0)
}

async fn delete(cx: &Context, name: &str) -> Result<u8> {
    let name = self::name(cx, name)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "snapshot delete")?;
    let profile = machine::sound(cx)?;
    // A record that cannot be read is no reason to keep what it is of.
    if !cx.world.files(&cx.name).snapshot(&name).dir().exists() {
        return Err(not_found(cx, &name)?);
    }
    snapshot::delete(cx, &profile, &name).await?;
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "deleted": [name.as_str()],
        }));
    } else {
        cx.ui.line(format!("Deleted snapshot {name}."));
    }
    Ok(0)
}

/// Names are those of folders, so profiles' rules are theirs.
fn name(cx: &Context, name: &str) -> Result<ProfileName> {
    ProfileName::parse(name).map_err(|e| {
        let why = match e {
            cadet_state::Error::BadName { reason, .. } => reason.to_owned(),
            other => other.to_string(),
        };
        CliError::new(
            "PROGRAM_USAGE",
            format!("{name:?} cannot be the name of a snapshot"),
        )
        .why(why)
        .fix(machine::again(cx, "snapshot create before-upgrade"))
    })
}

fn free_name(cx: &Context) -> Result<ProfileName> {
    let files = cx.world.files(&cx.name);
    let mut number = 1;
    loop {
        let name = ProfileName::parse(&format!("snapshot-{number}"))?;
        if !files.snapshot(&name).dir().exists() {
            return Ok(name);
        }
        number += 1;
    }
}

fn there(cx: &Context, name: &ProfileName) -> Result<snapshot::Snapshot> {
    match snapshot::find(cx, name)? {
        Some(found) => Ok(found),
        None => Err(not_found(cx, name)?),
    }
}

fn not_found(cx: &Context, name: &ProfileName) -> Result<CliError> {
    let names: Vec<_> = snapshot::list(cx)?.into_iter().map(|s| s.name).collect();
    let why = if names.is_empty() {
        "the profile has none".into()
    } else {
        format!("there is {}", names.join(", "))
    };
    let what = format!("there is no snapshot {name}");
    Ok(CliError::new("SNAPSHOT_NOT_FOUND", what)
        .why(why)
        .fix(machine::again(cx, "snapshot list")))
}

fn seconds(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
