//! Work inside a pod's network namespace, on a thread of its own.
//!
//! `setns` changes the calling thread only. That thread must never be one of the
//! runtime's, or unrelated tasks would find themselves in a pod.

use std::fs::File;
use std::net::Ipv4Addr;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use crate::NetworkError;
use crate::link::Links;

/// What the pod's end of the pair shall become.
#[derive(Debug, Clone)]
pub(crate) struct PodLink {
    pub(crate) current_name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
}

/// Sets up loopback, `eth0` and the default route in the namespace of process `pid`.
pub(crate) async fn configure(pid: u32, link: PodLink) -> Result<(), NetworkError> {
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("netns-{pid}"))
        .spawn(move || {
            // The receiver only goes away when the agent stops.
            let _ = answer.send(on_this_thread(pid, &link));
        })
        .map_err(|source| NetworkError::EnterNamespace { pid, source })?;
    answered.await.map_err(|_| NetworkError::ThreadDied(pid))?
}

fn on_this_thread(pid: u32, link: &PodLink) -> Result<(), NetworkError> {
    let enter = |source| NetworkError::EnterNamespace { pid, source };
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(enter)?;
    setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| enter(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(enter)?;
    runtime.block_on(async {
        let links = Links::open()?;
        links.bring_up("lo").await?;
        links
            .configure(&link.current_name, Some("eth0"), link.address, 32)
            .await?;
        links.default_route("eth0", link.gateway).await
    })
}
