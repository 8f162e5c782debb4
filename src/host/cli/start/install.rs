//! Step `install`: cadet-node runs in the machine, in this program's version.
//!
//! cloud-init puts it there from the seed disk at first boot. A machine made by an
//! older Cadet gets the new program over the line.

use std::time::Duration;

use async_trait::async_trait;
use cadet_tunnel::Tunnel;
use cadet_tunnel::upload::Destination;

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::{line, machine, programs};

/// See the module.
pub struct Install;

/// Time for cloud-init to copy the program and for systemd to start it.
const DEADLINE: Duration = Duration::from_secs(180);

/// Succeeds once both units are active. `is-active` does not wait, and cloud-init gives
/// no event to an outside client, so the guest's own shell asks itself, four times a
/// second, and only while a first boot is under way.
const WAIT: &str = "for i in $(seq 1 720); do \
    systemctl is-active --quiet cadet-server cadet-agent && exit 0; sleep 0.25; done; \
    systemctl --no-pager status cadet-server cadet-agent 2>&1 | tail -n 20; exit 1";

const PROGRAM: &str = "/usr/local/bin/cadet-node";

#[async_trait]
impl Step for Install {
    fn name(&self) -> &'static str {
        "install"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok(format!(
            "cadet-node {} as cadet-server and cadet-agent",
            env!("CARGO_PKG_VERSION")
        ))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        if !v.was_running {
            return Ok(None);
        }
        let tunnel = tunnel(v)?;
        let ours = programs::sha256(&programs::cadet_node(&v.cx.world)?)?;
        let quick = tunnel
            .exec(&format!(
                "sha256sum {PROGRAM} && systemctl is-active --quiet cadet-server cadet-agent"
            ))
            .await?;
        let same =
            quick.status.success() && String::from_utf8_lossy(&quick.stdout).starts_with(&ours);
        Ok(same.then(|| Note::there(told())))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let program = programs::cadet_node(&v.cx.world)?;
        let ours = programs::sha256(&program)?;
        let tunnel = tunnel(v)?.clone();
        v.cx.ui.progress("cloud-init installs cadet-node", None);
        let work = async {
            wait(v, &tunnel).await?;
            let theirs = line::guest(&tunnel, &format!("sha256sum {PROGRAM}")).await?;
            if theirs.starts_with(&ours) {
                return Ok(false);
            }
            v.cx.ui.progress("replacing an older cadet-node", None);
            let to = Destination {
                path: PROGRAM,
                mode: 0o755,
                as_root: true,
            };
            tunnel.upload(&program, to).await?;
            line::guest(&tunnel, "sudo systemctl restart cadet-server cadet-agent").await?;
            wait(v, &tunnel).await?;
            Ok::<_, CliError>(true)
        };
        let replaced = tokio::time::timeout(DEADLINE, work)
            .await
            .map_err(|_| failed(v, "it took too long"))??;
        Ok(Note::new(if replaced {
            format!("{}, replaced an older one", told())
        } else {
            told()
        }))
    }
}

fn told() -> String {
    format!(
        "cadet-node {} runs in the machine",
        env!("CARGO_PKG_VERSION")
    )
}

fn tunnel<'a>(v: &'a Voyage<'_>) -> Result<&'a Tunnel> {
    v.tunnel
        .as_ref()
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "the line is not open"))
}

async fn wait(v: &Voyage<'_>, tunnel: &Tunnel) -> Result<()> {
    let output = tunnel.exec(WAIT).await?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(v, String::from_utf8_lossy(&output.stdout).trim()))
}

fn failed(v: &Voyage<'_>, why: &str) -> CliError {
    CliError::new(
        "GUEST_INSTALL",
        "cadet-node did not come up inside the machine",
    )
    .why(why)
    .fix(machine::again(v.cx, "start"))
    .log(format!(
        "{}\n{}",
        machine::again(v.cx, "logs"),
        machine::again(v.cx, "logs --machine")
    ))
}
