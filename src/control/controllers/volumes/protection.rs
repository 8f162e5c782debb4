//! Claims that pods use and volumes that claims are bound to are not removed under them: a
//! finalizer holds each until it is no longer in use. Admission gives it to new ones; those
//! that come without get it here.

use std::sync::Arc;

use kube::Client;
use serde_json::json;
use tracing::info;

use super::model::{Claim, Header, Volume};
use super::uses::Uses;
use crate::errors::Error;
use crate::shared::{Complete, Key, PodInfo, Queue, Record, Shared, Store, work};
use crate::wire::{in_namespace, is_gone, merge, written};

pub const CLAIM: &str = "kubernetes.io/pvc-protection";
pub const VOLUME: &str = "kubernetes.io/pv-protection";

const WORKERS: usize = 4;

struct Context {
    client: Client,
    claims: Store<Claim>,
    volumes: Store<Volume>,
    uses: Arc<Uses>,
}

/// Holds and lets go until the shutdown. `queue` is told of claims whose users change.
pub async fn run(shared: &Shared, queue: Queue, uses: Arc<Uses>) {
    let context = Context {
        client: shared.client().clone(),
        claims: shared.store(),
        volumes: shared.store(),
        uses,
    };
    context.claims.feed(&queue, |claim| {
        let meta = &claim.metadata;
        (meta.is_deleting() == meta.is_held_by(CLAIM)).then(|| Key::of(claim))
    });
    // Volumes have no namespace, so keys do not clash.
    context.volumes.feed(&queue, |volume| {
        let meta = &volume.metadata;
        (meta.is_deleting() == meta.is_held_by(VOLUME)).then(|| Key::of(volume))
    });
    let pods: Store<PodInfo> = shared.store();
    let caches: [&dyn Complete; 3] = [&context.claims, &context.volumes, &pods];
    let act = |key: Key| {
        let context = &context;
        async move {
            match key.namespace.is_empty() {
                true => context.look_at_volume(&key).await,
                false => context.look_at_claim(&key).await,
            }
        }
    };
    work(shared, &queue, &caches, WORKERS, act).await;
}

/// What the finalizers of an object should be, if they are not.
fn wanted(header: &Header, finalizer: &str, used: bool) -> Option<Vec<String>> {
    let mut all = header.finalizers.clone();
    match (header.is_deleting(), header.is_held_by(finalizer)) {
        (true, true) if !used => all.retain(|f| f != finalizer),
        (false, false) => all.push(finalizer.to_owned()),
        _ => return None,
    }
    Some(all)
}

impl Context {
    async fn look_at_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        // A pod that is not placed yet will not start with a claim that is going.
        let used = self
            .uses
            .of(key)
            .iter()
            .any(|(_, user)| !user.node.is_empty());
        let Some(finalizers) = wanted(&claim.metadata, CLAIM, used) else {
            return Ok(());
        };
        let path = format!(
            "{}/{}",
            in_namespace(&Claim::path(), &key.namespace),
            key.name
        );
        if let Some(changed) = self
            .write::<Claim>(&path, &claim.metadata, finalizers)
            .await?
        {
            self.claims.written(changed);
        }
        Ok(())
    }

    async fn look_at_volume(&self, key: &Key) -> Result<(), Error> {
        let Some(volume) = self.volumes.get("", &key.name) else {
            return Ok(());
        };
        let used = volume.status.phase == "Bound";
        let Some(finalizers) = wanted(&volume.metadata, VOLUME, used) else {
            return Ok(());
        };
        let path = format!("{}/{}", Volume::path(), key.name);
        if let Some(changed) = self
            .write::<Volume>(&path, &volume.metadata, finalizers)
            .await?
        {
            self.volumes.written(changed);
        }
        Ok(())
    }

    /// Gives the object as it is then, unless it is gone.
    async fn write<R: Record>(
        &self,
        path: &str,
        header: &Header,
        finalizers: Vec<String>,
    ) -> Result<Option<R>, Error> {
        let leaves = finalizers.is_empty() && header.is_deleting();
        let patch = json!({"metadata": {
            "resourceVersion": header.resource_version,
            "finalizers": finalizers,
        }});
        match merge::<R::Wire>(&self.client, path, &patch).await {
            Ok(_) if leaves => {
                info!(%path, "not in use any more: it may go");
                Ok(None)
            }
            Ok(changed) => Ok(Some(R::of(changed))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(written(path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_held() {
        let header = |deleting: bool, finalizers: &[&str]| Header {
            finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
            deletion_timestamp: deleting.then(String::new),
            ..Header::default()
        };
        let going = header(true, &["a/b", CLAIM]);
        assert_eq!(wanted(&going, CLAIM, true), None);
        assert_eq!(wanted(&going, CLAIM, false), Some(vec!["a/b".to_owned()]));
        assert_eq!(
            wanted(&header(false, &[]), CLAIM, false),
            Some(vec![CLAIM.to_owned()])
        );
        assert_eq!(wanted(&header(false, &[CLAIM]), CLAIM, false), None);
        assert_eq!(wanted(&header(true, &[]), CLAIM, false), None);
    }
}
