//! The first moments of a cluster: the server of this machine is making its certificates while the
//! agent starts beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use cadet_api::install::NodeConfig;
use tokio::net::TcpStream;

use crate::pki::Pki;

/// For certificates, and then for the API, of a new cluster.
const PATIENCE: Duration = Duration::from_secs(20);
/// For the API of one that is there already: pods that need none are waiting as well.
const RESTART: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for the certificates of a server that is making them, and then for its API: whoever asks
/// too early ends, or asks again later than need be. Ends after a while in any case: what is
/// missing then is told by whoever needs it. A machine that has no server has its certificates
/// from elsewhere and never waits.
pub async fn wait(config: &NodeConfig, pki: &Pki) {
    if config.server.is_some() {
        return;
    }
    let is_new = !is_begun(pki);
    if is_new {
        tracing::info!("waiting for the server of this machine");
        if !until(PATIENCE, || std::future::ready(is_begun(pki))).await {
            return;
        }
    }
    let api = SocketAddr::from((Ipv4Addr::LOCALHOST, config.api_port));
    let patience = if is_new { PATIENCE } else { RESTART };
    until(
        patience,
        || async move { TcpStream::connect(api).await.is_ok() },
    )
    .await;
}

/// Whether the server has made what an agent needs; the last of it tells.
fn is_begun(pki: &Pki) -> bool {
    ["kubelet.crt", "node.crt", "proxy.crt"]
        .iter()
        .all(|name| pki.has(name))
}

/// Asks until it is so; false if it never was.
async fn until<F: Future<Output = bool>>(patience: Duration, mut is_so: impl FnMut() -> F) -> bool {
    let began = Instant::now();
    loop {
        if is_so().await {
            return true;
        }
        if began.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn config(api_port: u16, server: Option<&str>) -> NodeConfig {
        serde_json::from_value(serde_json::json!({
            "nodeName": "cadet", "clusterName": "cadet", "clusterCidr": "10.244.0.0/16",
            "podCidr": "10.244.0.0/24", "serviceCidr": "10.96.0.0/12", "apiPort": api_port,
            "apiSans": ["127.0.0.1"], "server": server,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn an_agent_waits_for_the_server_beside_it_and_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        // Its certificates do not come from here.
        wait(&config(1, Some("10.89.0.1:6443")), &pki).await;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let here = config(listener.local_addr().unwrap().port(), None);
        let server = async {
            pki.ensure(&here, IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
            listener.accept().await.unwrap();
        };
        tokio::join!(wait(&here, &pki), server);
        // A later start finds both.
        tokio::join!(wait(&here, &pki), async {
            listener.accept().await.unwrap();
        });
    }
}
