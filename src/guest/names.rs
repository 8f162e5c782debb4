//! The cluster's DNS on this machine: at the Service's own address on the pods' bridge, and at
//! the bridge's first address, by which other nodes and the Service's endpoints name it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cadet_api::install::NodeConfig;
use cadet_dns::{Config, DOMAIN, PORT, Server};
use cadet_network::Network;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// By which the C library of this machine knows whom to ask.
pub const HOST_FILE: &str = "/etc/resolv.conf";
/// Wait until the addresses are tried again that another program holds.
const RETRY: Duration = Duration::from_secs(5);

/// Makes the addresses this machine's own. `None` if the range of Services has no room for DNS;
/// pods then get this machine's servers.
///
/// # Errors
/// As [`Network::answer_at`].
pub async fn prepare(
    config: &NodeConfig,
    network: &Network,
    resolv_conf: PathBuf,
) -> Result<Option<Config>, Failure> {
    let Some(address) = cadet_dns::service::address(&config.service_cidr) else {
        tracing::warn!(
            range = config.service_cidr,
            "no address for DNS in the Services' range"
        );
        return Ok(None);
    };
    network.answer_at(address).await?;
    let at = |address| SocketAddr::from((address, PORT));
    Ok(Some(Config {
        listen: vec![at(address), at(network.gateway())],
        address,
        domain: DOMAIN.into(),
        ranges: vec![config.service_cidr.clone(), config.cluster_cidr.clone()],
        resolv_conf,
    }))
}

/// Answers until `shutdown`; pods run without it as well, so what is in the way is waited out.
/// With `host` this machine asks it too.
pub async fn serve(config: Config, host: bool, client: Client, shutdown: CancellationToken) {
    let server = loop {
        match Server::bind(&config).await {
            Ok(server) => break server,
            Err(error) => tracing::error!(%error, "the cluster has no DNS on this node"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    };
    tracing::info!(address = %config.address, "answering DNS");
    if host && let Err(error) = ask_ourselves(Path::new(HOST_FILE), config.address) {
        tracing::warn!(%error, "this machine itself does not know the cluster's names: {HOST_FILE} cannot be changed");
    }
    server.run(client, shutdown).await;
}

/// Puts our server first in a resolv.conf; the others stay, for when we are not there.
fn ask_ourselves(file: &Path, address: Ipv4Addr) -> std::io::Result<()> {
    if file.is_symlink() {
        // Another program keeps it.
        return Err(std::io::Error::other("it is a link"));
    }
    let text = std::fs::read_to_string(file)?;
    let Some(text) = with_ours(&text, address) else {
        return Ok(());
    };
    let beside = file.with_extension("conf.cadet");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, file)
}

/// `None` if we stand there already.
fn with_ours(text: &str, address: Ipv4Addr) -> Option<String> {
    let line = format!("nameserver {address}");
    if text.lines().any(|known| known.trim() == line) {
        return None;
    }
    Some(format!(
        "# The cluster's names first (cadet-node agent).\n{line}\noptions timeout:1\n{text}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_asks_the_cluster_first_and_keeps_its_other_servers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 10.0.2.3\n").unwrap();
        let address = Ipv4Addr::new(10, 96, 0, 10);
        for _ in 0..2 {
            ask_ourselves(&file, address).unwrap();
            assert_eq!(
                std::fs::read_to_string(&file).unwrap(),
                "# The cluster's names first (cadet-node agent).\nnameserver 10.96.0.10\n\
                 options timeout:1\nnameserver 10.0.2.3\n"
            );
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(ask_ourselves(&link, address).is_err());
    }
}
