//! Which pods are a controller's: its own that fit its selector; orphans that fit are adopted,
//! its own that no longer fit are released.

use std::sync::Arc;

use cadet_api::selector::LabelSelector;
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::pod::PodInfo;
use super::record::Record;
use super::store::Store;
use super::template::controller_ref;
use super::wire::{patch_pod, path};

/// What is to be done about one object.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    Keep,
    Adopt,
    Release,
    Leave,
}

/// Upstream's table: `owned` is whether the owner controls it, `fits` whether its selector
/// matches; `owner_going`, `going` whether they are being deleted. Of what is controlled by
/// others nothing is asked.
pub fn decide(owned: bool, fits: bool, owner_going: bool, going: bool) -> Claim {
    match (owned, fits) {
        (true, true) => Claim::Keep,
        (true, false) if !owner_going => Claim::Release,
        (false, true) if !owner_going && !going => Claim::Adopt,
        _ => Claim::Leave,
    }
}

/// All pods of `owner`, those that ended too, after adopting and releasing.
///
/// # Errors
/// If a pod can be neither adopted nor released, or the owner not be read.
pub async fn claim_pods<K>(
    client: &Client,
    pods: &Store<PodInfo>,
    owner: &K,
    selector: &LabelSelector,
) -> kube::Result<Vec<Arc<PodInfo>>>
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + Record,
{
    claim_pods_if(client, pods, owner, selector, |_| true).await
}

/// The active ones of them; of others nothing is asked.
///
/// # Errors
/// As [`claim_pods`].
pub async fn claim_active_pods<K>(
    client: &Client,
    pods: &Store<PodInfo>,
    owner: &K,
    selector: &LabelSelector,
) -> kube::Result<Vec<Arc<PodInfo>>>
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + Record,
{
    claim_pods_if(client, pods, owner, selector, PodInfo::is_active).await
}

/// Those of them that `counts` says; of others nothing is asked.
///
/// # Errors
/// As [`claim_pods`].
pub async fn claim_pods_if<K>(
    client: &Client,
    pods: &Store<PodInfo>,
    owner: &K,
    selector: &LabelSelector,
    counts: impl Fn(&PodInfo) -> bool,
) -> kube::Result<Vec<Arc<PodInfo>>>
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + Record,
{
    let meta = owner.meta();
    let mut mine = Vec::new();
    for pod in pods.owned(meta.uid).into_iter().filter(|pod| counts(pod)) {
        let fits = selector.matches(&pod.labels);
        match decide(true, fits, owner.is_deleting(), pod.is_deleting()) {
            Claim::Keep => mine.push(pod),
            Claim::Release => release(client, pods, &pod, meta.uid).await?,
            Claim::Adopt | Claim::Leave => {}
        }
    }
    let mut may_adopt = None;
    for pod in pods
        .orphans(meta.namespace)
        .into_iter()
        .filter(|pod| counts(pod))
    {
        let fits = selector.matches(&pod.labels);
        if decide(false, fits, owner.is_deleting(), pod.is_deleting()) != Claim::Adopt {
            continue;
        }
        let allowed = match may_adopt {
            Some(allowed) => allowed,
            None => *may_adopt.insert(is_alive(client, owner).await?),
        };
        if allowed && adopt(client, pods, &pod, owner).await? {
            mine.extend(pods.get(&pod.namespace, &pod.name));
        }
    }
    Ok(mine)
}

/// The patch that makes an object of this uid one of the owner's.
pub fn adoption<K>(owner: &K, uid: &str) -> Value
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    json!({"metadata": {"ownerReferences": [controller_ref(owner)], "uid": uid}})
}

/// The patch that takes an object of this uid from the owner.
pub fn release_of(owner: &str, uid: &str) -> Value {
    json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner}], "uid": uid}})
}

/// Whether the owner is there and not being deleted, as the API has it, not the cache: a
/// pod must not be adopted by who is going away.
///
/// # Errors
/// If it cannot be read.
pub async fn is_alive<K: Record>(client: &Client, owner: &K) -> kube::Result<bool> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Head,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        #[serde(default)]
        uid: String,
        deletion_timestamp: Option<String>,
    }
    let request = Request::get(path(owner))
        .body(vec![])
        .map_err(kube::Error::HttpError)?;
    match client.request::<Object>(request).await {
        Ok(Object { metadata }) => {
            Ok(metadata.uid == owner.meta().uid && metadata.deletion_timestamp.is_none())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// False if the pod is gone or another one by now.
async fn adopt<K>(
    client: &Client,
    pods: &Store<PodInfo>,
    pod: &PodInfo,
    owner: &K,
) -> kube::Result<bool>
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    match patch_pod(client, pods, pod, &adoption(owner, &pod.uid)).await {
        Ok(()) => {
            info!(pod = %pod.name, kind = K::KIND, "adopted");
            Ok(true)
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn release(
    client: &Client,
    pods: &Store<PodInfo>,
    pod: &PodInfo,
    owner: &str,
) -> kube::Result<()> {
    match patch_pod(client, pods, pod, &release_of(owner, &pod.uid)).await {
        Ok(()) => {
            info!(pod = %pod.name, "released");
            Ok(())
        }
        // Gone, another one of that name, or released already.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_and_what_does_not_is_let_go() {
        assert_eq!(decide(true, true, false, false), Claim::Keep);
        assert_eq!(decide(true, true, true, true), Claim::Keep);
        assert_eq!(decide(true, false, false, false), Claim::Release);
        assert_eq!(decide(true, false, true, false), Claim::Leave);
        assert_eq!(decide(false, true, false, false), Claim::Adopt);
        assert_eq!(decide(false, true, true, false), Claim::Leave);
        assert_eq!(decide(false, true, false, true), Claim::Leave);
        assert_eq!(decide(false, false, false, false), Claim::Leave);
    }
}
