//! What every cluster has from its first moment, made anew if it is missing.

use cadet_api::resource::Resource;
use cadet_api::status::Status;
use serde_json::{Value, json};

use crate::access;
use crate::admission::{ETERNAL_NAMESPACES, Request, find, find_in};
use crate::app::{App, StartError};
use crate::handlers::store_new;
use crate::ownership::Manager;

/// Where node agents keep their heartbeats.
const LEASES: &str = "kube-node-lease";

pub async fn run(app: &App) -> Result<(), StartError> {
    for name in ETERNAL_NAMESPACES.iter().chain([&LEASES]) {
        make(app, "namespaces", json!({"metadata": {"name": name}})).await?;
    }
    for name in ETERNAL_NAMESPACES.iter().chain([&LEASES]) {
        let account = json!({"metadata": {"name": "default", "namespace": name}});
        make(app, "serviceaccounts", account).await?;
    }
    let failed = |status| StartError::Bootstrap {
        what: "priority classes".into(),
        status,
    };
    let classes = find_in("scheduling.k8s.io", "priorityclasses").map_err(failed)?;
    for class in priority_classes() {
        make_of(app, classes, class).await?;
    }
    // Together, so that they share a few disk barriers.
    let policy = access::policy::objects();
    let made = policy.into_iter().map(|(plural, object)| async move {
        let name = cadet_api::json::str_at(&object, "/metadata/name").to_owned();
        let failed = |status| StartError::Bootstrap {
            what: format!("{plural}/{name}"),
            status,
        };
        let kind = access::rbac::kind(plural)
            .ok_or_else(|| failed(Status::internal("not in the table of kinds")))?;
        if app.world.get(kind, "", &name).is_some() {
            return Ok(());
        }
        store_new(&Request::server(app, kind, ""), object, &Manager::server())
            .await
            .map(|_| ())
            .map_err(failed)
    });
    futures::future::try_join_all(made).await?;
    make(app, "services", kubernetes_service(app)).await?;
    kubernetes_endpoints(app).await
}

/// Creates an object of the core group unless it is there.
async fn make(app: &App, plural: &str, object: Value) -> Result<(), StartError> {
    let resource = find(plural).map_err(|status| StartError::Bootstrap {
        what: plural.to_owned(),
        status,
    })?;
    make_of(app, resource, object).await
}

async fn make_of(app: &App, resource: &'static Resource, object: Value) -> Result<(), StartError> {
    let name = cadet_api::json::str_at(&object, "/metadata/name").to_owned();
    let namespace = cadet_api::json::str_at(&object, "/metadata/namespace").to_owned();
    let failed = |status| StartError::Bootstrap {
        what: format!("{}/{name}", resource.plural),
        status,
    };
    if app.world.get(resource, &namespace, &name).is_some() {
        return Ok(());
    }
    store_new(
        &Request::server(app, resource, &namespace),
        object,
        &Manager::server(),
    )
    .await
    .map(|_| ())
    .map_err(failed)
}

/// The classes of what a cluster cannot do without; their values are above all a user may
/// give (KEP-268).
fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| json!({"metadata": {"name": name}, "value": value, "description": description});
    [
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
}

fn kubernetes_service(app: &App) -> Value {
    let port = app.config.advertise.port();
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": app.addresses.first().to_string(),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    })
}

/// Where the Service leads, in both notations. The address may have changed since the last
/// start, so it is written anew when it has.
async fn kubernetes_endpoints(app: &App) -> Result<(), StartError> {
    let advertise = app.config.advertise;
    // Such an address leads nowhere from a pod, and the rules for endpoints refuse it.
    if advertise.ip().is_loopback() || advertise.ip().is_unspecified() {
        return Ok(());
    }
    let (ip, port) = (advertise.ip().to_string(), advertise.port());
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip}], "ports": ports}],
    });
    keep(app, "", "endpoints", endpoints, &["subsets"]).await?;
    let family = if advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": ports,
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
) -> Result<(), StartError> {
    let name = cadet_api::json::str_at(&object, "/metadata/name").to_owned();
    let failed = |status| StartError::Bootstrap {
        what: format!("{plural}/{name}"),
        status,
    };
    let kind = find_in(group, plural).map_err(failed)?;
    make_of(app, kind, object.clone()).await?;
    crate::writing::change(app, kind, "default", &name, false, |old| {
        let mut value = old.clone();
        for member in members {
            value[*member] = object[*member].clone();
        }
        Ok(crate::writing::Proposal {
            value,
            conditional: false,
            warnings: vec![],
        })
    })
    .await
    .map(|_| ())
    .map_err(failed)
}
