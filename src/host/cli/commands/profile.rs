//! `cadet profile`: the profile that commands mean where none is named.

use cadet_state::{ProfileName, Settings};
use clap::Args;
use serde_json::json;

use crate::error::Result;
use crate::{Context, commands, kubeconfig, machine};

/// Flags of `cadet profile`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet profile              which one it is\n  cadet profile list         all of them\n  cadet profile class        from now on, also for kubectl\n  CADET_PROFILE=class cadet status      for one command, as -p class"
)]
pub struct ProfileArgs {
    /// The profile to use from now on; `list` shows all
    #[arg(value_name = "list|PROFILE")]
    which: Option<String>,
    /// Do not make its context the current one of kubectl
    #[arg(long)]
    keep_context: bool,
}

/// Shows or chooses.
pub async fn run(cx: &Context, args: ProfileArgs) -> Result<u8> {
    match args.which.as_deref() {
        None => {
            if cx.ui.json() {
                cx.ui.object(&json!({"profile": cx.name.as_str()}));
            } else {
                cx.ui.line(cx.name.as_str());
            }
            Ok(0)
        }
        Some("list") => commands::list::run(cx).await,
        Some(name) => choose(cx, ProfileName::parse(name)?, args.keep_context),
    }
}

fn choose(cx: &Context, name: ProfileName, keep_context: bool) -> Result<u8> {
    let chosen = Context { name, ..cx.again() };
    machine::profile(&chosen)?;
    Settings::change(&cx.world.home, |s| {
        s.profile = Some(chosen.name.to_string());
    })?;
    let name = chosen.name.as_str();
    let own = cx.world.files(&chosen.name).kubeconfig();
    // A profile whose first start has not come that far has no context yet.
    let access = match keep_context {
        true => None,
        false => kubeconfig::read_alone(&own, name)?,
    };
    if let Some(access) = &access {
        kubeconfig::merge(&cx.world.kubeconfig, access, false)?;
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "profile": name, "context": access.map(|a| a.name)}));
    } else {
        let kubectl = if access.is_some() {
            ", and so does kubectl"
        } else {
            ""
        };
        cx.ui.line(format!(
            "Commands mean profile {name} from now on{kubectl}."
        ));
    }
    Ok(0)
}
