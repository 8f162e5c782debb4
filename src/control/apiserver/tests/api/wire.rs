//! The server on a real socket: TLS, certificates as identities, kube-rs as a client,
//! and a restart that forgets nothing.

use std::sync::Arc;

use crate::support::{admin, app, app_on};
use crate::tls::{Authority, Served};
use cadet_store::{LocalStore, Options, RedbDisk};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(crate::support::config_map(name, "1")).expect("typed")
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
        let app = app_on(load(RedbDisk::open(&path).expect("open"))).await;
        let client = crate::support::Client::new(&app, admin());
        client.post(services, &service).await.expect(201);
        let before = client.get("/api/v1/services").await.expect(200);
        app.stop();
        before
    };
    // The following task lets go of the store when it is told to stop.
    let store = loop {
        match RedbDisk::open(&path) {
            Ok(disk) => break load(disk),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let app = app_on(store).await;
    let client = crate::support::Client::new(&app, admin());
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

/// An agent that answers every log request with what it was asked and by whom, in two
/// parts, and keeps the connection open until told.
async fn agent(authority: &Authority, finish: tokio::sync::oneshot::Receiver<()>) -> u16 {
    use cadet_apiserver::User;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let port = listener.local_addr().expect("address").port();
    let acceptor = tokio_rustls::TlsAcceptor::from(authority.server());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accept");
        // One is all: who comes later is refused.
        drop(listener);
        let mut stream = acceptor.accept(stream).await.expect("handshake");
        let certificates = stream
            .get_ref()
            .1
            .peer_certificates()
            .expect("a certificate");
        let user = User::from_certificate(&certificates[0])
            .expect("named")
            .name;
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("request"));
        }
        let head = String::from_utf8(head).expect("text");
        let line = head.lines().next().expect("request line").to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{user} asked {line}\n");
        stream.write_all(answer.as_bytes()).await.expect("write");
        stream.flush().await.expect("flush");
        finish.await.expect("told");
        stream.write_all(b"the end\n").await.expect("write");
        stream.shutdown().await.expect("shutdown");
    });
    port
}

#[tokio::test]
async fn logs_stream_from_the_node_over_mutual_tls() {
    use http_body_util::BodyExt;
    let authority = Authority::new();
    let (finish, finished) = tokio::sync::oneshot::channel();
    let port = agent(&authority, finished).await;
    let store = LocalStore::open(cadet_store::MemoryDisk, Options::default()).expect("store");
    let config = cadet_apiserver::Config {
        kubelet_tls: Some(authority.towards_agents()),
        ..crate::support::config()
    };
    let app = cadet_apiserver::App::start(config, Arc::new(store))
        .await
        .expect("start");
    let client = crate::support::Client::new(&app, admin());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    client.post("/api/v1/nodes", &node).await.expect(201);
    client
        .post(crate::support::PODS, &crate::support::pod("web"))
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "web"}, "target": {"name": "n1"}});
    client
        .post(&format!("{}/web/binding", crate::support::PODS), &binding)
        .await
        .expect(201);
    let path = format!("{}/web/log?follow=true&tailLines=3", crate::support::PODS);
    let response = client.open(http::Method::GET, &path, &[], "").await;
    assert_eq!(response.headers()["content-type"], "text/plain");
    let mut body = response.into_body();
    let first = body
        .frame()
        .await
        .expect("open")
        .expect("frame")
        .into_data()
        .expect("data");
    assert_eq!(
        String::from_utf8_lossy(&first),
        "kube-apiserver-kubelet-client asked GET /containerLogs/default/web/c?follow=true&tailLines=3 HTTP/1.1\n"
    );
    finish.send(()).expect("agent waits");
    assert_eq!(body.collect().await.expect("rest").to_bytes(), "the end\n");
    let gone = client.get(&path).await.refused(500);
    assert!(gone.contains("error dialing node n1"), "{gone}");
}
