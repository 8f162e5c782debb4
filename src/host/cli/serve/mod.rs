//! A tunnel at work: SOCKS, doors for Services, Docker's socket and its control, until
//! somebody ends it or its cluster is gone.

pub mod leftover;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};

use cadet_state::Profile;
use cadet_tunnel::Tunnel;
use cadet_tunnel::control::{Control, Doors};
use cadet_tunnel::forward::Forward;
use cadet_tunnel::socket::SocketForward;
use cadet_tunnel::socks5::Socks5;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::doors::work::Work;
use crate::error::{CliError, Result};
use crate::from_rooms::chain;
use crate::{Context, clock, doors, kubeconfig, machine};

/// Where the guest's Docker Engine listens; Cadet's user may use it.
const DOCKER: &str = "/var/run/docker.sock";

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Somebody asked, here or from elsewhere.
    Asked,
    /// Its cluster is gone.
    Gone,
}

/// Serves all of it.
///
/// # Errors
/// PROGRAM_INTERNAL when a listener broke, NET_PORT_TAKEN when the API's port is another's.
pub async fn serve(
    cx: &Context,
    profile: &Profile,
    tunnel: &Tunnel,
    socks: Socks5,
    control: Control,
) -> Result<Over> {
    let files = cx.world.files(&cx.name);
    let address = socks.local_addr();
    let docker = match SocketForward::bind(tunnel.clone(), &files.docker_socket(), DOCKER).await {
        Ok(docker) => Some(docker),
        Err(e) => {
            cx.ui.warn("docker", &chain(&e));
            None
        }
    };
    let api = match (&profile.server, profile.ports) {
        (Some(_), Some(ports)) => Some(api_door(tunnel, ports.api).await?),
        _ => None,
    };
    let (publish, seen) = watch::channel(Doors {
        docker: docker.as_ref().map(|d| d.path().to_path_buf()),
        ..Doors::default()
    });
    let socks = Work::start(|ended| socks.run(ended));
    let docker = docker.map(|docker| Work::start(|ended| docker.run(ended)));
    let api = api.map(|api| Work::start(|ended| api.run(ended)));

    let find = || {
        let access = kubeconfig::read_alone(&files.kubeconfig(), cx.name.as_str())?;
        let none = || CliError::new("GUEST_NOT_RUNNING", "the first start has not finished");
        Cluster::new(&access.ok_or_else(|| none().fix(machine::again(cx, "start")))?)
    };
    let keeping = doors::keep(find, tunnel, &publish, |event| event.tell(&cx.ui));
    let gone = Cell::new(false);
    let over = async {
        tokio::select! {
            _ = crate::interrupted() => {}
            () = leftover::until_gone(&files, profile.created, tunnel) => gone.set(true),
        }
    };
    let answering = async {
        tokio::pin!(over);
        let mut first = seen.clone();
        tokio::select! {
            () = &mut over => return,
            // Who has just started a tunnel wants to hear of its doors as well.
            _ = first.changed() => {}
        }
        control.run(tunnel.clone(), address, seen, over).await;
    };
    tokio::select! {
        () = answering => {}
        () = keeping => {}
        () = keep_clock(cx, profile, tunnel) => {}
    }

    let broke = |e: tokio::task::JoinError| {
        CliError::new("PROGRAM_INTERNAL", "a listener of the tunnel broke").why(e.to_string())
    };
    socks.end().await.map_err(broke)?;
    for work in docker.into_iter().chain(api) {
        work.end().await.map_err(broke)?;
    }
    tunnel.close().await;
    Ok(if gone.get() { Over::Gone } else { Over::Asked })
}

/// What QEMU does for a machine: a port of this computer that leads to the API server.
async fn api_door(tunnel: &Tunnel, port: u16) -> Result<Forward> {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let there = Ipv4Addr::LOCALHOST.to_string();
    Ok(Forward::bind(tunnel.clone(), here, &there, machine::GUEST_API).await?)
}

/// A machine's clock is ours to put right, a server's is its owner's.
async fn keep_clock(cx: &Context, profile: &Profile, tunnel: &Tunnel) {
    match &profile.server {
        Some(_) => std::future::pending().await,
        None => clock::keep(cx, profile, tunnel).await,
    }
}
