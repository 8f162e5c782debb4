//! Ended Jobs go away by themselves, `ttlSecondsAfterFinished` after their end.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::Api;
use serde_json::json;
use tracing::info;

use crate::errors::Error;
use crate::job::ending;
use crate::shared::{Complete, Key, Queue, Shared, Store, delete, work};

const WORKERS: usize = 5;

struct Context {
    client: Client,
    jobs: Store<Job>,
    queue: Queue,
}

/// Clears Jobs away until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        client: shared.client().clone(),
        jobs: shared.store(),
        queue: Queue::default(),
    };
    context.jobs.feed(&context.queue, |job| {
        expires(job).is_some().then(|| Key::of(job))
    });
    let caches: [&dyn Complete; 1] = [&context.jobs];
    work(&shared, &context.queue, &caches, WORKERS, |key| {
        reconcile(&context, key)
    })
    .await;
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(job) = context.jobs.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    if !is_due(context, &key, &job) {
        return Ok(());
    }
    // Somebody may just have given it more time.
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &key.namespace);
    let fresh = jobs.get_opt(&key.name).await;
    let fresh = fresh.map_err(|source| Error::Read {
        what: format!("job {key}"),
        source,
    })?;
    let Some(fresh) = fresh.filter(|fresh| is_due(context, &key, fresh)) else {
        return Ok(());
    };
    let options = json!({"propagationPolicy": "Foreground"});
    let deleted = delete(&context.client, &context.jobs, &fresh, options).await;
    deleted.map_err(|source| Error::Delete {
        what: format!("job {key}"),
        source,
    })?;
    info!(job = %key, "removed some time after its end");
    Ok(())
}

/// Whether a Job's time is up; if it will be, it is looked at again then.
fn is_due(context: &Context, key: &Key, job: &Job) -> bool {
    let Some(expires) = expires(job) else {
        return false;
    };
    let rest = Duration::try_from(expires.duration_since(Timestamp::now())).unwrap_or_default();
    if !rest.is_zero() {
        context.queue.add_after(key.clone(), rest);
    }
    rest.is_zero()
}

/// When an ended Job is to go, unless it is going already.
fn expires(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let end = ending(job)?.last_transition_time.as_ref()?.0;
    end.checked_add(SignedDuration::from_secs(i64::from(ttl)))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ended_jobs_expire() {
        let expires = |ttl: Option<i32>, kind: &str, going: bool| {
            let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": {}}, "status":
                {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            job["spec"]["ttlSecondsAfterFinished"] = json!(ttl);
            if going {
                job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
            }
            let job: Job = serde_json::from_value(job).unwrap();
            super::expires(&job).map(|at| at.to_string())
        };
        let later = Some("2026-01-01T00:01:40Z".to_owned());
        assert_eq!(expires(Some(100), "Complete", false), later);
        assert_eq!(expires(Some(100), "Failed", false), later);
        assert_eq!(expires(Some(100), "FailureTarget", false), None);
        assert_eq!(expires(None, "Complete", false), None);
        assert_eq!(expires(Some(0), "Complete", true), None);
    }
}
