//! CronJobs: started by the minute, counted, replaced and cleared away.
//!
//! No test waits for a minute to pass: one that was missed is due at once.

use crate::cluster::Cluster;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

fn cron(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  schedule: '*/5 * * * *'
  suspend: true
{more}
  jobTemplate:
    metadata: {{labels: {{app: {name}}}, annotations: {{note: kept}}}}
    spec:
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 1
          containers: [{{name: c, image: {image}}}]"
    )
}

/// Makes the CronJob believe that it last ran so many minutes ago, and lets it run.
async fn due(cluster: &Cluster, name: &str, minutes: i64) {
    let api = cluster.api::<CronJob>();
    let params = PatchParams::default();
    let last = Timestamp::now() - SignedDuration::from_mins(minutes);
    let last = last.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({"status": {"lastScheduleTime": last}});
    api.patch_status(name, &params, &Patch::Merge(status))
        .await
        .expect("status");
    let go = json!({"spec": {"suspend": false}});
    api.patch(name, &params, &Patch::Merge(go))
        .await
        .expect("spec");
}

fn active(cron: Option<&CronJob>) -> Vec<String> {
    let status = cron.and_then(|cron| cron.status.as_ref());
    let active = status.and_then(|status| status.active.as_ref());
    let names = active
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.name.clone());
    names.collect()
}

/// The same CronJob by a schedule of one minute of each hour: none passes during the test.
fn hourly(cron: &str, minute: Timestamp) -> String {
    let schedule = format!("'{} * * * *'", minute.strftime("%M"));
    cron.replace("'*/5 * * * *'", &schedule)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_made_for_a_minute_and_remembered() {
    let cluster = Cluster::start().await;
    let then = Timestamp::now() - SignedDuration::from_mins(3);
    let tick = cron("tick", "web", "  timeZone: Europe/Berlin");
    cluster.create(&hourly(&tick, then)).await;
    due(&cluster, "tick", 7).await;
    let jobs = cluster
        .until_all::<Job>("app=tick", |jobs| !jobs.is_empty())
        .await;
    let job = &jobs[0];
    let minute: i64 = job
        .name_any()
        .strip_prefix("tick-")
        .expect("its name")
        .parse()
        .expect("minutes");
    assert_eq!(minute, then.as_second() / 60);
    assert_eq!(job.annotations()["note"], "kept");
    let scheduled = &job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    let at: Timestamp = scheduled.parse().expect("a time");
    assert_eq!(at.as_second() / 60, minute);
    assert!(scheduled.ends_with(":00"), "on Berlin's clock: {scheduled}");
    let owner = &job.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.controller),
        ("CronJob", Some(true))
    );
    let cron = cluster
        .until::<CronJob>("default", "tick", |cron| !active(cron).is_empty())
        .await
        .expect("a cron job");
    assert_eq!(active(Some(&cron)), [job.name_any()]);
    let last = cron
        .status
        .expect("status")
        .last_schedule_time
        .expect("a time");
    assert_eq!(last.0, at);
    let event = format!("SuccessfulCreate: Created job {}", job.name_any());
    cluster.until_event("tick", &event).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_jobs_leave_the_list_and_then_the_world() {
    let cluster = Cluster::start().await;
    cluster
        .create(&cron("brief", "exits-0", "  successfulJobsHistoryLimit: 0"))
        .await;
    due(&cluster, "brief", 6).await;
    let done = cluster
        .until::<CronJob>("default", "brief", |cron| {
            let status = cron.and_then(|cron| cron.status.as_ref());
            status.is_some_and(|s| s.last_successful_time.is_some()) && active(cron).is_empty()
        })
        .await;
    assert!(done.is_some());
    cluster
        .until_event("brief", "SawCompletedJob: Saw completed job: brief-")
        .await;
    cluster
        .until_event("brief", "SuccessfulDelete: Deleted job brief-")
        .await;
    cluster
        .until_all::<Job>("app=brief", |jobs| {
            jobs.iter()
                .all(|job| job.metadata.deletion_timestamp.is_some())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_waited_for_or_replaced() {
    let cluster = Cluster::start().await;
    for (name, policy) in [("calm", "Forbid"), ("rash", "Replace")] {
        let policy = format!("  concurrencyPolicy: {policy}");
        // One that still runs, of a few minutes ago.
        let then = Timestamp::now() - SignedDuration::from_mins(3);
        let cron = cron(name, "web", &policy);
        cluster.create(&hourly(&cron, then)).await;
        due(&cluster, name, 10).await;
        cluster
            .until::<CronJob>("default", name, |cron| !active(cron).is_empty())
            .await;
    }
    let first = |name: &str| format!("app={name}");
    let old = cluster
        .until_all::<Job>(&first("rash"), |jobs| jobs.len() == 1)
        .await;
    // By a schedule of every minute, another one is due.
    let params = PatchParams::default();
    for name in ["calm", "rash"] {
        let often = json!({"spec": {"schedule": "* * * * *"}});
        let api = cluster.api::<CronJob>();
        api.patch(name, &params, &Patch::Merge(often))
            .await
            .expect("spec");
        due(&cluster, name, 1).await;
    }
    let event = "JobAlreadyActive: Not starting job because prior execution is running and \
        concurrency policy is Forbid";
    cluster.until_event("calm", event).await;
    let event = format!("SuccessfulDelete: Deleted job {}", old[0].name_any());
    cluster.until_event("rash", &event).await;
    cluster
        .until::<CronJob>("default", "rash", |cron| {
            active(cron).len() == 1 && active(cron)[0] != old[0].name_any()
        })
        .await;
}
