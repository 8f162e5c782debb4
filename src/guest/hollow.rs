//! `cadet-node hollow`: many nodes in one process, without containers.

use std::path::PathBuf;

use kube::config::Kubeconfig;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::connect::Connect;
use crate::server::stop_signal;

/// How many nodes, and of which cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes to play
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(cadet_kubelet::hollow::MOST)))]
    nodes: u32,
    /// What the nodes' names begin with; a number follows
    #[arg(long, default_value = "hollow-", value_name = "PREFIX")]
    name_prefix: String,
    /// Who and where: an administrator's kubeconfig
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the kubeconfig is unusable.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig)?;
    // Each node has a connection of its own, as it would have on a computer of its own.
    let connect = Connect::new(kubeconfig).await?;
    let clients = (0..args.nodes).map(|_| connect.client());
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            stop.await;
            shutdown.cancel();
        }
    });
    tracing::info!(nodes = args.nodes, "hollow nodes start");
    let version = cadet_apiserver::git_version();
    cadet_kubelet::hollow::run_many(&args.name_prefix, &version, clients, shutdown).await?;
    Ok(())
}
