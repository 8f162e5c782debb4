//! Where the `kubernetes` Service leads: to this server, and to all that serve the same
//! cluster.
//!
//! ```text
//!   each server: renew my Lease ──▶ whose Lease moved lately? ──▶ Endpoints, EndpointSlice
//! ```
//! A server alone on its store writes its address once. Of several, each has a Lease in
//! `kube-system` and keeps the list as it sees it, which is the same for all. Whether a
//! Lease moves is told by our own clock, so clocks of servers need not agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{clock, json};
use cadet_store::Revision;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Request};
use crate::app::App;
use crate::handlers::{DeleteOptions, delete_one, store_new};
use crate::object::Object;
use crate::ownership::Manager;
use crate::writing::{self, Proposal};

/// Where Leases of servers are, as upstream's.
const NAMESPACE: &str = "kube-system";
/// What marks them, with upstream's value.
const MARK: &str = "apiserver.kubernetes.io/identity";
const MARKED: &str = "kube-apiserver";
/// How often a server renews its Lease.
const RENEW: Duration = Duration::from_secs(5);
/// A Lease that has not moved for so long is that of a server that is gone; upstream's
/// figure.
const LIFE: Duration = Duration::from_secs(15);

/// The servers of the cluster as one of them sees them.
#[derive(Default)]
pub struct Servers {
    /// When each Lease was last seen to move, by name.
    moved: HashMap<String, (Revision, Instant)>,
}

/// Whether the address is worth telling: such a one leads nowhere from a pod, and the
/// rules for endpoints refuse it.
fn is_told(address: SocketAddr) -> bool {
    !address.ip().is_loopback() && !address.ip().is_unspecified()
}

/// Renews and looks until `shutdown`, and then takes this server off the list.
pub async fn run(app: &App, shutdown: CancellationToken) {
    if !app.world.is_shared() || !is_told(app.config.advertise) {
        return;
    }
    let mut servers = Servers::default();
    loop {
        if let Err(status) = servers.round(app).await {
            tracing::warn!(%status, "cannot keep the endpoints of the API servers");
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(RENEW) => {}
        }
    }
    if let Err(status) = servers.leave(app).await {
        tracing::warn!(%status, "cannot leave the endpoints of the API servers");
    }
}

/// Puts this server on the list, at its start.
pub async fn begin(app: &App) -> Result<(), Status> {
    let advertise = app.config.advertise;
    if !is_told(advertise) {
        return Ok(());
    }
    if app.world.is_shared() {
        return Servers::default().round(app).await;
    }
    write(app, &BTreeSet::from([advertise])).await
}

impl Servers {
    async fn round(&mut self, app: &App) -> Result<(), Status> {
        renew(app).await?;
        let mut live = BTreeSet::new();
        for lease in self.look(app)? {
            let name = lease.name();
            match self.moved.get(name) {
                Some((_, at)) if at.elapsed() > LIFE => {
                    remove(app, lease.resource, name).await?;
                    tracing::info!(server = %address_of(&lease), "an API server is gone");
                }
                _ => live.extend(address_of(&lease).parse::<SocketAddr>()),
            }
        }
        write(app, &live).await
    }

    async fn leave(&mut self, app: &App) -> Result<(), Status> {
        let leases = admission::find_in("coordination.k8s.io", "leases")?;
        remove(app, leases, &own_name(app)).await?;
        let own = app.config.advertise;
        let others = self.look(app)?;
        let others = others
            .iter()
            .filter_map(|lease| address_of(lease).parse().ok());
        let others: BTreeSet<SocketAddr> = others.filter(|address| *address != own).collect();
        match others.is_empty() {
            // The last one stays listed, as a server alone does.
            true => Ok(()),
            false => write(app, &others).await,
        }
    }

    /// All Leases of servers; notes which have moved.
    fn look(&mut self, app: &App) -> Result<Vec<Arc<Object>>, Status> {
        let leases = admission::find_in("coordination.k8s.io", "leases")?;
        let mut found = app.world.list(leases, Some(NAMESPACE)).objects;
        found.retain(|lease| lease.label(MARK) == Some(MARKED));
        let now = Instant::now();
        let before = std::mem::take(&mut self.moved);
        for lease in &found {
            let seen = match before.get(lease.name()) {
                Some((revision, at)) if *revision == lease.revision => (*revision, *at),
                _ => (lease.revision, now),
            };
            self.moved.insert(lease.name().to_owned(), seen);
        }
        Ok(found)
    }
}

/// `10.0.0.1:6443` as a name.
fn own_name(app: &App) -> String {
    let address = app.config.advertise.to_string().to_lowercase();
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!(
        "apiserver-{}",
        address
            .chars()
            .map(safe)
            .collect::<String>()
            .trim_matches('-')
    )
}

fn address_of(lease: &Object) -> String {
    json::str_at(&lease.value(), "/spec/holderIdentity").to_owned()
}

/// Moves the Lease of this server; makes it, if it is not there.
async fn renew(app: &App) -> Result<(), Status> {
    let leases = admission::find_in("coordination.k8s.io", "leases")?;
    let name = own_name(app);
    let now = clock::rfc3339_micro(OffsetDateTime::now_utc());
    let spec = json!({
        "holderIdentity": app.config.advertise.to_string(),
        "leaseDurationSeconds": LIFE.as_secs(),
        "renewTime": now,
    });
    let renewed = writing::change(app, leases, NAMESPACE, &name, false, |old| {
        let mut value = old.clone();
        value["spec"] = spec.clone();
        Ok(proposal(value))
    });
    match renewed.await {
        Ok(_) => return Ok(()),
        Err(status) if status.code == 404 => {}
        Err(status) => return Err(status),
    }
    let lease = json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {MARK: MARKED}},
        "spec": spec,
    });
    let request = Request::server(app, leases, NAMESPACE);
    store_new(&request, lease, &Manager::server())
        .await
        .map(|_| ())
}

async fn remove(app: &App, leases: &'static Resource, name: &str) -> Result<(), Status> {
    match delete_one(app, leases, NAMESPACE, name, &DeleteOptions::default()).await {
        // Somebody else saw it as well.
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

/// Writes the list in both notations, if it differs.
async fn write(app: &App, servers: &BTreeSet<SocketAddr>) -> Result<(), Status> {
    let mut by_port: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for server in servers {
        by_port
            .entry(server.port())
            .or_default()
            .push(server.ip().to_string());
    }
    let ports = |port: u16| json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let subset = |(port, addresses): (&u16, &Vec<String>)| {
        let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"addresses": addresses, "ports": ports(*port)})
    };
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": by_port.iter().map(subset).collect::<Vec<_>>(),
    });
    keep(app, "", "endpoints", endpoints, &["subsets"]).await?;
    // A slice has one set of ports; servers on one port are the rule, as upstream's must be.
    let Some((port, addresses)) = by_port
        .iter()
        .max_by_key(|(port, of)| (of.len(), u16::MAX - **port))
    else {
        return Ok(());
    };
    let family = if addresses.iter().any(|ip| ip.contains(':')) {
        "IPv6"
    } else {
        "IPv4"
    };
    let endpoint = |ip: &String| json!({"addresses": [ip], "conditions": {"ready": true}});
    let slice = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports(*port),
    });
    let group = "discovery.k8s.io";
    keep(app, group, "endpointslices", slice, &["endpoints", "ports"]).await
}

/// Creates an object of namespace `default`, or sets these members of it again.
async fn keep(
    app: &App,
    group: &str,
    plural: &str,
    object: Value,
    members: &[&str],
) -> Result<(), Status> {
    let name = json::str_at(&object, "/metadata/name").to_owned();
    let kind = admission::find_in(group, plural)?;
    crate::bootstrap::make_of(app, kind, object.clone()).await?;
    let changed = writing::change(app, kind, "default", &name, false, |old| {
        let mut value = old.clone();
        for member in members {
            value[*member] = object[*member].clone();
        }
        Ok(proposal(value))
    });
    changed.await.map(|_| ())
}

fn proposal(value: Value) -> Proposal {
    Proposal {
        value,
        conditional: false,
        warnings: vec![],
    }
}
