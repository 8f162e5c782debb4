//! Step `join`: the machines beside the first have become nodes.

use async_trait::async_trait;

use super::{Arrival, Note, Step, Voyage, connect, install, ready};
use crate::cluster::Cluster;
use crate::commands::start::WaitFor;
use crate::error::{CliError, Result};
use crate::nodes;

/// See the module.
pub struct Join;

#[async_trait]
impl Step for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        let names = nodes::names(&v.workers);
        Ok(match v.args.wait {
            WaitFor::Node => format!("wait until {names} are Ready"),
            WaitFor::Api | WaitFor::None => format!("not waiting for {names}"),
        })
    }

    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> {
        // Asking is all there is to do; of ready nodes it takes milliseconds.
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let names = nodes::names(&v.workers);
        if v.args.wait != WaitFor::Node {
            return Ok(Note::new(format!("not waiting for {names}")));
        }
        let access = v
            .access
            .as_ref()
            .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "no credentials"))?;
        let cluster = Cluster::new(access)?;
        // They boot side by side, so waiting for one after the other takes no longer.
        for node in &v.workers {
            let name = &node.name;
            let doing = format!("{name}: booting");
            let tunnel = connect::open(v.cx, &v.profile, node, &doing).await?;
            v.cx.ui.progress(&format!("{name}: installing"), None);
            let arrival = v.arrivals.get(&node.number);
            let known = match arrival {
                Some(Arrival::Woke { current, .. }) => *current,
                Some(Arrival::Copied) => true,
                Some(Arrival::Booted) => false,
                None => install::is_current(v.cx, node, &tunnel).await?,
            };
            if !known || arrival == Some(&Arrival::Copied) {
                install::ensure(v.cx, node, &tunnel, known).await?;
            }
            let waiting = format!("{name} runs, waiting for its node");
            v.cx.ui.progress(&waiting, None);
            ready::is_ready(v.cx, &cluster, &tunnel, node, v.args.wait_timeout).await?;
            tunnel.close().await;
        }
        let are = if v.workers.len() == 1 { "is" } else { "are" };
        Ok(Note::new(format!("{names} {are} Ready")))
    }
}
