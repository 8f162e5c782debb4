//! `cadet-node server`: certificates, store, API server, loops; drained in reverse.
//!
//! A server with its own store runs the loops itself. Of several on one etcd each serves
//! the API, and an elected one runs the loops.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use cadet_api::install::{IngressPorts, NodeConfig};
use cadet_apiserver::{App, Config, Keys, User, kubelet_tls_config, serve, tls_config};
use cadet_controllers::Authority;
use cadet_store::{LocalStore, Options, RedbDisk, Store};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::datastore::{self, Datastore};
use crate::pki::{Pair, Pki};
use crate::{config, election, notify};

/// Who the loops are to the API server: upstream's names.
const SCHEDULER: &str = "system:kube-scheduler";
const CONTROLLERS: &str = "system:kube-controller-manager";
/// And ours; it may do what the role of the same name says.
const INGRESS: &str = "system:cadet-ingress";

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting: certificates, a damaged store, a taken port.
pub async fn run(
    config: &NodeConfig,
    data: &Path,
    shared: &Datastore,
    dashboard_port: u16,
) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let address = IpAddr::V4(config::address(config)?);
    let pki = Pki::at(data);
    let store: Arc<dyn Store> = match shared.options()? {
        Some(options) => Arc::new(datastore::join(options, &pki, config, address).await?),
        None => {
            // Both wait for the disk, at a first start several times.
            let folder = data.join("store");
            let opened = tokio::task::spawn_blocking(move || {
                LocalStore::open(RedbDisk::open(&folder)?, Options::default())
            });
            pki.ensure(config, address)?;
            Arc::new(opened.await??)
        }
    };
    let authority = certificate(&pki.ca()?)?;
    let (chain, key) = chain(&pki.pair("apiserver")?)?;
    let tls = tls_config(vec![chain], key, authority.clone())?;
    let (chain, key) = self::chain(&pki.pair("apiserver-kubelet")?)?;

    let mut app_config = Config::new(
        config.service_cidr.clone(),
        SocketAddr::new(address, config.api_port),
    );
    app_config.token_keys = Some(Arc::new(Keys::new(&pki.token_key()?)?));
    app_config.authority = pki.ca()?;
    app_config.metrics = config.features.metrics;
    app_config.kubelet_tls = Some(kubelet_tls_config(authority, vec![chain], key)?);
    let ca = pki.pair("ca")?;
    let signer = Arc::new(Authority::new(ca.certificate, &ca.key)?);
    let app = App::start(app_config, store).await?;
    // The port is forwarded to the laptop's loopback, and pods and other nodes use it too;
    // who shows neither certificate nor token gets the version and the health, no more.
    let listener = TcpListener::bind(("0.0.0.0", config.api_port)).await?;

    let loops = CancellationToken::new();
    let mut tasks = start_loops(&app, config, signer, &loops);
    if dashboard_port != 0 && config.features.dashboard {
        // Whoever shows no token there is nobody.
        let api = app.service(User::anonymous());
        let dashboard = cadet_dashboard::run(dashboard_port, api, loops.clone());
        tasks.push(("dashboard", tokio::spawn(dashboard)));
    }
    tracing::info!(port = config.api_port, node = %config.node_name, "the API server answers");
    notify::ready()?;
    let stop = {
        let loops = loops.clone();
        // At once, so that another server takes over while this one still drains.
        async move {
            stop.await;
            loops.cancel();
        }
    };
    serve(listener, tls, app, stop).await;
    for (name, task) in tasks {
        ended(name, task).await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Starts what works on the cluster beside the API, until `stop`.
fn start_loops(
    app: &App,
    config: &NodeConfig,
    authority: Arc<Authority>,
    stop: &CancellationToken,
) -> Vec<(&'static str, JoinHandle<()>)> {
    let balancers = config.load_balancer_cidr.clone();
    let api_port = config.api_port;
    let client = |name: &str| {
        let user = User::new(name, &["system:authenticated"]);
        kube::Client::new(app.service(user), "default")
    };
    let schedule = client(SCHEDULER);
    let control = client(CONTROLLERS);
    let ingress = client(INGRESS);
    // Every server has visitors; what stands in the API is written by one.
    let visitors = visitors(config.ingress, ingress.clone(), stop.clone());
    let visitors = ("ingress", tokio::spawn(visitors));
    let dns = cadet_dns::service::address(&config.service_cidr);
    let written = move |control: kube::Client, term: CancellationToken| {
        let dns = dns.map(|address| cadet_dns::service::run(control, address, term.clone()));
        let statuses = cadet_ingress::status::run(ingress.clone(), term);
        async move {
            tokio::join!(futures::future::OptionFuture::from(dns), statuses);
        }
    };
    if !app.is_shared() {
        let scheduler = cadet_scheduler::run(schedule, stop.clone());
        let balance =
            cadet_controllers::service_lb::run(control.clone(), balancers, api_port, stop.clone());
        let written = written(control.clone(), stop.clone());
        let controllers = cadet_controllers::run(control, authority, stop.clone());
        return vec![
            visitors,
            ("load balancers", tokio::spawn(balance)),
            ("dns and ingress status", tokio::spawn(written)),
            ("controllers", tokio::spawn(controllers)),
            ("scheduler", tokio::spawn(scheduler)),
        ];
    }
    let identity = format!("{}_{}", config.node_name, uuid::Uuid::new_v4());
    let scheduler = {
        let (stop, identity) = (stop.clone(), identity.clone());
        async move {
            let lead = |term| cadet_scheduler::run(schedule.clone(), term);
            election::run(schedule.clone(), "kube-scheduler", identity, stop, lead).await;
        }
    };
    let controllers = {
        let (stop, app) = (stop.clone(), app.clone());
        async move {
            let lead = |term: CancellationToken| {
                let controllers =
                    cadet_controllers::run(control.clone(), authority.clone(), term.clone());
                let balance = cadet_controllers::service_lb::run(
                    control.clone(),
                    balancers.clone(),
                    api_port,
                    term.clone(),
                );
                let written = written(control.clone(), term.clone());
                let app = app.clone();
                async move {
                    tokio::join!(controllers, balance, written, app.run_loops(term));
                }
            };
            let lease = "kube-controller-manager";
            election::run(control.clone(), lease, identity, stop, lead).await;
        }
    };
    let announce = {
        let (stop, app) = (stop.clone(), app.clone());
        async move { app.keep_among_endpoints(stop).await }
    };
    vec![
        visitors,
        ("controllers", tokio::spawn(controllers)),
        ("scheduler", tokio::spawn(scheduler)),
        ("endpoints", tokio::spawn(announce)),
    ]
}

/// Serves Ingresses until `stop`.
async fn visitors(ports: IngressPorts, client: kube::Client, stop: CancellationToken) {
    let port = |port: u16| (port != 0).then_some(port);
    let settings = cadet_ingress::Config {
        http: port(ports.http),
        https: port(ports.https),
        ..cadet_ingress::Config::default()
    };
    match cadet_ingress::Server::bind(&settings).await {
        Ok(server) => server.run(client, stop).await,
        Err(error) => tracing::error!(%error, "Ingresses are not served"),
    }
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
