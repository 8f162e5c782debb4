//! Gives every namespace the ConfigMap `kube-root-ca.crt`, by which pods know the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::errors::{Error, again, overtaken};

const NAME: &str = "kube-root-ca.crt";
/// The key pods mount, under `/var/run/secrets/kubernetes.io/serviceaccount`.
const KEY: &str = "ca.crt";

struct Context {
    client: Client,
    /// PEM.
    authority: String,
}

/// Keeps the ConfigMaps until `shutdown`; `authority` is the certificate in PEM.
pub async fn run(client: Client, authority: String, shutdown: CancellationToken) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let only_ours = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    Controller::new(namespaces, watcher::Config::default())
        .watches(maps, only_ours, |map: ConfigMap| {
            map.namespace().map(|ns| ObjectRef::new(&ns))
        })
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(reconcile, again, Arc::new(Context { client, authority }))
        .for_each(|_| async {})
        .await;
}

async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, Error> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = namespace.name_any();
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &name);
    let what = || format!("config map {name}/{NAME}");
    let there = maps.get_opt(NAME).await.map_err(|source| Error::Read {
        what: what(),
        source,
    })?;
    let wanted = BTreeMap::from([(KEY.to_owned(), context.authority.clone())]);
    let written = match there {
        Some(map) if map.data.as_ref() == Some(&wanted) => return Ok(Action::await_change()),
        // Edited, or of an authority that is no more.
        Some(_) => {
            let patch = json!([{"op": "add", "path": "/data", "value": wanted}]);
            match serde_json::from_value(patch) {
                Ok(patch) => {
                    let patch = Patch::<()>::Json(patch);
                    maps.patch(NAME, &PatchParams::default(), &patch).await
                }
                Err(source) => Err(kube::Error::SerdeError(source)),
            }
        }
        None => {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    annotations: Some(BTreeMap::from([(
                        "kubernetes.io/description".to_owned(),
                        "The authority by which pods know this cluster's API server, as kubernetes.default.svc. It vouches for nothing else.".to_owned(),
                    )])),
                    ..ObjectMeta::default()
                },
                data: Some(wanted),
                ..ConfigMap::default()
            };
            maps.create(&PostParams::default(), &map).await
        }
    };
    match written {
        Ok(_) => debug!(namespace = %name, "{NAME} written"),
        // Changed by somebody else meanwhile, or the namespace began to go away.
        Err(error) if overtaken(&error) => {}
        Err(kube::Error::Api(s)) if s.code == 403 => {}
        Err(source) => {
            return Err(Error::Write {
                what: what(),
                source,
            });
        }
    }
    Ok(Action::await_change())
}
