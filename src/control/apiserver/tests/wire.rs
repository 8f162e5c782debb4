//! The server on a real socket: TLS, certificates as identities, kube-rs as a client,
//! and a restart that forgets nothing.

mod support;
mod tls;

use std::sync::Arc;

use cadet_store::{LocalStore, Options, SledDisk};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;
use support::{admin, app, app_on};
use tls::Served;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(support::config_map(name, "1")).expect("typed")
}

/// What loops do all day, with the client they use.
async fn work(client: kube::Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let born = maps
        .create(&PostParams::default(), &config_map("m"))
        .await
        .expect("create");
    let version = born.metadata.resource_version.expect("version");
    let events = maps
        .watch(&WatchParams::default(), &version)
        .await
        .expect("watch");
    let patch = Patch::Merge(json!({"data": {"key": "2"}}));
    maps.patch("m", &PatchParams::default(), &patch)
        .await
        .expect("patch");
    let mut events = Box::pin(events);
    let event = futures::StreamExt::next(&mut events)
        .await
        .expect("open")
        .expect("event");
    match event {
        WatchEvent::Modified(map) => {
            assert_eq!(map.data.expect("data")["key"], "2");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        maps.list(&ListParams::default())
            .await
            .expect("list")
            .items
            .len(),
        1
    );
    let gone = maps
        .delete("m", &DeleteParams::default())
        .await
        .expect("delete");
    assert!(gone.is_right(), "a Status");
    let missing = maps.get("m").await.expect_err("gone");
    assert!(matches!(missing, kube::Error::Api(status) if status.code == 404));
    let pods: Api<Pod> = Api::all(client);
    assert_eq!(
        pods.list_metadata(&ListParams::default())
            .await
            .expect("list")
            .items
            .len(),
        0
    );
}

#[tokio::test]
async fn loops_work_inside_the_process() {
    let app = app().await;
    work(kube::Client::new(app.service(admin()), "default")).await;
}

#[tokio::test]
async fn kube_works_over_tls_with_a_certificate() {
    let served = Served::start(app().await).await;
    work(served.kube("cadet-admin", "system:masters").await).await;
    let nobody = served.kube("jo", "students").await;
    let pods: Api<Pod> = Api::all(nobody);
    let refused = pods
        .list(&ListParams::default())
        .await
        .expect_err("forbidden");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    served.stop().await;
}

#[tokio::test]
async fn a_foreign_certificate_is_refused_in_the_handshake() {
    let served = Served::start(app().await).await;
    let other = Served::start(app().await).await;
    let foreign = served.kube_with(other.identity("cadet-admin", "system:masters"));
    let pods: Api<Pod> = Api::all(foreign.await);
    let error = pods
        .list(&ListParams::default())
        .await
        .expect_err("refused");
    assert!(!matches!(error, kube::Error::Api(_)), "{error:?}");
    served.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn stopping_ends_watches_and_lets_go_of_the_port() {
    let served = Served::start(app().await).await;
    let address = served.address;
    let client = served.kube("cadet-admin", "system:masters").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let events = maps
        .watch(&WatchParams::default(), "0")
        .await
        .expect("watch");
    let mut events = Box::pin(events);
    served.stop().await;
    while let Some(event) = futures::StreamExt::next(&mut events).await {
        assert!(matches!(event, Ok(_) | Err(_)));
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_gives_no_address_twice() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let load = |disk| Arc::new(LocalStore::open(disk, Options::default()).expect("load"));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}});
    let services = "/api/v1/namespaces/default/services";
    let before = {
        let app = app_on(load(SledDisk::open(&path).expect("open"))).await;
        let client = support::Client::new(&app, admin());
        client.post(services, &service).await.expect(201);
        let before = client.get("/api/v1/services").await.expect(200);
        app.stop();
        before
    };
    // The following task lets go of the store when it is told to stop.
    let store = loop {
        match SledDisk::open(&path) {
            Ok(disk) => break load(disk),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let app = app_on(store).await;
    let client = support::Client::new(&app, admin());
    let after = client.get("/api/v1/services").await.expect(200);
    assert_eq!(after, before);
    let mut again = service.clone();
    again["metadata"]["name"] = json!("t");
    assert_eq!(client.post(services, &again).await.code, 422);
    let version = before["metadata"]["resourceVersion"]
        .as_str()
        .expect("version");
    let old = version.parse::<u64>().expect("number") - 1;
    let mut events = client
        .watch(&format!("{services}?watch=true&resourceVersion={old}"))
        .await;
    assert_eq!(events.next().await.expect("event")["object"]["code"], 410);
}
