//! `cadet pause` and `cadet unpause`: QEMU holds the profile's machines still, their memory is
//! kept.

use std::time::Duration;

use cadet_state::ProfileLock;
use cadet_tunnel::{Tuning, Tunnel};
use serde_json::json;

use crate::error::Result;
use crate::{Context, clock, line, machine, nodes};

/// How long ssh may take to answer after a pause; an emulated guest has much to catch up with.
const ANSWER: Duration = Duration::from_secs(60);

/// Holds them still; machines that are paused already are no error, and those beside the first
/// that are off stay off.
pub async fn pause(cx: &Context) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "pause")?;
    let profile = machine::profile(cx)?;
    let files = cx.world.files(&cx.name);
    let mut done = false;
    for node in nodes::all(&profile) {
        let state = machine::state_of_node(&files, &profile, &node).await;
        if node.is_first() || state.has_process() {
            done |= machine::hold(cx, &profile, &node, true).await?;
        }
    }
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

/// Lets them go on, and puts their clocks right.
pub async fn unpause(cx: &Context) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "unpause")?;
    let profile = machine::profile(cx)?;
    let files = cx.world.files(&cx.name);
    let mut done = false;
    let mut awake = Vec::new();
    for node in nodes::all(&profile) {
        let state = machine::state_of_node(&files, &profile, &node).await;
        if node.is_first() || state.is_paused() || state.is_out_of_space() {
            done |= machine::hold(cx, &profile, &node, false).await?;
            awake.push(node);
        }
    }
    let mut told = Vec::new();
    for node in &awake {
        let target = line::target_of(cx, &profile, node)?;
        let tunnel = Tunnel::wait_until_ready(target, Tuning::default(), ANSWER, |_| true).await?;
        let clock = clock::right(cx, node, &tunnel).await;
        tunnel.close().await;
        told.extend(clock?.map(|clock| match awake.len() {
            1 => clock,
            _ => format!("{}: {clock}", node.name),
        }));
    }
    let told = (!told.is_empty()).then(|| told.join("; "));
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
