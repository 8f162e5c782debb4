//! What every cluster has from its first moment, made anew if it is missing.

use cadet_api::resource::Resource;
use serde_json::{Value, json};

use crate::admission::{ETERNAL_NAMESPACES, find};
use crate::app::{App, StartError};
use crate::handlers::store_new;
use crate::ownership::Manager;

/// Where node agents keep their heartbeats.
const LEASES: &str = "kube-node-lease";

pub async fn run(app: &App) -> Result<(), StartError> {
    for name in ETERNAL_NAMESPACES.iter().chain([&LEASES]) {
        make(app, "namespaces", json!({"metadata": {"name": name}})).await?;
    }
    make(app, "services", kubernetes_service(app)).await?;
    kubernetes_endpoints(app).await
}

/// Creates an object of the core group unless it is there.
async fn make(app: &App, plural: &str, object: Value) -> Result<(), StartError> {
    let name = cadet_api::json::str_at(&object, "/metadata/name").to_owned();
    let namespace = cadet_api::json::str_at(&object, "/metadata/namespace").to_owned();
    let failed = |status| StartError::Bootstrap {
        what: format!("{plural}/{name}"),
        status,
    };
    let resource: &'static Resource = find(plural).map_err(failed)?;
    if app.world.get(resource, &namespace, &name).is_some() {
        return Ok(());
    }
    store_new(app, resource, object, &Manager::server(), false)
        .await
        .map(|_| ())
        .map_err(failed)
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

/// The address may have changed since the last start, so it is written anew when it has.
async fn kubernetes_endpoints(app: &App) -> Result<(), StartError> {
    let failed = |status| StartError::Bootstrap {
        what: "endpoints/kubernetes".into(),
        status,
    };
    let advertise = app.config.advertise;
    let subsets = json!([{
        "addresses": [{"ip": advertise.ip().to_string()}],
        "ports": [{"name": "https", "port": advertise.port(), "protocol": "TCP"}],
    }]);
    let object = json!({
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "subsets": subsets,
    });
    make(app, "endpoints", object).await?;
    let endpoints = find("endpoints").map_err(failed)?;
    crate::writing::change(app, endpoints, "default", "kubernetes", false, |old| {
        let mut value = old.clone();
        if value.get("subsets") != Some(&subsets) {
            value["subsets"] = subsets.clone();
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
