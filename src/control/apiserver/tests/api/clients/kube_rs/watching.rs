//! Watches in their two forms, and a cache kept by them.

use std::pin::pin;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{NAMESPACE, Setting, client, config_map};
use crate::agent::Cluster;

fn brief<K: Resource>(event: &Event<K>) -> String {
    match event {
        Event::Apply(object) => format!("apply {}", object.name_any()),
        Event::Delete(object) => format!("delete {}", object.name_any()),
        Event::Init => "init".to_owned(),
        Event::InitApply(object) => format!("init {}", object.name_any()),
        Event::InitDone => "done".to_owned(),
    }
}

async fn next<K: Resource>(
    stream: &mut (impl Stream<Item = watcher::Result<Event<K>>> + Unpin),
) -> String {
    brief(&stream.next().await.expect("endless").expect("no error"))
}

async fn follows<K: Resource>(
    maps: &Api<ConfigMap>,
    stream: impl Stream<Item = watcher::Result<Event<K>>>,
) {
    let mut stream = pin!(stream);
    let new = PostParams::default();
    let labels = json!({"w": "1"});
    maps.create(&new, &config_map("a", labels.clone()))
        .await
        .expect("created");
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "done") {
        told.push(next(&mut stream).await);
    }
    assert_eq!(told, ["init", "init a", "done"]);
    maps.create(&new, &config_map("b", labels))
        .await
        .expect("created");
    assert_eq!(next(&mut stream).await, "apply b");
    let change = Patch::Merge(json!({"data": {"key": "2"}}));
    let plain = PatchParams::default();
    maps.patch("a", &plain, &change).await.expect("patched");
    assert_eq!(next(&mut stream).await, "apply a");
    for name in ["a", "b"] {
        let gone = maps.delete(name, &DeleteParams::default()).await;
        gone.expect("deleted");
        assert_eq!(next(&mut stream).await, format!("delete {name}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_watcher_see_everything_in_order() {
    let setting = Setting::start().await;
    let client = client(&setting).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let partial: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(client);
    let listed = watcher::Config::default().labels("w=1").page_size(1);
    let streamed = watcher::Config::default().labels("w=1").streaming_lists();
    follows(&maps, watcher(maps.clone(), listed.clone())).await;
    follows(&maps, watcher(maps.clone(), streamed.clone())).await;
    follows(&maps, watcher(partial.clone(), listed)).await;
    follows(&maps, watcher(partial, streamed)).await;
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_comes_too_late_starts_anew() {
    // Little is remembered, so that a version is soon too old.
    let cluster = Cluster::start_with(|config, options| {
        config.watch_window = 20;
        options.history = 20;
    });
    let setting = Setting::around(cluster.await).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&setting).await);
    let new = PostParams::default();
    let born = maps.create(&new, &config_map("a", json!({}))).await;
    let old = born.expect("created").resource_version().expect("version");
    for value in 0..40 {
        let change = Patch::Merge(json!({"data": {"key": value.to_string()}}));
        let plain = PatchParams::default();
        maps.patch("a", &plain, &change).await.expect("patched");
    }
    let watch = maps.watch(&WatchParams::default(), &old).await;
    let mut watch = pin!(watch.expect("watch"));
    match watch.try_next().await.expect("read").expect("an event") {
        WatchEvent::Error(status) => {
            assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
        }
        other => panic!("{other:?}"),
    }
    assert!(watch.try_next().await.expect("read").is_none());
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_keeps_a_true_copy() {
    let setting = Setting::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&setting).await, NAMESPACE);
    let new = PostParams::default();
    let (store, writer) = reflector::store();
    let watched = watcher(maps.clone(), watcher::Config::default().labels("r"));
    let mut seen = pin!(watched.default_backoff().reflect(writer).touched_objects());
    for name in ["a", "b"] {
        let map = config_map(name, json!({"r": "1"}));
        maps.create(&new, &map).await.expect("created");
    }
    for _ in 0..2 {
        seen.next().await.expect("endless").expect("no error");
    }
    let change = Patch::Merge(json!({"data": {"key": "2"}}));
    let plain = PatchParams::default();
    maps.patch("b", &plain, &change).await.expect("patched");
    maps.delete("a", &DeleteParams::default())
        .await
        .expect("deleted");
    for _ in 0..2 {
        seen.next().await.expect("endless").expect("no error");
    }
    let b = store.get(&ObjectRef::new("b").within(NAMESPACE));
    let data = b.expect("kept").data.clone().expect("data");
    assert_eq!(data["key"], "2");
    assert_eq!(store.len(), 1);
    setting.stop().await;
}
