//! The machine as lessons reach it: one SSH session for docker, scripts and a SOCKS server of
//! our own, made when first used and made anew when the machine is another one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use cadet_tunnel::socks5::Socks5;
use cadet_tunnel::{Tunnel, TunnelError, exec};
use cadet_tutorial::model::Command;
use cadet_tutorial::world::{Ended, Sink, Stream, WorldError};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::docker;
use super::tap::Tap;
use super::told;
use crate::error::CliError;
use crate::nodes::Node;
use crate::{Context, line, machine};

/// The line into the profile's machine.
pub struct Guest {
    cx: Arc<Context>,
    open: Mutex<Option<Open>>,
}

struct Open {
    tunnel: Tunnel,
    socks: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Guest {
    /// Nothing is opened before it is needed.
    pub fn new(cx: Arc<Context>) -> Self {
        Self {
            cx,
            open: Mutex::new(None),
        }
    }

    /// Runs a script as root with `sh -eu`.
    ///
    /// # Errors
    /// The machine cannot be reached.
    pub async fn script(&self, script: &str, show: Option<Sink>) -> Result<Ended, WorldError> {
        let line = format!("sudo -n sh -eu -c {}", exec::quote(script));
        self.run(&line, &[], show).await
    }

    /// Runs a `docker` command; `folder` is the lesson folder.
    ///
    /// # Errors
    /// The machine cannot be reached, a folder to build from is not there.
    pub async fn docker(
        &self,
        command: &Command,
        folder: &Path,
        show: Option<Sink>,
    ) -> Result<Ended, WorldError> {
        let line = docker::line(command)?;
        let context = match &line.context {
            None => Vec::new(),
            Some(below) => {
                let place = folder.join(below);
                docker::archive(&place).map_err(|e| {
                    WorldError::new(format!("{} cannot be read: {e}", place.display()))
                })?
            }
        };
        self.run(&line.text, &context, show).await
    }

    /// Runs a shell line, fed with `input`.
    ///
    /// # Errors
    /// The machine cannot be reached.
    pub async fn run(
        &self,
        line: &str,
        input: &[u8],
        show: Option<Sink>,
    ) -> Result<Ended, WorldError> {
        let tunnel = self.tunnel().await?;
        let mut out = Tap::new(show.clone(), Stream::Out);
        let mut error = Tap::new(show, Stream::Error);
        let ended = tunnel.exec_streams(line, input, &mut out, &mut error).await;
        let status = match ended {
            Ok(status) => status,
            Err(e) => return Err(self.lost(e).await),
        };
        Ok(Ended {
            code: status.shell_code().into(),
            out: out.end(),
            error: error.end(),
        })
    }

    /// Our own SOCKS server into the cluster's network.
    ///
    /// # Errors
    /// The machine is not running.
    pub async fn socks(&self) -> Result<SocketAddr, WorldError> {
        self.with_open(|open| open.socks).await
    }

    /// The session itself.
    ///
    /// # Errors
    /// The machine is not running.
    pub async fn tunnel(&self) -> Result<Tunnel, WorldError> {
        self.with_open(|open| open.tunnel.clone()).await
    }

    async fn with_open<T>(&self, take: impl FnOnce(&Open) -> T) -> Result<T, WorldError> {
        let mut open = self.open.lock().await;
        if let Some(there) = open.as_ref() {
            return Ok(take(there));
        }
        let made = self.connect().await.map_err(told)?;
        let taken = take(&made);
        *open = Some(made);
        Ok(taken)
    }

    /// Sessions to the machines beside the first that run.
    pub async fn others(&self) -> Result<Vec<(Node, Tunnel)>, WorldError> {
        line::connect_others(&self.cx).await.map_err(told)
    }

    async fn connect(&self) -> Result<Open, CliError> {
        let profile = machine::running(&self.cx).await?;
        let target = line::target(&self.cx, &profile)?;
        let tunnel = Tunnel::lazy(target, line::tuning(&self.cx, &profile));
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socks = Socks5::bind(tunnel.clone(), local, None).await?;
        let address = socks.local_addr();
        let serving = tokio::spawn(socks.run(std::future::pending()));
        Ok(Open {
            tunnel,
            socks: address,
            serving,
        })
    }

    /// Lets go of a line that broke: the machine may be gone, or another one by now.
    async fn lost(&self, e: TunnelError) -> WorldError {
        *self.open.lock().await = None;
        match machine::running(&self.cx).await {
            Ok(_) => told(e.into()),
            Err(not_running) => told(not_running),
        }
    }

    /// Lets go of the line when it is down, so that the next use looks at the machine anew.
    pub async fn recheck(&self) {
        let mut open = self.open.lock().await;
        let down = match open.as_ref() {
            Some(there) => !there.tunnel.is_up().await,
            None => false,
        };
        if down {
            *open = None;
        }
    }
}
