//! `cadet addons`: what the cluster has besides its core, on or off.

use cadet_state::ProfileLock;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::addons::{ADDONS, Addon, Choices, find};
use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::{Context, line, machine, reach, registry_addon};

/// Flags of `cadet addons`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Most are parts of the server, and idle while nobody asks. The registry is for lessons about\npushing: `cadet image build` and `load` put images where pods find them without one.\n\nExamples:\n  cadet addons list\n  cadet addons disable ingress      ports 80 and 443 of the node are free for pods\n  cadet addons enable ingress\n  cadet addons enable registry      with docker-env: docker push localhost:5000/hello"
)]
pub struct AddonsArgs {
    #[command(subcommand)]
    command: AddonsCommand,
}

/// What to do with addons.
#[derive(Debug, Subcommand)]
enum AddonsCommand {
    /// Show all, and which are on
    #[command(visible_alias = "ls")]
    #[command(after_help = "Examples:\n  cadet addons list\n  cadet addons list -o json")]
    List,
    /// Switch one on
    #[command(after_help = "Example:\n  cadet addons enable ingress")]
    Enable {
        /// Its name
        #[arg(value_name = "ADDON")]
        name: String,
    },
    /// Switch one off
    #[command(
        after_help = "Example:\n  cadet addons disable ingress      ports 80 and 443 of the node are free for pods"
    )]
    Disable {
        /// Its name
        #[arg(value_name = "ADDON")]
        name: String,
    },
}

/// Does it.
pub async fn run(cx: &Context, args: AddonsArgs) -> Result<u8> {
    match args.command {
        AddonsCommand::List => list(cx),
        AddonsCommand::Enable { name } => switch(cx, find(&name)?, true).await,
        AddonsCommand::Disable { name } => switch(cx, find(&name)?, false).await,
    }
}

fn list(cx: &Context) -> Result<u8> {
    machine::profile(cx)?;
    let choices = Choices::read(&cx.world.files(&cx.name))?;
    for addon in &ADDONS {
        let is_on = choices.is_on(addon);
        if cx.ui.json() {
            cx.ui.object(&json!({
                "addon": addon.name, "on": is_on, "hasSwitch": addon.has_switch,
                "about": addon.about}));
            continue;
        }
        let state = match (addon.has_switch, is_on) {
            (false, _) => "built in",
            (true, true) => "on",
            (true, false) => "off",
        };
        cx.ui
            .line(format!("{:<11} {state:<9} {}", addon.name, addon.about));
    }
    Ok(0)
}

async fn switch(cx: &Context, addon: &Addon, on: bool) -> Result<u8> {
    machine::profile(cx)?;
    if !addon.has_switch && !on {
        return Err(CliError::new(
            "PROGRAM_USAGE",
            format!("{} cannot be switched off", addon.name),
        )
        .why("a cluster needs it")
        .fix("cadet addons list"));
    }
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "addons")?;
    let files = cx.world.files(&cx.name);
    let mut choices = Choices::read(&files)?;
    let changed = choices.is_on(addon) != on;
    if addon.name == "registry" && changed && !on {
        // Its objects are in the cluster: nobody else would remove them.
        machine::running(cx).await?;
    }
    if addon.has_switch {
        choices.set(addon, on);
        choices.keep(&files)?;
    }
    let profile = machine::profile(cx)?;
    let runs = machine::state_of(&files, &profile).await.is_running();
    if runs && addon.has_switch {
        // Also where nothing changed: an earlier try may have been cut off.
        let tunnel = line::connect(cx).await?;
        choices.tell(&tunnel).await?;
        tunnel.close().await;
        if addon.name == "registry" {
            registry(cx, &profile.name, on).await?;
        }
    }
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "addon": addon.name, "on": on, "changed": changed, "now": runs}));
        return Ok(0);
    }
    let state = if on { "on" } else { "off" };
    let when = match (changed, runs) {
        (false, _) => ", as it was",
        (true, true) => "",
        (true, false) => " from the next start on",
    };
    cx.ui.line(format!("{} is {state}{when}.", addon.name));
    if on && runs && addon.name == "registry" {
        let again = machine::again(cx, "docker-env");
        cx.ui.line(format!(
            "  next: eval \"$({again})\" && docker push {}/NAME",
            registry_addon::ADDRESS
        ));
    }
    Ok(0)
}

/// The objects of the registry, made or removed.
async fn registry(cx: &Context, node: &str, on: bool) -> Result<()> {
    let cluster = Cluster::new(&reach::credentials(cx)?)?;
    match on {
        true => registry_addon::make(&cluster, node).await,
        false => registry_addon::remove(&cluster, node).await,
    }
}
