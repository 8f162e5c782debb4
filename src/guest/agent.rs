//! `cadet-node agent`: pod network, routes to other nodes, service network and kubelet on this
//! machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cadet_api::install::NodeConfig;
use cadet_kubelet::{ClusterDns, Config, DockerRuntime, PORT, ServerTls};
use cadet_network::{Network, NetworkConfig};
use kube::config::Kubeconfig;
use tokio_util::sync::CancellationToken;

use crate::connect::Connect;
use crate::pki::Pki;
use crate::server::stop_signal;
use crate::{Failure, beginning, config, credentials, names, routes};

/// systemd-resolved's list of real servers; /etc/resolv.conf names its stub, which pods
/// cannot reach.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Runs until SIGTERM or SIGINT; containers go on. `docker` is the engine's socket.
///
/// # Errors
/// Whatever keeps it from starting. systemd starts it again.
pub async fn run(config: &NodeConfig, data: &Path, docker: &Path) -> Result<(), Failure> {
    let mut stop = Box::pin(stop_signal()?);
    if let Some(network) = &config.node_network {
        cadet_network::set_up_card(&network.mac, network.address, network.prefix).await?;
    }
    let host_ip = config::address(config)?;
    let network = Network::setup(NetworkConfig {
        pod_cidr: config.pod_cidr.parse()?,
        cluster_cidr: config.cluster_cidr.parse()?,
    })
    .await?;
    let resolved = PathBuf::from(RESOLVED);
    let resolv_conf = if resolved.exists() {
        resolved
    } else {
        PathBuf::from(names::HOST_FILE)
    };
    let dns = names::prepare(config, &network, resolv_conf.clone()).await?;
    let pki = Pki::at(data);
    tokio::select! {
        () = &mut stop => return Ok(()),
        () = beginning::wait(config, &pki) => {}
    }
    let serving = pki.pair("kubelet")?;
    let tls = ServerTls {
        client_ca: pki.ca()?.into_bytes(),
        certificate: serving.certificate.into_bytes(),
        key: serving.key.into_bytes(),
    };
    let kubelet = Config {
        node_name: config.node_name.clone(),
        host_ip,
        pod_cidr: config.pod_cidr.clone(),
        version: cadet_apiserver::git_version(),
        pods_dir: Some(data.join("pods")),
        lessons_dir: PathBuf::from(&config.lessons_dir),
        pause_program: std::env::current_exe()?,
        resolv_conf,
        dns: dns.as_ref().map(|dns| ClusterDns {
            server: dns.address,
            domain: dns.domain.clone(),
        }),
        listen: SocketAddr::from((host_ip, PORT)),
        tls: Some(tls),
        machine: None,
        static_pods: Some(data.join("manifests")),
    };
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            stop.await;
            shutdown.cancel();
        }
    });
    let proxy = tokio::spawn(cadet_proxy::run(
        client(credentials::proxy(config, &pki)?).await?,
        cadet_proxy::Config {
            node_name: config.node_name.clone(),
            cluster_cidr: config.cluster_cidr.clone(),
            service_cidr: config.service_cidr.clone(),
            pod_rules: network.rules(),
        },
        network.rebuilt(),
        shutdown.clone(),
    ));
    let client = client(credentials::agent(config, &pki)?).await?;
    let runtime = DockerRuntime::new(docker.display().to_string());
    let names = dns.map(|dns| {
        let host = config.host_dns;
        tokio::spawn(names::serve(dns, host, client.clone(), shutdown.clone()))
    });
    let network = Arc::new(network);
    // Where nodes know of no network they share, somebody else leads to other nodes' pods.
    let share = config.node_network.is_some() || config.address.is_some();
    let routes = share.then(|| {
        let (network, own) = (Arc::clone(&network), config.node_name.clone());
        tokio::spawn(routes::run(client.clone(), network, own, shutdown.clone()))
    });
    tracing::info!(node = %config.node_name, %host_ip, "the agent starts");
    cadet_kubelet::run(kubelet, client, runtime, network, shutdown).await?;
    proxy.await?;
    if let Some(Err(error)) = futures::future::OptionFuture::from(routes).await {
        tracing::error!(%error, "the loop of routes failed");
    }
    if let Some(Err(error)) = futures::future::OptionFuture::from(names).await {
        tracing::error!(%error, "the DNS server failed");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn client(kubeconfig: serde_json::Value) -> Result<kube::Client, Failure> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    Ok(Connect::new(kubeconfig).await?.client()?)
}
