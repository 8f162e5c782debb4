//! Controllers: what is refused to them, what holds them up, and the pods that fail them.

use cadet_why::{Kind, reason};
use serde_json::{Value, json};

use crate::world::{THEN, World, app, crashed, meta, owned, pod, running, waiting, with_status};

fn deployment(spec: Value, status: Value) -> Value {
    let mut one = json!({"metadata": meta("web"), "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}}}, "status": status});
    one["metadata"]["generation"] = json!(1);
    for (key, value) in spec.as_object().expect("fields") {
        one["spec"][key] = value.clone();
    }
    one
}

fn set(name: &str, revision: &str, replicas: i64) -> Value {
    let mut one = owned(
        json!({"metadata": meta(name), "spec": {"replicas": 2}, "status": {"replicas": replicas}}),
        Kind::Deployment,
        "web",
    );
    one["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision});
    one
}

fn refused(message: &str) -> World {
    World::about(Kind::Deployment, "web")
        .node()
        .with(
            Kind::Deployment,
            deployment(json!({}), json!({"replicas": 0, "observedGeneration": 1})),
        )
        .with(Kind::ReplicaSet, set("web-1", "1", 0))
        .event(
            Kind::ReplicaSet,
            "web-1",
            "FailedCreate",
            &format!("Error creating: {message}"),
        )
}

#[test]
fn refusals_of_the_api_server_are_told_apart() {
    let cases = [
        (
            "pods \"web-1-x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
            "QUOTA",
            "ResourceQuota small of namespace shop is used up",
        ),
        (
            "pods \"web-1-x\" is forbidden: failed quota: small: must specify limits.cpu for: app; requests.cpu for: app",
            "QUOTA_NEEDS_AMOUNTS",
            "limits.cpu for: app",
        ),
        (
            "pods \"web-1-x\" is forbidden: maximum cpu usage per Container is 500m, but limit is 1",
            "LIMIT_RANGE",
            "maximum cpu usage per Container is 500m",
        ),
        (
            "pods \"web-1-x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false",
            "POD_SECURITY",
            "restricted:latest",
        ),
        (
            "admission webhook \"images.example.com\" denied the request: only our registry",
            "WEBHOOK_DENIED",
            "images.example.com",
        ),
        (
            "Internal error occurred: failed calling webhook \"images.example.com\": connection refused",
            "WEBHOOK_SILENT",
            "does not answer",
        ),
        (
            "pods \"web-1-x\" is forbidden: error looking up service account shop/builder: serviceaccount \"builder\" not found",
            "SERVICE_ACCOUNT_MISSING",
            "kubectl create serviceaccount builder -n shop",
        ),
        (
            "pods \"web-1-x\" is forbidden: no PriorityClass with name high was found",
            "PRIORITY_CLASS_MISSING",
            "no PriorityClass high",
        ),
        (
            "Pod \"web-1-x\" is invalid: spec.containers[0].image: Required value",
            "TEMPLATE_INVALID",
            "Required value",
        ),
        (
            "the server is on fire",
            "CREATION_REFUSED",
            "the server is on fire",
        ),
    ];
    for (message, id, words) in cases {
        refused(message).says(
            id,
            &[
                "deployment/web cannot make its pods because",
                words,
                "replicaset web-1 has 0 of 2 pods",
            ],
        );
    }
}

#[test]
fn what_was_refused_before_and_made_since_is_no_cause() {
    let world = refused("pods \"web-1-x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1")
        .event_at(Kind::ReplicaSet, "web-1", "SuccessfulCreate", "Created pod: web-1-x", "2026-01-01T00:09:00Z");
    assert_ne!(world.answer().cause.id(), "QUOTA");
}

#[test]
fn the_pod_that_fails_is_found() {
    let world = World::about(Kind::Deployment, "web")
        .node()
        .with(Kind::Deployment, deployment(json!({}), json!({"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "observedGeneration": 1})))
        .with(Kind::ReplicaSet, set("web-1", "1", 2))
        .with(Kind::Pod, owned(with_status("web-1-a", app(), running()), Kind::ReplicaSet, "web-1"))
        .with(Kind::Pod, owned(with_status("web-1-b", app(), crashed(3, "Error")), Kind::ReplicaSet, "web-1"));
    world.says(
        "CRASH",
        &[
            "deployment/web has 1 of 2 pods ready: pod/web-1-b keeps ending",
            "exit code 3",
        ],
    );
    let line = reason(&world.facts).expect("a reason");
    assert!(line.ends_with("exit code 3"), "{line}");
}

#[test]
fn of_two_versions_the_new_one_is_looked_at() {
    let image = waiting(
        "ErrImagePull",
        "Error response from daemon: manifest for web:2 not found: manifest unknown",
    );
    let world = World::about(Kind::Deployment, "web")
        .node()
        .with(Kind::Deployment, deployment(json!({}), json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "observedGeneration": 1,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet \"web-2\" has timed out progressing."}]})))
        .with(Kind::ReplicaSet, set("web-1", "1", 2))
        .with(Kind::ReplicaSet, set("web-2", "2", 2))
        .with(Kind::Pod, owned(with_status("web-1-a", app(), running()), Kind::ReplicaSet, "web-1"))
        .with(Kind::Pod, owned(with_status("web-2-a", app(), image), Kind::ReplicaSet, "web-2"));
    world.says(
        "IMAGE_NAME",
        &[
            "pod/web-2-a",
            "kubectl set image deployment/web app=IMAGE -n shop",
            "timed out progressing",
        ],
    );
}

#[test]
fn pauses_and_zeroes_are_somebodys_will() {
    let world = |one: Value| {
        World::about(Kind::Deployment, "web")
            .node()
            .with(Kind::Deployment, one)
    };
    world(deployment(
        json!({"paused": true}),
        json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 0, "observedGeneration": 1}),
    ))
    .says(
        "PAUSED",
        &[
            "0 of 2 pods are of the new version",
            "kubectl rollout resume deployment/web -n shop",
        ],
    );
    world(deployment(
        json!({"replicas": 0}),
        json!({"observedGeneration": 1}),
    ))
    .says("SCALED_TO_ZERO", &["scaled to 0"]);
    world(deployment(
        json!({}),
        json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "observedGeneration": 1}),
    ))
    .says("NOTHING_WRONG", &["2 of 2 pods are ready"]);
    world(deployment(json!({}), json!({}))).says("NOT_YET", &["has not looked at it yet"]);
}

#[test]
fn a_deadline_without_a_pod_to_blame() {
    let status = json!({"replicas": 0, "observedGeneration": 1, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out", "lastUpdateTime": THEN}]});
    let world = World::about(Kind::Deployment, "web")
        .node()
        .with(Kind::Deployment, deployment(json!({}), status))
        .with(Kind::ReplicaSet, set("web-1", "1", 0));
    world.says(
        "PROGRESS_DEADLINE",
        &["within its deadline", "kubectl rollout undo deployment/web"],
    );
}

#[test]
fn sets_of_all_kinds_follow_their_pods() {
    for (kind, status) in [
        (Kind::ReplicaSet, json!({"replicas": 1})),
        (Kind::ReplicationController, json!({"replicas": 1})),
        (Kind::StatefulSet, json!({"replicas": 1})),
        (
            Kind::DaemonSet,
            json!({"desiredNumberScheduled": 1, "currentNumberScheduled": 1, "observedGeneration": 1}),
        ),
    ] {
        let one = json!({"metadata": meta("web"), "spec": {"replicas": 1}, "status": status});
        let world = World::about(kind, "web").node().with(kind, one).with(
            Kind::Pod,
            owned(
                with_status("web-0", app(), crashed(3, "Error")),
                kind,
                "web",
            ),
        );
        world.says("CRASH", &["web has 0 of 1 pod ready: pod/web-0"]);
    }
    let nowhere = json!({"metadata": meta("web"), "spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}},
        "status": {"desiredNumberScheduled": 0, "observedGeneration": 1}});
    World::about(Kind::DaemonSet, "web")
        .node()
        .with(Kind::DaemonSet, nowhere)
        .says("NODE_SELECTOR", &["disk=ssd"]);
}

fn job(spec: Value, status: Value) -> World {
    let one = json!({"metadata": meta("work"), "spec": spec, "status": status});
    World::about(Kind::Job, "work").node().with(Kind::Job, one)
}

#[test]
fn jobs_give_up_or_run_out_of_time() {
    let over = |reason: &str, message: &str| json!({"failed": 3, "conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message, "lastTransitionTime": THEN}]});
    let mut bad = owned(
        with_status(
            "work-x",
            app(),
            json!({"ready": false, "state": {"terminated": {"exitCode": 9, "reason": "Error"}}}),
        ),
        Kind::Job,
        "work",
    );
    bad["spec"]["restartPolicy"] = json!("Never");
    bad["status"]["phase"] = json!("Failed");
    let world = job(
        json!({"backoffLimit": 2}),
        over(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ),
    );
    let world = world
        .with(Kind::Pod, bad)
        .log("work-x", "app", false, "no input file");
    world.says(
        "JOB_BACKOFF",
        &[
            "job/work has given up after 3 failed pods: pod/work-x has ended",
            "exit code 9",
            "no input file",
            "backoffLimit is 2",
        ],
    );
    job(
        json!({"activeDeadlineSeconds": 60}),
        over(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        ),
    )
    .says("DEADLINE", &["its deadline of 60 s"]);
}

#[test]
fn jobs_that_wait_work_or_are_done() {
    job(json!({"suspend": true}), json!({})).says("SUSPENDED", &["spec.suspend is true"]);
    job(
        json!({}),
        json!({"conditions": [{"type": "Complete", "status": "True"}]}),
    )
    .says("NOTHING_WRONG", &["it is complete"]);
    job(json!({}), json!({"active": 1, "startTime": THEN}))
        .says("NOT_YET", &["still at work: 1 pod running"]);
    let image = waiting(
        "ErrImagePull",
        "manifest for web:2 not found: manifest unknown",
    );
    job(json!({}), json!({"active": 1}))
        .with(
            Kind::Pod,
            owned(with_status("work-x", app(), image), Kind::Job, "work"),
        )
        .says("IMAGE_NAME", &["job/work is not complete: pod/work-x"]);
}

fn cron(spec: Value, status: Value) -> World {
    let mut one = json!({"metadata": meta("tick"), "spec": {"schedule": "*/5 * * * *", "concurrencyPolicy": "Allow"}, "status": status});
    for (key, value) in spec.as_object().expect("fields") {
        one["spec"][key] = value.clone();
    }
    World::about(Kind::CronJob, "tick")
        .node()
        .with(Kind::CronJob, one)
}

#[test]
fn cronjobs_that_start_nothing() {
    cron(json!({"suspend": true}), json!({})).says(
        "SUSPENDED",
        &["cronjob/tick starts no job because it is suspended"],
    );
    cron(json!({"schedule": "x"}), json!({}))
        .event(
            Kind::CronJob,
            "tick",
            "UnparseableSchedule",
            "unparseable schedule: \"x\" : expected 5 fields",
        )
        .says("SCHEDULE_INVALID", &["expected 5 fields"]);
    cron(
        json!({"concurrencyPolicy": "Forbid"}),
        json!({"active": [{"name": "tick-1"}], "lastScheduleTime": THEN}),
    )
    .event_at(
        Kind::CronJob,
        "tick",
        "JobAlreadyActive",
        "Not starting job because prior execution is running and concurrency policy is Forbid",
        "2026-01-01T00:09:00Z",
    )
    .says("JOB_OVERLAP", &["concurrencyPolicy is Forbid"]);
    cron(json!({}), json!({"lastScheduleTime": THEN}))
        .event_at(
            Kind::CronJob,
            "tick",
            "MissSchedule",
            "Missed scheduled time to start a job",
            "2026-01-01T00:09:00Z",
        )
        .says("START_MISSED", &["has missed its time"]);
    cron(json!({}), json!({})).says(
        "NOT_YET",
        &[
            "*/5 * * * *",
            "kubectl create job tick-now --from=cronjob/tick -n shop",
        ],
    );
}

#[test]
fn a_cronjob_whose_last_job_failed() {
    let mut last = owned(
        json!({"metadata": meta("tick-1"), "spec": {}, "status": {"failed": 7, "conditions": [
        {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]}}),
        Kind::CronJob,
        "tick",
    );
    cron(json!({}), json!({"lastScheduleTime": THEN}))
        .with(Kind::Job, last.clone())
        .says(
            "JOB_BACKOFF",
            &["the last one fails: job/tick-1 has given up"],
        );
    last["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    cron(json!({}), json!({"lastScheduleTime": THEN}))
        .with(Kind::Job, last)
        .says("NOTHING_WRONG", &["job/tick-1: it is complete"]);
}

fn autoscaler(conditions: Value) -> World {
    let one = json!({"metadata": meta("web"), "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        "status": {"currentReplicas": 1, "conditions": conditions}});
    World::about(Kind::Autoscaler, "web").with(Kind::Autoscaler, one)
}

#[test]
fn autoscalers_that_do_not_scale() {
    let idle = |reason: &str, message: &str| {
        autoscaler(json!([{"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive", "status": "False", "reason": reason, "message": message, "lastTransitionTime": THEN}]))
            .with(Kind::Deployment, deployment(json!({}), json!({})))
    };
    idle("FailedGetResourceMetric", "the HPA was unable to compute the replica count: failed to get cpu utilization: missing request for cpu in container app of Pod web-1-x")
        .says("HPA_NO_REQUEST", &["app of deployment/web does not say how much cpu it asks for", "kubectl set resources deployment/web --requests=cpu=100m -n shop"]);
    idle("FailedGetResourceMetric", "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API")
        .says("HPA_NO_METRICS", &["cannot be measured"]);
    idle(
        "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero",
    )
    .says("SCALED_TO_ZERO", &["kubectl scale deployment/web"]);
    let lost = json!([{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale", "message": "deployments.apps \"web\" not found"}]);
    autoscaler(lost)
        .learn(
            cadet_why::Want::object(Kind::Deployment, "shop", "web"),
            cadet_why::Found::Absent,
        )
        .says("HPA_TARGET", &["deployment/web does not exist"]);
    autoscaler(json!([{"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive", "status": "True", "message": "fine"}])).says("NOTHING_WRONG", &["1 of at most 3"]);
}

#[test]
fn a_pod_that_leaves_is_not_blamed_for_one_that_fails() {
    let mut leaves = owned(
        with_status("web-1-a", app(), running()),
        Kind::ReplicaSet,
        "web-1",
    );
    leaves["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:10:20Z");
    let fails = owned(
        with_status(
            "web-1-b",
            app(),
            waiting("CreateContainerConfigError", "secret \"door\" not found"),
        ),
        Kind::ReplicaSet,
        "web-1",
    );
    let world = World::about(Kind::Deployment, "web")
        .node()
        .with(
            Kind::Deployment,
            deployment(
                json!({"replicas": 1}),
                json!({"replicas": 1, "updatedReplicas": 1, "observedGeneration": 1}),
            ),
        )
        .with(Kind::ReplicaSet, set("web-1", "1", 2))
        .with(Kind::Pod, leaves)
        .with(Kind::Pod, fails);
    world.says("SECRET_MISSING", &["pod/web-1-b"]);
}

#[test]
fn pods_of_nobody_are_not_taken_for_ones_own() {
    let mut other = owned(pod("web-1-x", json!([app()])), Kind::ReplicaSet, "web-1");
    other["metadata"]["ownerReferences"][0]["uid"] = json!("an-older-one");
    let world = World::about(Kind::Deployment, "web").node()
        .with(Kind::Deployment, deployment(json!({}), json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "observedGeneration": 1})))
        .with(Kind::ReplicaSet, set("web-1", "1", 2)).with(Kind::Pod, other);
    world.says("NOTHING_WRONG", &[]);
}
