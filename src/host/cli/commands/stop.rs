//! `cadet stop`: power off, gracefully first.

use std::time::Duration;

use cadet_state::{Phase, ProfileLock};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::error::Result;
use crate::{line, machine};

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

/// Stops the profile's machine; a machine that is off already is no error.
pub async fn run(cx: &Context, args: StopArgs) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "stop")?;
    let mut profile = machine::profile(cx)?;
    line::stop_background(cx).await?;
    cx.ui.step_started("machine", 1, 1);
    let how = machine::power_off(cx, args.timeout).await?;
    profile.phase = Phase::Stopped;
    machine::save(cx, &profile)?;
    cx.ui.step_done(how.told(), None);
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
