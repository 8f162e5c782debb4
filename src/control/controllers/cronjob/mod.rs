//! CronJobs: a Job per scheduled time, named by its minute so that none is made twice.

mod decide;
mod times;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::json;

use crate::errors::Error;
use crate::shared::{
    Complete, Events, Key, Queue, Shared, Store, controller_ref, create, delete,
    is_namespace_ending, regarding, words, work,
};
use crate::statuses::write_status;
use decide::{Start, decide, name_at};

const WORKERS: usize = 5;
/// Annotation of a Job: when it was to start, in the CronJob's own time zone.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct Context {
    client: Client,
    crons: Store<CronJob>,
    jobs: Store<Job>,
    queue: Queue,
    events: Events,
}

/// Runs CronJobs until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        client: shared.client().clone(),
        crons: shared.store(),
        jobs: shared.store(),
        queue: Queue::default(),
        events: shared.events("cronjob-controller"),
    };
    context
        .crons
        .feed(&context.queue, |cron| Some(Key::of(cron)));
    context.jobs.feed(&context.queue, |job| {
        let owners = job.metadata.owner_references.iter().flatten();
        let mut owners = owners.filter(|o| o.controller == Some(true) && o.kind == "CronJob");
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        owners.next().map(|owner| Key::new(namespace, &owner.name))
    });
    let caches: [&dyn Complete; 2] = [&context.crons, &context.jobs];
    work(&shared, &context.queue, &caches, WORKERS, |key| {
        reconcile(&context, key)
    })
    .await;
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(cron) = context.crons.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let uid = cron.metadata.uid.as_deref().unwrap_or_default();
    let jobs = context.jobs.owned(uid);
    let decision = decide(&cron, &jobs, Timestamp::now());
    for note in decision.notes {
        let about = regarding(&*cron);
        match note.warning {
            true => context.events.warning(about, note.reason, note.message),
            false => context.events.normal(about, note.reason, note.message),
        }
    }
    let mut status = decision.status;
    let mut again = decision.again;
    let mut result = Ok(());
    if let Some(start) = decision.start {
        again = start.again;
        result = begin(context, &cron, &mut status, start).await;
    }
    for job in decision.expired {
        let removed = remove(context, &cron, &mut status, &job).await;
        result = result.and(removed);
    }
    let before = cron.status.clone().unwrap_or_default();
    let (client, crons) = (&context.client, &context.crons);
    write_status(client, crons, &*cron, &before, &status).await?;
    if let Some(again) = again {
        context.queue.add_after(key, again);
    }
    result
}

/// Starts a Job, after removing those it replaces.
async fn begin(
    context: &Context,
    cron: &CronJob,
    status: &mut CronJobStatus,
    start: Start,
) -> Result<(), Error> {
    let namespace = cron.metadata.namespace.as_deref().unwrap_or_default();
    for entry in &start.replaced {
        let name = entry.name.as_deref().unwrap_or_default();
        if let Some(job) = context.jobs.get(namespace, name) {
            remove(context, cron, status, &job).await?;
        }
    }
    let job = job_at(cron, &start);
    let about = regarding(cron);
    let job = match create(&context.client, &context.jobs, &job).await {
        Ok(job) => {
            let message = format!("Created job {}", job.metadata.name.as_deref().unwrap_or(""));
            context.events.normal(about, "SuccessfulCreate", message);
            Arc::new(job)
        }
        Err(error) if is_namespace_ending(&error) => return Ok(()),
        // We made it and died before we could say so, or somebody else has that name.
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => {
            let name = job.metadata.name.as_deref().unwrap_or_default();
            let mine = |job: &Job| {
                let owners = job.metadata.owner_references.iter().flatten();
                let mut owners = owners.filter(|owner| owner.controller == Some(true));
                owners.any(|owner| Some(&owner.uid) == cron.metadata.uid.as_ref())
            };
            match context.jobs.get(namespace, name).filter(|job| mine(job)) {
                Some(job) => job,
                None => return Ok(()),
            }
        }
        Err(source) => {
            let message = format!("Error creating job: {}", words(&source));
            context.events.warning(about, "FailedCreate", message);
            let what = format!("a job of cron job {}", Key::of(cron));
            return Err(Error::Write { what, source });
        }
    };
    let entry = ObjectReference {
        field_path: None,
        ..regarding(&*job)
    };
    let active = status.active.get_or_insert_default();
    if !active.iter().any(|a| a.uid == entry.uid) {
        active.push(entry);
    }
    status.last_schedule_time = Some(Time(start.at));
    Ok(())
}

fn job_at(cron: &CronJob, start: &Start) -> Job {
    let template = cron.spec.job_template.clone();
    let metadata = template.metadata.unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    let at = start.at.to_zoned(start.zone.clone());
    let at = at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    // As Go writes it: no offset is Z.
    let at = match at.strip_suffix("+00:00") {
        Some(utc) => format!("{utc}Z"),
        None => at,
    };
    annotations.insert(SCHEDULED.to_owned(), at);
    Job {
        metadata: ObjectMeta {
            name: Some(name_at(
                cron.metadata.name.as_deref().unwrap_or_default(),
                start.at,
            )),
            namespace: cron.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Removes a Job, and it from the list of active ones.
async fn remove(
    context: &Context,
    cron: &CronJob,
    status: &mut CronJobStatus,
    job: &Job,
) -> Result<(), Error> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let about = regarding(cron);
    let options = json!({"propagationPolicy": "Background"});
    if let Err(source) = delete(&context.client, &context.jobs, job, options).await {
        let message = format!("Deleted job: {}", words(&source));
        context.events.warning(about, "FailedDelete", message);
        let what = format!("job {}", Key::of(job));
        return Err(Error::Delete { what, source });
    }
    if let Some(active) = &mut status.active {
        active.retain(|entry| entry.uid != job.metadata.uid);
        if active.is_empty() {
            status.active = None;
        }
    }
    let message = format!("Deleted job {name}");
    context.events.normal(about, "SuccessfulDelete", message);
    Ok(())
}
