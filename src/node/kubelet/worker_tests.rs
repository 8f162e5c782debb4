//! A pod's whole life against the fake engine.

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::observed::Observed;
use crate::runtime::Runtime as _;
use crate::testing::{World, condition, pod, state};

fn two_containers() -> Pod {
    pod(json!({"terminationGracePeriodSeconds": 5, "containers": [
        {"name": "db", "image": "mongo:4.0", "imagePullPolicy": "IfNotPresent"},
        {"name": "app", "image": "shop:1", "imagePullPolicy": "IfNotPresent"},
    ]}))
}

struct Stage {
    world: World,
    pod: Pod,
    worker: Worker,
    desired: watch::Sender<Desired>,
}

impl Stage {
    fn new(pod: Pod) -> Self {
        let world = World::new();
        for image in ["mongo:4.0", "shop:1", "setup:1"] {
            world.runtime.load(image);
        }
        Self::on(world, pod)
    }

    fn on(world: World, pod: Pod) -> Self {
        let (worker, desired) = worker(&world, &pod);
        Self {
            world,
            pod,
            worker,
            desired,
        }
    }

    async fn sync(&mut self) -> Option<Timestamp> {
        self.worker.sync(&self.pod).await
    }

    /// As after a kill -9 of the agent: a new worker that knows nothing, and the API's
    /// last status.
    fn restart_agent(&mut self) {
        self.pod.status = Some(self.world.api.last());
        let (worker, desired) = worker(&self.world, &self.pod);
        self.worker = worker;
        self.desired = desired;
    }

    fn status(&self) -> PodStatus {
        self.world.api.last()
    }
}

fn worker(world: &World, pod: &Pod) -> (Worker, watch::Sender<Desired>) {
    let desired = Desired {
        pod: Arc::new(pod.clone()),
        gone: false,
        mirror: 0,
    };
    let (sender, receiver) = watch::channel(desired);
    (
        Worker::new(world.shared.clone(), receiver, Arc::new(Notify::new())),
        sender,
    )
}

#[tokio::test]
async fn two_containers_share_one_sandbox_and_become_ready() {
    let mut stage = Stage::new(two_containers());
    assert_eq!(stage.sync().await, None, "nothing to wait for");
    let status = stage.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.2"));
    assert_eq!(condition(&status, "Ready"), "True");
    assert_eq!(
        (state(&status, "db"), state(&status, "app")),
        ("running".into(), "running".into())
    );
    let sandbox = stage.world.runtime.newest("");
    for name in ["db", "app"] {
        let spec = stage
            .world
            .runtime
            .spec(&stage.world.runtime.newest(name).id);
        assert_eq!(spec.namespaces.network, format!("container:{}", sandbox.id));
    }
    let told = stage.world.told();
    assert!(
        told.contains(&"Created: Container created".to_owned()),
        "{told:?}"
    );
    assert!(
        told.contains(&"Started: Container started".to_owned()),
        "{told:?}"
    );
    let first = &stage.world.api.statuses.lock().unwrap()[0].clone();
    assert_eq!(first.phase.as_deref(), Some("Pending"));
    assert_eq!(state(first, "db"), "ContainerCreating");
}

#[tokio::test]
async fn a_killed_agent_comes_back_without_touching_anything() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let (before, calls) = (
        stage.world.runtime.containers(),
        stage.world.runtime.calls(),
    );
    let published = stage.world.api.statuses.lock().unwrap().len();
    stage.restart_agent();
    stage.sync().await;
    assert_eq!(stage.world.runtime.containers(), before);
    assert_eq!(stage.world.runtime.calls(), calls);
    let ready = condition(&stage.status(), "Ready");
    assert_eq!(ready, "True");
    // Only the moment between start and the first look at the network may differ.
    assert!(stage.world.api.statuses.lock().unwrap().len() <= published + 2);
}

#[tokio::test]
async fn what_a_node_controller_said_of_a_silent_node_is_put_right() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let count = |stage: &Stage| stage.world.api.statuses.lock().unwrap().len();
    let sent = count(&stage);
    let mut status = stage.status();
    for condition in status.conditions.iter_mut().flatten() {
        if condition.type_ == "Ready" {
            condition.status = "False".into();
        }
    }
    stage.pod.status = Some(status);
    // The watch tells of what was before our own word: that is no contradiction.
    stage.pod.metadata.resource_version = Some(sent.to_string());
    stage.sync().await;
    assert_eq!(count(&stage), sent);
    stage.pod.metadata.resource_version = Some("100".into());
    stage.sync().await;
    assert_eq!(count(&stage), sent + 1);
    assert_eq!(condition(&stage.status(), "Ready"), "True");
    // Contradicted once more, it does not insist at once, but after a while.
    let said = Timestamp::now() + SignedDuration::from_hours(1);
    stage.worker.insisted = Some(said);
    assert_eq!(stage.sync().await, Some(said + INSIST));
    assert_eq!(count(&stage), sent + 1);
    stage.worker.insisted = Some(Timestamp::now() - INSIST);
    assert_eq!(stage.sync().await, None);
    assert_eq!(count(&stage), sent + 2);
    assert_eq!(condition(&stage.status(), "Ready"), "True");
}

#[tokio::test]
async fn an_agent_killed_between_create_and_start_leaves_no_twin() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let running = stage.world.runtime.newest("app");
    let mut spec = stage.world.runtime.spec(&running.id);
    stage.world.runtime.remove(&running.id).await.unwrap();
    spec.labels
        .insert(crate::labels::ATTEMPT.into(), "1".into());
    stage.world.runtime.create(&spec).await.unwrap();
    stage.restart_agent();
    stage.sync().await;
    let apps: Vec<_> = stage
        .world
        .runtime
        .containers()
        .into_iter()
        .filter(|info| info.container_name() == "app")
        .collect();
    assert_eq!(apps.len(), 1);
    assert_eq!(apps[0].state, State::Running);
}

#[tokio::test]
async fn a_crash_is_restarted_at_once_and_the_second_backs_off() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let other = stage.world.runtime.newest("db");
    stage.world.runtime.exit("app", 1);
    assert_eq!(stage.sync().await, None);
    assert_eq!(stage.world.runtime.newest("app").attempt(), 1);
    assert_eq!(
        stage.world.runtime.newest("db"),
        other,
        "the other container is left alone"
    );

    stage.world.told();
    stage.world.runtime.exit("app", 1);
    assert!(stage.sync().await.is_some(), "waits for the back-off");
    let status = stage.status();
    assert_eq!(state(&status, "app"), "CrashLoopBackOff");
    assert_eq!(condition(&status, "Ready"), "False");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let app = &status.container_statuses.unwrap()[0];
    let waiting = app.state.clone().unwrap().waiting.unwrap();
    assert_eq!(
        waiting.message.as_deref(),
        Some("back-off 10s restarting failed container=app pod=web_shop(u-1)")
    );
    assert_eq!(
        app.last_state
            .clone()
            .unwrap()
            .terminated
            .unwrap()
            .exit_code,
        1
    );
    assert_eq!(app.restart_count, 1);
    stage.sync().await;
    let told = stage.world.told();
    let back_offs = told
        .iter()
        .filter(|line| line.starts_with("BackOff:"))
        .count();
    assert_eq!(back_offs, 1, "{told:?}");
}

#[tokio::test]
async fn after_a_reboot_the_pod_runs_again_in_a_new_sandbox() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let old = stage.world.runtime.newest("");
    stage.world.runtime.reboot();
    stage.restart_agent();
    stage.sync().await;
    let status = stage.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "Ready"), "True");
    let counts: Vec<i32> = status
        .container_statuses
        .unwrap()
        .iter()
        .map(|status| status.restart_count)
        .collect();
    assert_eq!(counts, [1, 1]);
    assert_ne!(stage.world.runtime.newest("").id, old.id);
    assert!(
        stage
            .world
            .told()
            .iter()
            .any(|line| line.starts_with("SandboxChanged:"))
    );
    assert_eq!(
        stage.world.network.used.lock().unwrap().len(),
        1,
        "the old address was freed"
    );
}

#[tokio::test]
async fn init_containers_run_in_order_before_the_others() {
    let mut stage = Stage::new(pod(json!({
        "initContainers": [
            {"name": "one", "image": "setup:1", "imagePullPolicy": "Never"},
            {"name": "two", "image": "setup:1", "imagePullPolicy": "Never"},
        ],
        "containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}],
    })));
    stage.sync().await;
    let status = stage.status();
    assert_eq!(state(&status, "one"), "running");
    assert_eq!(
        (state(&status, "two"), state(&status, "app")),
        ("PodInitializing".into(), "PodInitializing".into())
    );
    assert_eq!(condition(&status, "Initialized"), "False");
    stage.world.runtime.exit("one", 0);
    stage.sync().await;
    assert_eq!(state(&stage.status(), "two"), "running");
    stage.world.runtime.exit("two", 0);
    stage.sync().await;
    let status = stage.status();
    assert_eq!(state(&status, "app"), "running");
    assert_eq!(
        (
            condition(&status, "Initialized"),
            condition(&status, "Ready")
        ),
        ("True".into(), "True".into())
    );
    stage.world.runtime.reboot();
    stage.restart_agent();
    stage.sync().await;
    assert_eq!(
        state(&stage.status(), "one"),
        "running",
        "a new sandbox starts from the beginning"
    );
}

#[tokio::test]
async fn a_job_ends_succeeded_or_failed_and_keeps_its_log_but_no_sandbox() {
    for (code, phase) in [(0, "Succeeded"), (3, "Failed")] {
        let mut stage = Stage::new(pod(json!({"restartPolicy": "Never",
            "containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]})));
        stage.sync().await;
        stage.world.runtime.exit("app", code);
        stage.sync().await;
        let status = stage.status();
        assert_eq!(status.phase.as_deref(), Some(phase));
        assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.2"), "kept");
        let left = stage.world.runtime.containers();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].container_name(), "app");
        stage.pod.status = Some(status);
        stage.restart_agent();
        stage.sync().await;
        assert_eq!(
            stage.world.runtime.containers().len(),
            1,
            "nothing is started again"
        );
    }
}

#[tokio::test]
async fn on_failure_restarts_only_what_failed() {
    let mut stage = Stage::new(pod(json!({"restartPolicy": "OnFailure", "containers": [
        {"name": "db", "image": "mongo:4.0", "imagePullPolicy": "Never"},
        {"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]})));
    stage.sync().await;
    stage.world.runtime.exit("db", 0);
    stage.world.runtime.exit("app", 1);
    stage.sync().await;
    let status = stage.status();
    assert_eq!(state(&status, "db"), "Completed");
    assert_eq!(state(&status, "app"), "running");
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[tokio::test]
async fn a_missing_config_map_is_named_and_waited_for() {
    let mut stage = Stage::new(pod(
        json!({"containers": [{"name": "app", "image": "shop:1",
        "imagePullPolicy": "Never",
        "envFrom": [{"configMapRef": {"name": "settings"}}]}]}),
    ));
    assert!(stage.sync().await.is_some());
    let status = stage.status();
    assert_eq!(state(&status, "app"), "CreateContainerConfigError");
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert!(
        stage
            .world
            .told()
            .contains(&"Failed: Error: configmap \"settings\" not found".into())
    );
}

#[tokio::test]
async fn a_runtime_class_says_what_runs_a_pod() {
    let of = |more: serde_json::Value| {
        let mut spec = json!({"containers": [
            {"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        Stage::new(pod(spec))
    };
    let mut stage = of(json!({"runtimeClassName": "careful"}));
    stage.sync().await;
    let runtime = &stage.world.runtime;
    let all = runtime.containers();
    let runtimes: Vec<_> = all.iter().map(|c| runtime.spec(&c.id).runtime).collect();
    assert_eq!(
        runtimes,
        [Some("runsc".to_owned()), Some("runsc".to_owned())]
    );

    for (more, why) in [
        (
            json!({"runtimeClassName": "none"}),
            "RuntimeClass \"none\" not found",
        ),
        (
            json!({"hostUsers": false}),
            "RuntimeClass handler \"\" does not support user namespaces",
        ),
    ] {
        let mut stage = of(more);
        assert!(stage.sync().await.is_some());
        let words = format!("FailedCreatePodSandBox: Failed to create pod sandbox: {why}");
        let told = stage.world.told();
        assert!(told.contains(&words), "{told:?}");
        assert!(stage.world.runtime.containers().is_empty());
    }
}

#[tokio::test]
async fn a_volume_we_do_not_serve_is_said_clearly() {
    let mut stage = Stage::new(pod(json!({
        "volumes": [{"name": "data", "nfs": {"server": "s", "path": "/"}}],
        "containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]})));
    assert!(stage.sync().await.is_some());
    assert_eq!(state(&stage.status(), "app"), "ContainerCreating");
    let told = stage.world.told();
    let words = "FailedMount: MountVolume.SetUp failed for volume \"data\" : ";
    assert!(
        told.iter()
            .any(|line| line.starts_with(words) && line.contains("nfs")),
        "{told:?}"
    );
    assert!(
        stage.world.runtime.containers().is_empty(),
        "volumes come first"
    );
}

#[tokio::test]
async fn a_claim_is_awaited_and_its_folder_made() {
    let mut stage = Stage::new(pod(json!({
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "shop-data"}}],
        "containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]})));
    stage.sync().await;
    let told = stage.world.told().join("\n");
    assert!(
        told.contains("persistentvolumeclaims \"shop-data\" not found"),
        "{told}"
    );
    let folder = stage.world.home.path().join("pv");
    let path = folder.display().to_string();
    let claim = json!({"metadata": {"uid": "c-1"}, "spec": {"volumeName": "pv-1"},
        "status": {"phase": "Bound"}});
    let volume = json!({"spec": {"claimRef": {"uid": "c-1"},
        "hostPath": {"path": path, "type": "DirectoryOrCreate"}}});
    let api = &stage.world.api;
    let claim = serde_json::from_value(claim).unwrap();
    api.claims.lock().unwrap().insert("shop-data".into(), claim);
    let volume = serde_json::from_value(volume).unwrap();
    api.volumes.lock().unwrap().insert("pv-1".into(), volume);
    stage.worker.memory.config_changed();
    stage.sync().await;
    assert_eq!(state(&stage.status(), "app"), "running");
    let app = stage.world.runtime.newest("app");
    let mounts = stage.world.runtime.spec(&app.id).mounts;
    assert!(mounts.iter().any(|mount| mount.host_path == path));
    assert!(folder.is_dir());
}

#[tokio::test]
async fn a_condemned_pod_fails_in_so_many_words_and_its_containers_end() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let over = crate::verdict::Over::for_the_node("The node was low on resource: memory. ".into());
    stage.world.shared.pods.condemn("u-1", over);
    stage.sync().await;
    let status = stage.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert_eq!(condition(&status, "DisruptionTarget"), "True");
    assert!(
        stage
            .world
            .runtime
            .containers()
            .iter()
            .all(|c| c.state == State::Exited)
    );
    stage.restart_agent();
    stage.sync().await;
    assert_eq!(
        stage.status().reason.as_deref(),
        Some("Evicted"),
        "it stays said"
    );
}

#[tokio::test]
async fn a_pod_that_asks_for_too_much_is_turned_away() {
    let mut stage = Stage::new(pod(
        json!({"containers": [{"name": "app", "image": "shop:1",
        "resources": {"requests": {"cpu": "3"}}}]}),
    ));
    stage.sync().await;
    let status = stage.status();
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert_eq!(
        status.container_statuses, None,
        "a waiting container would hide the reason in `kubectl get pods`"
    );
    assert!(stage.world.runtime.containers().is_empty());
    let told = stage.world.told().join("\n");
    assert!(
        told.contains("OutOfcpu: Node didn't have enough resource: cpu"),
        "{told}"
    );
}

#[tokio::test]
async fn a_debugger_joins_a_running_pod_and_its_end_changes_nothing() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    let debugger = json!([{"name": "debug", "image": "shop:1", "imagePullPolicy": "Never",
        "targetContainerName": "app"}]);
    let spec = stage.pod.spec.as_mut().unwrap();
    spec.ephemeral_containers = serde_json::from_value(debugger).unwrap();
    stage.sync().await;
    assert_eq!(state(&stage.status(), "debug"), "running");
    let app = stage.world.runtime.newest("app").id;
    let debug = stage.world.runtime.newest("debug").id;
    let spec = stage.world.runtime.spec(&debug);
    assert_eq!(spec.namespaces.pid, format!("container:{app}"));
    stage.world.runtime.exit("debug", 1);
    assert_eq!(stage.sync().await, None);
    let status = stage.status();
    assert_eq!(state(&status, "debug"), "Error");
    assert_eq!(condition(&status, "Ready"), "True");
}

#[tokio::test]
async fn sidecars_end_after_the_containers_they_serve() {
    let mut stage = Stage::new(pod(json!({"restartPolicy": "Never",
        "initContainers": [
            {"name": "log", "image": "setup:1", "imagePullPolicy": "Never", "restartPolicy": "Always"},
            {"name": "proxy", "image": "setup:1", "imagePullPolicy": "Never", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]})));
    stage.sync().await;
    assert_eq!(condition(&stage.status(), "Ready"), "True");
    stage.world.runtime.exit("app", 0);
    stage.sync().await;
    let calls = stage.world.runtime.calls();
    let place = |call: &str| calls.iter().position(|done| done == call);
    assert!(
        place("stop proxy").unwrap() < place("stop log").unwrap(),
        "{calls:?}"
    );
    assert_eq!(stage.status().phase.as_deref(), Some("Succeeded"));
}

#[tokio::test]
async fn the_end_of_a_log_stands_in_for_last_words() {
    let mut stage = Stage::new(pod(json!({"restartPolicy": "Never", "containers": [
        {"name": "app", "image": "shop:1", "imagePullPolicy": "Never",
            "terminationMessagePolicy": "FallbackToLogsOnError"}]})));
    stage.sync().await;
    stage.world.runtime.exit("app", 1);
    stage.sync().await;
    let app = stage.status().container_statuses.unwrap().remove(0);
    let ended = app.state.unwrap().terminated.unwrap();
    let id = stage.world.runtime.newest("app").id;
    assert_eq!(ended.message, Some(format!("log of {id}\n")));
}

#[tokio::test]
async fn a_program_that_is_not_there_shows_the_engines_words() {
    let mut stage = Stage::new(two_containers());
    stage.world.runtime.refuse_start("app");
    assert!(stage.sync().await.is_some());
    let status = stage.status();
    assert_eq!(state(&status, "app"), "RunContainerError");
    assert_eq!(
        state(&status, "db"),
        "running",
        "one failure holds nobody else up"
    );
    let left = stage.world.runtime.containers();
    assert!(
        left.iter().all(|info| info.state == State::Running),
        "no leftover: {left:?}"
    );
}

#[tokio::test]
async fn deletion_stops_politely_then_kills_then_removes_everything() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    stage.world.runtime.make_deaf("app");
    stage.world.told();
    let mut deleted = stage.pod.clone();
    deleted.metadata.deletion_timestamp = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()),
    );
    deleted.metadata.deletion_grace_period_seconds = Some(1);
    stage.desired.send_replace(Desired {
        pod: Arc::new(deleted),
        gone: false,
        mirror: 0,
    });
    let Stage { world, worker, .. } = stage;
    let mut world = world;
    worker.run(CancellationToken::new()).await;
    let calls = world.runtime.calls();
    assert!(
        calls.contains(&"stop db".into()) && !calls.contains(&"kill db".into()),
        "{calls:?}"
    );
    assert!(calls.contains(&"kill app".into()), "{calls:?}");
    assert!(world.runtime.containers().is_empty());
    assert_eq!(*world.api.deleted.lock().unwrap(), ["u-1"]);
    assert!(world.network.used.lock().unwrap().is_empty());
    assert!(!world.home.path().join("pods/u-1").exists());
    let told = world.told();
    assert!(
        told.contains(&"Killing: Stopping container db".into()),
        "{told:?}"
    );
    let status = world.api.last();
    assert_eq!(condition(&status, "Ready"), "False");
    assert_eq!(
        status.phase.as_deref(),
        Some("Failed"),
        "143 and 137 are no success"
    );
}

#[tokio::test]
async fn a_pod_deleted_while_it_waits_for_its_image_ends_at_once() {
    let world = World::new();
    // Not loaded, not offered: the pull fails and the worker waits.
    let pod = pod(json!({"containers": [{"name": "app", "image": "far/away:1"}]}));
    let stage = Stage::on(world, pod);
    let desired = stage.desired.clone();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(stage.worker.run(shutdown));
    while state(&stage.world.api.last(), "app") != "ImagePullBackOff" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    desired.send_modify(|desired| desired.gone = true);
    task.await.unwrap();
    assert!(stage.world.runtime.containers().is_empty());
    assert!(
        stage.world.api.deleted.lock().unwrap().is_empty(),
        "there is nothing to confirm"
    );
}

#[tokio::test]
async fn a_container_removed_behind_our_back_is_missed_and_made_again() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    stage.restart_agent();
    let app = stage.world.runtime.newest("app");
    stage.world.runtime.remove(&app.id).await.unwrap();
    let before = stage.world.api.statuses.lock().unwrap().len();
    stage.sync().await;
    let missed = stage.world.api.statuses.lock().unwrap()[before].clone();
    assert_eq!(missed.phase.as_deref(), Some("Running"));
    assert_eq!(state(&missed, "app"), "ContainerCreating");
    let missed = missed.container_statuses.unwrap().remove(0);
    let end = missed.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.reason.as_deref(), missed.restart_count),
        (137, Some("ContainerStatusUnknown"), 1)
    );
    let status = stage.status();
    assert_eq!(state(&status, "app"), "running");
    assert_eq!(stage.world.runtime.newest("app").attempt(), 1);
}

#[tokio::test]
async fn a_job_whose_container_is_lost_has_failed_and_does_not_run_twice() {
    let mut stage = Stage::new(pod(json!({"restartPolicy": "Never",
        "containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]})));
    stage.sync().await;
    stage.restart_agent();
    let app = stage.world.runtime.newest("app");
    stage.world.runtime.remove(&app.id).await.unwrap();
    stage.sync().await;
    let status = stage.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(state(&status, "app"), "ContainerStatusUnknown");
    let starts = stage.world.runtime.calls();
    let starts = starts.iter().filter(|call| *call == "start app").count();
    assert_eq!(starts, 1);
}

#[tokio::test]
async fn a_changed_image_restarts_that_container_with_it() {
    let mut stage = Stage::new(two_containers());
    stage.sync().await;
    stage.world.runtime.load("shop:2");
    stage.pod.spec.as_mut().unwrap().containers[1].image = Some("shop:2".into());
    stage.sync().await;
    let app = stage.world.runtime.newest("app");
    assert_eq!((app.image.as_str(), app.attempt()), ("shop:2", 1));
    assert!(
        stage
            .world
            .told()
            .contains(&"Killing: Container app definition changed, will be restarted".into())
    );
}

#[tokio::test]
async fn containers_with_damaged_labels_are_left_alone() {
    let runtime = crate::runtime::fake::FakeRuntime::default();
    runtime
        .create(&crate::runtime::ContainerSpec::default())
        .await
        .unwrap();
    let seen = Observed::new(runtime.all_containers().await.unwrap());
    assert_eq!(seen, Observed::default());
}
