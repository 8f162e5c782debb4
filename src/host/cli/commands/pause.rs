//! `cadet pause` and `cadet unpause`: QEMU holds the guest still, its memory is kept.

use std::time::Duration;

use cadet_state::ProfileLock;
use cadet_tunnel::{Tuning, Tunnel};
use serde_json::json;

use crate::error::Result;
use crate::{Context, clock, line, machine};

/// How long ssh may take to answer after a pause; an emulated guest has much to catch up with.
const ANSWER: Duration = Duration::from_secs(60);

/// Holds it still; a machine that is paused already is no error.
pub async fn pause(cx: &Context) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "pause")?;
    let profile = machine::profile(cx)?;
    let done = machine::hold(cx, &profile, true).await?;
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "machine": "Paused", "changed": done}));
    } else {
        let told = if done { "Paused" } else { "It was paused" };
        cx.ui.line(format!(
            "{told}: the processors stand still, the memory is kept.\n  next: {}",
            machine::again(cx, "unpause")
        ));
    }
    Ok(0)
}

/// Lets it go on, and puts its clock right.
pub async fn unpause(cx: &Context) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "unpause")?;
    let profile = machine::profile(cx)?;
    let done = machine::hold(cx, &profile, false).await?;
    let target = line::target(cx, &profile)?;
    let tunnel = Tunnel::wait_until_ready(target, Tuning::default(), ANSWER, |_| true).await?;
    let told = clock::right(cx, &tunnel).await;
    tunnel.close().await;
    let told = told?;
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "profile": cx.name.as_str(), "machine": "Running", "changed": done,
            "clock": told}));
        return Ok(0);
    }
    let what = if done { "It goes on" } else { "It was running" };
    let clock = told.map_or(String::new(), |told| format!(": {told}"));
    cx.ui.line(format!(
        "{what}{clock}.\n  next: {}",
        machine::again(cx, "status")
    ));
    Ok(0)
}
