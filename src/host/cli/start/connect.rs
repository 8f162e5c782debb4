//! Step `connect`: the SSH session with the pinned host key.

use std::time::Duration;

use async_trait::async_trait;
use cadet_tunnel::{Tuning, Tunnel, TunnelError};

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::{clock, line, machine};

/// See the module.
pub struct Connect;

/// A boot under software emulation on a busy computer was measured at 118 s.
const BOOT_DEADLINE: Duration = Duration::from_secs(300);

#[async_trait]
impl Step for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok("wait for ssh, accept only the host key made for this machine".into())
    }

    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> {
        // A session lives as long as the command: there is always one to open.
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let target = line::target(v.cx, &v.profile)?;
        let address = target.address;
        let cx = v.cx;
        let profile = v.profile.clone();
        let watched = async {
            // The machine's end is an event of its process; asking once a second while a
            // boot of half a minute runs costs nothing.
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let state = machine::state_of(&cx.world.files(&cx.name), &profile).await;
                if !state.is_running() {
                    return machine::died(cx, &state);
                }
            }
        };
        let connected =
            Tunnel::wait_until_ready(target, Tuning::default(), BOOT_DEADLINE, |waiting| {
                v.cx.ui
                    .progress(&format!("booting, {} s", waiting.elapsed.as_secs()), None);
                true
            });
        let tunnel = tokio::select! {
            connected = connected => connected.map_err(|e| match e {
                TunnelError::NotReady { .. } => CliError::from(e)
                    .fix(machine::again(v.cx, "start"))
                    .log(machine::again(v.cx, "logs --machine")),
                other => other.into(),
            })?,
            died = watched => return Err(died),
        };
        if v.was_running
            && let Some(told) = clock::right(v.cx, &tunnel).await?
        {
            v.cx.ui.warn("clock", &told);
        }
        v.tunnel = Some(tunnel);
        Ok(Note::new(format!("ssh answers on {address}")))
    }
}
