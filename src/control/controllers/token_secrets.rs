//! Secrets that hold a token of a service account, the form that books before Kubernetes
//! 1.24 use: the API server fills new ones, here they go with their account.

use std::collections::BTreeMap;
use std::sync::Arc;

use cadet_api::meta::Meta;
use kube::Client;
use serde::Deserialize;
use tracing::info;

use crate::errors::Error;
use crate::shared::{self, Complete, Key, Queue, Record, Shared, Store, work};
use crate::wire::{delete, get, in_namespace, is_gone, reading};

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
const WORKERS: usize = 2;

/// A Secret without what is secret.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct TokenSecret {
    metadata: Header,
    r#type: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    annotations: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

impl TokenSecret {
    /// The account it is of; `None` for secrets of other types.
    fn account(&self) -> Option<&str> {
        let name = self.metadata.annotations.get(NAME)?;
        (self.r#type == TYPE).then_some(name)
    }
}

impl Record for TokenSecret {
    type Wire = TokenSecret;

    fn path() -> String {
        "/api/v1/secrets".to_owned()
    }

    fn of(wire: TokenSecret) -> TokenSecret {
        wire
    }

    fn meta(&self) -> shared::Meta<'_> {
        let meta = &self.metadata;
        shared::Meta {
            namespace: &meta.namespace,
            name: &meta.name,
            uid: &meta.uid,
            version: shared::version(Some(&meta.resource_version)),
            controller: None,
        }
    }

    fn deleting(&self) -> TokenSecret {
        let mut copy = self.clone();
        copy.metadata.deletion_timestamp.get_or_insert_default();
        copy
    }

    fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

/// A ServiceAccount: that it is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Account {
    metadata: Meta,
}

impl Record for Account {
    type Wire = Account;

    fn path() -> String {
        "/api/v1/serviceaccounts".to_owned()
    }

    fn of(wire: Account) -> Account {
        wire
    }

    fn meta(&self) -> shared::Meta<'_> {
        let meta = &self.metadata;
        shared::Meta {
            namespace: &meta.namespace,
            name: &meta.name,
            uid: &meta.uid,
            version: shared::version(Some(&meta.resource_version)),
            controller: None,
        }
    }

    fn deleting(&self) -> Account {
        let mut copy = self.clone();
        copy.metadata.deletion_timestamp.get_or_insert_default();
        copy
    }

    fn is_deleting(&self) -> bool {
        self.metadata.is_deleting()
    }
}

struct Context {
    client: Client,
    secrets: Store<TokenSecret>,
    accounts: Store<Account>,
}

/// Looks after such secrets until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        secrets: shared.store(),
        accounts: shared.store(),
    });
    let queue = Queue::default();
    context
        .secrets
        .feed(&queue, |secret| secret.account().map(|_| Key::of(secret)));
    let (of_accounts, all) = (queue.clone(), Arc::clone(&context));
    context.accounts.subscribe(move |_, new| {
        // Only an account that goes matters; its name may come again with another uid.
        if new.is_none() {
            for secret in all.secrets.all() {
                if secret.account().is_some() {
                    of_accounts.add(Key::of(&*secret));
                }
            }
        }
    });
    let caches: [&dyn Complete; 2] = [&context.secrets, &context.accounts];
    let look = |key: Key| {
        let context = &context;
        async move { context.look(&key).await }
    };
    work(&shared, &queue, &caches, WORKERS, look).await;
}

impl Context {
    async fn look(&self, key: &Key) -> Result<(), Error> {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let Some(account) = secret.account().filter(|_| !secret.is_deleting()) else {
            return Ok(());
        };
        let uid = secret.metadata.annotations.get(UID);
        let is_of = |found: &Account| uid.is_none_or(|uid| *uid == found.metadata.uid);
        if self
            .accounts
            .get(&key.namespace, account)
            .is_some_and(|found| is_of(&found))
        {
            return Ok(());
        }
        // The cache may be behind.
        let path = format!(
            "{}/{account}",
            in_namespace(&Account::path(), &key.namespace)
        );
        match get::<Account>(&self.client, &path).await {
            Ok(found) if is_of(&found) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(reading(path)(error)),
        }
        let path = format!(
            "{}/{}",
            in_namespace(&TokenSecret::path(), &key.namespace),
            key.name
        );
        delete(&self.client, &path, &secret.metadata.uid, "")
            .await
            .map_err(|source| Error::Delete {
                what: format!("secret {key}"),
                source,
            })?;
        info!(secret = %key, account, "removed: its service account is gone");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_secrets_of_accounts_count() {
        let secret = |kind: &str| -> TokenSecret {
            serde_json::from_value(
                json!({"metadata": {"name": "s", "annotations": {NAME: "robot"}},
                "type": kind, "data": {"token": "c2VjcmV0"}}),
            )
            .unwrap()
        };
        assert_eq!(secret(TYPE).account(), Some("robot"));
        assert_eq!(secret("Opaque").account(), None);
    }
}
