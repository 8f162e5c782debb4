//! The loop against a real API server: what is written there shows in the kernel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cadet_apiserver::{App, Config as ApiConfig, User};
use cadet_store::{LocalStore, MemoryDisk, Options};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::space::Space;
use crate::world::{SERVICES, WEB, World, address, bare};

/// Longest wait for the kernel to show what the API says.
const PATIENCE: Duration = Duration::from_secs(240);

/// An API server and a proxy beside it, on a thread in the node's namespace.
struct Cluster {
    world: World,
    api: tokio::runtime::Handle,
    app: App,
    stop: CancellationToken,
}

impl Cluster {
    fn start() -> Self {
        let world = bare();
        let (tell, told) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let config = cadet_proxy::Config {
            pod_rules: world.network.rules(),
            ..crate::world::config()
        };
        let (network, ended) = (world.network.clone(), stop.clone());
        world.node.run(move |_| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("runtime");
                runtime.block_on(async move {
                    let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
                    let address = "192.0.2.1:6443".parse().expect("address");
                    let config_of_api = ApiConfig::new(SERVICES, address);
                    let app = App::start(config_of_api, Arc::new(store))
                        .await
                        .expect("start");
                    tell.send((tokio::runtime::Handle::current(), app.clone()))
                        .expect("told");
                    let client = |name: &str| {
                        let user = User::new(name, &["system:authenticated"]);
                        kube::Client::new(app.service(user), "default")
                    };
                    let proxy = client("system:kube-proxy");
                    let control = client("system:kube-controller-manager");
                    let range = Some("198.51.100.0/24".to_owned());
                    tokio::join!(
                        cadet_proxy::run(proxy, config, network.rebuilt(), ended.clone()),
                        cadet_controllers::service_lb::run(control, range, 6443, ended),
                    );
                });
            });
        });
        let (api, app) = told.recv().expect("started");
        Cluster {
            world,
            api,
            app,
            stop,
        }
    }

    fn client(&self) -> kube::Client {
        // Clients start a task of their own.
        let _runtime = self.api.enter();
        let user = User::new("admin", &["system:masters", "system:authenticated"]);
        kube::Client::new(self.app.service(user), "default")
    }

    /// Does something with the API where its server runs.
    fn ask<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = std::sync::mpsc::channel();
        self.api.spawn(async move {
            tell.send(work.await).expect("told");
        });
        told.recv().expect("an answer")
    }

    fn create<K>(&self, object: &Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + serde::Serialize
            + DeserializeOwned
            + Clone
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let object: K = serde_json::from_value(object.clone()).expect("an object");
        let api: Api<K> = Api::default_namespaced(self.client());
        self.ask(async move { api.create(&PostParams::default(), &object).await.map(drop) })
            .expect("created");
    }

    fn pod(&self, name: &'static str) {
        self.create::<Pod>(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "i",
                "ports": [{"name": "http", "containerPort": 8080}]}]},
        }));
        let ip = address(name);
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
        let api: Api<Pod> = Api::default_namespaced(self.client());
        self.ask(async move {
            let patch = Patch::Merge(status);
            api.patch_status(name, &PatchParams::default(), &patch)
                .await
                .map(drop)
        })
        .expect("status");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Calls until the answer is as wished: rules follow the API a moment later.
#[track_caller]
fn until(from: &Space, to: &str, wished: impl Fn(&std::io::Result<crate::space::Answer>) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = from.brief_tcp(to);
        if wished(&answer) {
            return;
        }
        assert!(Instant::now() < end, "{to}: {answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_balancer_gets_an_address_that_leads_in_and_clients_keep_their_endpoint() {
    let cluster = Cluster::start();
    cluster.create::<Service>(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "LoadBalancer", "clusterIP": WEB, "sessionAffinity": "ClientIP",
                 "ports": [{"name": "http", "port": 80}]},
    }));
    cluster.create::<EndpointSlice>(&slice(&["a", "b", "c"]));
    let (outside, to) = (&cluster.world.outside, "198.51.100.1:80");
    until(outside, to, Result::is_ok);
    let first = outside.tcp(to).expect("answer");
    // Not only while the table stands: a proxy that starts anew takes them over.
    let restarted = cluster.world.network.clone();
    cluster
        .world
        .node
        .sh("nft delete chain ip cadet pod-postrouting");
    let before = cluster
        .world
        .node
        .sh("nft -a list table ip cadet | head -1");
    cluster
        .world
        .node
        .run(move |runtime| runtime.block_on(async move { restarted.ensure().await }))
        .expect("ensured");
    let end = Instant::now() + PATIENCE;
    while cluster
        .world
        .node
        .sh("nft -a list table ip cadet | head -1")
        == before
    {
        assert!(Instant::now() < end, "the table was not made anew");
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..20 {
        assert_eq!(outside.tcp(to).expect("answer"), first);
    }
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    let service = cluster
        .ask(async move { services.get("web").await })
        .expect("service");
    let ingress = serde_json::to_value(service.status).expect("status");
    assert_eq!(
        ingress["loadBalancer"],
        json!({"ingress": [{"ip": "198.51.100.1", "ipMode": "VIP"}]})
    );
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let end = Instant::now() + PATIENCE;
    loop {
        let events = events.clone();
        let listed = cluster.ask(async move { events.list(&ListParams::default()).await });
        let listed = listed.expect("events");
        let reasons: Vec<&str> = listed.iter().filter_map(|e| e.reason.as_deref()).collect();
        if reasons.contains(&"EnsuredLoadBalancer") {
            break;
        }
        assert!(Instant::now() < end, "{reasons:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn slice(pods: &[&str]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            json!({"addresses": [address(pod)], "nodeName": "node",
                   "conditions": {"ready": true, "serving": true, "terminating": false}})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

#[test]
fn services_and_policies_follow_the_api() {
    let cluster = Cluster::start();
    let (a, to) = (cluster.world.pod("a"), format!("{WEB}:80"));
    cluster.create::<Service>(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"clusterIP": WEB, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }));
    until(a, &to, crate::space::is_refused);
    cluster.create::<EndpointSlice>(&slice(&["b"]));
    until(a, &to, |answer| {
        answer.as_ref().is_ok_and(|a| a.name == "b")
    });
    let slices: Api<EndpointSlice> = Api::default_namespaced(cluster.client());
    let patch = Patch::Merge(slice(&["c"]));
    cluster
        .ask(async move {
            let params = PatchParams::default();
            slices.patch("web-1", &params, &patch).await.map(drop)
        })
        .expect("patched");
    until(a, &to, |answer| {
        answer.as_ref().is_ok_and(|a| a.name == "c")
    });

    // The first policy makes the proxy look at pods and namespaces.
    for pod in ["a", "b", "c"] {
        cluster.pod(pod);
    }
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "x"}}}));
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    cluster
        .ask(async move {
            let params = PatchParams::default();
            namespaces.patch("default", &params, &label).await.map(drop)
        })
        .expect("labelled");
    cluster.create::<NetworkPolicy>(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "only-b"},
        "spec": {"podSelector": {"matchLabels": {"app": "c"}}, "ingress": [{"from": [
            {"namespaceSelector": {"matchLabels": {"team": "x"}},
             "podSelector": {"matchLabels": {"app": "b"}}}]}]},
    }));
    until(a, &to, crate::space::is_dropped);
    until(cluster.world.pod("b"), &to, Result::is_ok);

    // Whoever takes the table away, it comes back with everything in it.
    cluster.world.node.sh("nft flush ruleset");
    let network = cluster.world.network.clone();
    cluster
        .world
        .node
        .run(move |runtime| runtime.block_on(async move { network.ensure().await }))
        .expect("ensured");
    until(cluster.world.pod("b"), &to, Result::is_ok);
    until(a, &to, crate::space::is_dropped);

    let policies: Api<NetworkPolicy> = Api::default_namespaced(cluster.client());
    cluster
        .ask(async move {
            let params = DeleteParams::default();
            policies.delete("only-b", &params).await.map(drop)
        })
        .expect("deleted");
    until(a, &to, Result::is_ok);
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    cluster
        .ask(async move {
            services
                .delete("web", &DeleteParams::default())
                .await
                .map(drop)
        })
        .expect("deleted");
    until(a, &to, crate::space::is_dropped);
    // The pods' own way out was never cut.
    assert!(a.tcp("192.0.2.2:9090").is_ok());
}
