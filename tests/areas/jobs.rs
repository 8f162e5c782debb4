//! Work that ends: Jobs, and Jobs made by the clock.

use serde_json::{Value, json};

use super::{BUSYBOX, Cluster, shell};

pub fn play(cluster: &dyn Cluster) {
    let image = format!("--image={BUSYBOX}");
    // Its minute passes while everything else is done.
    let schedule = "--schedule=* * * * *";
    cluster.kubectl(&[
        "create", "cronjob", "tick", &image, schedule, "--", "echo", "tick",
    ]);
    cluster.kubectl(&["create", "job", "tick-now", "--from=cronjob/tick"]);
    cluster.kubectl(&["create", "job", "pi", &image, "--", "echo", "3.14"]);
    job(
        cluster,
        "rows",
        "echo $JOB_COMPLETION_INDEX",
        json!({"completions": 3, "parallelism": 2, "completionMode": "Indexed"}),
    );
    // The second try comes ten seconds after the first.
    job(cluster, "no", "exit 1", json!({"backoffLimit": 1}));
    job(cluster, "rest", "echo rested", json!({"suspend": true}));
    job(
        cluster,
        "brief",
        "true",
        json!({"ttlSecondsAfterFinished": 1}),
    );

    one_pod_or_several(cluster);
    a_suspended_job_waits(cluster);
    an_ended_job_clears_itself_away(cluster);
    a_failing_job_gives_up(cluster);
    cluster.forget(&["job/pi", "job/rows", "job/no", "job/rest"]);
    the_clock_makes_jobs(cluster);
}

/// A Job whose pod runs this line; `more` are further fields of its spec.
#[track_caller]
fn job(cluster: &dyn Cluster, name: &str, line: &str, more: Value) {
    let mut spec = more;
    spec["template"] =
        json!({"spec": {"restartPolicy": "Never", "containers": [shell("app", line)]}});
    cluster.create(&json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name}, "spec": spec}));
}

fn one_pod_or_several(cluster: &dyn Cluster) {
    cluster.until_condition("job/pi", "complete");
    assert_eq!(cluster.kubectl(&["logs", "job/pi"]), "3.14");
    let row = cluster.row("job/pi");
    assert!(row.starts_with("pi Complete 1/1 "), "{row}");

    cluster.until_condition("job/rows", "complete");
    assert_eq!(cluster.field("job/rows", ".status.completedIndexes"), "0-2");
    let row = cluster.row("job/rows");
    assert!(row.starts_with("rows Complete 3/3 "), "{row}");
}

fn a_suspended_job_waits(cluster: &dyn Cluster) {
    let suspended = ".status.conditions[?(@.type==\"Suspended\")].status";
    cluster.until("job/rest", suspended, "True");
    let row = cluster.row("job/rest");
    assert!(row.starts_with("rest Suspended 0/1 "), "{row}");
    let pods = [
        "get",
        "pods",
        "-l",
        "batch.kubernetes.io/job-name=rest",
        "-o",
        "name",
    ];
    assert_eq!(cluster.kubectl(&pods), "");
    let go = r#"{"spec": {"suspend": false}}"#;
    cluster.kubectl(&["patch", "job", "rest", "-p", go]);
    cluster.until_condition("job/rest", "complete");
    assert_eq!(cluster.kubectl(&["logs", "job/rest"]), "rested");
}

fn an_ended_job_clears_itself_away(cluster: &dyn Cluster) {
    assert_eq!(cluster.event("brief", "Completed"), "Job completed");
    cluster.until_gone(&["job/brief"]);
    cluster.until_gone(&["pod", "-l", "batch.kubernetes.io/job-name=brief"]);
}

fn a_failing_job_gives_up(cluster: &dyn Cluster) {
    cluster.until_condition("job/no", "failed");
    let failed = ".status.conditions[?(@.type==\"Failed\")]";
    let reason = cluster.field("job/no", &format!("{failed}.reason"));
    assert_eq!(reason, "BackoffLimitExceeded");
    let message = cluster.field("job/no", &format!("{failed}.message"));
    assert_eq!(message, "Job has reached the specified backoff limit");
    assert_eq!(cluster.field("job/no", ".status.failed"), "2");
    let row = cluster.row("job/no");
    assert!(row.starts_with("no Failed 0/1 "), "{row}");
}

fn the_clock_makes_jobs(cluster: &dyn Cluster) {
    cluster.until_condition("job/tick-now", "complete");
    assert_eq!(cluster.kubectl(&["logs", "job/tick-now"]), "tick");
    let row = cluster.row("cronjob/tick");
    assert!(row.starts_with("tick * * * * * <none> False "), "{row}");

    let made = cluster.event("tick", "SuccessfulCreate");
    let name = made.strip_prefix("Created job ").expect("a Job's name");
    let owner = cluster.field(&format!("job/{name}"), ".metadata.ownerReferences[0].name");
    assert_eq!(owner, "tick");
    cluster.until_condition(&format!("job/{name}"), "complete");
    assert_eq!(cluster.kubectl(&["logs", &format!("job/{name}")]), "tick");

    // What it made goes with it, however it was made.
    cluster.forget(&["cronjob/tick"]);
    cluster.until_gone(&[&format!("job/{name}")]);
    cluster.until_gone(&["job/tick-now"]);
}
