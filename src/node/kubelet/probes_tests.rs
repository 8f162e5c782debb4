//! Probe tasks against the fake engine; exec probes, so that no socket is needed.

use serde_json::json;

use super::*;
use crate::observed::Observed;
use crate::testing::{World, pod};

struct Stage {
    world: World,
    pod: Pod,
    probes: Probes,
    changed: Arc<Notify>,
}

/// A pod with one running container with these probes.
async fn stage(container: serde_json::Value) -> Stage {
    let world = World::new();
    let mut container = container;
    container["name"] = json!("app");
    let pod = pod(json!({"containers": [container]}));
    let labels = [
        (crate::labels::ROLE, "app"),
        (crate::labels::CONTAINER_NAME, "app"),
        (crate::labels::POD_UID, "u-1"),
    ];
    let spec = crate::runtime::ContainerSpec {
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    let id = world.runtime.create(&spec).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    let changed = Arc::new(Notify::new());
    let events = world.shared.events.clone();
    let probes = Probes::new(&pod, world.runtime.clone(), events, changed.clone());
    Stage {
        world,
        pod,
        probes,
        changed,
    }
}

impl Stage {
    fn reconcile(&mut self) {
        let seen = Observed::new(self.world.runtime.containers());
        self.probes.reconcile(&self.pod, &seen, "10.244.0.2");
    }

    fn ready(&self) -> bool {
        let container = &self.pod.spec.as_ref().unwrap().containers[0];
        self.probes.health().ready(container, "id1")
    }

    fn started(&self) -> bool {
        let container = &self.pod.spec.as_ref().unwrap().containers[0];
        self.probes.health().started(container, "id1")
    }
}

fn probe(word: &str) -> serde_json::Value {
    json!({"exec": {"command": [word]}, "periodSeconds": 1, "failureThreshold": 2})
}

#[tokio::test]
async fn readiness_follows_the_probe() {
    let mut stage = stage(json!({"readinessProbe": probe("true")})).await;
    assert!(!stage.ready(), "not before the first success");
    stage.reconcile();
    stage.changed.notified().await;
    assert!(stage.ready());
    assert_eq!(stage.probes.health().hopeless().count(), 0);
}

#[tokio::test]
async fn liveness_gives_up_after_its_threshold_and_says_so() {
    let mut stage = stage(json!({"livenessProbe": probe("false")})).await;
    stage.reconcile();
    stage.changed.notified().await;
    let hopeless: Vec<_> = stage
        .probes
        .health()
        .hopeless()
        .map(|(id, word)| (id.to_owned(), word))
        .collect();
    assert_eq!(hopeless, [("id1".to_owned(), "liveness".to_owned())]);
    let told = stage.world.told();
    assert_eq!(
        told.iter()
            .filter(|line| line.starts_with("Unhealthy: Liveness"))
            .count(),
        2
    );
}

#[tokio::test]
async fn readiness_waits_for_the_startup_probe() {
    let mut stage =
        stage(json!({"startupProbe": probe("true"), "readinessProbe": probe("true")})).await;
    stage.reconcile();
    assert!(!stage.started() && !stage.ready());
    stage.changed.notified().await;
    assert!(stage.started() && !stage.ready());
    stage.reconcile();
    stage.changed.notified().await;
    assert!(stage.started() && stage.ready());
}

#[tokio::test]
async fn a_probe_we_cannot_run_is_said_and_counts_as_good() {
    let probe = json!({"httpGet": {"port": 80, "host": "shop.example"}});
    let mut stage = stage(json!({"readinessProbe": probe})).await;
    stage.reconcile();
    assert!(stage.ready());
    assert!(stage.world.told()[0].starts_with("ProbeIgnored: Readiness probe is ignored"));
}

#[tokio::test]
async fn a_port_that_does_not_exist_is_said_and_never_ready() {
    let mut stage = stage(json!({"readinessProbe": {"httpGet": {"port": "nobody"}}})).await;
    stage.reconcile();
    let told = loop {
        let told = stage.world.told();
        if !told.is_empty() {
            break told;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        told,
        [
            "Unhealthy: Readiness probe errored and resulted in unknown state: strconv.Atoi: \
             parsing \"nobody\": invalid syntax"
        ]
    );
    assert!(!stage.ready());
}

#[tokio::test]
async fn after_a_restart_of_the_agent_the_api_s_word_holds_until_the_first_probe() {
    let mut stage = stage(json!({"readinessProbe": probe("true")})).await;
    stage.pod.status = serde_json::from_value(json!({"containerStatuses": [{
        "name": "app", "image": "", "imageID": "", "ready": true, "started": true,
        "restartCount": 0, "containerID": "docker://id1"}]}))
    .unwrap();
    let events = stage.world.shared.events.clone();
    let runtime = stage.world.runtime.clone();
    stage.probes = Probes::new(&stage.pod, runtime, events, stage.changed.clone());
    assert!(stage.ready());
}
