//! `cadet update-context`: the cluster's context in the user's kubeconfig, written again.

use cadet_state::ProfileLock;
use clap::Args;
use serde_json::json;

use crate::error::Result;
use crate::{Context, kubeconfig, machine, reach};

/// Flags of `cadet update-context`.
#[derive(Debug, Args)]
#[command(
    after_help = "For a kubeconfig that was edited, replaced or lost; other contexts in it stay as they are.\n\nExamples:\n  cadet update-context\n  KUBECONFIG=./class.kubeconfig cadet update-context"
)]
pub struct UpdateContextArgs {
    /// Do not make it the current one of kubectl
    #[arg(long)]
    keep_context: bool,
}

/// Writes it if it is not there as it should be.
pub fn run(cx: &Context, args: UpdateContextArgs) -> Result<u8> {
    machine::profile(cx)?;
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "update-context")?;
    let mut profile = machine::profile(cx)?;
    let mut access = reach::credentials(cx)?;
    if let Some(ports) = profile.ports {
        access.server = format!("https://127.0.0.1:{}", ports.api);
    }
    let file = cx.world.kubeconfig.clone();
    let there = kubeconfig::holds(&file, &access, args.keep_context);
    if !there {
        kubeconfig::merge(&file, &access, args.keep_context)?;
    }
    if profile.kubeconfig.as_ref() != Some(&file) {
        // From where `delete` takes it out again.
        profile.kubeconfig = Some(file.clone());
        machine::save(cx, &profile)?;
    }
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "context": cx.name.as_str(), "server": access.server,
            "kubeconfig": file, "changed": !there,
        }));
    } else {
        let done = if there {
            "is right in"
        } else {
            "was written into"
        };
        cx.ui.line(format!(
            "Context \"{}\" ({}) {done} {}.",
            cx.name,
            access.server,
            file.display()
        ));
    }
    Ok(0)
}
