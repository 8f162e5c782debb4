//! `cadet stop`: suspend, to go on in seconds; or power off.

use std::time::{Duration, Instant};

use cadet_state::{Phase, Profile, ProfileLock};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::error::Result;
use crate::frozen::suspend::{self, Suspended, Woken};
use crate::nodes::Node;
use crate::{line, machine, nodes, servers, start};

/// Flags of `cadet stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet stop                    suspend: `cadet start` goes on where it was, in seconds\n  cadet stop --poweroff         shut down, as a computer is shut down\n  cadet stop --poweroff --timeout 10s      pull the plug after ten seconds"
)]
pub struct StopArgs {
    /// Shut the machine down, with all that runs in it, instead of suspending it
    #[arg(long, visible_alias = "shutdown")]
    poweroff: bool,
    /// How long the machine may take to shut down before it is switched off
    #[arg(long, value_parser = crate::args::duration, default_value = "90s", value_name = "TIME")]
    timeout: Duration,
}

/// Stops the profile's machines; a machine that is off already is no error.
pub async fn run(cx: &Context, args: StopArgs) -> Result<u8> {
    let began = Instant::now();
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "stop")?;
    let mut profile = machine::profile(cx)?;
    let mut all = nodes::all(&profile);
    if profile.server.is_some() {
        return on_servers(cx, profile, args, began).await;
    }
    let off = all_off(cx, &profile, &all).await;
    if !args.poweroff && !off {
        cx.ui.step_started("machine", 1, 1);
        match suspend::suspend(cx, &profile, &all).await? {
            Suspended::All => {
                profile.phase = Phase::Stopped;
                machine::save(cx, &profile)?;
                let files = cx.world.files(&cx.name);
                // One that was off has nothing to wake to.
                let suspended = all.iter().filter(|node| suspend::is(&node.files(&files)));
                cx.ui.step_done(&how_many(suspended.count(), &all), None);
                return Ok(tell(cx, "Suspended", began));
            }
            Suspended::No(why) => {
                let what = format!("{why}; shutting down instead");
                cx.ui.warn("suspend", &what);
            }
        }
    }
    let files = cx.world.files(&cx.name);
    let is_suspended = |all: &[Node]| all.iter().any(|node| suspend::is(&node.files(&files)));
    if args.poweroff || !is_suspended(&all) {
        // One that leads into a suspended machine leads in again when it wakes.
        line::stop_background(cx).await?;
    }
    // The control plane goes last, so that it sees the others go.
    all.reverse();
    for (index, node) in all.iter().enumerate() {
        cx.ui.step_started("machine", index + 1, all.len());
        let how = one(cx, &profile, node, &args).await?;
        let told = if all.len() == 1 {
            how
        } else {
            format!("{}: {how}", node.name)
        };
        if node.is_first() {
            profile.phase = Phase::Stopped;
            machine::save(cx, &profile)?;
        }
        cx.ui.step_done(&told, None);
    }
    let word = if is_suspended(&all) {
        "Suspended"
    } else {
        "Stopped"
    };
    Ok(tell(cx, word, began))
}

/// Stops services and pods; the servers stay on.
async fn on_servers(
    cx: &Context,
    mut profile: Profile,
    args: StopArgs,
    began: Instant,
) -> Result<u8> {
    if args.poweroff {
        return Err(servers::no_machine(
            "be switched off",
            "others may use it; the cluster's services and pods can be stopped",
            &machine::again(cx, "stop"),
        ));
    }
    let mut all = nodes::all(&profile);
    all.reverse();
    for (index, node) in all.iter().enumerate() {
        cx.ui.step_started("server", index + 1, all.len());
        cx.ui.progress(&format!("{}: stopping", node.name), None);
        let how = machine::power_off(cx, &profile, node, args.timeout).await?;
        servers::note_stopped(cx, &mut profile, node, true)?;
        cx.ui
            .step_done(&format!("{}: {}", node.name, how.told()), None);
    }
    line::stop_background(cx).await?;
    profile.phase = Phase::Stopped;
    machine::save(cx, &profile)?;
    Ok(tell(cx, "Stopped", began))
}

/// Whether no machine has a process.
async fn all_off(cx: &Context, profile: &Profile, all: &[Node]) -> bool {
    let files = cx.world.files(&cx.name);
    for node in all {
        let state = machine::state_of_node(&files, profile, node).await;
        if state.has_process() {
            return false;
        }
    }
    true
}

/// Powers one machine off; a suspended one wakes for it, so that it can end in order.
async fn one(cx: &Context, profile: &Profile, node: &Node, args: &StopArgs) -> Result<String> {
    let files = node.files(&cx.world.files(&cx.name));
    if suspend::is(&files) {
        if !args.poweroff {
            return Ok("is suspended already".into());
        }
        cx.ui.progress("waking it to shut down", None);
        let emulator = start::emulator()?;
        if let Woken::Lost(why) = suspend::wake(cx, profile, node, &emulator).await? {
            let what = format!("{} cannot be woken: {why}", node.name);
            cx.ui.warn("machine", &what);
            return Ok("its suspended state is gone; its disk is as it was then".into());
        }
    }
    let how = machine::power_off(cx, profile, node, args.timeout).await?;
    Ok(how.told().to_owned())
}

fn how_many(suspended: usize, all: &[Node]) -> String {
    match (suspended, all.len()) {
        (_, 1) => "suspended; its memory is on the disk".into(),
        (suspended, all) if suspended == all => format!("{all} machines suspended"),
        (suspended, all) => format!("{suspended} of {all} machines suspended, the others were off"),
    }
}

fn tell(cx: &Context, word: &str, began: Instant) -> u8 {
    if cx.ui.json() {
        let seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "machine": word, "seconds": seconds,
        }));
    } else if word == "Suspended" {
        cx.ui.line(format!(
            "Suspended. All that runs in the cluster stands still until it wakes.\n  next: {}\n        {}      really off",
            machine::again(cx, "start"),
            machine::again(cx, "stop --poweroff")
        ));
    } else {
        cx.ui.line(format!(
            "Stopped. The cluster and its data stay on the disk.\n  next: {}",
            machine::again(cx, "start")
        ));
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_were_off_are_not_called_suspended() {
        let all: Vec<_> = (1..=3).map(|number| Node::new("cadet", number)).collect();
        assert!(how_many(1, &all[..1]).contains("memory"));
        assert_eq!(how_many(3, &all), "3 machines suspended");
        assert!(how_many(2, &all).starts_with("2 of 3 "));
    }
}
