//! `cadet delete`: undo every step of `start`, last step first.

use std::io::IsTerminal;
use std::path::Path;

use cadet_state::{Phase, Profile, ProfileLock, ProfileName, Settings, Store};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::error::{CliError, Result};
use crate::frozen::template;
use crate::{machine, mirror, nodes, start, users};

/// Flags of `cadet delete`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet delete\n  cadet delete --all --purge     everything Cadet ever kept on this computer"
)]
pub struct DeleteArgs {
    /// Delete every profile
    #[arg(long)]
    all: bool,
    /// Also remove downloaded and built images, records and Cadet's own folders
    #[arg(long, requires = "all")]
    purge: bool,
    /// Do not ask
    #[arg(short = 'y', long, visible_alias = "force")]
    yes: bool,
    /// Of servers that are gone, or cannot be reached: forget them, whatever is on them
    #[arg(long)]
    leave_servers: bool,
}

/// Whether `what` may go with all its data: a person at a terminal who has not said `--yes` is
/// asked, and told when nothing is done.
///
/// # Errors
/// PROGRAM_INTERRUPTED when the question is left.
pub(super) fn may_go(cx: &Context, yes: bool, what: &str) -> Result<bool> {
    if yes || cx.ui.json() || !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let sure = dialoguer::Confirm::new()
        .with_prompt(format!("Delete {what} with all data in it?"))
        .default(false)
        .interact()
        .map_err(|e| CliError::new("PROGRAM_INTERRUPTED", "not confirmed").why(e.to_string()))?;
    if !sure {
        cx.ui.line("Nothing was deleted.");
    }
    Ok(sure)
}

/// Deletes one profile, or all of them.
pub async fn run(cx: &Context, args: DeleteArgs) -> Result<u8> {
    let names = if args.all {
        let store = Store::open(&cx.world.home)?;
        store
            .list()?
            .iter()
            .map(|p| ProfileName::parse(&p.name))
            .collect::<Result<_, _>>()?
    } else {
        machine::profile(cx)?;
        vec![cx.name.clone()]
    };
    let list: Vec<&str> = names.iter().map(ProfileName::as_str).collect();
    if !list.is_empty() && !may_go(cx, args.yes, &list.join(", "))? {
        return Ok(0);
    }
    if args.purge {
        let cache = cx.world.home.cache();
        let (dir, there) = (cache.to_owned(), cache.canonicalize().ok());
        let is_in = |file: &Path| {
            let file_there = file.canonicalize().ok();
            let is_there = file_there.zip(there.as_ref());
            file.starts_with(&dir) || is_there.is_some_and(|(file, dir)| file.starts_with(dir))
        };
        users::no_other_on(cx, &format!("the cache {}", cache.display()), is_in)?;
    }
    let mut only_servers = true;
    for name in &names {
        let was = one(cx, name, args.leave_servers).await?;
        only_servers &= was.server.is_some();
    }
    // The first start of a size takes minutes: whoever ends it and gives up leaves a machine.
    template::sweep(&cx.world.home)?;
    if args.purge {
        mirror::stop(cx).await?;
        for dir in [cx.world.home.cache(), cx.world.home.data()] {
            machine::remove_dir(dir)?;
        }
    }
    if cx.ui.json() {
        let names: Vec<_> = names.iter().map(ProfileName::as_str).collect();
        cx.ui
            .object(&json!({"type": "done", "deleted": names, "purged": args.purge}));
    } else if names.is_empty() {
        cx.ui.line("There was no profile to delete.");
    } else {
        let list = names
            .iter()
            .map(ProfileName::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let what = match (only_servers, args.leave_servers) {
            (true, false) => "what Cadet put on the servers, and the kubectl context",
            (true, true) => "the kubectl context; what is on the servers stays there",
            (false, _) => "machine, disk and kubectl context",
        };
        cx.ui.line(format!("Deleted {list}: {what}."));
    }
    Ok(0)
}

/// Deletes one; returns its record as it was.
async fn one(cx: &Context, name: &ProfileName, leave_servers: bool) -> Result<Profile> {
    let cx = Context {
        world: cx.world.clone(),
        name: name.clone(),
        ui: cx.ui.again(),
    };
    let _lock = ProfileLock::take(&cx.world.home, name, "delete")?;
    let mut profile = machine::profile(&cx)?;
    profile.phase = Phase::Deleting;
    if leave_servers {
        for node in nodes::all(&profile) {
            if let Some(server) = profile.server_mut(node.number) {
                server.placed = false;
            }
        }
    }
    machine::save(&cx, &profile)?;
    start::undo_all(&cx, &profile).await?;
    machine::remove_dir(cx.world.files(name).dir())?;
    Store::open(&cx.world.home)?.remove(name)?;
    let is_current = |s: &Settings| s.profile.as_deref() == Some(name.as_str());
    if Settings::read(&cx.world.home).is_ok_and(|s| is_current(&s)) {
        Settings::change(&cx.world.home, |s| {
            if is_current(s) {
                s.profile = None;
            }
        })?;
    }
    // The lock file is empty and its lock still ours; without it the folder is clean.
    let lock = cx.world.home.profile_lock(name);
    std::fs::remove_file(&lock).map_err(|e| machine::io("remove", &lock, &e))?;
    Ok(profile)
}
