//! Jobs: run to their end, indexed, failed, suspended, and their pods counted.

use crate::cluster::Cluster;
use crate::cluster::program::has;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// A Job of one container; `more` are further lines of its spec.
fn job(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
{more}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{{name: c, image: {image}}}]"
    )
}

fn labels(name: &str) -> String {
    format!("batch.kubernetes.io/job-name={name}")
}

/// Types, statuses, reasons and messages of its conditions.
fn conditions(job: &Job) -> Vec<String> {
    let all = job
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    all.into_iter()
        .map(|c| {
            format!(
                "{}={} {}: {}",
                c.type_,
                c.status,
                text(&c.reason),
                text(&c.message)
            )
        })
        .collect()
}

fn is(job: Option<&Job>, condition: &str) -> bool {
    let begin = format!("{condition}=True");
    job.is_some_and(|job| conditions(job).iter().any(|c| c.starts_with(&begin)))
}

/// The status without times and conditions.
fn figures(job: &Job) -> Value {
    let mut status = serde_json::to_value(&job.status).expect("status");
    let members = status.as_object_mut().expect("an object");
    for key in ["startTime", "completionTime", "conditions"] {
        members.remove(key);
    }
    status
}

async fn until_end(cluster: &Cluster, name: &str) -> Job {
    let ended = |job: Option<&Job>| is(job, "Complete") || is(job, "Failed");
    cluster.until("default", name, ended).await.expect("a job")
}

/// Says that a running pod has ended.
async fn end(cluster: &Cluster, pod: &str, phase: &str) {
    let patch = json!({"status": {"phase": phase,
        "conditions": [{"type": "Ready", "status": "False"}]}});
    let params = PatchParams::default();
    let pods = cluster.api::<Pod>();
    pods.patch_status(pod, &params, &Patch::Strategic(patch))
        .await
        .expect("status");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_to_its_end_and_every_pod_counts_once() {
    let cluster = Cluster::start().await;
    cluster
        .create(&job("sum", "exits-0", "  completions: 5\n  parallelism: 2"))
        .await;
    let done = until_end(&cluster, "sum").await;
    assert_eq!(
        conditions(&done),
        [
            "SuccessCriteriaMet=True CompletionsReached: Reached expected number of succeeded pods",
            "Complete=True CompletionsReached: Reached expected number of succeeded pods",
        ]
    );
    assert_eq!(
        figures(&done),
        json!({"succeeded": 5, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}})
    );
    let pods = cluster
        .until_all::<Pod>(&labels("sum"), |pods| {
            pods.iter().all(|pod| pod.finalizers().is_empty())
        })
        .await;
    assert_eq!(pods.len(), 5);
    assert!(pods.iter().all(|pod| pod.name_any().starts_with("sum-")));
    cluster.until_event("sum", "Completed: Job completed").await;
    cluster
        .until_event(
            "sum",
            &format!("SuccessfulCreate: Created pod: {}", pods[0].name_any()),
        )
        .await;
    let (_served, kubectl) = cluster.kubectl().await;
    has(&kubectl.run("get job sum").await, &["Complete", "5/5"]);
    kubectl.run("wait --for=condition=complete job/sum").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_an_indexed_job_know_their_index() {
    let cluster = Cluster::start().await;
    let indexed = "  completionMode: Indexed\n  completions: 4\n  parallelism: 4";
    cluster.create(&job("part", "exits-0", indexed)).await;
    let done = until_end(&cluster, "part").await;
    assert_eq!(
        figures(&done),
        json!({"succeeded": 4, "completedIndexes": "0-3", "ready": 0, "terminating": 0,
            "uncountedTerminatedPods": {}})
    );
    let key = "batch.kubernetes.io/job-completion-index";
    let third = format!("{key}=2");
    let pods = cluster
        .until_all::<Pod>(&third, |pods| pods.len() == 1)
        .await;
    assert!(pods[0].name_any().starts_with("part-2-"));
    assert_eq!(pods[0].annotations()[key], "2");
    let spec = serde_json::to_value(&pods[0].spec).expect("spec");
    assert_eq!(spec["hostname"], "part-2");
    assert_eq!(
        spec["containers"][0]["env"],
        json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
            {"apiVersion": "v1", "fieldPath": format!("metadata.labels['{key}']")}}}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_fail_for_reasons_that_are_told() {
    let cluster = Cluster::start().await;
    cluster
        .create(&job("unlucky", "exits-1", "  backoffLimit: 0"))
        .await;
    let failed = until_end(&cluster, "unlucky").await;
    assert_eq!(
        conditions(&failed),
        [
            "FailureTarget=True BackoffLimitExceeded: Job has reached the specified backoff limit",
            "Failed=True BackoffLimitExceeded: Job has reached the specified backoff limit",
        ]
    );
    assert_eq!(
        figures(&failed),
        json!({"failed": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}})
    );
    let event = "BackoffLimitExceeded: Job has reached the specified backoff limit";
    cluster.until_event("unlucky", event).await;

    let rule = "  podFailurePolicy:
    rules:
    - {action: FailJob, onExitCodes: {containerName: c, operator: In, values: [42]}}";
    cluster.create(&job("broken", "exits-42", rule)).await;
    let failed = until_end(&cluster, "broken").await;
    let pods = cluster
        .until_all::<Pod>(&labels("broken"), |pods| pods.len() == 1)
        .await;
    let name = pods[0].name_any();
    assert_eq!(
        conditions(&failed)[1],
        format!(
            "Failed=True PodFailurePolicy: Container c for pod default/{name} failed with exit code 42 \
             matching FailJob rule at index 0"
        )
    );

    cluster
        .create(&job(
            "slow",
            "web",
            "  activeDeadlineSeconds: 1\n  parallelism: 2",
        ))
        .await;
    let failed = until_end(&cluster, "slow").await;
    assert_eq!(
        conditions(&failed)[1],
        "Failed=True DeadlineExceeded: Job was active longer than specified deadline"
    );
    assert_eq!(figures(&failed)["failed"], 2);

    let indexes =
        "  completionMode: Indexed\n  completions: 2\n  parallelism: 2\n  backoffLimitPerIndex: 0";
    cluster.create(&job("parts", "exits-3", indexes)).await;
    let failed = until_end(&cluster, "parts").await;
    assert_eq!(
        conditions(&failed)[1],
        "Failed=True FailedIndexes: Job has failed indexes"
    );
    assert_eq!(figures(&failed)["failedIndexes"], "0,1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pod_is_replaced_after_a_while() {
    let cluster = Cluster::start().await;
    cluster
        .create(&job("again", "web", "  backoffLimit: 3"))
        .await;
    let pods = cluster
        .until_all::<Pod>(&labels("again"), |pods| pods.iter().any(Cluster::is_ready))
        .await;
    let counted = |job: Option<&Job>| {
        job.and_then(|job| job.status.as_ref())
            .and_then(|s| s.failed)
            == Some(1)
    };
    // Watched from before: the next pod comes in ten seconds.
    let name = pods[0].name_any();
    let (job, ()) = tokio::join!(
        cluster.until::<Job>("default", "again", counted),
        end(&cluster, &name, "Failed")
    );
    assert_eq!(job.expect("a job").status.and_then(|s| s.active), None);
    let pods = cluster
        .until_all::<Pod>(&labels("again"), |pods| {
            pods.len() == 2 && pods.iter().any(Cluster::is_ready)
        })
        .await;
    let ready = pods.iter().find(|pod| Cluster::is_ready(pod)).expect("one");
    end(&cluster, &ready.name_any(), "Succeeded").await;
    let done = until_end(&cluster, "again").await;
    assert_eq!(
        figures(&done),
        json!({"succeeded": 1, "failed": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_has_no_pods() {
    let cluster = Cluster::start().await;
    let (_served, kubectl) = cluster.kubectl().await;
    cluster
        .create(&job(
            "rest",
            "web",
            "  suspend: true\n  parallelism: 2\n  completions: 2",
        ))
        .await;
    let suspended = |job: Option<&Job>| is(job, "Suspended");
    let waiting = cluster
        .until("default", "rest", suspended)
        .await
        .expect("a job");
    assert_eq!(
        conditions(&waiting),
        ["Suspended=True JobSuspended: Job suspended"]
    );
    assert!(waiting.status.expect("status").start_time.is_none());
    has(&kubectl.run("get job rest").await, &["Suspended", "0/2"]);
    cluster
        .until_event("rest", "Suspended: Job suspended")
        .await;

    let set =
        |on: bool| format!("patch job rest --type=merge -p {{\"spec\":{{\"suspend\":{on}}}}}");
    kubectl.run(&set(false)).await;
    cluster.until_event("rest", "Resumed: Job resumed").await;
    cluster
        .until_all::<Pod>(&labels("rest"), |pods| {
            pods.iter().filter(|pod| Cluster::is_ready(pod)).count() == 2
        })
        .await;
    let resumed = cluster
        .until::<Job>("default", "rest", |job| {
            job.is_some_and(|job| figures(job)["ready"] == 2)
        })
        .await
        .expect("a job");
    assert_eq!(
        conditions(&resumed),
        ["Suspended=False JobResumed: Job resumed"]
    );
    assert!(resumed.status.expect("status").start_time.is_some());

    kubectl.run(&set(true)).await;
    cluster
        .until_all::<Pod>(&labels("rest"), |pods| pods.is_empty())
        .await;
    // What was suspended counts for nothing.
    let nothing = json!({"ready": 0, "terminating": 0, "uncountedTerminatedPods": {}});
    let rests = |job: Option<&Job>| {
        job.is_some_and(|job| figures(job) == nothing && is(Some(job), "Suspended"))
    };
    cluster.until("default", "rest", rests).await;

    kubectl.run(&set(false)).await;
    let runs = |job: Option<&Job>| job.is_some_and(|job| figures(job)["ready"] == 2);
    cluster.until("default", "rest", runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_may_decide_for_all() {
    let cluster = Cluster::start().await;
    let policy = "  completionMode: Indexed
  completions: 3
  parallelism: 3
  successPolicy: {rules: [{succeededIndexes: \"0\"}]}";
    cluster.create(&job("led", "web", policy)).await;
    let pods = cluster
        .until_all::<Pod>(&labels("led"), |pods| {
            pods.iter().filter(|pod| Cluster::is_ready(pod)).count() == 3
        })
        .await;
    let key = "batch.kubernetes.io/job-completion-index";
    let leader = pods.iter().find(|pod| pod.labels()[key] == "0").expect("0");
    end(&cluster, &leader.name_any(), "Succeeded").await;
    let done = until_end(&cluster, "led").await;
    assert_eq!(
        conditions(&done),
        [
            "SuccessCriteriaMet=True SuccessPolicy: Matched rules at index 0",
            "Complete=True SuccessPolicy: Matched rules at index 0",
        ]
    );
    assert_eq!(figures(&done)["completedIndexes"], "0");
    cluster
        .until_all::<Pod>(&labels("led"), |pods| pods.len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_smaller_or_deleted_job_go() {
    let cluster = Cluster::start().await;
    let (_served, kubectl) = cluster.kubectl().await;
    cluster
        .create(&job("wide", "web", "  parallelism: 3\n  completions: 9"))
        .await;
    let ready = |count: usize| {
        move |pods: &[Pod]| {
            pods.iter().filter(|pod| Cluster::is_ready(pod)).count() == count && pods.len() == count
        }
    };
    cluster.until_all::<Pod>(&labels("wide"), ready(3)).await;
    kubectl
        .run("patch job wide --type=merge -p {\"spec\":{\"parallelism\":1}}")
        .await;
    cluster.until_all::<Pod>(&labels("wide"), ready(1)).await;
    cluster
        .until_event("wide", "SuccessfulDelete: Deleted pod: wide-")
        .await;
    let params = DeleteParams::background();
    cluster
        .api::<Job>()
        .delete("wide", &params)
        .await
        .expect("deleted");
    cluster
        .until_all::<Pod>(&labels("wide"), |pods| {
            pods.iter().all(|pod| pod.finalizers().is_empty())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_job_may_clear_itself_away() {
    let cluster = Cluster::start().await;
    let brief = job("brief", "exits-0", "  ttlSecondsAfterFinished: 0");
    let ended = |job: Option<&Job>| is(job, "Complete");
    // Watched from before: it may be gone a moment after its end.
    tokio::join!(
        cluster.until("default", "brief", ended),
        cluster.create(&brief)
    );
    cluster
        .until::<Job>("default", "brief", |job| {
            job.is_none_or(|job| job.metadata.deletion_timestamp.is_some())
        })
        .await;
}
