//! A tunnel at work: SOCKS, doors for Services, Docker's socket and its control, until
//! somebody ends it or its cluster is gone.

pub mod leftover;

use std::cell::Cell;

use cadet_state::Profile;
use cadet_tunnel::Tunnel;
use cadet_tunnel::control::{Control, Doors};
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
/// PROGRAM_INTERNAL when a listener broke.
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
    let (publish, seen) = watch::channel(Doors {
        docker: docker.as_ref().map(|d| d.path().to_path_buf()),
        ..Doors::default()
    });
    let socks = Work::start(|ended| socks.run(ended));
    let docker = docker.map(|docker| Work::start(|ended| docker.run(ended)));

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
        () = clock::keep(cx, profile, tunnel) => {}
    }

    let broke = |e: tokio::task::JoinError| {
        CliError::new("PROGRAM_INTERNAL", "a listener of the tunnel broke").why(e.to_string())
    };
    socks.end().await.map_err(broke)?;
    if let Some(docker) = docker {
        docker.end().await.map_err(broke)?;
    }
    tunnel.close().await;
    Ok(if gone.get() { Over::Gone } else { Over::Asked })
}
