//! Step `kubectl`: the context in the user's kubeconfig.

use async_trait::async_trait;
use cadet_state::Profile;

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::{Context, kubeconfig};

/// See the module.
pub struct Kubectl;

#[async_trait]
impl Step for Kubectl {
    fn name(&self) -> &'static str {
        "kubectl"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        Ok(format!("context \"{}\" in {}", v.cx.name, shown(v.cx)))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        let there = v
            .access
            .as_ref()
            .is_some_and(|a| kubeconfig::holds(&v.cx.world.kubeconfig, a, v.args.keep_context));
        Ok(there.then(|| Note::there(told(v))))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let access = v
            .access
            .as_ref()
            .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "no credentials"))?;
        let file = v.cx.world.kubeconfig.clone();
        kubeconfig::merge(&file, access, v.args.keep_context)?;
        v.profile.kubeconfig = Some(file);
        Ok(Note::new(told(v)))
    }

    async fn undo(&self, cx: &Context, profile: &Profile) -> Result<()> {
        let file = profile.kubeconfig.as_ref().unwrap_or(&cx.world.kubeconfig);
        kubeconfig::remove(file, cx.name.as_str())
    }
}

fn told(v: &Voyage<'_>) -> String {
    let is = if v.args.keep_context {
        "is"
    } else {
        "is current"
    };
    format!("context \"{}\" {is} in {}", v.cx.name, shown(v.cx))
}

/// The file with `~` for the home directory, as people write it.
fn shown(cx: &Context) -> String {
    let file = &cx.world.kubeconfig;
    let home = directories::BaseDirs::new().map(|d| d.home_dir().to_path_buf());
    match home.as_ref().and_then(|h| file.strip_prefix(h).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => file.display().to_string(),
    }
}
