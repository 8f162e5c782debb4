//! Gives every namespace the `default` ServiceAccount that pods run under.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::errors::{Error, again};

const NAME: &str = "default";

struct Context {
    client: Client,
}

/// Keeps the accounts until `shutdown`.
pub async fn run(client: Client, shutdown: CancellationToken) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::all(client.clone());
    let only_default = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    Controller::new(namespaces, watcher::Config::default())
        .watches(accounts, only_default, |account: ServiceAccount| {
            account.namespace().map(|ns| ObjectRef::new(&ns))
        })
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(reconcile, again, Arc::new(Context { client }))
        .for_each(|_| async {})
        .await;
}

async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, Error> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = namespace.name_any();
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &name);
    let what = || format!("service account {name}/{NAME}");
    let there = accounts
        .get_metadata_opt(NAME)
        .await
        .map_err(|source| Error::Read {
            what: what(),
            source,
        })?;
    if there.is_some() {
        return Ok(Action::await_change());
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    match accounts.create(&PostParams::default(), &account).await {
        Ok(_) => debug!(namespace = %name, "default service account created"),
        // Made by somebody else meanwhile, or the namespace began to go away.
        Err(kube::Error::Api(s)) if matches!(s.code, 403 | 404 | 409) => {}
        Err(source) => {
            return Err(Error::Write {
                what: what(),
                source,
            });
        }
    }
    Ok(Action::await_change())
}
