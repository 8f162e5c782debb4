//! Jobs: pods are made until enough have succeeded or too many failed, and each that ended
//! is counted exactly once.
//!
//! ```text
//!   look ─▶ decide (decide.rs) ─▶ make, remove pods ─▶ settle ─▶ release ─▶ conclude
//!            Tally (tally.rs)                          └──── settle.rs ─────────┘
//! ```
//! Figures, reasons and messages are upstream's (KEP-2214, 2307, 3329, 3850, 3939, 3998).

mod backoff;
mod conditions;
mod decide;
#[cfg(test)]
mod decide_tests;
mod indexes;
mod orphans;
mod policy;
mod settle;
#[cfg(test)]
mod settle_tests;
mod tally;
mod template;
mod terms;
#[cfg(test)]
mod testing;
mod wake;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use conditions::{COMPLETE, ending};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::json;

use crate::batches::{all_at_once, slow_start};
use crate::errors::{Error, overtaken};
use crate::shared::{
    Complete, Events, Key, PodInfo, Queue, Shared, Store, claim_pods, create_pod, delete_pod,
    is_namespace_ending, patch_pod, regarding, selector, words, work,
};
use crate::statuses::write_status;
use backoff::Record;
use conditions::Verdict;
use decide::{Act, decide};
use settle::{conclude, settle};
use tally::Pod;
use template::Template;
use terms::{TRACKING, is_foreign, tracked};

const WORKERS: usize = 5;

struct Context {
    client: Client,
    jobs: Store<Job>,
    pods: Store<PodInfo>,
    queue: Queue,
    events: Events,
    /// Recent failures, by uid of the Job.
    records: Mutex<HashMap<String, Record>>,
}

/// Runs Jobs until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        jobs: shared.store(),
        pods: shared.store(),
        queue: Queue::default(),
        events: shared.events("job-controller"),
        records: Mutex::default(),
    });
    let orphans = Queue::default();
    wake::listen(&context, &orphans);
    let caches: [&dyn Complete; 2] = [&context.jobs, &context.pods];
    tokio::join!(
        work(&shared, &context.queue, &caches, WORKERS, |key| reconcile(
            &context, key
        )),
        work(&shared, &orphans, &caches, WORKERS, |key| orphans::release(
            &context, key
        )),
    );
}

impl Context {
    /// The Job that controls a pod, if it is there.
    fn job_of(&self, pod: &PodInfo) -> Option<Arc<Job>> {
        let owner = pod.owned_by("Job")?;
        let job = self.jobs.get(&pod.namespace, &owner.name)?;
        (job.metadata.uid.as_deref() == Some(owner.uid.as_str())).then_some(job)
    }

    fn forget(&self, uid: &str) {
        self.records().remove(uid);
    }

    /// A poisoned lock holds times and figures only.
    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(job) = context.jobs.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let uid = job.metadata.uid.clone().unwrap_or_default();
    if is_foreign(&job) {
        return Ok(());
    }
    if ending(&job).is_some() {
        context.forget(&uid);
        return release(context, context.pods.owned(&uid)).await;
    }
    let wanted = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(wanted) = selector(wanted) else {
        return Ok(());
    };
    let claimed = claim_pods(&context.client, &context.pods, &*job, &wanted).await;
    let pods = claimed.map_err(|source| Error::Write {
        what: format!("pods of job {key}"),
        source,
    })?;
    let pods = track(context, &uid, pods).await?;
    let record = context.records().get(&uid).copied().unwrap_or_default();
    let decision = decide(&job, &pods, record, Timestamp::now());
    if let Some(pause) = decision.again {
        context.queue.add_after(key.clone(), pause);
    }
    let acted = act(context, &job, &decision.act).await;
    let pods = match decision.act {
        Act::Nothing => pods,
        _ => context.pods.owned(&uid),
    };

    let managed = job.metadata.deletion_timestamp.is_none();
    let settled = settle(&job, &pods, decision.verdict, managed, Timestamp::now());
    let job = match settled.write {
        true => with_status(context, &job, &settled.status).await?,
        false => job,
    };
    context.records().insert(uid.clone(), decision.record);
    for (reason, message) in settled.notes {
        let about = regarding(&*job);
        context.events.normal(about, reason, message.to_owned());
    }
    let released = release(context, settled.release).await;

    let pods = context.pods.owned(&uid);
    let verdict = settled.verdict.as_ref();
    let end = conclude(&job, &pods, verdict, settled.more, Timestamp::now());
    if let Some((status, over)) = end {
        let job = with_status(context, &job, &status).await?;
        if over && let Some(verdict) = verdict {
            tell_end(context, &job, verdict);
        }
    }
    if settled.more {
        context.queue.add(key);
    }
    acted.and(released)
}

/// Puts the finalizer on pods that were adopted without it.
async fn track(context: &Context, uid: &str, pods: Vec<Pod>) -> Result<Vec<Pod>, Error> {
    let untracked: Vec<&Pod> = pods
        .iter()
        .filter(|pod| pod.is_active() && !tracked(pod))
        .collect();
    if untracked.is_empty() {
        return Ok(pods);
    }
    all_at_once(untracked, |pod| async move {
        let patch = json!({"metadata": {"uid": pod.uid, "finalizers": [TRACKING]}});
        changed(
            pod,
            patch_pod(&context.client, &context.pods, pod, &patch).await,
        )
    })
    .await?;
    Ok(context.pods.owned(uid))
}

/// Takes the finalizers off, so that the pods may go.
async fn release(context: &Context, pods: Vec<Pod>) -> Result<(), Error> {
    let holding = pods.into_iter().filter(|pod| tracked(pod)).collect();
    all_at_once(holding, |pod| async move { let_go(context, &pod).await }).await
}

async fn let_go(context: &Context, pod: &PodInfo) -> Result<(), Error> {
    let patch = json!({"metadata": {"uid": pod.uid,
        "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
    changed(
        pod,
        patch_pod(&context.client, &context.pods, pod, &patch).await,
    )
}

/// A pod that is gone, or another one by now, needs no change.
fn changed(pod: &PodInfo, result: kube::Result<()>) -> Result<(), Error> {
    match result {
        Err(error) if overtaken(&error) => Ok(()),
        other => other.map_err(|source| Error::Write {
            what: format!("pod {}/{}", pod.namespace, pod.name),
            source,
        }),
    }
}

async fn act(context: &Context, job: &Job, act: &Act) -> Result<(), Error> {
    match act {
        Act::Nothing => Ok(()),
        Act::End(pods) => all_at_once(pods.iter().collect(), |pod| remove(context, job, pod)).await,
        Act::Remove(pods) => {
            all_at_once(pods.iter().collect(), |pod| async move {
                // It counts for nothing: neither as failed nor as succeeded.
                let_go(context, pod).await?;
                remove(context, job, pod).await
            })
            .await
        }
        Act::Create(places) => {
            let template = Template::of(job).map_err(|error| Error::Write {
                what: "a pod's template".to_owned(),
                source: kube::Error::SerdeError(error),
            })?;
            let pods = places.iter().map(|place| template.pod(place).to_string());
            slow_start(pods.collect(), |body| make(context, job, body)).await
        }
    }
}

async fn make(context: &Context, job: &Job, body: String) -> Result<(), Error> {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let made = create_pod(&context.client, &context.pods, namespace, body.as_bytes()).await;
    let about = regarding(job);
    match made {
        Ok(pod) => {
            let message = format!("Created pod: {}", pod.name);
            context.events.normal(about, "SuccessfulCreate", message);
            Ok(())
        }
        Err(error) if is_namespace_ending(&error) => Ok(()),
        Err(source) => {
            let message = format!("Error creating: {}", words(&source));
            context.events.warning(about, "FailedCreate", message);
            let what = format!("a pod of job {}", Key::of(job));
            Err(Error::Write { what, source })
        }
    }
}

async fn remove(context: &Context, job: &Job, pod: &PodInfo) -> Result<(), Error> {
    let about = regarding(job);
    match delete_pod(&context.client, &context.pods, pod).await {
        Ok(()) => {
            let message = format!("Deleted pod: {}", pod.name);
            context.events.normal(about, "SuccessfulDelete", message);
            Ok(())
        }
        Err(source) => {
            let message = format!("Error deleting: {}", words(&source));
            context.events.warning(about, "FailedDelete", message);
            let what = format!("pod {}/{}", pod.namespace, pod.name);
            Err(Error::Delete { what, source })
        }
    }
}

/// The Job with this status.
async fn with_status(
    context: &Context,
    job: &Arc<Job>,
    status: &JobStatus,
) -> Result<Arc<Job>, Error> {
    let before = job.status.clone().unwrap_or_default();
    let (client, jobs) = (&context.client, &context.jobs);
    let written = write_status(client, jobs, &**job, &before, status).await?;
    Ok(written.map_or_else(|| Arc::clone(job), Arc::new))
}

fn tell_end(context: &Context, job: &Job, verdict: &Verdict) {
    let about = regarding(job);
    if !verdict.success {
        let reason = known(&verdict.reason);
        let message = verdict.message.clone();
        return context.events.warning(about, reason, message);
    }
    let completions = job.spec.as_ref().and_then(|spec| spec.completions);
    let succeeded = job.status.as_ref().and_then(|status| status.succeeded);
    if completions.is_some() && succeeded > completions {
        context.events.warning(
            about.clone(),
            "TooManySucceededPods",
            "Too many succeeded pods running after completion count reached".to_owned(),
        );
    }
    context
        .events
        .normal(about, "Completed", "Job completed".to_owned());
}

/// The reasons for which Jobs fail.
fn known(reason: &str) -> &'static str {
    const REASONS: [&str; 5] = [
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
        "PodFailurePolicy",
    ];
    let found = REASONS.into_iter().find(|known| *known == reason);
    found.unwrap_or(conditions::FAILED)
}
