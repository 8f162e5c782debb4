//! Claims that belong to one pod: made from the template in its volume, and gone with it
//! (KEP-1698).

use kube::Client;
use serde_json::{Value, json};

use super::model::Claim;
use crate::errors::Error;
use crate::eviction::about;
use crate::shared::{
    Complete, Events, Key, PodInfo, Queue, Record, Shared, Store, is_namespace_ending, words, work,
};
use crate::wire::{get, in_namespace, is_gone, post, reading};

const WORKERS: usize = 4;

struct Context {
    client: Client,
    pods: Store<PodInfo>,
    claims: Store<Claim>,
    events: Events,
}

/// Makes claims until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        client: shared.client().clone(),
        pods: shared.store(),
        claims: shared.store(),
        events: shared.events("ephemeral_volume"),
    };
    let queue = Queue::default();
    context.pods.feed(&queue, |pod| {
        let wants = !pod.outside.ephemeral.is_empty() && pod.is_active();
        wants.then(|| Key::of(pod))
    });
    let caches: [&dyn Complete; 2] = [&context.pods, &context.claims];
    let act = |key: Key| {
        let context = &context;
        async move { context.look(&key).await }
    };
    work(&shared, &queue, &caches, WORKERS, act).await;
}

impl Context {
    async fn look(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let is_missing = |volume: &&String| {
            let name = format!("{}-{volume}", pod.name);
            self.claims.get(&pod.namespace, &name).is_none()
        };
        let missing: Vec<&String> = pod.outside.ephemeral.iter().filter(is_missing).collect();
        if missing.is_empty() || !pod.is_active() {
            return Ok(());
        }
        let path = format!(
            "{}/{}",
            in_namespace(&PodInfo::path(), &key.namespace),
            key.name
        );
        let whole: Value = match get(&self.client, &path).await {
            Ok(whole) => whole,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(reading(path)(error)),
        };
        for volume in missing {
            let Some(body) = claim_for(&whole, volume) else {
                continue;
            };
            let path = in_namespace(&Claim::path(), &key.namespace);
            match post::<Claim>(&self.client, &path, &body).await {
                Ok(claim) => self.claims.written(claim),
                Err(error) if is_namespace_ending(&error) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(source) => {
                    let what = format!("claim {key}-{volume}");
                    let claim = format!("{}-{volume}", pod.name);
                    let why = words(&source);
                    let message = format!("ephemeral volume {volume}: create PVC {claim}: {why}");
                    self.events.warning(about(&pod), "FailedBinding", message);
                    return Err(Error::Write { what, source });
                }
            }
        }
        Ok(())
    }
}

/// The claim for a volume of a pod.
fn claim_for(pod: &Value, volume: &str) -> Option<Value> {
    let volumes = pod.pointer("/spec/volumes")?.as_array()?;
    let template = volumes
        .iter()
        .find(|v| v["name"] == volume)?
        .pointer("/ephemeral/volumeClaimTemplate")?;
    let name = pod.pointer("/metadata/name")?.as_str()?;
    let member = |name: &str| template.pointer(name).cloned().unwrap_or(json!({}));
    Some(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": format!("{name}-{volume}"),
            "namespace": pod.pointer("/metadata/namespace"),
            "labels": member("/metadata/labels"),
            "annotations": member("/metadata/annotations"),
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Pod",
                "name": name,
                "uid": pod.pointer("/metadata/uid"),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": member("/spec"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_belongs_to_its_pod() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "d", "uid": "u"},
            "spec": {"volumes": [{"name": "tmp", "ephemeral": {"volumeClaimTemplate": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"accessModes": ["ReadWriteOnce"]}}}}]},
        });
        let claim = claim_for(&pod, "tmp").unwrap();
        assert_eq!(claim["metadata"]["name"], "p-tmp");
        assert_eq!(claim["metadata"]["labels"]["a"], "b");
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(claim["spec"]["accessModes"][0], "ReadWriteOnce");
        assert_eq!(claim_for(&pod, "other"), None);
    }
}
