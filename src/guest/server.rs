//! `cadet-node server`: certificates, store, API server, loops; drained in reverse.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use cadet_api::install::NodeConfig;
use cadet_apiserver::{App, Config, Keys, User, kubelet_tls_config, serve, tls_config};
use cadet_controllers::Authority;
use cadet_store::{LocalStore, Options, RedbDisk};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::notify;
use crate::pki::{Pair, Pki};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting: certificates, a damaged store, a taken port.
pub async fn run(config: &NodeConfig, data: &Path) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let address = IpAddr::V4(cadet_network::route_address()?);
    let pki = Pki::at(data);
    pki.ensure(config, address)?;
    let authority = certificate(&pki.ca()?)?;
    let (chain, key) = chain(&pki.pair("apiserver")?)?;
    let tls = tls_config(vec![chain], key, authority.clone())?;
    let (chain, key) = self::chain(&pki.pair("apiserver-kubelet")?)?;

    let disk = RedbDisk::open(&data.join("store"))?;
    let store = Arc::new(LocalStore::open(disk, Options::default())?);
    let mut app_config = Config::new(
        config.service_cidr.clone(),
        SocketAddr::new(address, config.api_port),
    );
    app_config.token_keys = Some(Arc::new(Keys::new(&pki.token_key()?)?));
    app_config.authority = pki.ca()?;
    app_config.kubelet_tls = Some(kubelet_tls_config(authority, vec![chain], key)?);
    let ca = pki.pair("ca")?;
    let signer = Authority::new(ca.certificate, &ca.key)?;
    let app = App::start(app_config, store).await?;
    // The port is forwarded to the laptop's loopback, and pods and other nodes use it too;
    // every request must show a certificate.
    let listener = TcpListener::bind(("0.0.0.0", config.api_port)).await?;

    let loops = CancellationToken::new();
    let client = |name: &str| {
        let user = User::new(name, &["system:authenticated"]);
        kube::Client::new(app.service(user), "default")
    };
    let scheduler = tokio::spawn(cadet_scheduler::run(
        client("system:kube-scheduler"),
        loops.clone(),
    ));
    let controllers = tokio::spawn(cadet_controllers::run(
        client("system:kube-controller-manager"),
        signer,
        loops.clone(),
    ));
    tracing::info!(port = config.api_port, node = %config.node_name, "the API server answers");
    notify::ready()?;
    serve(listener, tls, app, stop).await;
    loops.cancel();
    for (name, task) in [("controllers", controllers), ("scheduler", scheduler)] {
        ended(name, task).await;
    }
    tracing::info!("stopped");
    Ok(())
}

async fn ended(name: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, name, "a loop failed");
    }
}

/// Resolves at SIGTERM (systemd) or SIGINT (a terminal).
///
/// # Errors
/// If the process may not handle signals.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Failure> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?)
}

fn chain(pair: &Pair) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Failure> {
    Ok((
        certificate(&pair.certificate)?,
        PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
    ))
}
