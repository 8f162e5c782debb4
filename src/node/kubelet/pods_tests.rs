//! From watch events to workers and back.

use futures::channel::mpsc;
use serde_json::json;

use super::*;
use crate::runtime::State;
use crate::testing::{World, pod};

type Changes = mpsc::UnboundedSender<watcher::Result<watcher::Event<Pod>>>;

struct Stage {
    world: World,
    changes: Changes,
    folder: tokio::sync::mpsc::Sender<Vec<Pod>>,
    table: PodTable,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn stage(world: World) -> Stage {
    let (changes, stream) = mpsc::unbounded();
    let (table, shutdown) = (PodTable::default(), CancellationToken::new());
    let pods = Pods::new(world.shared.clone(), table.clone(), shutdown.clone());
    let (folder, sets) = tokio::sync::mpsc::channel(4);
    let task = tokio::spawn(pods.run(stream, sets));
    Stage {
        world,
        changes,
        folder,
        table,
        shutdown,
        task,
    }
}

impl Stage {
    fn send(&self, event: watcher::Event<Pod>) {
        self.changes.unbounded_send(Ok(event)).unwrap();
    }

    fn list(&self, pods: &[Pod]) {
        self.send(watcher::Event::Init);
        for pod in pods {
            self.send(watcher::Event::InitApply(pod.clone()));
        }
        self.send(watcher::Event::InitDone);
    }

    /// Waits until as many containers exist, and all of them run.
    async fn until(&self, containers: usize) {
        loop {
            let all = self.world.runtime.containers();
            let running = all.iter().filter(|c| c.state == State::Running).count();
            if (all.len(), running) == (containers, containers) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn web() -> Pod {
    pod(json!({"containers": [{"name": "app", "image": "shop:1", "imagePullPolicy": "Never"}]}))
}

#[tokio::test]
async fn a_pod_comes_runs_and_goes_and_a_stop_of_the_agent_leaves_it_alone() {
    let stage = stage(World::new());
    stage.world.runtime.load("shop:1");
    stage.list(&[web()]);
    stage.until(2).await;
    assert_eq!(stage.table.pods().len(), 1);
    // The watch begins anew with the same pod: nothing happens to it.
    let before = stage.world.runtime.containers();
    stage.list(&[web()]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.world.runtime.containers(), before);
    stage.send(watcher::Event::Delete(web()));
    stage.until(0).await;
    while !stage.table.pods().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.list(&[web()]);
    stage.until(2).await;
    stage.shutdown.cancel();
    stage.task.await.unwrap();
    assert_eq!(stage.world.runtime.containers().len(), 2);
}

#[tokio::test]
async fn a_pod_deleted_while_the_agent_was_down_is_cleaned_up() {
    let first = stage(World::new());
    first.world.runtime.load("shop:1");
    first.list(&[web()]);
    first.until(2).await;
    first.shutdown.cancel();
    first.task.await.unwrap();
    std::fs::create_dir_all(first.world.home.path().join("pods/u-old")).unwrap();

    let second = stage(first.world);
    second.list(&[]);
    second.until(0).await;
    while second.world.home.path().join("pods/u-1").exists()
        || second.world.home.path().join("pods/u-old").exists()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        second.world.api.deleted.lock().unwrap().is_empty(),
        "the API knew that already"
    );
}

#[tokio::test]
async fn an_object_that_lingers_after_its_end_is_not_started_again() {
    let stage = stage(World::new());
    stage.world.runtime.load("shop:1");
    stage.list(&[web()]);
    stage.until(2).await;
    let mut deleted = web();
    deleted.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-11-20T20:00:00Z")).unwrap();
    stage.send(watcher::Event::Apply(deleted.clone()));
    stage.until(0).await;
    while stage.world.api.deleted.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.send(watcher::Event::Apply(deleted));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stage.world.runtime.containers().is_empty());
    assert_eq!(
        *stage.world.api.deleted.lock().unwrap(),
        ["u-1"],
        "confirmed once"
    );
}

#[tokio::test]
async fn addresses_of_dead_sandboxes_stay_reserved() {
    let world = World::new();
    let labels = |ip: &str| {
        HashMap::from([
            (labels::ROLE.to_owned(), "sandbox".to_owned()),
            (labels::POD_IP.to_owned(), ip.to_owned()),
        ])
    };
    for ip in ["10.244.0.2", "10.244.0.7"] {
        let spec = crate::runtime::ContainerSpec {
            labels: labels(ip),
            ..Default::default()
        };
        crate::runtime::Runtime::create(world.runtime.as_ref(), &spec)
            .await
            .unwrap();
    }
    reserve_addresses(&world.shared, &world.runtime.containers()).await;
    let address = world.shared.network.allocate().unwrap();
    assert_eq!(address.to_string(), "10.244.0.3");
}

#[tokio::test]
async fn a_static_pod_runs_is_mirrored_and_ends_with_its_manifest() {
    let stage = stage(World::new());
    stage.world.runtime.load("shop:1");
    let mut pod = web();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::static_pods::SOURCE.into(), "file".into());
    annotations.insert(crate::static_pods::HASH.into(), "u-1".into());
    stage.folder.send(vec![pod.clone()]).await.unwrap();
    stage.until(2).await;
    assert!(
        stage.world.api.mirrored.lock().unwrap().is_empty(),
        "nobody was asked yet"
    );
    stage.list(&[]);
    while stage.world.api.mirrored.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        stage.world.runtime.containers().len(),
        2,
        "the API does not end it"
    );
    let mirror = crate::static_pods::mirror_of(&pod);
    stage.send(watcher::Event::Apply(mirror.clone()));
    stage.send(watcher::Event::Delete(mirror));
    while stage.world.api.mirrored.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        stage.world.runtime.containers().len(),
        2,
        "its mirror is not the pod"
    );
    stage.folder.send(Vec::new()).await.unwrap();
    stage.until(0).await;
    stage.shutdown.cancel();
    stage.task.await.unwrap();
}
