//! `cadet list`.

use cadet_state::{Profile, ProfileName, Settings, Store};
use serde_json::json;

use crate::error::Result;
use crate::{Context, machine, nodes, servers, ui};

/// What the machine was made of, or which server is in its place.
fn image(profile: &Profile) -> String {
    match (&profile.server, &profile.base) {
        (Some(server), _) => {
            let text = format!("{} {}", servers::name_of(server), server.system);
            text.trim_end().to_owned()
        }
        (None, Some(base)) => base.title.clone(),
        (None, None) => "-".into(),
    }
}

/// One line per profile.
pub async fn run(cx: &Context) -> Result<u8> {
    let profiles = if cx.world.home.database().exists() {
        Store::open(&cx.world.home)?.list()?
    } else {
        Vec::new()
    };
    let current = Settings::read(&cx.world.home)?.profile;
    let is_current = |name: &str| name == current.as_deref().unwrap_or(machine::FIRST_PROFILE);
    let mut rows = Vec::new();
    for profile in &profiles {
        let name = ProfileName::parse(&profile.name)?;
        let state = machine::state_of(&cx.world.files(&name), profile).await;
        let mut machines = Vec::new();
        for node in nodes::all(profile) {
            let files = cx.world.files(&name);
            let state = machine::state_of_node(&files, profile, &node).await;
            machines.push(json!({"name": node.name, "machine": state.word()}));
        }
        rows.push((profile, state, machines));
    }
    if cx.ui.json() {
        for (profile, state, machines) in rows {
            cx.ui.object(&json!({
                "name": profile.name, "machine": state.word(), "phase": profile.phase,
                "cpus": profile.spec.cpus, "memoryMiB": profile.spec.memory_mib,
                "diskGiB": profile.spec.disk_gib, "image": profile.base.as_ref().map(|b| &b.id),
                "ports": profile.ports, "nodes": machines, "current": is_current(&profile.name),
            }));
        }
        return Ok(0);
    }
    if rows.is_empty() {
        cx.ui.line("No profiles yet.\n  next: cadet start");
        return Ok(0);
    }
    cx.ui.line(format!(
        "{:<16} {:<10} {:>5} {:>5} {:>9} {:>7}  IMAGE",
        "NAME", "MACHINE", "NODES", "CPUS", "MEMORY", "DISK"
    ));
    for (profile, state, machines) in rows {
        // The one that commands mean where none is named.
        let mark = if is_current(&profile.name) { " *" } else { "" };
        cx.ui.line(format!(
            "{:<16} {:<10} {:>5} {:>5} {:>9} {:>7}  {}",
            format!("{}{mark}", profile.name),
            state.word(),
            machines.len(),
            profile.spec.cpus,
            ui::mib(profile.spec.memory_mib),
            format!("{} GiB", profile.spec.disk_gib),
            image(profile),
        ));
    }
    Ok(0)
}
