//! Pods whose Job is gone: nobody counts them any more, so their finalizers go.

use super::conditions::ending;
use super::{Context, is_foreign, let_go, terms};
use crate::errors::Error;
use crate::shared::Key;

/// Lets a pod go, unless it has a Job that still counts, or an owner of another kind.
pub(super) async fn release(context: &Context, key: Key) -> Result<(), Error> {
    let Some(pod) = context.pods.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let foreign = pod.controller.is_some() && pod.owned_by("Job").is_none();
    if foreign || !terms::tracked(&pod) {
        return Ok(());
    }
    let counted = context.job_of(&pod).is_some_and(|job| {
        is_foreign(&job) || (ending(&job).is_none() && job.metadata.deletion_timestamp.is_none())
    });
    match counted {
        true => Ok(()),
        false => let_go(context, &pod).await,
    }
}
