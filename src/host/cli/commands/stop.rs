//! `cadet stop`: power off, gracefully first.

use std::time::Duration;

use cadet_state::{Phase, ProfileLock};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::error::Result;
use crate::{line, machine, nodes};

/// Flags of `cadet stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet stop\n  cadet stop --timeout 10s      pull the plug after ten seconds"
)]
pub struct StopArgs {
    /// How long the machine may take to shut down before it is switched off
    #[arg(long, value_parser = crate::args::duration, default_value = "90s", value_name = "TIME")]
    timeout: Duration,
}

/// Stops the profile's machines; a machine that is off already is no error.
pub async fn run(cx: &Context, args: StopArgs) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "stop")?;
    let mut profile = machine::profile(cx)?;
    line::stop_background(cx).await?;
    let mut all = nodes::all(&profile);
    // The control plane goes last, so that it sees the others go.
    all.reverse();
    for (index, node) in all.iter().enumerate() {
        cx.ui.step_started("machine", index + 1, all.len());
        let how = machine::power_off(cx, &profile, node, args.timeout).await?;
        let told = if all.len() == 1 {
            how.told().to_owned()
        } else {
            format!("{}: {}", node.name, how.told())
        };
        if node.is_first() {
            profile.phase = Phase::Stopped;
            machine::save(cx, &profile)?;
        }
        cx.ui.step_done(&told, None);
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "profile": cx.name.as_str(), "machine": "Stopped"}));
    } else {
        cx.ui.line(format!(
            "Stopped. The cluster and its data stay on the disk.\n  next: {}",
            machine::again(cx, "start")
        ));
    }
    Ok(0)
}
