//! Makes missing pods and removes those too many.

use std::sync::Arc;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;

use super::Context;
use super::kinds::Replicated;
use super::rank;
use crate::shared::{
    PodInfo, Record, controller_ref, create_pod, delete_pod, is_namespace_ending, pod_of,
    regarding, words,
};

/// Most pods made or removed in one go (upstream: 500).
const BURST: usize = 500;
/// Deletions under way at a time.
const AT_ONCE: usize = 64;

/// Brings the number of active pods nearer to the wanted one.
///
/// # Errors
/// The first that the API refused; what was done before stays done.
pub async fn manage<S: Replicated>(
    context: &Context<S>,
    set: &S,
    active: Vec<Arc<PodInfo>>,
) -> kube::Result<()> {
    let wanted = usize::try_from(set.replicas()).unwrap_or(0);
    match active.len() {
        have if have < wanted => create(context, set, (wanted - have).min(BURST)).await,
        have if have > wanted => {
            let surplus = (have - wanted).min(BURST);
            remove(context, set, active, surplus).await
        }
        _ => Ok(()),
    }
}

/// In batches of 1, 2, 4 …: what fails for one fails for all, and then one failure is enough.
async fn create<S: Replicated>(context: &Context<S>, set: &S, missing: usize) -> kube::Result<()> {
    let Some(template) = set.template() else {
        return Ok(());
    };
    let pod = pod_of(template, &controller_ref(set)).map_err(kube::Error::SerdeError)?;
    let body = serde_json::to_vec(&pod).map_err(kube::Error::SerdeError)?;
    let mut left = missing;
    let mut batch = left.min(1);
    while batch > 0 {
        let births = (0..batch).map(|_| create_one(context, set, &body));
        let failed = join_all(births).await.into_iter().find_map(Result::err);
        if let Some(error) = failed {
            return Err(error);
        }
        left -= batch;
        batch = (2 * batch).min(left);
    }
    Ok(())
}

async fn create_one<S: Replicated>(context: &Context<S>, set: &S, body: &[u8]) -> kube::Result<()> {
    let (client, namespace) = (context.shared.client(), set.meta().namespace);
    match create_pod(client, &context.pods, namespace, body).await {
        Ok(pod) => {
            let message = format!("Created pod: {}", pod.name);
            context
                .events
                .normal(regarding(set), "SuccessfulCreate", message);
            Ok(())
        }
        Err(error) if is_namespace_ending(&error) => Ok(()),
        Err(error) => {
            let message = format!("Error creating: {}", words(&error));
            context
                .events
                .warning(regarding(set), "FailedCreate", message);
            Err(error)
        }
    }
}

async fn remove<S: Replicated>(
    context: &Context<S>,
    set: &S,
    active: Vec<Arc<PodInfo>>,
    surplus: usize,
) -> kube::Result<()> {
    let doomed = match surplus < active.len() {
        true => rank::least_missed(active, &crowd(context, set), surplus),
        false => active,
    };
    // Collected first: a closure kept across the wait would have to fit every lifetime.
    let ends: Vec<_> = (doomed.into_iter())
        .map(|pod| remove_one(context, set, pod))
        .collect();
    let ends: Vec<kube::Result<()>> = stream::iter(ends).buffer_unordered(AT_ONCE).collect().await;
    ends.into_iter().collect()
}

async fn remove_one<S: Replicated>(
    context: &Context<S>,
    set: &S,
    pod: Arc<PodInfo>,
) -> kube::Result<()> {
    let done = delete_pod(context.shared.client(), &context.pods, &pod).await;
    match &done {
        Ok(()) => {
            let message = format!("Deleted pod: {}", pod.name);
            context
                .events
                .normal(regarding(set), "SuccessfulDelete", message);
        }
        Err(error) => {
            let message = format!("Error deleting: {}", words(error));
            context
                .events
                .warning(regarding(set), "FailedDelete", message);
        }
    }
    done
}

/// The active pods of all sets under the same owner, for ReplicaSets of a Deployment; else
/// those of the set itself.
fn crowd<S: Replicated>(context: &Context<S>, set: &S) -> Vec<Arc<PodInfo>> {
    let meta = set.meta();
    let siblings = match meta.controller {
        Some(owner) => {
            let sets = context.shared.store::<ReplicaSet>();
            let uids = sets
                .owned(owner)
                .into_iter()
                .map(|set| set.meta().uid.to_owned());
            uids.collect()
        }
        None => vec![meta.uid.to_owned()],
    };
    let pods = siblings.iter().flat_map(|uid| context.pods.owned(uid));
    pods.filter(|pod| pod.is_active()).collect()
}
